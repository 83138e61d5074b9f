"""Weight initialisers."""

from __future__ import annotations

import math
from typing import Union

import keras

Initializer = Union[str, keras.initializers.Initializer]

# Scale 1, fan-in, truncated normal: what all of Model Garden's backbones start from.
DEFAULT = 'VarianceScaling'


def clone_initializer(initializer: Initializer) -> Initializer:
    """Copies an initialiser, so that two layers do not start from the same numbers.

    A Keras initialiser without a seed draws one when it is made and then returns the same values
    for equal shapes.
    """
    if isinstance(initializer, keras.initializers.Initializer):
        return type(initializer).from_config(initializer.get_config())
    return initializer


def make_prior_bias_initializer(prior: float = 0.01) -> keras.initializers.Initializer:
    """Bias with which a sigmoid starts at the probability `prior`.

    Source: https://arxiv.org/abs/1708.02002, section 3.3.
    """
    if not 0.0 < prior < 1.0:
        raise ValueError(f'Expected a probability between 0 and 1. Received: prior={prior}')
    return keras.initializers.Constant(-math.log((1.0 - prior) / prior))
