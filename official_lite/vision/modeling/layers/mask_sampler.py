"""Masks to learn from."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from official_lite.vision.modeling.layers import region_layer
from official_lite.vision.ops import box_ops, mask_crop


class SampledMasks(NamedTuple):
    """Masks to learn.

    Attributes:
        rois: Proposals in pixels, [batch, masks, 4].
        classes: [batch, masks], 0 for background.
        masks: Masks within the proposals, float32 [batch, masks, mask_target_size,
            mask_target_size].
        object_pixels: What the whole objects cover, in pixels of `masks`, float32 [batch, masks].
    """

    rois: tf.Tensor
    classes: tf.Tensor
    masks: tf.Tensor
    object_pixels: tf.Tensor


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
        found = self.sample(
            candidate_rois,
            candidate_gt_boxes,
            candidate_gt_classes,
            candidate_gt_indices,
            gt_masks,
        )
        return found.rois, found.classes, found.masks

    def sample(
        self,
        candidate_rois: tf.Tensor,
        candidate_gt_boxes: tf.Tensor,
        candidate_gt_classes: tf.Tensor,
        candidate_gt_indices: tf.Tensor,
        gt_masks: tf.Tensor,
    ) -> SampledMasks:
        """As `call`, and how large the objects are."""
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
        return SampledMasks(rois, classes, cropped, self._count_pixels(masks, boxes, rois))

    def _count_pixels(self, masks: tf.Tensor, boxes: tf.Tensor, rois: tf.Tensor) -> tf.Tensor:
        share = tf.reduce_mean(tf.cast(tf.cast(masks, tf.float32) >= 0.5, tf.float32), axis=[2, 3])
        sizes = (tf.reduce_prod(b[..., 2:] - b[..., :2], axis=-1) for b in (boxes, rois))
        covered, whole = (tf.cast(size, tf.float32) for size in sizes)
        pixels = float(self._config['mask_target_size'] ** 2)
        return share * covered * pixels / tf.maximum(whole, box_ops.EPSILON)
