"""What the stages of a two-stage detector hand to one another and to the losses."""

from __future__ import annotations

from typing import Optional

import tensorflow as tf

from official_lite.vision.ops import box_ops, roi_sampling

# Factors of the box codes of the first stage (https://arxiv.org/abs/1712.00726, section 4.2). Those
# of the i-th stage are i times as large, as their boxes are closer to the objects.
BOX_CODE_WEIGHTS = (10.0, 10.0, 5.0, 5.0)


def get_box_code_weights(stage: int) -> list[float]:
    """Factors of the box codes of a stage, from 0."""
    return [(stage + 1) * weight for weight in BOX_CODE_WEIGHTS]


def refine_rois(
    codes: tf.Tensor, rois: tf.Tensor, image_shape: Optional[tf.Tensor], stage: int
) -> tf.Tensor:
    """The boxes that a stage predicts for its regions, float32 [batch, rois, 4].

    Args:
        codes: Box codes [batch, rois, 4].
        rois: The regions in pixels, float32 [batch, rois, 4].
        image_shape: Height and width of each image, [batch, 2], to which boxes are clipped, or
            None.
        stage: Number of the stage, from 0.
    """
    boxes = box_ops.decode_boxes(tf.stop_gradient(codes), rois, get_box_code_weights(stage))
    if image_shape is None:
        return boxes
    return box_ops.clip_boxes(boxes, tf.cast(image_shape, tf.float32)[:, None, :])


def name_outputs(
    stage: int,
    logits: tf.Tensor,
    codes: tf.Tensor,
    matches: Optional[roi_sampling.MatchedRois],
) -> dict[str, tf.Tensor]:
    """Outputs of a stage, and their targets if there are any; box targets of background are 0."""
    suffix = f'_{stage}' if stage else ''
    named = {f'class_outputs{suffix}': logits, f'box_outputs{suffix}': codes}
    if matches is not None:
        weights = get_box_code_weights(stage)
        targets = box_ops.encode_boxes(matches.gt_boxes, matches.rois, weights)
        is_object = (matches.gt_classes != 0)[..., None]
        named[f'class_targets{suffix}'] = matches.gt_classes
        named[f'box_targets{suffix}'] = tf.where(is_object, targets, 0.0)
    return named


def compute_longest(counts: tf.Tensor) -> tf.Tensor:
    """The largest of the counts [batch], 1 or more, so that no tensor is empty."""
    return tf.maximum(tf.reduce_max(counts), 1)
