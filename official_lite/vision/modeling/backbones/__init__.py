"""Backbones: images in, a dict of feature maps by level out."""
