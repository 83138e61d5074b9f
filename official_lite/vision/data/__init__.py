"""Tools for data sets: convert, inspect and preview; and Model Garden's builders of records."""
