"""Masks of objects, which are kept within their boxes, seen through other boxes."""

from __future__ import annotations

import tensorflow as tf

from official_lite.vision.ops import box_ops

__all__ = ['crop_mask_in_target_box']


def crop_mask_in_target_box(
    masks: tf.Tensor,
    boxes: tf.Tensor,
    target_boxes: tf.Tensor,
    output_size: int,
    sample_offset: float = 0.0,
) -> tf.Tensor:
    """Reads masks at points of target boxes, by bilinear interpolation, with 0 outside.

    Two products of matrices, one for rows and one for columns.

    Args:
        masks: Masks, each of which fills its box, [batch, masks, height, width].
        boxes: Boxes of the masks, [batch, masks, 4], in pixels.
        target_boxes: Boxes to look through, [batch, masks, 4], in pixels.
        output_size: Height and width of the result.
        sample_offset: Where in a bin the point lies, as a share of its side.

    Returns:
        float32 [batch, masks, output_size, output_size].
    """
    masks = tf.cast(masks, tf.float32)
    boxes, target_boxes = tf.cast(boxes, tf.float32), tf.cast(target_boxes, tf.float32)
    rows, columns = (
        _compute_weights(
            boxes[..., axis::2],
            target_boxes[..., axis::2],
            masks.shape[axis + 2] or tf.shape(masks)[axis + 2],
            output_size,
            sample_offset,
        )
        for axis in (0, 1)
    )
    cropped = tf.matmul(rows, masks)  # [batch, masks, output_size, width]
    return tf.matmul(cropped, columns, transpose_b=True)


def _compute_weights(
    intervals: tf.Tensor,
    target_intervals: tf.Tensor,
    num_pixels: int | tf.Tensor,
    output_size: int,
    sample_offset: float,
) -> tf.Tensor:
    """Weights [batch, masks, output_size, num_pixels] of the pixels of one side at each point.

    Args:
        intervals: Where the pixels lie, [batch, masks, 2].
        target_intervals: Where the points lie, [batch, masks, 2].
        num_pixels: Number of pixels.
        output_size: Number of points.
        sample_offset: See `crop_mask_in_target_box`.
    """
    count = tf.cast(num_pixels, tf.float32)
    scale = count / (intervals[..., 1] - intervals[..., 0] + box_ops.EPSILON)
    start = (target_intervals[..., 0] - intervals[..., 0]) * scale  # in pixels of the mask
    length = (target_intervals[..., 1] - target_intervals[..., 0]) * scale
    shares = (tf.range(output_size, dtype=tf.float32) + sample_offset) / output_size
    points = start[..., None] + length[..., None] * shares  # [batch, masks, output_size]
    distances = tf.abs(points[..., None] - tf.range(count))
    return tf.maximum(1.0 - distances, 0.0)
