"""Model Garden's module whose import registers everything; here names are found without it."""
