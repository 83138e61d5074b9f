"""The part of a two-stage detector that predicts masks, in training and in detection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

import keras
import tensorflow as tf

from official_lite.vision.modeling import mask_scores, region_stages
from official_lite.vision.ops import roi_sampling

__all__ = ['MaskBranch']

Levels = Mapping[str, tf.Tensor]


class MaskBranch:
    """Masks of regions, and how good they are.

    The layers belong to the model whose branch this is.
    """

    def __init__(
        self,
        head: keras.layers.Layer,
        *,
        sampler: keras.layers.Layer,
        roi_aligner: keras.layers.Layer,
        scoring_head: Optional[keras.layers.Layer] = None,
    ) -> None:
        """Takes the parts.

        Args:
            head: Features of regions and classes to logits of masks.
            sampler: Chooses masks to learn from.
            roi_aligner: Feature maps and regions to features of the regions.
            scoring_head: Features of regions and their masks to IoUs, see `mask_scores`.
        """
        self._head = head
        self._sampler = sampler
        self._roi_aligner = roi_aligner
        self._scoring_head = scoring_head

    def build(self, channels: int) -> None:
        """Creates the heads' variables for features of so many channels."""
        side = self._roi_aligner.crop_size
        if not self._head.built:
            self._head.build([(None, None, side, side, channels), (None, None)])
        if self._scoring_head is not None and not self._scoring_head.built:
            self._scoring_head.build((None, side, side, channels + 1))

    def learn(
        self,
        features: Levels,
        matches: roi_sampling.MatchedRois,
        rois: tf.Tensor,
        gt_boxes: tf.Tensor,
        gt_masks: tf.Tensor,
        training: Optional[bool],
    ) -> dict[str, tf.Tensor]:
        """Masks of sampled objects, and their targets.

        Args:
            features: Feature maps by level.
            matches: Sampled regions and the objects that they are of.
            rois: The same regions as masks see them, [batch, rois, 4].
            gt_boxes: The boxes of these objects in which `gt_masks` lie, [batch, rois, 4].
            gt_masks: Masks of all objects, [batch, objects, height, width].
            training: Whether batch normalisation uses the batch's moments.

        Returns:
            `mask_outputs`, `mask_targets`, `mask_class_targets`, `mask_scores` and
            `mask_score_targets` of `MaskRCNNModel.call`.
        """
        found = self._sampler.sample(
            rois, gt_boxes, matches.gt_classes, matches.gt_indices, gt_masks
        )
        if not training:  # objects come first; background does not count
            count = region_stages.compute_longest(
                tf.reduce_sum(tf.cast(found.classes > 0, tf.int32), axis=1)
            )
            found = type(found)(*(part[:, :count] for part in found))
        cropped = self._roi_aligner(features, found.rois)
        logits = self._head([cropped, found.classes], training=training)
        outputs = {
            'mask_outputs': logits,
            'mask_targets': tf.stop_gradient(found.masks),
            'mask_class_targets': found.classes,
        }
        if self._scoring_head is not None:
            outputs['mask_scores'] = mask_scores.predict_mask_ious(
                self._scoring_head, cropped, logits, found.classes, training
            )
            outputs['mask_score_targets'] = mask_scores.compute_mask_ious(
                logits, found.masks, found.object_pixels
            )
        return outputs

    def detect(self, features: Levels, detections: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Masks of detections; what only fills up all images does not go through the head.

        Args:
            features: Feature maps by level.
            detections: What the detection generator returned, with `detection_outer_boxes` where
                masks see enlarged boxes.

        Returns:
            `detection_masks` and `detection_mask_scores` of `MaskRCNNModel.call`.
        """
        num_valid, boxes = detections['num_detections'], detections['detection_boxes']
        count = region_stages.compute_longest(num_valid)
        rois = detections.get('detection_outer_boxes', boxes)[:, :count]
        classes = detections['detection_classes'][:, :count]
        cropped = self._roi_aligner(features, rois)
        logits = self._head([cropped, classes], training=False)
        masks = tf.sigmoid(tf.cast(logits, tf.float32))
        is_valid = tf.sequence_mask(num_valid, count)[:, :, None, None]
        limit = boxes.shape[1]
        masks = tf.pad(tf.where(is_valid, masks, 0.0), [[0, 0], [0, limit - count], [0, 0], [0, 0]])
        outputs = {'detection_masks': tf.ensure_shape(masks, [None, limit, *masks.shape[2:]])}
        if self._scoring_head is not None:
            ious = mask_scores.predict_mask_ious(
                self._scoring_head, cropped, logits, classes, training=False
            )
            ious = tf.pad(tf.clip_by_value(ious, 0.0, 1.0), [[0, 0], [0, limit - count]])
            outputs['detection_mask_scores'] = detections['detection_scores'] * ious
        return outputs
