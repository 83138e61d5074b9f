"""Masks to learn from."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from official_lite.vision.modeling.layers import region_layer
from official_lite.vision.ops import mask_crop


@keras.saving.register_keras_serializable(package='official_lite')
class MaskSampler(region_layer.RegionLayer):
    """Takes the first proposals that are objects, and what is to be seen of their masks.

    Args:
        mask_target_size: Height and width of the masks.
        num_sampled_masks: Number of masks of an image. Where there are not as many objects,
            background follows.
    """

    def __init__(self, mask_target_size: int, num_sampled_masks: int, **kwargs: Any) -> None:
        super().__init__(
            {'mask_target_size': mask_target_size, 'num_sampled_masks': num_sampled_masks},
            **kwargs,
        )

    def call(
        self,
        candidate_rois: tf.Tensor,
        candidate_gt_boxes: tf.Tensor,
        candidate_gt_classes: tf.Tensor,
        candidate_gt_indices: tf.Tensor,
        gt_masks: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Samples.

        Args:
            candidate_rois: Proposals in pixels, [batch, rois, 4].
            candidate_gt_boxes: Boxes that their masks fill, in pixels, [batch, rois, 4].
            candidate_gt_classes: Classes [batch, rois], 0 for background.
            candidate_gt_indices: Places of the ground truth, int [batch, rois], -1 for background.
            gt_masks: Masks within their boxes, [batch, boxes, height, width].

        Returns:
            Proposals [batch, masks, 4], classes [batch, masks] and masks within the proposals,
            float32 [batch, masks, mask_target_size, mask_target_size].
        """
        is_object = tf.cast(candidate_gt_classes > 0, tf.int32)
        num_rois = is_object.shape[1] or tf.shape(is_object)[1]
        count = tf.minimum(num_rois, self._config['num_sampled_masks'])
        if isinstance(num_rois, int):
            count = min(num_rois, self._config['num_sampled_masks'])
        places = tf.nn.top_k(is_object, count).indices
        rois, boxes, classes, indices = (
            tf.gather(values, places, batch_dims=1)
            for values in (
                candidate_rois,
                candidate_gt_boxes,
                candidate_gt_classes,
                candidate_gt_indices,
            )
        )
        masks = tf.gather(gt_masks, tf.maximum(indices, 0), batch_dims=1)
        cropped = mask_crop.crop_mask_in_target_box(
            masks, boxes, rois, self._config['mask_target_size'], sample_offset=0.5
        )
        return rois, classes, cropped
