"""Resizing with another scale for each image of a batch, and crops, under Model Garden's names."""

from __future__ import annotations

import tensorflow as tf

from official_lite.vision.ops.mask_crop import crop_mask_in_target_box
from official_lite.vision.ops.roi_align import multilevel_crop_and_resize

__all__ = [
    'bilinear_resize_with_crop_and_pad',
    'crop_mask_in_target_box',
    'multilevel_crop_and_resize',
]


def bilinear_resize_with_crop_and_pad(
    images: tf.Tensor,
    rescale_size: tf.Tensor,
    crop_offset: tf.Tensor,
    crop_size: tf.Tensor,
    output_size: tf.Tensor,
) -> tf.Tensor:
    """Resizes each image to its own size, crops its own window and pads that to a common size.

    Half-pixel centres, no antialiasing, as `tf.image.resize`.

    Args:
        images: [batch, height, width, channels].
        rescale_size: int [batch, 2], (height, width) of each resized image, pixels.
        crop_offset: int [batch, 2], (y, x) of the window in it.
        crop_size: int [batch, 2], (height, width) of the window.
        output_size: int [2], (height, width) of the result, at least those of the windows.

    Returns:
        float32 [batch, *output_size, channels], 0 outside of the windows.
    """
    images = tf.cast(images, tf.float32)
    for axis in (0, 1):
        positions = tf.range(output_size[axis])[None] + tf.cast(
            crop_offset[:, axis, None], tf.int32
        )
        images = _sample_rows(images, positions, rescale_size[:, axis], axis + 1)
    is_inside = [
        tf.range(output_size[axis])[None] < tf.cast(crop_size[:, axis, None], tf.int32)
        for axis in (0, 1)
    ]
    mask = is_inside[0][:, :, None] & is_inside[1][:, None, :]  # [batch, height, width]
    return tf.where(mask[..., None], images, 0.0)


def _sample_rows(
    images: tf.Tensor, positions: tf.Tensor, resized_length: tf.Tensor, axis: int
) -> tf.Tensor:
    """Interpolates one axis at `positions` [batch, n] of the resized length [batch]."""
    length = tf.shape(images)[axis]
    scale = tf.cast(length, tf.float32) / tf.cast(resized_length, tf.float32)
    place = (tf.cast(positions, tf.float32) + 0.5) * scale[:, None] - 0.5  # [batch, n]
    place = tf.clip_by_value(place, 0.0, tf.cast(length - 1, tf.float32))
    before = tf.cast(tf.floor(place), tf.int32)
    after = tf.minimum(before + 1, length - 1)
    share = place - tf.cast(before, tf.float32)
    share = share[:, :, None, None] if axis == 1 else share[:, None, :, None]
    low = _take(images, before, axis)
    return low + share * (_take(images, after, axis) - low)


def _take(images: tf.Tensor, indices: tf.Tensor, axis: int) -> tf.Tensor:
    """Rows (axis 1) or columns (axis 2) of each image by its own indices [batch, n]."""
    if axis == 1:
        return tf.gather(images, indices, batch_dims=1)
    rows = tf.shape(images)[1]
    spread = tf.repeat(indices[:, None], rows, axis=1)  # [batch, rows, n]
    return tf.gather(images, spread, batch_dims=2)
