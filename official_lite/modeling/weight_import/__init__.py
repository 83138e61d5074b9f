"""Weights that other programs wrote, matched to our models by structure."""
