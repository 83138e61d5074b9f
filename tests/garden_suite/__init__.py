"""Runs Model Garden's own unit tests against official_lite."""
