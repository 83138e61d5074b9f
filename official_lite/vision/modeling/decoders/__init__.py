"""Decoders: a backbone's feature maps in, feature maps of one width out."""
