"""Counts handwritten digits: an example of a package that extends official_lite."""
