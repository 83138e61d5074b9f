"""A whole project in four files: config, data, model and task of a small image classifier."""
