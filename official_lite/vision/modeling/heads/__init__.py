"""Heads: feature maps in, predictions out."""
