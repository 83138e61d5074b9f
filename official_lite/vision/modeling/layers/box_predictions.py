"""Predictions of all levels in one list: flattened, narrowed to candidates, decoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Optional

import tensorflow as tf

from official_lite.vision.ops import box_ops

Levels = Mapping[str, tf.Tensor]


class LevelPredictions(NamedTuple):
    """Predictions for anchors of a level, or of several.

    Attributes:
        deltas: Box predictions [batch, anchors, 4].
        logits: Class logits [batch, anchors, num_classes], background first.
        anchors: float32 [anchors, 4] or [batch, anchors, 4].
        attributes: Further predictions by name, [batch, anchors, size].
    """

    deltas: tf.Tensor
    logits: tf.Tensor
    anchors: tf.Tensor
    attributes: dict[str, tf.Tensor]


class DecodedPredictions(NamedTuple):
    """Decoded predictions of all levels, finest first.

    Attributes:
        boxes: float32 [batch, anchors, 4], pixels.
        logits: float32 [batch, anchors, num_classes - 1], without background.
        attributes: float32 [batch, anchors, size] by name.
    """

    boxes: tf.Tensor
    logits: tf.Tensor
    attributes: dict[str, tf.Tensor]


def sort_levels(levels: Levels) -> list[str]:
    """Names of the levels, finest first."""
    return sorted(levels, key=int)


def flatten_level(
    level: str,
    raw_boxes: Levels,
    raw_scores: Levels,
    anchor_boxes: Levels,
    raw_attributes: Mapping[str, Levels],
) -> LevelPredictions:
    """Brings the predictions of a level into the order of its anchors.

    Raises:
        ValueError: Numbers of values do not fit numbers of anchors.
    """
    num_values, num_scores = raw_boxes[level].shape[-1], raw_scores[level].shape[-1]
    if num_values % 4:
        raise ValueError(
            'The last dimension of predicted boxes should be divisible by 4. '
            f'Received: {num_values} at level {level}'
        )
    num_anchors = num_values // 4
    if num_scores % num_anchors:
        raise ValueError(
            'The last dimension of predicted scores should be divisible by the number of anchors. '
            f'Received: {num_scores} at level {level} for {num_anchors} anchors per location'
        )
    return LevelPredictions(
        deltas=_flatten(raw_boxes[level], 4),
        logits=_flatten(raw_scores[level], num_scores // num_anchors),
        anchors=_flatten(tf.cast(anchor_boxes[level], tf.float32), 4),
        attributes={
            name: _flatten(levels[level], levels[level].shape[-1] // num_anchors)
            for name, levels in raw_attributes.items()
        },
    )


def _flatten(values: tf.Tensor, size: int) -> tf.Tensor:
    """[..., height, width, anchors * size] to [..., height * width * anchors, size].

    A batch, if there is any, is the first dimension.
    """
    static = values.shape[-3:].num_elements()
    count = -1 if static is None else static // size
    shape = [count, size] if len(values.shape) == 3 else [tf.shape(values)[0], count, size]
    return tf.reshape(values, shape)


def keep_candidates(predictions: LevelPredictions, logit_bound: float) -> LevelPredictions:
    """Leaves out anchors that have no logit above the bound, background aside, in any image.

    Args:
        predictions: Predictions of a level.
        logit_bound: The bound.

    Returns:
        Predictions of as many anchors as the image with the most candidates has, in order;
        other images are filled up with anchors that are none.
    """
    best = tf.cast(tf.reduce_max(predictions.logits[..., 1:], axis=-1), tf.float32)
    is_candidate = best > logit_bound  # [batch, anchors]
    count = tf.reduce_max(tf.reduce_sum(tf.cast(is_candidate, tf.int32), axis=1))
    places = tf.nn.top_k(tf.cast(is_candidate, tf.int32), count).indices  # [batch, candidates]
    is_shared = len(predictions.anchors.shape) == 2
    return LevelPredictions(
        deltas=tf.gather(predictions.deltas, places, batch_dims=1),
        logits=tf.gather(predictions.logits, places, batch_dims=1),
        anchors=tf.gather(predictions.anchors, places, batch_dims=0 if is_shared else 1),
        attributes={
            name: tf.gather(values, places, batch_dims=1)
            for name, values in predictions.attributes.items()
        },
    )


def decode_levels(
    levels: Sequence[LevelPredictions],
    image_shape: Optional[tf.Tensor],
    box_coder_weights: Optional[Sequence[float]],
) -> DecodedPredictions:
    """Decodes, clips and joins the predictions of all levels.

    Args:
        levels: Predictions by level, finest first.
        image_shape: Height and width that boxes are clipped to, [batch, 2], or None.
        box_coder_weights: Four factors of the box predictions, or None.
    """
    boxes = []
    for level in levels:
        decoded = box_ops.decode_boxes(level.deltas, level.anchors, box_coder_weights)
        if image_shape is not None:
            decoded = box_ops.clip_boxes(decoded, tf.cast(image_shape, tf.float32)[:, None, :])
        boxes.append(decoded)
    return DecodedPredictions(
        boxes=tf.concat(boxes, axis=1),
        logits=tf.concat([tf.cast(level.logits[..., 1:], tf.float32) for level in levels], axis=1),
        attributes={
            name: tf.concat(
                [tf.cast(level.attributes[name], tf.float32) for level in levels], axis=1
            )
            for name in levels[0].attributes
        },
    )
