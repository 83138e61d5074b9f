"""Masks of objects between sources, tf.data and labels: dense, or as run lengths.

Dense masks are uint8 [n, height, width] of 0 and 1. Run lengths (`ops.run_lengths`) are strings [n];
in batches, which may have to go to a device, they are uint8 [n, length], padded with zeros.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from official_lite.vision.ops import run_lengths

__all__ = ['decode_masks', 'encode_masks', 'from_padded', 'to_padded']


def decode_masks(counts: tf.Tensor, size: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
    """Dense masks of an image.

    Args:
        counts: string [n], run lengths.
        size: int64 [2], height and width that they are of: the annotated image's.
        image: [height, width, 3], decoded. If it has another size, masks are resized to it.

    Returns:
        uint8 [n, height, width].
    """
    masks = tf.numpy_function(_decode, [counts, size], tf.uint8, stateful=False)
    masks = tf.ensure_shape(masks, [None, None, None])
    actual = tf.shape(image)[:2]
    masks = tf.cond(
        tf.reduce_all(actual == tf.cast(size, tf.int32)),
        lambda: masks,
        lambda: _resize(masks, actual),
    )
    return tf.ensure_shape(masks, [counts.shape[0], *image.shape[:2]])


def _decode(counts: np.ndarray, size: np.ndarray) -> np.ndarray:
    return run_lengths.decode(counts.tolist(), int(size[0]), int(size[1]))


def _resize(masks: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    resized = tf.image.resize(masks[..., None], size, method='nearest')
    return resized[..., 0]


def encode_masks(masks: tf.Tensor) -> tf.Tensor:
    """string [n], the run lengths of dense masks [n, height, width]; what is not 0 is the object."""
    counts = tf.numpy_function(_encode, [masks], tf.string, stateful=False)
    return tf.ensure_shape(counts, [masks.shape[0]])


def _encode(masks: np.ndarray) -> np.ndarray:
    return np.array(run_lengths.encode(masks), np.object_)


def to_padded(counts: tf.Tensor) -> tf.Tensor:
    """uint8 [n, length] of strings [n]: the longest decides, zeros fill up."""
    longest = tf.reduce_max(tf.concat([[1], tf.strings.length(counts)], axis=0))
    return tf.io.decode_raw(counts, tf.uint8, fixed_length=longest)


def from_padded(padded: np.ndarray) -> list[bytes]:
    """The inverse of `to_padded`, on the host."""
    return [np.asarray(row, np.uint8).tobytes().rstrip(b'\0') for row in padded]
