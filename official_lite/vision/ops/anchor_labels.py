"""Labels of anchors: what each is to predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Optional

import tensorflow as tf

from official_lite.core import randomness
from official_lite.vision.ops import anchor_boxes as anchors_lib
from official_lite.vision.ops import (
    anchor_matching,
    box_matcher,
    box_ops,
    iou_similarity,
    target_gather,
)

Levels = dict[str, tf.Tensor]

NO_CLASS = -1  # class target of anchors that are not positive
NEGATIVE, IGNORED, POSITIVE = -1, -2, 1  # match indicators


class AnchorLabeler:
    """Labels anchors of one image. `label_anchors_batch` does the same for a batch at a time.

    Args:
        match_threshold: An anchor with at least this intersection over union with a box is
            positive.
        unmatched_threshold: One with less than this is negative; those between are ignored.
        box_coder_weights: Four factors of the box targets, or None.
    """

    def __init__(
        self,
        match_threshold: float = 0.5,
        unmatched_threshold: float = 0.5,
        box_coder_weights: Optional[Sequence[float]] = None,
    ) -> None:
        self._similarity = iou_similarity.IouSimilarity()
        self._matcher = make_matcher(match_threshold, unmatched_threshold)
        self._box_coder_weights = box_coder_weights

    def label_anchors(
        self,
        anchor_boxes: Mapping[str, tf.Tensor],
        gt_boxes: tf.Tensor,
        gt_labels: tf.Tensor,
        gt_attributes: Optional[Mapping[str, tf.Tensor]] = None,
        gt_weights: Optional[tf.Tensor] = None,
    ) -> tuple[Levels, Levels, dict[str, Levels], tf.Tensor, tf.Tensor]:
        """Labels anchors with the boxes of one image.

        Args:
            anchor_boxes: Anchors by level.
            gt_boxes: Boxes [N, 4], N may be 0.
            gt_labels: Classes, int [N, 1].
            gt_attributes: Attributes of the boxes by name, float [N, size].
            gt_weights: Weights of the boxes, float [N].

        Returns:
            Class targets by level [height_l, width_l, anchors] (-1 where not positive), box targets
            by level [height_l, width_l, anchors * 4], attribute targets by name and level, class
            weights [num_anchors] (0 for ignored anchors) and box weights [num_anchors] (0 where not
            positive).
        """
        anchors = anchors_lib.flatten_anchors(anchor_boxes)
        indices, indicators = self._matcher(self._similarity(anchors, gt_boxes))
        is_positive = indicators == POSITIVE
        weights = tf.ones_like(gt_labels[:, -1], tf.float32) if gt_weights is None else gt_weights
        matched_weights = target_gather.gather_targets(weights, indices, mask_val=1.0)
        is_not = ~is_positive[:, None]
        labels = target_gather.gather_targets(gt_labels, indices, is_not, NO_CLASS)
        boxes = target_gather.gather_targets(tf.cast(gt_boxes, tf.float32), indices, is_not)
        attributes = {
            name: target_gather.gather_targets(values, indices, is_not)
            for name, values in (gt_attributes or {}).items()
        }
        return (
            anchors_lib.unpack_targets(labels, anchor_boxes),
            anchors_lib.unpack_targets(
                box_ops.encode_boxes(boxes, anchors, self._box_coder_weights), anchor_boxes
            ),
            {
                name: anchors_lib.unpack_targets(values, anchor_boxes)
                for name, values in attributes.items()
            },
            tf.where(indicators == IGNORED, 0.0, matched_weights),
            tf.where(is_positive, matched_weights, 0.0),
        )


def make_matcher(match_threshold: float, unmatched_threshold: float) -> box_matcher.BoxMatcher:
    """The matcher of RetinaNet: negative, ignored or positive; every box gets an anchor."""
    return box_matcher.BoxMatcher(
        thresholds=[unmatched_threshold, match_threshold],
        indicators=[NEGATIVE, IGNORED, POSITIVE],
        force_match_for_each_col=True,
    )


class AnchorLabels(NamedTuple):
    """What the anchors of a batch of images are to predict.

    Attributes:
        cls_targets: Classes by level, int32 [batch, height_l, width_l, anchors], -1 where not
            positive.
        box_targets: Codes of boxes by level, float32 [batch, height_l, width_l, anchors * 4].
        cls_weights: float32 [batch, num_anchors], 0 for ignored anchors.
        box_weights: float32 [batch, num_anchors], 0 where not positive.
        attribute_targets: Attributes of boxes by name and level, [batch, height_l, width_l,
            anchors * size], of the attributes' dtypes; 0 where not positive.
    """

    cls_targets: Levels
    box_targets: Levels
    cls_weights: tf.Tensor
    box_weights: tf.Tensor
    attribute_targets: dict[str, Levels]


def label_anchors_batch(
    anchor_boxes: Mapping[str, tf.Tensor],
    boxes: tf.Tensor,
    classes: tf.Tensor,
    match_threshold: float = 0.5,
    unmatched_threshold: float = 0.5,
    box_coder_weights: Optional[Sequence[float]] = None,
    attributes: Optional[Mapping[str, tf.Tensor]] = None,
) -> AnchorLabels:
    """Labels the anchors of a batch of images.

    Runs as one XLA program, in which the [batch, num_anchors, boxes] intersections exist only
    inside of reductions.

    Args:
        anchor_boxes: Anchors by level, float32 [height_l, width_l, anchors * 4].
        boxes: Ground truth in pixels of the network's input, float [batch, boxes, 4], padded with
            -1; `boxes` may be 0.
        classes: Classes of the boxes, int [batch, boxes], padded with -1.
        match_threshold: See `AnchorLabeler`.
        unmatched_threshold: See `AnchorLabeler`.
        box_coder_weights: See `AnchorLabeler`.
        attributes: Attributes of the boxes by name, [batch, boxes, size].

    Returns:
        The labels.
    """
    # A padding box in the place of none at all keeps reductions from being empty.
    boxes = tf.cast(boxes, tf.float32)
    num_missing = tf.maximum(0, 1 - tf.shape(boxes)[1])
    box_paddings = [[0, 0], [0, num_missing], [0, 0]]
    boxes = tf.pad(boxes, box_paddings, constant_values=-1.0)
    classes = tf.pad(
        tf.cast(classes, tf.int32), [[0, 0], [0, num_missing]], constant_values=NO_CLASS
    )
    padded = {name: tf.pad(values, box_paddings) for name, values in (attributes or {}).items()}
    labels, deltas, cls_weights, box_weights, targets = _label_flat(
        anchors_lib.flatten_anchors(anchor_boxes),
        boxes,
        classes,
        padded,
        float(match_threshold),
        float(unmatched_threshold),
        None if box_coder_weights is None else tuple(box_coder_weights),
    )
    return AnchorLabels(
        cls_targets=anchors_lib.unpack_targets(labels[..., None], anchor_boxes),
        box_targets=anchors_lib.unpack_targets(deltas, anchor_boxes),
        cls_weights=cls_weights,
        box_weights=box_weights,
        attribute_targets={
            name: anchors_lib.unpack_targets(values, anchor_boxes)
            for name, values in targets.items()
        },
    )


@tf.function(jit_compile=True, reduce_retracing=True, autograph=False)
def _label_flat(
    anchors: tf.Tensor,
    boxes: tf.Tensor,
    classes: tf.Tensor,
    attributes: dict[str, tf.Tensor],
    match_threshold: float,
    unmatched_threshold: float,
    box_coder_weights: Optional[tuple[float, ...]],
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, dict[str, tf.Tensor]]:
    """Labels of anchors [num_anchors, 4], with at least one (padding) box per image."""
    indices, indicators = anchor_matching.match_anchors(
        anchors,
        boxes,
        thresholds=(unmatched_threshold, match_threshold),
        indicators=(NEGATIVE, IGNORED, POSITIVE),
    )
    is_positive = indicators == POSITIVE
    labels = tf.where(is_positive, tf.gather(classes, indices, batch_dims=1), NO_CLASS)
    matched = tf.where(is_positive[..., None], tf.gather(boxes, indices, batch_dims=1), 0.0)
    deltas = box_ops.encode_boxes(matched, anchors[None], box_coder_weights)
    cls_weights = tf.where(indicators == IGNORED, 0.0, tf.ones_like(deltas[..., 0]))
    box_weights = tf.where(is_positive, 1.0, tf.zeros_like(cls_weights))
    targets = {
        name: target_gather.gather_targets(values, indices, ~is_positive[..., None])
        for name, values in attributes.items()
    }  # [batch, num_anchors, size]
    return labels, deltas, cls_weights, box_weights, targets


class RpnAnchorLabeler(AnchorLabeler):
    """Labels anchors of one image for a region proposal network, of which only a sample counts
    (https://arxiv.org/abs/1506.01497, section 3.1.3).

    Args:
        match_threshold: See `AnchorLabeler`.
        unmatched_threshold: See `AnchorLabeler`.
        rpn_batch_size_per_im: Number of anchors of an image that count, if there are as many.
        rpn_fg_fraction: Share of positives among them, if there are as many.
    """

    def __init__(
        self,
        match_threshold: float = 0.7,
        unmatched_threshold: float = 0.3,
        rpn_batch_size_per_im: int = 256,
        rpn_fg_fraction: float = 0.5,
    ) -> None:
        super().__init__(match_threshold, unmatched_threshold)
        self._num_samples = rpn_batch_size_per_im
        self._max_positives = int(rpn_batch_size_per_im * rpn_fg_fraction)

    def label_anchors(  # type: ignore[override]  # Model Garden's arguments
        self,
        anchor_boxes: Mapping[str, tf.Tensor],
        gt_boxes: tf.Tensor,
        gt_labels: tf.Tensor,
        key: Optional[tf.Tensor] = None,
    ) -> tuple[Levels, Levels]:
        """Labels anchors with the boxes of one image.

        Args:
            anchor_boxes: Anchors by level.
            gt_boxes: Boxes [N, 4], N may be 0.
            gt_labels: Not used: proposals have no class.
            key: int32 [2] that decides which anchors count. None: TensorFlow's global seed does.

        Returns:
            Score targets by level, int32 [height_l, width_l, anchors]: 1 for an object, 0 for none,
            -1 for what does not count; and box targets by level [height_l, width_l, anchors * 4],
            0 where not positive.
        """
        del gt_labels
        anchors = anchors_lib.flatten_anchors(anchor_boxes)
        indices, indicators = self._matcher(self._similarity(anchors, gt_boxes))
        is_not = (indicators != POSITIVE)[:, None]
        boxes = target_gather.gather_targets(tf.cast(gt_boxes, tf.float32), indices, is_not)
        deltas = tf.where(is_not, 0.0, box_ops.encode_boxes(boxes, anchors))
        scores, _, _ = self._get_rpn_samples(indicators, key)
        return (
            anchors_lib.unpack_targets(scores[:, None], anchor_boxes),
            anchors_lib.unpack_targets(deltas, anchor_boxes),
        )

    def _get_rpn_samples(
        self, match_results: tf.Tensor, key: Optional[tf.Tensor] = None
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Draws the anchors that count.

        Args:
            match_results: int32 [anchors]: from 0 positive, -1 negative, -2 ignored.
            key: See `label_anchors`.

        Returns:
            int32 [anchors] each: score targets; 2 for drawn positives, else 0; 1 for drawn
            negatives, else 0.
        """
        if key is None:
            key = tf.random.uniform([2], maxval=tf.int32.max, dtype=tf.int32)
        order = randomness.uniform(key, 'rpn_samples', tf.shape(match_results))
        positives = _draw(match_results >= 0, order, self._max_positives)
        num_positives = tf.reduce_sum(tf.cast(positives, tf.int32))
        negatives = _draw(match_results == NEGATIVE, order, self._num_samples - num_positives)
        positive_labels = 2 * tf.cast(positives, tf.int32)
        negative_labels = tf.cast(negatives, tf.int32)
        return positive_labels + negative_labels - 1, positive_labels, negative_labels


def _draw(is_candidate: tf.Tensor, order: tf.Tensor, limit: tf.Tensor) -> tf.Tensor:
    """Bool [anchors]: `limit` of the candidates, or all, those that come first in a random order."""
    ranks = tf.argsort(tf.argsort(tf.where(is_candidate, order, 2.0)))
    return is_candidate & (ranks < limit)
