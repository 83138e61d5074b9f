"""Blocks and layers that models are made of."""
