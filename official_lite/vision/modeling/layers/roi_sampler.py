"""Proposals to learn from, with what is to be learnt."""

from __future__ import annotations

from typing import Any, Optional

import keras
import tensorflow as tf

from official_lite.vision.modeling.layers import box_sampler, region_layer
from official_lite.vision.ops import roi_sampling


@keras.saving.register_keras_serializable(package='official_lite')
class ROISampler(region_layer.RegionLayer):
    """Matches proposals with ground truth and draws some.

    Args:
        mix_gt_boxes: Whether ground-truth boxes are among the proposals.
        num_sampled_rois: Number of proposals drawn from an image.
        foreground_fraction: Largest share of objects among them.
        foreground_iou_threshold: A proposal is an object from this overlap on.
        background_iou_high_threshold: A proposal is background below this overlap.
        background_iou_low_threshold: ... and from this one on.
        skip_subsampling: Whether all are taken, as in the later stages of a cascade.
    """

    def __init__(
        self,
        mix_gt_boxes: bool = True,
        num_sampled_rois: int = 512,
        foreground_fraction: float = 0.25,
        foreground_iou_threshold: float = 0.5,
        background_iou_high_threshold: float = 0.5,
        background_iou_low_threshold: float = 0.0,
        skip_subsampling: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            {
                'mix_gt_boxes': mix_gt_boxes,
                'num_sampled_rois': num_sampled_rois,
                'foreground_fraction': foreground_fraction,
                'foreground_iou_threshold': foreground_iou_threshold,
                'background_iou_high_threshold': background_iou_high_threshold,
                'background_iou_low_threshold': background_iou_low_threshold,
                'skip_subsampling': skip_subsampling,
            },
            **kwargs,
        )
        self.sampler: Any = (
            None
            if skip_subsampling
            else box_sampler.BoxSampler(num_sampled_rois, foreground_fraction, name='sampler')
        )

    def call(
        self,
        boxes: tf.Tensor,
        gt_boxes: tf.Tensor,
        gt_classes: tf.Tensor,
        gt_outer_boxes: Optional[tf.Tensor] = None,
        order: Optional[tf.Tensor] = None,
    ) -> tuple[tf.Tensor, ...]:
        """Samples.

        Args:
            boxes: Proposals in pixels, [batch, proposals, 4].
            gt_boxes: Ground truth in pixels, [batch, boxes, 4], padded with -1.
            gt_classes: Classes [batch, boxes], padded with -1.
            gt_outer_boxes: Enlarged ground truth, [batch, boxes, 4], or None.
            order: See `BoxSampler`, of proposals and, if they are mixed in, ground-truth boxes.

        Returns:
            Proposals float32 [batch, samples, 4], their ground-truth boxes [batch, samples, 4],
            enlarged ones [batch, samples, 4] if given, classes [batch, samples] (0 for background)
            and places of the ground truth int32 [batch, samples] (-1 for background).
        """
        matches = self.sample(boxes, gt_boxes, gt_classes, gt_outer_boxes, order)
        return tuple(part for part in matches if part is not None)

    def sample(
        self,
        boxes: tf.Tensor,
        gt_boxes: tf.Tensor,
        gt_classes: tf.Tensor,
        gt_outer_boxes: Optional[tf.Tensor] = None,
        order: Optional[tf.Tensor] = None,
    ) -> roi_sampling.MatchedRois:
        """What `call` returns, by name."""
        if self._config['mix_gt_boxes']:
            boxes = tf.concat([tf.cast(boxes, tf.float32), tf.cast(gt_boxes, tf.float32)], axis=1)
        matches, worth = self.match(boxes, gt_boxes, gt_classes, gt_outer_boxes)
        return matches if self.sampler is None else matches.take(self.draw(worth, order))

    def match(
        self,
        boxes: tf.Tensor,
        gt_boxes: tf.Tensor,
        gt_classes: tf.Tensor,
        gt_outer_boxes: Optional[tf.Tensor] = None,
    ) -> tuple[roi_sampling.MatchedRois, tf.Tensor]:
        """What each proposal matches, see `roi_sampling.match_rois`."""
        return roi_sampling.match_rois(
            boxes,
            gt_boxes,
            gt_classes,
            gt_outer_boxes,
            thresholds=(
                self._config['background_iou_low_threshold'],
                self._config['background_iou_high_threshold'],
                self._config['foreground_iou_threshold'],
            ),
        )

    def draw(self, worth: tf.Tensor, order: Optional[tf.Tensor] = None) -> tf.Tensor:
        """Places int32 [batch, samples] drawn by what matches are worth [batch, proposals]."""
        sampler: Any = self.sampler
        return sampler(
            worth == roi_sampling.POSITIVE,
            worth == roi_sampling.NEGATIVE,
            worth == roi_sampling.IGNORED,
            order,
        )
