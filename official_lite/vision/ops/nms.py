"""Suppression of detections that overlap better ones, and the choice of candidates for it.

Scores of a detector are [batch, candidates, classes] without the background. Suppression is done
per class: of two boxes of one class that overlap, the one with the lower score goes. Equal scores
are ordered by class, then by candidate.
"""

from __future__ import annotations

from typing import NamedTuple, Optional

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
    """Pairs of candidate and class, best first: [batch, pairs] each.

    `is_wanted` is False for what fills up.
    """

    scores: tf.Tensor
    classes: tf.Tensor
    indices: tf.Tensor
    is_wanted: tf.Tensor


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
    if pre_nms_top_k is not None:
        ranked = _keep_top_k_per_class(ranked, scores.shape[-1], pre_nms_top_k)
    return _suppress(
        boxes,
        ranked,
        scores.shape[-1],
        max_num_detections,
        _kernel_threshold(iou_threshold, is_threshold_suppressed),
    )


def select_class_agnostic(
    boxes: tf.Tensor,
    scores: tf.Tensor,
    *,
    max_num_detections: int,
    score_threshold: float,
    iou_threshold: float,
    pre_nms_top_k: Optional[int] = None,
) -> Selection:
    """Gives each candidate its best class only, and suppresses overlaps whatever the class.

    Arguments: see `select_per_class`.
    """
    best = tf.reduce_max(scores, axis=-1, keepdims=True)  # [batch, candidates, 1]
    classes = tf.argmax(scores, axis=-1, output_type=tf.int32)
    selection = select_per_class(
        boxes,
        best,
        max_num_detections=max_num_detections,
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
        pre_nms_top_k=pre_nms_top_k,
    )
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
    top_k = tf.minimum(tf.shape(scores)[1], pre_nms_top_k)
    by_class = tf.transpose(scores, [0, 2, 1])  # [batch, classes, candidates]
    top_scores, top_indices = tf.nn.top_k(by_class, top_k)

    def select_one(inputs: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        image_boxes, one_scores, one_indices = inputs
        chosen, soft_scores = tf.image.non_max_suppression_with_scores(
            tf.gather(image_boxes, one_indices),
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

    def select_image(inputs: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        image_boxes, image_scores, image_indices = inputs
        return tf.map_fn(
            lambda pair: select_one((image_boxes, *pair)),
            (image_scores, image_indices),
            fn_output_signature=(tf.int32, tf.float32),
        )

    indices, soft = tf.map_fn(
        select_image, (boxes, top_scores, top_indices), fn_output_signature=(tf.int32, tf.float32)
    )  # [batch, classes, detections]
    batch = tf.shape(boxes)[0]
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
    """Sorts all pairs of candidate and class whose score exceeds the threshold."""
    shape = tf.shape(scores)
    flat = tf.reshape(tf.transpose(scores, [0, 2, 1]), [shape[0], -1])  # class by class
    is_candidate = flat > score_threshold
    num_pairs = tf.reduce_max(tf.reduce_sum(tf.cast(is_candidate, tf.int32), axis=1))
    masked = tf.where(is_candidate, flat, -np.inf)
    values, places = tf.nn.top_k(masked, tf.maximum(num_pairs, 1))
    return _Ranked(values, places // shape[1], places % shape[1], values > -np.inf)


def _keep_top_k_per_class(ranked: _Ranked, num_classes: int, top_k: int) -> _Ranked:
    """Takes the pairs beyond the `top_k` best of their class out."""

    def drop() -> tf.Tensor:
        one_hot = tf.one_hot(ranked.classes, num_classes, dtype=tf.int32)  # [batch, pairs, classes]
        earlier = tf.gather(
            tf.cumsum(one_hot, axis=1, exclusive=True), ranked.classes, batch_dims=2
        )
        return tf.logical_and(ranked.is_wanted, earlier < top_k)

    # With fewer pairs than `top_k` in all, no class has more.
    is_wanted = tf.cond(tf.shape(ranked.scores)[1] > top_k, drop, lambda: ranked.is_wanted)
    return ranked._replace(is_wanted=is_wanted)


def _suppress(
    boxes: tf.Tensor,
    ranked: _Ranked,
    num_classes: int,
    max_num_detections: int,
    kernel_threshold: float,
) -> Selection:
    """Runs TensorFlow's kernel on ranks instead of scores.

    Its result then tells which pairs remain, and equal scores have an order.
    """
    num_pairs = tf.shape(ranked.scores)[1]
    # [pairs], the best has the highest; exact up to 2^24.
    ranks = tf.cast(tf.range(num_pairs, 0, -1), tf.float32)
    keys = tf.where(ranked.is_wanted, ranks, 0.0)
    keys_by_class = tf.one_hot(ranked.classes, num_classes) * keys[..., None]
    pair_boxes = tf.gather(boxes, ranked.indices, batch_dims=1)  # [batch, pairs, 4]
    _, kept_keys, _, num_valid = tf.image.combined_non_max_suppression(
        pair_boxes[:, :, None, :],
        keys_by_class,
        max_output_size_per_class=max_num_detections,
        max_total_size=max_num_detections,
        iou_threshold=kernel_threshold,
        score_threshold=0.5,
        clip_boxes=False,
    )
    is_valid = tf.sequence_mask(num_valid, max_num_detections)
    # A pair at the end that stands for 'none' makes gathers safe where there is no pair at all.
    places = tf.where(is_valid, num_pairs - tf.cast(kept_keys, tf.int32), num_pairs)

    def take(values: tf.Tensor) -> tf.Tensor:
        rank = len(values.shape)
        padded = tf.pad(values, [[0, 0], [0, 1]] + [[0, 0]] * (rank - 2))
        return tf.gather(padded, places, batch_dims=1)

    return Selection(
        boxes=tf.ensure_shape(take(pair_boxes), [None, max_num_detections, 4]),
        scores=tf.ensure_shape(take(ranked.scores), [None, max_num_detections]),
        classes=take(ranked.classes),
        indices=take(ranked.indices),
        num_valid=num_valid,
    )
