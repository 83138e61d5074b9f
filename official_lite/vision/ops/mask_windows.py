"""Masks within boxes: windows of a fixed size, cut out of maps."""

from __future__ import annotations

import tensorflow as tf

__all__ = ['crop_masks']


def crop_masks(masks: tf.Tensor, boxes: tf.Tensor, size: tf.Tensor | int) -> tf.Tensor:
    """Each mask within its box, resized bilinearly to a square; 0 outside of the mask.

    The same values as of `tf.image.crop_and_resize` with one mask for each box, for any numbers of
    masks and pixels without a copy of the masks in float32.

    Args:
        masks: [n, height, width], of any numeric dtype.
        boxes: float32 [n, 4], yxyx; 0 is the first pixel's centre and 1 the last one's.
        size: Side of the windows.

    Returns:
        float32 [n, size, size].
    """
    shape = tf.shape(masks)
    rows, row_share, row_inside = _place(boxes[:, 0], boxes[:, 2], shape[1], size)
    columns, column_share, column_inside = _place(boxes[:, 1], boxes[:, 3], shape[2], size)
    lines = _mix(masks, rows, row_share[:, :, None], shape[1])  # [n, size, width]
    turned = tf.transpose(lines, [0, 2, 1])  # [n, width, size]
    windows = _mix(turned, columns, column_share[:, :, None], shape[2])  # [n, size of x, size of y]
    is_inside = row_inside[:, :, None] & column_inside[:, None, :]
    return tf.where(is_inside, tf.transpose(windows, [0, 2, 1]), 0.0)


def _place(
    start: tf.Tensor, end: tf.Tensor, length: tf.Tensor, size: tf.Tensor | int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Of samples along an axis: the pixel before, the share of the one after, and if there is any.

    int32, float32 and bool [n, size].
    """
    last = tf.cast(length - 1, tf.float32)
    steps = tf.cast(tf.range(size), tf.float32)
    step = (end - start) * last / tf.cast(size - 1, tf.float32)
    places = start[:, None] * last + steps * step[:, None]
    low = tf.floor(tf.clip_by_value(places, 0.0, last))
    return tf.cast(low, tf.int32), places - low, (places >= 0) & (places <= last)


def _mix(maps: tf.Tensor, places: tf.Tensor, share: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """float32 [n, size, ...]: lines of maps [n, length, ...] at places, and a share of the next."""
    low = tf.cast(tf.gather(maps, places, batch_dims=1), tf.float32)
    after = tf.minimum(places + 1, length - 1)
    high = tf.cast(tf.gather(maps, after, batch_dims=1), tf.float32)
    return low + share * (high - low)
