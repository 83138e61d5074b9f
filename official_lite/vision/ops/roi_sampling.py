"""Which proposals a second stage learns from, and what it learns there."""

from __future__ import annotations

from typing import NamedTuple, Optional

import tensorflow as tf

from official_lite.core import randomness
from official_lite.vision.ops import box_matcher, box_ops, iou_similarity, target_gather

__all__ = ['MatchedRois', 'make_order', 'match_rois', 'sample_balanced']

# What matches are worth.
POSITIVE = 1
NEGATIVE = -1
IGNORED = -2
INVALID = -3


class MatchedRois(NamedTuple):
    """Proposals and the ground truth that each overlaps most; 0 (index -1) where there is none.

    Attributes:
        rois: float32 [batch, rois, 4].
        gt_boxes: float32 [batch, rois, 4].
        gt_outer_boxes: The same of the enlarged boxes, or None.
        gt_classes: [batch, rois], of the dtype of the classes given.
        gt_indices: int32 [batch, rois].
    """

    rois: tf.Tensor
    gt_boxes: tf.Tensor
    gt_outer_boxes: Optional[tf.Tensor]
    gt_classes: tf.Tensor
    gt_indices: tf.Tensor

    def take(self, places: tf.Tensor) -> MatchedRois:
        """Those at int32 [batch, count]."""
        return MatchedRois(
            *(None if part is None else tf.gather(part, places, batch_dims=1) for part in self)
        )


def match_rois(
    rois: tf.Tensor,
    gt_boxes: tf.Tensor,
    gt_classes: tf.Tensor,
    gt_outer_boxes: Optional[tf.Tensor] = None,
    *,
    thresholds: tuple[float, float, float],
) -> tuple[MatchedRois, tf.Tensor]:
    """Gives each proposal the ground truth that it overlaps most.

    Args:
        rois: Proposals in pixels, float [batch, rois, 4]; padding is negative.
        gt_boxes: Ground truth in pixels, float [batch, boxes, 4], padded with -1.
        gt_classes: Classes [batch, boxes], padded with -1.
        gt_outer_boxes: Enlarged ground truth, as `gt_boxes`, or None.
        thresholds: Intersection over union from which on a proposal is background, from which on
            it is ignored, and from which on it is an object.

    Returns:
        The matches, and what each is worth: `POSITIVE`, `IGNORED`, `NEGATIVE` (background) or
        `INVALID` (below all thresholds, or padding), int32 [batch, rois].
    """
    rois, gt_boxes = (tf.stop_gradient(tf.cast(boxes, tf.float32)) for boxes in (rois, gt_boxes))
    similarity = iou_similarity.IouSimilarity()(
        rois,
        gt_boxes,
        box_ops.is_padding_box(rois)[..., None],
        box_ops.is_padding_box(gt_boxes)[..., None],
    )
    matcher = box_matcher.BoxMatcher(thresholds, [INVALID, NEGATIVE, IGNORED, POSITIVE])
    indices, worth = matcher(similarity)
    is_background = (worth == NEGATIVE) | (worth == INVALID)  # [batch, rois]

    def take(values: tf.Tensor) -> tf.Tensor:
        mask = is_background if len(values.shape) == 2 else is_background[..., None]
        return target_gather.gather_targets(values, indices, mask)

    outer = None if gt_outer_boxes is None else take(tf.cast(gt_outer_boxes, tf.float32))
    matches = MatchedRois(
        rois, take(gt_boxes), outer, take(gt_classes), tf.where(is_background, -1, indices)
    )
    return matches, worth


def make_order(key: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """A random permutation of each row: int32 of `shape`, [batch, rois]."""
    return tf.argsort(randomness.uniform(key, 'roi_sampling', shape), axis=-1)


def sample_balanced(
    is_positive: tf.Tensor,
    is_candidate: tf.Tensor,
    order: tf.Tensor,
    *,
    num_samples: int,
    foreground_fraction: float,
) -> tf.Tensor:
    """Draws positives, up to a share of the samples, and fills up with negatives.

    Where there are not enough candidates, others follow, first ones first, and last the positives
    beyond the share.

    Args:
        is_positive: Bool [batch, rois].
        is_candidate: Bool [batch, rois]; those that are not positive are negative.
        order: A permutation of each row, int32 [batch, rois]. Of the positives, and of the
            negatives, those with the highest numbers are drawn.
        num_samples: Number of samples.
        foreground_fraction: The share.

    Returns:
        Places of the samples, ascending, int32 [batch, samples]: `num_samples`, or all if there are
        fewer.
    """
    num_rois = tf.shape(is_positive)[1]
    is_positive &= is_candidate
    max_positives = int(num_samples * foreground_fraction)
    # The number that has `max_positives` positives from it on.
    ranked = tf.sort(tf.where(is_positive, order, -1), direction='DESCENDING')
    bounds = tf.pad(ranked, [[0, 0], [0, max_positives + 1]], constant_values=-1)
    is_drawn = is_positive & (order > bounds[:, max_positives, None])
    # Drawn positives before negatives before what is no candidate before the other positives.
    places = tf.range(num_rois)
    priority = tf.where(is_drawn, 3 * num_rois, 2 * num_rois) + order
    priority = tf.where(is_candidate, priority, 2 * num_rois - 1 - places)
    priority = tf.where(is_positive & ~is_drawn, order, priority)
    static = is_positive.shape[1]
    count = tf.minimum(num_rois, num_samples) if static is None else min(static, num_samples)
    return tf.sort(tf.nn.top_k(priority, count).indices)
