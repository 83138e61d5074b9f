"""Resizing, cropping and padding of uint8 images with few operations: for input pipelines.

What comes out equals `preprocess_ops.resize_and_crop_image`, rounded to whole grey levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from official_lite.core import randomness

__all__ = ['pad_bottom_right', 'resize', 'resize_and_crop', 'round_to_uint8']


def round_to_uint8(image: tf.Tensor) -> tf.Tensor:
    """Rounds a float image in [0, 255], halves upwards."""
    return tf.cast(image + 0.5, tf.uint8)


def resize(image: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Resizes bilinearly (half-pixel centres, no antialiasing) and rounds, halves upwards.

    Args:
        image: uint8 [height, width, channels].
        size: int32 [2], new height and width, pixels.

    Returns:
        uint8 [new height, new width, channels].
    """
    # The kernel reads uint8 and writes float32: no copy goes before it.
    resized = tf.raw_ops.ResizeBilinear(images=image[None], size=size, half_pixel_centers=True)[0]
    return round_to_uint8(resized)


def resize_and_crop(
    image: tf.Tensor,
    desired_size: Sequence[int],
    *,
    aug_scale_min: float = 1.0,
    aug_scale_max: float = 1.0,
    key: Any = None,
    keep_aspect_ratio: bool = True,
) -> tuple[tf.Tensor, tf.Tensor]:
    """`preprocess_ops.resize_and_crop_image` without padding, for uint8.

    Rounds before it crops, so that a quarter of the bytes is copied, and leaves an image that has
    its size already as it is.

    Args:
        image: uint8 [height, width, channels].
        desired_size: (height, width) of the rectangle, pixels.
        aug_scale_min: Smallest scale, drawn uniformly.
        aug_scale_max: Largest scale.
        key: int32 [2] that decides scale and crop. None means TensorFlow's global seed.
        keep_aspect_ratio: Whether height and width are scaled alike.

    Returns:
        uint8 [at most height, at most width, channels] and float32 [4, 2]: original size, desired
        size, scale, offset of the crop in the scaled image; each (y, x).
    """
    image_size_px = tf.shape(image)[:2]
    image_size = tf.cast(image_size_px, tf.float32)
    target_size = tf.constant(list(desired_size), tf.float32)
    jitters = not aug_scale_min == aug_scale_max == 1.0
    scaled_size = target_size
    if jitters:
        scale = _uniform(key, 'scale', [], aug_scale_min, aug_scale_max)
        scaled_size = tf.round(scale * target_size)
    if keep_aspect_ratio:
        scaled_size = tf.round(image_size * tf.reduce_min(scaled_size / image_size))
    scaled_size_px = tf.cast(scaled_size, tf.int32)
    if jitters:
        image, offset = _crop(resize(image, scaled_size_px), scaled_size, target_size, key)
    else:
        is_done = tf.reduce_all(scaled_size_px == image_size_px)
        resized = tf.cond(is_done, lambda: image, lambda: resize(image, scaled_size_px))
        image, offset = tf.ensure_shape(resized, [None, None, image.shape[-1]]), tf.zeros([2])
    return image, tf.stack([image_size, target_size, scaled_size / image_size, offset])


def _crop(
    image: tf.Tensor, size: tf.Tensor, target_size: tf.Tensor, key: Any
) -> tuple[tf.Tensor, tf.Tensor]:
    """Crops what exceeds the target at a uniform place; float32 [2] is the place, whole pixels."""
    excess = tf.maximum(size - target_size, 0.0)
    offset = tf.floor(excess * _uniform(key, 'offset', [2], 0.0, 1.0))
    begin = tf.cast(offset, tf.int32)
    end = begin + tf.cast(tf.minimum(size, target_size), tf.int32)
    return image[begin[0] : end[0], begin[1] : end[1]], offset


def pad_bottom_right(image: tf.Tensor, size: Sequence[int], colour: Sequence[int]) -> tf.Tensor:
    """Fills what is missing at the bottom and on the right with a colour.

    Args:
        image: uint8 [at most height, at most width, 3].
        size: (height, width), pixels.
        colour: Values of the three channels.

    Returns:
        uint8 [height, width, 3].
    """
    # A constant, of which pieces are copied: tf.pad is five times slower, and knows one value only.
    block = tf.broadcast_to(tf.constant(list(colour), tf.uint8), [*size, 3])
    shape = tf.shape(image)
    right = block[: shape[0], shape[1] :]
    wide = tf.concat([image, right], axis=1)  # [rows, width, 3]
    padded = tf.concat([wide, block[shape[0] :]], axis=0)  # [height, width, 3]
    return tf.ensure_shape(padded, [*size, 3])


def _uniform(key: Any, name: str, shape: Sequence[int], low: float, high: float) -> tf.Tensor:
    if key is None:
        return tf.random.uniform(shape, low, high)
    return randomness.uniform(key, name, shape, minval=low, maxval=high)
