"""Configs of optimizers, learning rates and warm-up. None of these modules imports TensorFlow."""
