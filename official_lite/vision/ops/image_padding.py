"""Padding: to a fixed length, to multiples of a stride."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import tensorflow as tf

__all__ = ['Size', 'clip_or_pad_to_fixed_size', 'compute_padded_size']

Size: TypeAlias = Any  # two ints, or an integer tensor of shape [2]


def clip_or_pad_to_fixed_size(
    input_tensor: tf.Tensor, size: int, constant_values: float | str = 0
) -> tf.Tensor:
    """Cuts or pads the first dimension to `size`.

    Args:
        input_tensor: Tensor of shape [n, ...].
        size: Length of the result.
        constant_values: What to pad with.

    Returns:
        Tensor of shape [size, ...] and the same dtype.
    """
    kept = input_tensor[:size]
    num_missing = size - tf.shape(kept)[0]
    rest = tf.shape(kept)[1:]
    padding = tf.fill(tf.concat([[num_missing], rest], axis=0), constant_values)
    padded = tf.concat([kept, tf.cast(padding, kept.dtype)], axis=0)
    padded.set_shape([size, *input_tensor.shape[1:]])
    return padded


def compute_padded_size(desired_size: Size, stride: int) -> list[int] | tf.Tensor:
    """The smallest multiples of `stride` that are not below `desired_size` (height, width)."""
    if isinstance(desired_size, (list, tuple)):
        return [math.ceil(length / stride) * stride for length in desired_size]
    scaled = tf.cast(desired_size, tf.float32) / stride
    return tf.cast(tf.math.ceil(scaled) * stride, tf.int32)
