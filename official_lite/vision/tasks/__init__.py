"""Tasks of vision: each joins configs, data, model, losses and evaluation."""
