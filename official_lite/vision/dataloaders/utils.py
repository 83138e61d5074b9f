"""Model Garden's helpers of parsers, under its import path."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from official_lite.vision.ops import preprocess_ops

__all__ = ['binarize_matting_map', 'pad_groundtruths_to_fixed_size', 'process_source_id']

# What padding is, by the name of the label; of attributes it is -1.
_PADDING = {'boxes': -1, 'is_crowds': 0, 'areas': -1, 'classes': -1}


def process_source_id(source_id: tf.Tensor) -> tf.Tensor:
    """Image ids as numbers.

    Args:
        source_id: Integers, or strings of digits.

    Returns:
        int64 of the same shape; -1 if there are none.
    """
    if source_id.dtype == tf.string:
        source_id = tf.strings.to_number(source_id, tf.int64)
    source_id = tf.cast(source_id, tf.int64)
    return tf.cond(tf.size(source_id) > 0, lambda: source_id, lambda: tf.constant(-1, tf.int64))


def pad_groundtruths_to_fixed_size(groundtruths: dict[str, Any], size: int) -> dict[str, Any]:
    """Pads or cuts the labels of an image.

    Args:
        groundtruths: 'boxes' [n, 4], 'is_crowds', 'areas', 'classes' [n], and optionally 'attributes',
            a dict of [n, k]; changed in place.
        size: Rows of the result.

    Returns:
        The same dict with `size` rows each; padding is -1, of crowds 0.
    """
    for name, value in _PADDING.items():
        groundtruths[name] = preprocess_ops.clip_or_pad_to_fixed_size(
            groundtruths[name], size, value
        )
    for name, values in groundtruths.get('attributes', {}).items():
        groundtruths['attributes'][name] = preprocess_ops.clip_or_pad_to_fixed_size(
            values, size, -1
        )
    return groundtruths


def binarize_matting_map(matting_map: tf.Tensor, threshold: float = 0.5) -> tf.Tensor:
    """float32 of the same shape: 1 above the threshold, 0 elsewhere."""
    return tf.cast(matting_map > threshold, tf.float32)
