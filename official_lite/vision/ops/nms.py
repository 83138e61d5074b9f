"""Suppression of detections that overlap better ones, and the choice of candidates for it.

Scores of a detector are [batch, candidates, classes] without the background. Suppression is done
per class: of two boxes of one class that overlap, the one with the lower score goes. Equal scores
are ordered by class, then by candidate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Optional

import numpy as np
import tensorflow as tf


class Selection(NamedTuple):
    """Detections that remain, best first, `max_num_detections` per image, filled up with zeros.

    Attributes:
        boxes: float32 [batch, detections, 4].
        scores: float32 [batch, detections].
        classes: int32 [batch, detections], 0 for the first class of the scores; 0 in what is filled
            up.
        indices: int32 [batch, detections], which candidate each is.
        num_valid: int32 [batch].
    """

    boxes: tf.Tensor
    scores: tf.Tensor
    classes: tf.Tensor
    indices: tf.Tensor
    num_valid: tf.Tensor


class _Ranked(NamedTuple):
    """Pairs of class and candidate, best first: [batch, pairs] each.

    Attributes:
        scores: float32, -inf for what fills up.
        classes: int32.
        indices: int32, the candidate.
        keys: float32, a number that is higher the better the pair is, and 0 for what fills up.
    """

    scores: tf.Tensor
    classes: tf.Tensor
    indices: tf.Tensor
    keys: tf.Tensor


def select_per_class(
    boxes: tf.Tensor,
    scores: tf.Tensor,
    *,
    max_num_detections: int,
    score_threshold: float,
    iou_threshold: float,
    pre_nms_top_k: Optional[int] = None,
    is_threshold_suppressed: bool = True,
    drop_empty_boxes: bool = True,
) -> Selection:
    """Suppresses overlaps within each class.

    Args:
        boxes: Boxes in pixels, float32 [batch, candidates, 4].
        scores: float32 [batch, candidates, classes].
        max_num_detections: Number of detections per image.
        score_threshold: What scores must exceed.
        iou_threshold: Overlap that suppresses.
        pre_nms_top_k: Number of candidates of a class that take part, or None for all.
        is_threshold_suppressed: Whether an overlap equal to the threshold suppresses.
        drop_empty_boxes: Whether boxes without a positive coordinate, such as boxes clipped to the
            corner, are left out.

    Returns:
        The detections.
    """
    if drop_empty_boxes:
        has_extent = tf.reduce_any(boxes > 0.0, axis=-1, keepdims=True)
        scores = tf.where(has_extent, scores, -np.inf)
    # One candidate that never wins keeps tensors from being empty.
    boxes = tf.pad(boxes, [[0, 0], [0, 1], [0, 0]])
    scores = tf.pad(scores, [[0, 0], [0, 1], [0, 0]], constant_values=-np.inf)
    ranked = _rank_pairs(scores, score_threshold)
    keys = _scatter_keys(ranked, tf.shape(scores)[1], scores.shape[2])
    if pre_nms_top_k is not None:
        keys = _keep_top_k_per_class(keys, pre_nms_top_k)
    threshold = _kernel_threshold(iou_threshold, is_threshold_suppressed)
    return _suppress(boxes, ranked, keys, max_num_detections, threshold)


def select_class_agnostic(
    boxes: tf.Tensor,
    scores: tf.Tensor,
    *,
    max_num_detections: int,
    select: Callable[..., Selection] = select_per_class,
    **arguments: Any,
) -> Selection:
    """Gives each candidate its best class only, and suppresses overlaps whatever the class.

    Args:
        boxes: See `select_per_class`.
        scores: See `select_per_class`.
        max_num_detections: See `select_per_class`.
        select: What suppresses, as if there were one class.
        **arguments: Further arguments of it.

    Returns:
        The detections, with the classes of their best scores.
    """
    best = tf.reduce_max(scores, axis=-1, keepdims=True)  # [batch, candidates, 1]
    classes = tf.argmax(scores, axis=-1, output_type=tf.int32)
    classes = tf.pad(classes, [[0, 0], [0, 1]])  # there may be no candidates
    selection = select(boxes, best, max_num_detections=max_num_detections, **arguments)
    is_valid = tf.sequence_mask(selection.num_valid, max_num_detections)
    chosen = tf.gather(classes, selection.indices, batch_dims=1)
    return selection._replace(classes=tf.where(is_valid, chosen, 0))


def select_soft(
    boxes: tf.Tensor,
    scores: tf.Tensor,
    *,
    max_num_detections: int,
    score_threshold: float,
    iou_threshold: float,
    pre_nms_top_k: int,
    soft_nms_sigma: float,
) -> Selection:
    """Lowers the scores of overlapping boxes of a class instead of dropping them
    (https://arxiv.org/abs/1704.04503).

    Arguments: see `select_per_class`; `soft_nms_sigma` is the width of the Gaussian by which scores
    fall with the overlap.
    """
    num_classes = scores.shape[-1]
    # One candidate that never wins keeps tensors from being empty.
    boxes = tf.pad(boxes, [[0, 0], [0, 1], [0, 0]])
    scores = tf.pad(scores, [[0, 0], [0, 1], [0, 0]], constant_values=-np.inf)
    top_k = tf.minimum(tf.shape(scores)[1], pre_nms_top_k)
    by_class = tf.transpose(scores, [0, 2, 1])  # [batch, classes, candidates]
    top_scores, top_indices = tf.nn.top_k(by_class, top_k)

    batch = tf.shape(boxes)[0]
    pairs = batch * num_classes

    def select_one(inputs: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        pair, one_scores, one_indices = inputs
        chosen, soft_scores = tf.image.non_max_suppression_with_scores(
            tf.gather(boxes[pair // num_classes], one_indices),
            one_scores,
            max_num_detections,
            iou_threshold=iou_threshold,
            score_threshold=score_threshold,
            soft_nms_sigma=soft_nms_sigma,
        )
        missing = max_num_detections - tf.shape(chosen)[0]
        return (
            tf.pad(tf.gather(one_indices, chosen), [[0, missing]]),
            tf.pad(soft_scores, [[0, missing]], constant_values=-1.0),
        )

    indices, soft = tf.map_fn(
        select_one,
        (
            tf.range(pairs),
            tf.reshape(top_scores, [pairs, top_k]),
            tf.reshape(top_indices, [pairs, top_k]),
        ),
        fn_output_signature=(tf.int32, tf.float32),
    )  # [batch * classes, detections]
    flat_indices = tf.reshape(indices, [batch, num_classes * max_num_detections])
    flat_scores, order = tf.nn.top_k(
        tf.reshape(soft, [batch, num_classes * max_num_detections]), max_num_detections
    )
    is_valid = flat_scores > -1.0
    chosen = tf.where(is_valid, tf.gather(flat_indices, order, batch_dims=1), 0)
    return Selection(
        boxes=tf.where(is_valid[..., None], tf.gather(boxes, chosen, batch_dims=1), 0.0),
        scores=tf.where(is_valid, flat_scores, 0.0),
        classes=tf.where(is_valid, order // max_num_detections, 0),
        indices=chosen,
        num_valid=tf.reduce_sum(tf.cast(is_valid, tf.int32), axis=1),
    )


def _kernel_threshold(iou_threshold: float, is_threshold_suppressed: bool) -> float:
    """What TensorFlow's kernel, which suppresses above its threshold, is to be given."""
    if not is_threshold_suppressed:
        return iou_threshold
    return float(max(np.nextafter(np.float32(iou_threshold), np.float32(-1.0)), np.float32(0.0)))


def _rank_pairs(scores: tf.Tensor, score_threshold: float) -> _Ranked:
    """Sorts all pairs of class and candidate whose score exceeds the threshold."""
    shape = tf.shape(scores)
    flat = tf.reshape(tf.transpose(scores, [0, 2, 1]), [shape[0], -1])  # class by class
    is_wanted = flat > score_threshold
    num_pairs = tf.reduce_max(tf.reduce_sum(tf.cast(is_wanted, tf.int32), axis=1))
    masked = tf.where(is_wanted, flat, -np.inf)
    values, places = tf.nn.top_k(masked, tf.maximum(num_pairs, 1))
    # Exact up to 2^24 pairs.
    ranks = tf.cast(tf.range(tf.shape(values)[1], 0, -1), tf.float32)
    keys = tf.where(values > -np.inf, ranks, 0.0)
    return _Ranked(values, places // shape[1], places % shape[1], keys)


def _scatter_keys(ranked: _Ranked, num_candidates: tf.Tensor, num_classes: int) -> tf.Tensor:
    """Puts keys where their pairs are: float32 [batch, classes, candidates], 0 elsewhere."""
    batch = tf.shape(ranked.keys)[0]
    images = tf.broadcast_to(tf.range(batch)[:, None], tf.shape(ranked.keys))
    places = tf.stack([images, ranked.classes, ranked.indices], axis=-1)  # [batch, pairs, 3]
    return tf.scatter_nd(places, ranked.keys, [batch, num_classes, num_candidates])


def _keep_top_k_per_class(keys: tf.Tensor, top_k: int) -> tf.Tensor:
    """Keys [batch, classes, candidates] without those beyond the `top_k` best of their class."""

    num_candidates = tf.shape(keys)[-1]

    def drop() -> tf.Tensor:
        best = tf.nn.top_k(keys, tf.minimum(top_k, num_candidates)).values
        return tf.where(keys >= best[..., -1:], keys, 0.0)

    return tf.cond(num_candidates > top_k, drop, lambda: keys)


def _suppress(
    boxes: tf.Tensor,
    ranked: _Ranked,
    keys: tf.Tensor,
    max_num_detections: int,
    kernel_threshold: float,
) -> Selection:
    """Runs TensorFlow's kernel on keys [batch, classes, candidates] instead of scores.

    Its result then tells which pairs remain, and equal scores have an order.
    """
    _, kept_keys, _, num_valid = tf.image.combined_non_max_suppression(
        boxes[:, :, None, :],
        tf.transpose(keys, [0, 2, 1]),
        max_output_size_per_class=max_num_detections,
        max_total_size=max_num_detections,
        iou_threshold=kernel_threshold,
        score_threshold=0.5,
        clip_boxes=False,
    )
    is_valid = tf.sequence_mask(num_valid, max_num_detections)
    places = tf.where(is_valid, tf.shape(ranked.keys)[1] - tf.cast(kept_keys, tf.int32), 0)

    def take(values: tf.Tensor) -> tf.Tensor:
        chosen = tf.where(
            is_valid, tf.gather(values, places, batch_dims=1), tf.zeros([], values.dtype)
        )
        return tf.ensure_shape(chosen, [None, max_num_detections])

    indices = take(ranked.indices)
    chosen_boxes = tf.gather(boxes, indices, batch_dims=1)
    return Selection(
        boxes=tf.where(is_valid[..., None], chosen_boxes, 0.0),
        scores=take(ranked.scores),
        classes=take(ranked.classes),
        indices=indices,
        num_valid=num_valid,
    )
