"""From scored anchors to proposals of a region proposal network (https://arxiv.org/abs/1506.01497)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Optional

import numpy as np
import tensorflow as tf

from official_lite.vision.ops import box_ops, nms

__all__ = ['ProposalOptions', 'propose']

Levels = Mapping[str, tf.Tensor]


class ProposalOptions(NamedTuple):
    """Which boxes become proposals.

    Attributes:
        pre_nms_top_k: Best boxes of each level that go into suppression.
        pre_nms_score_threshold: Boxes whose score is not above this are dropped, if it is not 0.
        pre_nms_min_size_threshold: Boxes with a side, in px, that is not above this are dropped,
            and those with a centre outside of the image, if it is not 0.
        nms_iou_threshold: A box that overlaps a better one of its level by this or more is dropped.
            0 means: none is.
        num_proposals: Number of proposals of an image, and the most of a level.
        use_batched_nms: Whether boxes are dropped only by overlaps above the threshold, whatever
            their number.
    """

    pre_nms_top_k: int = 2000
    pre_nms_score_threshold: float = 0.0
    pre_nms_min_size_threshold: float = 0.0
    nms_iou_threshold: float = 0.7
    num_proposals: int = 1000
    use_batched_nms: bool = False


def propose(
    raw_boxes: Levels,
    raw_scores: Levels,
    anchor_boxes: Levels,
    image_shape: Optional[tf.Tensor],
    options: ProposalOptions,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes, clips and suppresses boxes of each level, and takes the best of all.

    Levels are to the suppression what classes are in a detector: all are done in one operation.

    Args:
        raw_boxes: Box codes by level, [batch, height_l, width_l, anchors * 4].
        raw_scores: Logits by level, [batch, height_l, width_l, anchors].
        anchor_boxes: Anchors by level, [height_l, width_l, anchors * 4], or with the batch in
            front.
        image_shape: Height and width of each image without padding, [batch, 2]; boxes are clipped
            to it. None for no clipping.
        options: Which boxes become proposals.

    Returns:
        Boxes float32 [batch, proposals, 4] in pixels and scores float32 [batch, proposals], best
        first, 0 where there are not enough. `proposals` is `num_proposals`, or the number of
        anchors if that is less.
    """
    levels = sorted(raw_scores, key=int)
    sizes = None if image_shape is None else tf.cast(image_shape, tf.float32)[:, None, :]
    boxes, scores = [], []
    for level in levels:
        level_boxes, level_scores = _take_best(
            _flatten_scores(raw_scores[level]),
            _flatten_boxes(raw_boxes[level]),
            _flatten_anchors(anchor_boxes[level]),
            sizes,
            options,
        )
        boxes.append(level_boxes)
        scores.append(level_scores)
    counts = [raw_scores[level].shape[1:].num_elements() for level in levels]
    limits = [min(count, options.num_proposals) for count in counts]
    num_proposals = min(sum(limits), options.num_proposals)
    if options.nms_iou_threshold <= 0.0:
        return _join_best(boxes, scores, limits, num_proposals)
    return _suppress(boxes, scores, num_proposals, options)


def _flatten_scores(scores: tf.Tensor) -> tf.Tensor:
    """float32 [batch, anchors of the level]."""
    count = scores.shape[1:].num_elements()
    return tf.sigmoid(tf.cast(tf.reshape(scores, [-1, count or -1]), tf.float32))


def _flatten_boxes(boxes: tf.Tensor) -> tf.Tensor:
    """[batch, anchors of the level, 4]."""
    return tf.reshape(boxes, [tf.shape(boxes)[0], -1, 4])


def _flatten_anchors(anchors: tf.Tensor) -> tf.Tensor:
    """float32 [1 or batch, anchors of the level, 4]."""
    batch = tf.shape(anchors)[0] if len(anchors.shape) == 4 else 1
    return tf.reshape(tf.cast(anchors, tf.float32), [batch, -1, 4])


def _take_best(
    scores: tf.Tensor,
    codes: tf.Tensor,
    anchors: tf.Tensor,
    image_sizes: Optional[tf.Tensor],
    options: ProposalOptions,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decoded boxes and scores of the best anchors of a level, best first.

    Only the best are decoded, unless what counts depends on the boxes.
    """

    def decode(codes: tf.Tensor, anchors: tf.Tensor) -> tf.Tensor:
        boxes = box_ops.decode_boxes(codes, anchors)
        return boxes if image_sizes is None else box_ops.clip_boxes(boxes, image_sizes)

    min_size = options.pre_nms_min_size_threshold
    if min_size > 0.0:
        boxes = decode(codes, anchors)
        is_kept = _is_sizeable(boxes, min_size, image_sizes)
        boxes, scores = tf.where(is_kept[..., None], boxes, 0.0), tf.where(is_kept, scores, 0.0)
    count = scores.shape[1]
    top_k = count if options.use_batched_nms else min(count, options.pre_nms_top_k)
    scores, places = tf.nn.top_k(scores, top_k)
    if min_size > 0.0:
        return tf.gather(boxes, places, batch_dims=1), scores
    codes = tf.gather(codes, places, batch_dims=1)
    if anchors.shape[0] == 1:
        return decode(codes, tf.gather(anchors[0], places)), scores
    return decode(codes, tf.gather(anchors, places, batch_dims=1)), scores


def _is_sizeable(boxes: tf.Tensor, min_size: float, image_sizes: Optional[tf.Tensor]) -> tf.Tensor:
    """Bool [batch, boxes]: sides above `min_size`, and the centre within the image."""
    sides = boxes[..., 2:] - boxes[..., :2]
    is_kept = tf.reduce_all(sides > min_size, axis=-1)
    if image_sizes is None:
        return is_kept
    centres = boxes[..., :2] + 0.5 * sides
    return is_kept & tf.reduce_all((centres > 0.0) & (centres < image_sizes), axis=-1)


def _join_best(
    boxes: list[tf.Tensor], scores: list[tf.Tensor], limits: list[int], num_proposals: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """The best of all levels, without suppression."""
    parts = zip(boxes, scores, limits, strict=True)
    trimmed = [(box[:, :limit], score[:, :limit]) for box, score, limit in parts]
    joined = tf.concat([box for box, _ in trimmed], axis=1)
    best, places = tf.nn.top_k(tf.concat([score for _, score in trimmed], axis=1), num_proposals)
    return tf.gather(joined, places, batch_dims=1), best


def _suppress(
    boxes: list[tf.Tensor],
    scores: list[tf.Tensor],
    num_proposals: int,
    options: ProposalOptions,
) -> tuple[tf.Tensor, tf.Tensor]:
    """The best of all levels after suppression within each."""
    longest = max(level_scores.shape[1] for level_scores in scores)
    padded_scores, padded_boxes = [], []
    for level_boxes, level_scores in zip(boxes, scores, strict=True):
        missing = longest - level_scores.shape[1]
        padded_boxes.append(tf.pad(level_boxes, [[0, 0], [0, missing], [0, 0]]))
        padded_scores.append(tf.pad(level_scores, [[0, 0], [0, missing]], constant_values=-np.inf))
    found = nms.select_per_class(
        tf.stack(padded_boxes, axis=2),  # [batch, longest, levels, 4]
        tf.stack(padded_scores, axis=2),
        max_num_detections=num_proposals,
        score_threshold=_score_bound(options),
        iou_threshold=options.nms_iou_threshold,
        is_threshold_suppressed=not options.use_batched_nms,
        drop_empty_boxes=not options.use_batched_nms,
    )
    return found.boxes, found.scores


def _score_bound(options: ProposalOptions) -> float:
    """What scores must exceed; without a threshold, a score of 0 is one too."""
    if options.use_batched_nms or options.pre_nms_score_threshold > 0.0:
        return options.pre_nms_score_threshold
    return -1.0
