"""Heads by name or by config class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Optional, Union

import keras

from official_lite.vision import registries

# The head of configs whose class nobody registered.
DEFAULT_HEAD = 'retinanet'


def register_head_builder(
    key: str, config: Optional[type] = None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Registers a function that builds a head.

    Args:
        key: Name of the head.
        config: Config class of its options: a model config whose `head` is of this class gets this
            head.

    Returns:
        A decorator of a function with the arguments `input_specs`, `model_config`,
        `num_anchors_per_location` and `l2_regularizer`, which returns a layer from feature maps by
        level to (scores, boxes, attributes).
    """
    return registries.register_head(key, config=config)


def build_head(
    input_specs: Mapping[str, Any],
    model_config: Any,
    num_anchors_per_location: Union[int, dict[str, int]],
    l2_regularizer: Optional[keras.regularizers.Regularizer] = None,
) -> keras.layers.Layer:
    """Builds the head for the class of `model_config.head`.

    Args:
        input_specs: Shapes of the feature maps by level.
        model_config: A RetinaNet model config.
        num_anchors_per_location: Number of anchors, or numbers by level.
        l2_regularizer: Regulariser of convolution kernels.

    Returns:
        The head.
    """
    builder = registries.HEADS.find_builder(model_config.head) or registries.HEADS.get_builder(
        DEFAULT_HEAD
    )
    return builder(
        input_specs=input_specs,
        model_config=model_config,
        num_anchors_per_location=num_anchors_per_location,
        l2_regularizer=l2_regularizer,
    )
