"""Boxes: forms, coding against anchors, clipping, overlaps.

Boxes are [ymin, xmin, ymax, xmax], in pixels unless a name says otherwise. A box without any
coordinate at or above zero is padding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Optional, Union

import numpy as np
import tensorflow as tf

# Keeps sides and areas away from zero.
EPSILON = 1e-8
# Largest log-ratio of a decoded side to its anchor's: 1,000 px from 16 px, as in Detectron.
BBOX_XFORM_CLIP = math.log(1000.0 / 16.0)

ImageShape = Union[Sequence[int], tf.Tensor]


def _check_last_dim(boxes: Union[tf.Tensor, np.ndarray], name: str = 'boxes') -> None:
    if boxes.shape[-1] != 4:
        raise ValueError(
            f'Expected {name} with 4 values in the last dimension. '
            f'Received: shape {tuple(boxes.shape)}'
        )


def yxyx_to_xywh(boxes: np.ndarray) -> np.ndarray:
    """Converts NumPy boxes [..., 4] to COCO's [x, y, width, height]."""
    _check_last_dim(boxes)
    ymin, xmin, ymax, xmax = np.moveaxis(np.asarray(boxes), -1, 0)
    return np.stack([xmin, ymin, xmax - xmin, ymax - ymin], axis=-1)


def yxyx_to_cycxhw(boxes: tf.Tensor) -> tf.Tensor:
    """Converts boxes [..., 4] to [centre y, centre x, height, width]."""
    _check_last_dim(boxes)
    ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=-1)
    return tf.stack([(ymin + ymax) / 2.0, (xmin + xmax) / 2.0, ymax - ymin, xmax - xmin], axis=-1)


def cycxhw_to_yxyx(boxes: tf.Tensor) -> tf.Tensor:
    """Converts boxes [..., 4] from [centre y, centre x, height, width]."""
    _check_last_dim(boxes)
    yc, xc, height, width = tf.unstack(boxes, axis=-1)
    return tf.stack(
        [yc - height / 2.0, xc - width / 2.0, yc + height / 2.0, xc + width / 2.0], axis=-1
    )


def _image_sides(image_shape: ImageShape, dtype: tf.DType) -> tf.Tensor:
    """[height, width, height, width] in the last dimension."""
    shape = tf.cast(image_shape, dtype)
    return tf.concat([shape, shape], axis=-1)


def normalize_boxes(boxes: tf.Tensor, image_shape: ImageShape) -> tf.Tensor:
    """Divides pixel boxes [..., 4] by the image's sides, `image_shape` [height, width]."""
    _check_last_dim(boxes)
    return boxes / _image_sides(image_shape, boxes.dtype)


def denormalize_boxes(boxes: tf.Tensor, image_shape: ImageShape) -> tf.Tensor:
    """Multiplies normalised boxes [..., 4] by the image's sides, `image_shape` [height, width]."""
    _check_last_dim(boxes)
    return boxes * _image_sides(image_shape, boxes.dtype)


def horizontal_flip_boxes(normalized_boxes: tf.Tensor) -> tf.Tensor:
    """Mirrors normalised boxes [..., 4] left to right."""
    _check_last_dim(normalized_boxes)
    ymin, xmin, ymax, xmax = tf.unstack(normalized_boxes, axis=-1)
    return tf.stack([ymin, 1.0 - xmax, ymax, 1.0 - xmin], axis=-1)


def vertical_flip_boxes(normalized_boxes: tf.Tensor) -> tf.Tensor:
    """Mirrors normalised boxes [..., 4] top to bottom."""
    _check_last_dim(normalized_boxes)
    ymin, xmin, ymax, xmax = tf.unstack(normalized_boxes, axis=-1)
    return tf.stack([1.0 - ymax, xmin, 1.0 - ymin, xmax], axis=-1)


def clip_boxes(boxes: tf.Tensor, image_shape: ImageShape) -> tf.Tensor:
    """Moves coordinates of boxes [..., 4] into the image of `image_shape` [height, width]."""
    _check_last_dim(boxes)
    return tf.maximum(tf.minimum(boxes, _image_sides(image_shape, boxes.dtype)), 0.0)


def compute_outer_boxes(boxes: tf.Tensor, image_shape: ImageShape, scale: float = 1.0) -> tf.Tensor:
    """Boxes [..., 4] enlarged around their centres, within the image.

    Args:
        boxes: In pixels.
        image_shape: Height and width of the image, [2], or such that they broadcast to the boxes.
        scale: New side over old side, 1 or more; 1 leaves boxes as they are.

    Raises:
        ValueError: `scale` is less than 1.
    """
    if scale < 1.0:
        raise ValueError(f'Expected a scale of 1 or more. Received: {scale}')
    if scale == 1.0:
        return boxes
    center = (boxes[..., :2] + boxes[..., 2:]) / 2.0
    half = (boxes[..., 2:] - boxes[..., :2]) * (scale / 2.0)
    return clip_boxes(tf.concat([center - half, center + half], axis=-1), image_shape)


def get_non_empty_box_indices(boxes: tf.Tensor) -> tf.Tensor:
    """Indices [M], int64, of those of the boxes [N, 4] that have a positive height and width."""
    is_tall = boxes[:, 2] > boxes[:, 0]
    is_wide = boxes[:, 3] > boxes[:, 1]
    return tf.where(tf.logical_and(is_tall, is_wide))[:, 0]


def is_padding_box(boxes: tf.Tensor) -> tf.Tensor:
    """Bool [...]: which of the boxes [..., 4] have only negative coordinates."""
    return tf.reduce_max(boxes, axis=-1) < 0.0


def encode_boxes(
    boxes: tf.Tensor, anchors: tf.Tensor, weights: Optional[Sequence[float]] = None
) -> tf.Tensor:
    """Encodes boxes against anchors: ((yc - ya) / ha, (xc - xa) / wa, ln(h / ha), ln(w / wa)).

    Source: Faster R-CNN, https://arxiv.org/abs/1506.01497, equation 2.

    Args:
        boxes: Boxes [..., 4].
        anchors: Anchors, of the same shape or broadcastable to it.
        weights: Four factors of the result, or None for ones.

    Returns:
        Deltas [..., 4], of the anchors' dtype.
    """
    _check_last_dim(boxes)
    ymin, xmin, ymax, xmax = tf.unstack(tf.cast(boxes, anchors.dtype), axis=-1)
    anchor_ymin, anchor_xmin, anchor_ymax, anchor_xmax = tf.unstack(anchors, axis=-1)
    anchor_h = anchor_ymax - anchor_ymin
    anchor_w = anchor_xmax - anchor_xmin
    height = ymax - ymin
    width = xmax - xmin
    dy = (ymin + 0.5 * height - (anchor_ymin + 0.5 * anchor_h)) / (anchor_h + EPSILON)
    dx = (xmin + 0.5 * width - (anchor_xmin + 0.5 * anchor_w)) / (anchor_w + EPSILON)
    dh = tf.math.log((height + EPSILON) / (anchor_h + EPSILON))
    dw = tf.math.log((width + EPSILON) / (anchor_w + EPSILON))
    deltas = tf.stack([dy, dx, dh, dw], axis=-1)
    return deltas if weights is None else deltas * tf.constant(list(weights), deltas.dtype)


def decode_boxes(
    encoded_boxes: tf.Tensor, anchors: tf.Tensor, weights: Optional[Sequence[float]] = None
) -> tf.Tensor:
    """Turns deltas against anchors into boxes: the inverse of `encode_boxes`, with sides limited by
    `BBOX_XFORM_CLIP`.

    Args:
        encoded_boxes: Deltas [..., 4].
        anchors: Anchors, of the same shape or broadcastable to it.
        weights: The four factors of `encode_boxes`, or None for ones.

    Returns:
        Boxes [..., 4], of the anchors' dtype.
    """
    _check_last_dim(encoded_boxes, 'encoded_boxes')
    deltas = tf.cast(encoded_boxes, anchors.dtype)
    if weights is not None:
        deltas = deltas / tf.constant(list(weights), deltas.dtype)
    dy, dx, dh, dw = tf.unstack(deltas, axis=-1)
    anchor_ymin, anchor_xmin, anchor_ymax, anchor_xmax = tf.unstack(anchors, axis=-1)
    anchor_h = anchor_ymax - anchor_ymin
    anchor_w = anchor_xmax - anchor_xmin
    height = tf.exp(tf.minimum(dh, BBOX_XFORM_CLIP)) * anchor_h
    width = tf.exp(tf.minimum(dw, BBOX_XFORM_CLIP)) * anchor_w
    ymin = dy * anchor_h + (anchor_ymin + 0.5 * anchor_h) - 0.5 * height
    xmin = dx * anchor_w + (anchor_xmin + 0.5 * anchor_w) - 0.5 * width
    return tf.stack([ymin, xmin, ymin + height, xmin + width], axis=-1)


def bbox_overlap(boxes: tf.Tensor, gt_boxes: tf.Tensor) -> tf.Tensor:
    """Intersection over union of all pairs of two batches of boxes.

    Args:
        boxes: Boxes [batch, N, 4].
        gt_boxes: Boxes [batch, M, 4].

    Returns:
        Float [batch, N, M], -1 where either box is padding.
    """
    ymin, xmin, ymax, xmax = tf.split(boxes, 4, axis=-1)  # [batch, N, 1]
    gt_ymin, gt_xmin, gt_ymax, gt_xmax = (
        tf.transpose(x, [0, 2, 1]) for x in tf.split(gt_boxes, 4, axis=-1)
    )
    height = tf.maximum(tf.minimum(ymax, gt_ymax) - tf.maximum(ymin, gt_ymin), 0.0)
    width = tf.maximum(tf.minimum(xmax, gt_xmax) - tf.maximum(xmin, gt_xmin), 0.0)
    intersection = height * width  # [batch, N, M]
    area = (ymax - ymin) * (xmax - xmin)
    gt_area = (gt_ymax - gt_ymin) * (gt_xmax - gt_xmin)
    iou = intersection / (area + gt_area - intersection + EPSILON)
    is_padding = tf.logical_or(
        is_padding_box(boxes)[:, :, None], is_padding_box(gt_boxes)[:, None, :]
    )
    return tf.where(is_padding, -tf.ones_like(iou), iou)
