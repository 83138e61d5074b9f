"""The JSON text in every checkpoint: what its classes are called, and what made it."""

from __future__ import annotations

import json
import sys
from typing import Any

import keras
import tensorflow as tf

from official_lite.core import hyperparameters
from official_lite.modeling import hyperparams

__all__ = ['make_metadata']

_CLASS_FIELDS = ('class_names', 'category_ids', 'num_classes')


def make_metadata(params: Any) -> str:
    """Returns class names and ids, if the task has them, the whole config, and versions.

    Args:
        params: The `ExperimentConfig`, resolved.
    """
    content = {
        name: getattr(params.task, name) for name in _CLASS_FIELDS if hasattr(params.task, name)
    }
    if isinstance(params, hyperparams.Config):
        content['config'] = hyperparameters.Hyperparameters.of(params).to_params()
    versions = {
        'tensorflow': tf.__version__,
        'keras': keras.__version__,
        'python': sys.version.split()[0],
    }
    return json.dumps({**content, 'versions': versions}, default=list)
