"""Differential privacy: the config that Model Garden's tasks carry."""
