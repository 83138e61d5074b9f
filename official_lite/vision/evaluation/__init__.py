"""Evaluation on the host: arrays in, metrics out."""
