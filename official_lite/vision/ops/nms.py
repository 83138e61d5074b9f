"""Suppression of detections that overlap better ones, and the choice of candidates for it.

Scores of a detector are [batch, candidates, classes] without the background. Suppression is done
per class: of two boxes of one class that overlap, the one with the lower score goes. Equal scores
are ordered by class, then by candidate.

Only boxes that remain suppress others. Model Garden's `v2` has that from an IoU threshold of 0.5 on:
its loop compares with 0.5 whatever the threshold, so that below, a box that a better one has taken
out by an overlap of up to 0.5 goes on taking out others, and fewer detections remain.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, Optional

import numpy as np
import tensorflow as tf

# Pairs of class and box that are looked at first, for each detection that is wanted.
_NUM_BEST_PAIRS = 16


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
        is_complete: bool [batch], whether these are all that exceed the threshold.
    """

    scores: tf.Tensor
    classes: tf.Tensor
    indices: tf.Tensor
    is_complete: tf.Tensor


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
        boxes: Boxes in pixels, float32 [batch, candidates, 4], or [batch, candidates, classes, 4]
            where each class has its own.
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
        has_extent = tf.reduce_any(boxes > 0.0, axis=-1)
        has_extent = has_extent if _has_class_boxes(boxes) else has_extent[..., None]
        scores = tf.where(has_extent, scores, -np.inf)
    boxes, scores = _add_loser(boxes, scores)
    threshold = _kernel_threshold(iou_threshold, is_threshold_suppressed)

    def select(num_best: Optional[int]) -> tuple[Selection, tf.Tensor]:
        ranked = _rank_pairs(scores, score_threshold, num_best)
        if num_best is None:
            keys = _scatter_keys(ranked, ranked.indices, tf.shape(scores))
            columns = boxes if _has_class_boxes(boxes) else boxes[:, :, None, :]
        else:  # few of the boxes, each as often as it is among the pairs
            ranks = tf.broadcast_to(tf.range(tf.shape(ranked.scores)[1]), tf.shape(ranked.scores))
            keys = _scatter_keys(
                ranked, ranks, tf.concat([tf.shape(ranks), tf.shape(scores)[2:]], 0)
            )
            columns = _take_boxes(boxes, ranked.indices, ranked.classes)[:, :, None, :]
        if pre_nms_top_k is not None:
            keys = _keep_top_k_per_class(keys, pre_nms_top_k)
        return _suppress(boxes, ranked, keys, columns, max_num_detections, threshold)

    # Whether a pair remains depends on better ones only, and those that remain are wanted best
    # first: where the best pairs fill the detections, the others need not be looked at.
    first, is_complete = select(_NUM_BEST_PAIRS * max_num_detections)
    return tf.cond(is_complete, lambda: first, lambda: select(None)[0])


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


def warn_not_soft(version: str) -> None:
    """Warns that a version of suppression does not follow `soft_nms_sigma`."""
    warnings.warn(
        f"soft_nms_sigma has no effect with nms_version={version!r}: soft suppression is part of 'v1'",
        stacklevel=4,
    )


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
    boxes, scores = _add_loser(boxes, scores)
    top_k = tf.minimum(tf.shape(scores)[1], pre_nms_top_k)
    by_class = tf.transpose(scores, [0, 2, 1])  # [batch, classes, candidates]
    top_scores, top_indices = tf.nn.top_k(by_class, top_k)

    batch = tf.shape(boxes)[0]
    pairs = batch * num_classes  # of an image and a class

    def select_one(inputs: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        pair, one_scores, one_indices = inputs
        one_boxes = boxes[pair // num_classes]
        if _has_class_boxes(boxes):
            one_boxes = one_boxes[:, pair % num_classes]
        chosen, soft_scores = tf.image.non_max_suppression_with_scores(
            tf.gather(one_boxes, one_indices),
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
    size = [batch, num_classes * max_num_detections]
    return _take_best(boxes, tf.reshape(indices, size), tf.reshape(soft, size), max_num_detections)


def _take_best(
    boxes: tf.Tensor, flat_indices: tf.Tensor, soft: tf.Tensor, max_num_detections: int
) -> Selection:
    """The best of what each class has chosen; a score of -1 is none.

    Args:
        boxes: As in `select_per_class`.
        flat_indices: [batch, classes * max_num_detections], candidates.
        soft: [batch, classes * max_num_detections], their scores.
        max_num_detections: How many.
    """
    flat_scores, order = tf.nn.top_k(soft, max_num_detections)
    is_valid = flat_scores > -1.0
    chosen = tf.where(is_valid, tf.gather(flat_indices, order, batch_dims=1), 0)
    classes = tf.where(is_valid, order // max_num_detections, 0)
    return Selection(
        boxes=tf.where(is_valid[..., None], _take_boxes(boxes, chosen, classes), 0.0),
        scores=tf.where(is_valid, flat_scores, 0.0),
        classes=classes,
        indices=chosen,
        num_valid=tf.reduce_sum(tf.cast(is_valid, tf.int32), axis=1),
    )


def _has_class_boxes(boxes: tf.Tensor) -> bool:
    return len(boxes.shape) == 4


def _add_loser(boxes: tf.Tensor, scores: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """One candidate more, which never wins and keeps tensors from being empty."""
    others = [[0, 0]] * (len(boxes.shape) - 2)
    boxes = tf.pad(boxes, [[0, 0], [0, 1], *others])
    return boxes, tf.pad(scores, [[0, 0], [0, 1], [0, 0]], constant_values=-np.inf)


def _take_boxes(boxes: tf.Tensor, indices: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
    """Boxes [batch, pairs, 4] of candidates `indices` for `classes`, int32 [batch, pairs]."""
    if _has_class_boxes(boxes):
        num_classes = tf.shape(boxes)[2]
        boxes = tf.reshape(boxes, [tf.shape(boxes)[0], -1, 4])
        indices = indices * num_classes + classes
    return tf.gather(boxes, indices, batch_dims=1)


def _kernel_threshold(iou_threshold: float, is_threshold_suppressed: bool) -> float:
    """What TensorFlow's kernel, which suppresses above its threshold, is to be given."""
    if not is_threshold_suppressed:
        return iou_threshold
    return float(max(np.nextafter(np.float32(iou_threshold), np.float32(-1.0)), np.float32(0.0)))


def _rank_pairs(scores: tf.Tensor, score_threshold: float, num_best: Optional[int]) -> _Ranked:
    """Sorts the pairs of class and candidate whose score exceeds the threshold.

    Args:
        scores: float32 [batch, candidates, classes].
        score_threshold: What scores must exceed.
        num_best: How many pairs to look for. None means all.
    """
    shape = tf.shape(scores)
    flat = tf.reshape(tf.transpose(scores, [0, 2, 1]), [shape[0], -1])  # class by class
    is_wanted = flat > score_threshold
    num_wanted = tf.reduce_sum(tf.cast(is_wanted, tf.int32), axis=1)
    num_pairs = tf.maximum(tf.reduce_max(num_wanted), 1)
    masked = tf.where(is_wanted, flat, -np.inf)
    num_sorted = num_pairs if num_best is None else tf.minimum(num_pairs, num_best)
    values, places = tf.nn.top_k(masked, num_sorted)
    is_complete = num_wanted <= num_sorted
    return _Ranked(values, places // shape[1], places % shape[1], is_complete)


def _scatter_keys(ranked: _Ranked, columns: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """A number for each pair that is higher the better it is: float32 [batch, classes, columns].

    Args:
        ranked: The pairs.
        columns: Where to put each, int32 [batch, pairs].
        shape: Batch, number of columns and of classes, int32 [3].
    """
    batch, num_pairs = tf.unstack(tf.shape(ranked.scores))
    # Exact up to 2^24 pairs.
    ranks = tf.cast(tf.range(num_pairs, 0, -1), tf.float32)
    keys = tf.where(ranked.scores > -np.inf, ranks, 0.0)
    images = tf.broadcast_to(tf.range(batch)[:, None], tf.shape(columns))
    places = tf.stack([images, ranked.classes, columns], axis=-1)  # [batch, pairs, 3]
    return tf.scatter_nd(places, keys, tf.gather(shape, [0, 2, 1]))


def _suppress(
    boxes: tf.Tensor,
    ranked: _Ranked,
    keys: tf.Tensor,
    columns: tf.Tensor,
    max_num_detections: int,
    kernel_threshold: float,
) -> tuple[Selection, tf.Tensor]:
    """Runs TensorFlow's kernel on keys instead of scores.

    Its result then tells which pairs remain, and equal scores have an order.

    Args:
        boxes: See `select_per_class`.
        ranked: The pairs.
        keys: See `_scatter_keys`.
        columns: Boxes of the columns of `keys`, float32 [batch, columns, 1 or classes, 4].
        max_num_detections: Number of detections per image.
        kernel_threshold: Overlap above which the kernel suppresses.

    Returns:
        The detections, and whether no further pairs could change them (bool scalar).
    """
    _, kept_keys, _, num_valid = tf.image.combined_non_max_suppression(
        columns,
        tf.transpose(keys, [0, 2, 1]),
        max_output_size_per_class=max_num_detections,
        max_total_size=max_num_detections,
        iou_threshold=kernel_threshold,
        score_threshold=0.5,
        clip_boxes=False,
    )
    num_pairs = tf.shape(ranked.scores)[1]
    is_valid = tf.sequence_mask(num_valid, max_num_detections)
    places = tf.where(is_valid, num_pairs - tf.cast(kept_keys, tf.int32), 0)

    def take(values: tf.Tensor) -> tf.Tensor:
        chosen = tf.where(
            is_valid, tf.gather(values, places, batch_dims=1), tf.zeros([], values.dtype)
        )
        return tf.ensure_shape(chosen, [None, max_num_detections])

    indices, classes = take(ranked.indices), take(ranked.classes)
    selection = Selection(
        boxes=tf.where(is_valid[..., None], _take_boxes(boxes, indices, classes), 0.0),
        scores=take(ranked.scores),
        classes=classes,
        indices=indices,
        num_valid=num_valid,
    )
    return selection, tf.reduce_all(ranked.is_complete | (num_valid == max_num_detections))


def _keep_top_k_per_class(keys: tf.Tensor, top_k: int) -> tf.Tensor:
    """Keys [batch, classes, pairs] without those beyond the `top_k` best of their class."""
    num_pairs = tf.shape(keys)[-1]

    def drop() -> tf.Tensor:
        best = tf.nn.top_k(keys, tf.minimum(top_k, num_pairs)).values
        return tf.where(keys >= best[..., -1:], keys, 0.0)

    return tf.cond(num_pairs > top_k, drop, lambda: keys)
