"""Intersection over union as a measure of similarity between anchors and ground truth."""

from __future__ import annotations

from typing import Optional

import tensorflow as tf


def area(boxes: tf.Tensor) -> tf.Tensor:
    """Areas [...] of boxes [..., 4]."""
    ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=-1)
    return (ymax - ymin) * (xmax - xmin)


def intersection(boxes_1: tf.Tensor, boxes_2: tf.Tensor) -> tf.Tensor:
    """Areas [..., N, M] of the intersections of boxes [..., N, 4] with boxes [..., M, 4]."""
    ymin_1, xmin_1, ymax_1, xmax_1 = tf.unstack(boxes_1[..., :, None, :], axis=-1)  # [..., N, 1]
    ymin_2, xmin_2, ymax_2, xmax_2 = tf.unstack(boxes_2[..., None, :, :], axis=-1)  # [..., 1, M]
    height = tf.maximum(tf.minimum(ymax_1, ymax_2) - tf.maximum(ymin_1, ymin_2), 0.0)
    width = tf.maximum(tf.minimum(xmax_1, xmax_2) - tf.maximum(xmin_1, xmin_2), 0.0)
    return height * width


def iou(boxes_1: tf.Tensor, boxes_2: tf.Tensor) -> tf.Tensor:
    """Intersection over union [..., N, M] of boxes [..., N, 4] with boxes [..., M, 4]."""
    shared = intersection(boxes_1, boxes_2)
    union = area(boxes_1)[..., :, None] + area(boxes_2)[..., None, :] - shared
    return tf.math.divide_no_nan(shared, union)


class IouSimilarity:
    """Intersection over union, with a constant where a box is masked.

    Args:
        mask_val: What masked pairs get.
    """

    def __init__(self, mask_val: float = -1.0) -> None:
        self.mask_val = mask_val

    def __call__(
        self,
        boxes_1: tf.Tensor,
        boxes_2: tf.Tensor,
        boxes_1_masks: Optional[tf.Tensor] = None,
        boxes_2_masks: Optional[tf.Tensor] = None,
    ) -> tf.Tensor:
        """Compares all pairs.

        Args:
            boxes_1: Boxes [N, 4] or [batch, N, 4], such as anchors.
            boxes_2: Boxes [M, 4] or [batch, M, 4] (batched only if `boxes_1` is), such as ground
                truth.
            boxes_1_masks: Bool [N, 1] or [batch, N, 1], True for boxes to leave out.
            boxes_2_masks: The same for `boxes_2`.

        Returns:
            float32 [N, M] or [batch, N, M].

        Raises:
            ValueError: If a rank is wrong.
        """
        boxes_1 = tf.cast(boxes_1, tf.float32)
        boxes_2 = tf.cast(boxes_2, tf.float32)
        ranks = len(boxes_1.shape), len(boxes_2.shape)
        if ranks not in ((2, 2), (3, 2), (3, 3)):
            raise ValueError(
                'Expected boxes of rank 2 or 3, and boxes_2 batched only if boxes_1 is. '
                f'Received: ranks {ranks}'
            )
        similarity = iou(boxes_1, boxes_2)
        if boxes_1_masks is not None:
            similarity = tf.where(boxes_1_masks, self.mask_val, similarity)
        if boxes_2_masks is not None:
            similarity = tf.where(
                tf.linalg.matrix_transpose(boxes_2_masks), self.mask_val, similarity
            )
        return similarity
