"""Losses: pure tensor functions and Keras losses with explicit arguments."""
