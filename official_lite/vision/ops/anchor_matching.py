"""Anchors matched with the boxes of a batch, in a form that compilers make fast code of.

What comes out equals `box_matcher.BoxMatcher` on intersections over union. The similarities
[batch, boxes, anchors] exist inside of reductions only. A similarity and its place are packed into
one integer, so that the maximum and where it is come out of one reduction; anchors lie in rows, so
that reductions run over a slow dimension, where processors work on many values at once.
"""

from __future__ import annotations

import tensorflow as tf

from official_lite.vision.ops import box_ops

__all__ = ['match_anchors']

_ROW_LENGTH = 256
_PLACE_BITS = 32
_PLACE_MASK = (1 << _PLACE_BITS) - 1


def match_anchors(
    anchors: tf.Tensor,
    boxes: tf.Tensor,
    thresholds: tuple[float, float],
    indicators: tuple[int, int, int],
) -> tuple[tf.Tensor, tf.Tensor]:
    """The box of each anchor, and what the match is worth.

    Args:
        anchors: float32 [num_anchors, 4], one or more.
        boxes: float32 [batch, boxes, 4], one or more, padding among them.
        thresholds: Ascending bounds of the intersection over union; a value that equals one belongs
            above it.
        indicators: What it means to be below, between and above them. The first anchor that is most
            similar to a box gets that box (the first one of several) and the last indicator.

    Returns:
        Index of each anchor's box and indicator of the match, int32 [batch, num_anchors] each.
    """
    num_anchors, num_boxes = tf.shape(anchors)[0], tf.shape(boxes)[1]
    is_padding = box_ops.is_padding_box(boxes)  # [batch, boxes]
    similarity = _compute_similarity(anchors, boxes, is_padding)  # [batch, boxes, rows, columns]
    box_places = tf.range(num_boxes)[:, None, None]
    values, columns = _unpack(
        tf.reduce_max(_pack(similarity, num_boxes - 1 - box_places), axis=1), num_boxes - 1
    )  # [batch, rows, columns]
    values, columns = (_flatten(tensor)[:, :num_anchors] for tensor in (values, columns))

    num_places = tf.size(similarity[0, 0])
    places = tf.reshape(tf.range(num_places), tf.shape(similarity)[2:])
    packed = _pack(similarity, num_places - 1 - places)
    _, best = _unpack(tf.reduce_max(tf.reduce_max(packed, axis=2), axis=2), num_places - 1)
    best = tf.where(is_padding, -1, best)  # [batch, boxes]
    is_best = best[..., None] == tf.range(num_anchors)  # [batch, boxes, num_anchors]
    forced = tf.reduce_min(tf.where(is_best, box_places[..., 0], num_boxes), axis=1)

    worth = tf.fill(tf.shape(values), indicators[0])
    for bound, indicator in zip(thresholds, indicators[1:], strict=True):
        worth = tf.where(values >= bound, indicator, worth)
    is_forced = forced < num_boxes
    return tf.where(is_forced, forced, columns), tf.where(is_forced, indicators[-1], worth)


def _compute_similarity(anchors: tf.Tensor, boxes: tf.Tensor, is_padding: tf.Tensor) -> tf.Tensor:
    """Intersections over union [batch, boxes, rows, columns]; -1 for padding boxes.

    Anchors that fill the last row are empty, and stand behind all others.
    """
    num_missing = -tf.shape(anchors)[0] % _ROW_LENGTH
    padded = tf.transpose(tf.pad(anchors, [[0, num_missing], [0, 0]]))
    rows = tf.reshape(padded, [4, 1, 1, -1, _ROW_LENGTH])
    ymin_1, xmin_1, ymax_1, xmax_1 = tf.unstack(rows)  # [1, 1, rows, columns]
    ymin_2, xmin_2, ymax_2, xmax_2 = tf.unstack(boxes[:, :, None, None], axis=-1)
    height = tf.maximum(tf.minimum(ymax_1, ymax_2) - tf.maximum(ymin_1, ymin_2), 0.0)
    width = tf.maximum(tf.minimum(xmax_1, xmax_2) - tf.maximum(xmin_1, xmin_2), 0.0)
    shared = height * width
    area_1, area_2 = (ymax_1 - ymin_1) * (xmax_1 - xmin_1), (ymax_2 - ymin_2) * (xmax_2 - xmin_2)
    iou = tf.math.divide_no_nan(shared, area_1 + area_2 - shared)
    return tf.where(is_padding[..., None, None], -1.0, iou)


def _pack(values: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """int64 that order like (value, place); of negative values only -1 occurs."""
    bits = tf.cast(tf.bitcast(values, tf.int32), tf.int64)
    shifted = tf.bitwise.left_shift(bits, tf.constant(_PLACE_BITS, tf.int64))
    return tf.bitwise.bitwise_or(shifted, tf.cast(places, tf.int64))


def _unpack(packed: tf.Tensor, last: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The values, and the places counted down from `last`, int32."""
    places = tf.cast(tf.bitwise.bitwise_and(packed, _PLACE_MASK), tf.int32)
    bits = tf.bitwise.right_shift(packed, tf.constant(_PLACE_BITS, tf.int64))
    return tf.bitcast(tf.cast(bits, tf.int32), tf.float32), last - places


def _flatten(values: tf.Tensor) -> tf.Tensor:
    return tf.reshape(values, [tf.shape(values)[0], -1])
