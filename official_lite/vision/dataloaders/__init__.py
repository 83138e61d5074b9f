"""From files to batches: sources of records, parsers, the reader."""
