"""Labels of anchors for a region proposal network, on a batch of images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf

from official_lite.core import randomness
from official_lite.vision.ops import anchor_boxes as anchors_lib
from official_lite.vision.ops import anchor_labels

__all__ = ['RpnLabels', 'label_rpn_anchors_batch']

Levels = dict[str, tf.Tensor]


class RpnLabels(NamedTuple):
    """What the anchors of a batch of images are to predict.

    Attributes:
        score_targets: By level, int32 [batch, height_l, width_l, anchors]: 1 for an object, 0 for
            none, -1 for what does not count.
        box_targets: Codes of boxes by level, float32 [batch, height_l, width_l, anchors * 4], 0 where
            there is no object.
        box_weights: By level, float32 [batch, height_l, width_l, anchors]: 1 for all that overlap an
            object enough, drawn or not, else 0.
    """

    score_targets: Levels
    box_targets: Levels
    box_weights: Levels


def label_rpn_anchors_batch(
    anchor_boxes: Mapping[str, tf.Tensor],
    boxes: tf.Tensor,
    keys: tf.Tensor,
    match_threshold: float = 0.7,
    unmatched_threshold: float = 0.3,
    batch_size_per_im: int = 256,
    fg_fraction: float = 0.5,
) -> RpnLabels:
    """`anchor_labels.RpnAnchorLabeler` on a batch: the same labels for the same keys.

    Args:
        anchor_boxes: Anchors by level, float32 [height_l, width_l, anchors * 4].
        boxes: Ground truth in pixels of the network's input, float [batch, n, 4], padded with -1.
        keys: int32 [batch, 2], which decide about the anchors that count.
        match_threshold: An anchor with at least this intersection over union with a box is an object.
        unmatched_threshold: One with less than this is not.
        batch_size_per_im: Number of anchors of an image that count, if there are as many.
        fg_fraction: Most objects among them, as a share.
    """
    found = anchor_labels.label_anchors_batch(
        anchor_boxes,
        boxes,
        tf.ones(tf.shape(boxes)[:2], tf.int32),
        match_threshold,
        unmatched_threshold,
    )
    is_object = found.box_weights > 0  # [batch, num_anchors]
    is_background = (found.cls_weights > 0) & ~is_object
    length = tf.shape(is_object)[1]
    order = tf.map_fn(
        lambda key: randomness.uniform(key, 'rpn_samples', [length]),
        keys,
        fn_output_signature=tf.TensorSpec([None], tf.float32),
    )
    max_objects = tf.fill([tf.shape(keys)[0]], int(batch_size_per_im * fg_fraction))
    objects = _draw(is_object, order, max_objects, batch_size_per_im)
    num_objects = tf.reduce_sum(tf.cast(objects, tf.int32), axis=1)
    background = _draw(is_background, order, batch_size_per_im - num_objects, batch_size_per_im)
    scores = 2 * tf.cast(objects, tf.int32) + tf.cast(background, tf.int32) - 1
    weights = anchors_lib.unpack_targets(found.box_weights[..., None], anchor_boxes)
    return RpnLabels(
        anchors_lib.unpack_targets(scores[..., None], anchor_boxes),
        {
            level: tf.where(tf.repeat(weights[level], 4, axis=-1) > 0, codes, 0.0)
            for level, codes in found.box_targets.items()
        },
        weights,
    )


def _draw(is_candidate: tf.Tensor, order: tf.Tensor, limits: tf.Tensor, largest: int) -> tf.Tensor:
    """Bool [batch, n]: of each row's candidates those that come first in a random order.

    Args:
        is_candidate: bool [batch, n].
        order: float32 [batch, n].
        limits: int32 [batch], how many of each row.
        largest: None of these is more than this.
    """
    shape = tf.shape(is_candidate)
    count = tf.minimum(largest, shape[1])
    values, places = tf.math.top_k(tf.where(is_candidate, -order, -2.0), count)
    is_drawn = (values > -2.0) & (tf.range(count) < limits[:, None])  # [batch, count]
    rows = tf.broadcast_to(tf.range(shape[0])[:, None], tf.shape(places))
    drawn = tf.scatter_nd(tf.stack([rows, places], axis=-1), tf.cast(is_drawn, tf.int32), shape)
    return drawn > 0
