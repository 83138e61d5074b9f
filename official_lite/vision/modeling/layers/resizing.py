"""Feature maps in another size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

# Methods of `tf.image.resize`.
METHODS = (
    'bilinear',
    'nearest',
    'bicubic',
    'area',
    'lanczos3',
    'lanczos5',
    'gaussian',
    'mitchellcubic',
)


def get_size(features: tf.Tensor) -> list[Any]:
    """Height and width of [batch, height, width, channels]: numbers where they are known."""
    dynamic = tf.shape(features)
    return [dynamic[i] if features.shape[i] is None else features.shape[i] for i in (1, 2)]


def resize(features: tf.Tensor, size: Sequence[Any], method: str = 'bilinear') -> tf.Tensor:
    """Resizes feature maps without antialiasing; pixel centres are at half-integers.

    Args:
        features: Of any floating dtype, [batch, height, width, channels].
        size: New height and width, numbers or scalar tensors.
        method: One of `METHODS`, computed in float32.

    Returns:
        [batch, *size, channels] in the dtype of `features`.
    """
    batch, channels = features.shape[0], features.shape[-1]
    known = [side if isinstance(side, int) else None for side in size]
    if features.shape[1:3] == (1, 1):  # one value everywhere, whatever the method
        shape = [tf.shape(features)[0], *size, channels]
        resized = tf.broadcast_to(features, shape)
    else:
        resized = tf.image.resize(tf.cast(features, tf.float32), size, method=method)
    return tf.ensure_shape(tf.cast(resized, features.dtype), [batch, *known, channels])
