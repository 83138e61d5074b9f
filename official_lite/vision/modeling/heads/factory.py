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
        `l2_regularizer` and, of a head that predicts at anchors, `num_anchors_per_location`. It
        returns a layer; that of a RetinaNet is one from feature maps by level to (scores, boxes,
        attributes).
    """
    return registries.register_head(key, config=config)


def build_head(
    input_specs: Mapping[str, Any],
    model_config: Any,
    num_anchors_per_location: Union[int, dict[str, int], None] = None,
    l2_regularizer: Optional[keras.regularizers.Regularizer] = None,
) -> keras.layers.Layer:
    """Builds the head for the class of `model_config.head`.

    Args:
        input_specs: Shapes of the feature maps by level.
        model_config: A model config; its `head` decides.
        num_anchors_per_location: Number of anchors, or numbers by level. None for a head without
            anchors, whose builder is not told.
        l2_regularizer: Regulariser of convolution kernels.

    Returns:
        The head.
    """
    builder = registries.HEADS.find_builder(model_config.head) or registries.HEADS.get_builder(
        DEFAULT_HEAD
    )
    anchors = (
        {}
        if num_anchors_per_location is None
        else {'num_anchors_per_location': num_anchors_per_location}
    )
    return builder(
        input_specs=input_specs,
        model_config=model_config,
        l2_regularizer=l2_regularizer,
        **anchors,
    )
