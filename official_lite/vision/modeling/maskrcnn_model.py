"""Faster, Mask and Cascade R-CNN as one model: images in, detections, or what to learn from, out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional, Union

import keras
import tensorflow as tf

from official_lite.core import randomness
from official_lite.vision.modeling import (
    mask_branch,
    model_anchors,
    model_parts,
    region_stages,
)
from official_lite.vision.ops import box_ops, image_normalization, roi_sampling

Levels = Mapping[str, tf.Tensor]

_PARTS = (
    'backbone',
    'decoder',
    'rpn_head',
    'detection_head',
    'roi_generator',
    'roi_sampler',
    'roi_aligner',
    'detection_generator',
    'mask_head',
    'mask_sampler',
    'mask_roi_aligner',
    'mask_scoring_head',
)


class _GroundTruth(NamedTuple):
    """What is given of the images: see `MaskRCNNModel.call`."""

    boxes: tf.Tensor
    classes: tf.Tensor
    outer_boxes: Optional[tf.Tensor]
    sampling_order: Optional[tf.Tensor]


class _Stages(NamedTuple):
    """What the stages of the second part lead to.

    Attributes:
        rois: Regions of the last stage, [batch, rois, 4].
        logits: Class logits of each stage, [batch, rois, num_classes].
        codes: Box codes of the last stage.
        matches: Sampled regions of the last stage and their ground truth, if there is any.
    """

    rois: tf.Tensor
    logits: list[tf.Tensor]
    codes: tf.Tensor
    matches: Optional[roi_sampling.MatchedRois]


@keras.saving.register_keras_serializable(package='official_lite')
class MaskRCNNModel(keras.Model):
    """Faster R-CNN (https://arxiv.org/abs/1506.01497), Mask R-CNN (https://arxiv.org/abs/1703.06870)
    and Cascade R-CNN (https://arxiv.org/abs/1712.00726).

    Args:
        backbone: Images to feature maps by level.
        decoder: Feature maps by level to feature maps by level, or None.
        rpn_head: Feature maps by level to (scores, boxes).
        detection_head: Features of regions to (class logits, box codes); a list of them, one for
            each stage of a cascade.
        roi_generator: Scores and boxes to regions.
        roi_sampler: Chooses regions to learn from; a list for a cascade.
        roi_aligner: Feature maps and regions to features of the regions.
        detection_generator: Class logits and box codes to detections.
        mask_head: Features of regions and classes to masks, or None for no masks.
        mask_sampler: Chooses masks to learn from.
        mask_roi_aligner: As `roi_aligner`, for masks.
        class_agnostic_bbox_pred: Whether there is one box for all classes of a region.
        cascade_class_ensemble: Whether detections take the mean of all stages' logits.
        min_level: Finest level.
        max_level: Coarsest level.
        num_scales: See `anchor.Anchor`.
        aspect_ratios: See `anchor.Anchor`.
        anchor_size: See `anchor.Anchor`.
        outer_boxes_scale: Factor by which boxes are enlarged for masks.
        mask_scoring_head: Features of regions and their masks to IoUs, see `mask_scores`. None for
            none.

    Raises:
        ValueError: If parts do not fit together.
    """

    def __init__(
        self,
        backbone: keras.Model,
        decoder: Optional[keras.Model],
        rpn_head: keras.layers.Layer,
        detection_head: Union[keras.layers.Layer, Sequence[keras.layers.Layer]],
        roi_generator: keras.layers.Layer,
        roi_sampler: Union[keras.layers.Layer, Sequence[keras.layers.Layer]],
        roi_aligner: keras.layers.Layer,
        detection_generator: keras.layers.Layer,
        mask_head: Optional[keras.layers.Layer] = None,
        mask_sampler: Optional[keras.layers.Layer] = None,
        mask_roi_aligner: Optional[keras.layers.Layer] = None,
        class_agnostic_bbox_pred: bool = False,
        cascade_class_ensemble: bool = False,
        min_level: Optional[int] = None,
        max_level: Optional[int] = None,
        num_scales: Optional[int] = None,
        aspect_ratios: Optional[Sequence[float]] = None,
        anchor_size: Optional[float] = None,
        outer_boxes_scale: float = 1.0,
        mask_scoring_head: Optional[keras.layers.Layer] = None,
        **kwargs: Any,
    ) -> None:
        # Images, shapes, anchors and boxes keep their dtypes: only what enters the backbone is cast.
        super().__init__(**{'name': 'maskrcnn', 'autocast': False, **kwargs})
        self.backbone = backbone
        self.decoder = decoder
        self.rpn_head = rpn_head
        self.detection_head = _to_list(detection_head)
        self.roi_generator = roi_generator
        self.roi_sampler = _to_list(roi_sampler)
        self.roi_aligner = roi_aligner
        self.detection_generator = detection_generator
        # None without masks.
        self.mask_head: Any = mask_head
        self.mask_sampler: Any = mask_sampler
        self.mask_roi_aligner: Any = mask_roi_aligner
        self.mask_scoring_head: Any = mask_scoring_head
        self.outer_boxes_scale = outer_boxes_scale
        self._is_agnostic = class_agnostic_bbox_pred
        self._is_ensemble = cascade_class_ensemble
        self._anchors = model_anchors.ModelAnchors(
            min_level, max_level, num_scales, aspect_ratios, anchor_size
        )
        self._check()
        self._masks: Any = None
        if mask_head is not None:
            self._masks = mask_branch.MaskBranch(
                mask_head,
                sampler=self.mask_sampler,
                roi_aligner=self.mask_roi_aligner,
                scoring_head=mask_scoring_head,
            )
        self._build_heads()
        self.built = True

    def _check(self) -> None:
        if len(self.roi_sampler) > 1 and not self._is_agnostic:
            raise ValueError(
                '`class_agnostic_bbox_pred` needs to be True if multiple detection heads are '
                f'specified. Received: {len(self.detection_head)} heads'
            )
        if len(self.roi_sampler) != len(self.detection_head):
            raise ValueError(
                'Expected as many ROI samplers as detection heads. '
                f'Received: {len(self.roi_sampler)} and {len(self.detection_head)}'
            )
        if self.outer_boxes_scale < 1.0:
            raise ValueError(
                f'`outer_boxes_scale` should be a value >= 1.0. Received: {self.outer_boxes_scale}'
            )
        if self.mask_head is None:
            if self.mask_scoring_head is not None:
                raise ValueError('`mask_scoring_head` scores masks: it needs a `mask_head`.')
            return
        for name in ('mask_sampler', 'mask_roi_aligner'):
            if getattr(self, name) is None:
                raise ValueError(f'`{name}` is not provided in Mask R-CNN.')

    def _build_heads(self) -> None:
        specs = self._keep_levels((self.decoder or self.backbone).output_specs)
        if not self.rpn_head.built:
            self.rpn_head.build(specs)
        channels = next(iter(specs.values()))[-1]
        side = self.roi_aligner.crop_size
        for head in self.detection_head:
            if not head.built:
                head.build((None, None, side, side, channels))
        if self._masks is not None:
            self._masks.build(channels)

    def _keep_levels(self, features: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the levels from the finest to the coarsest."""
        low, high = self._anchors.min_level, self._anchors.max_level
        if low is None or high is None:
            return dict(features)
        return {str(level): features[str(level)] for level in range(low, high + 1)}

    def call(
        self,
        images: tf.Tensor,
        image_shape: Optional[tf.Tensor] = None,
        anchor_boxes: Optional[Levels] = None,
        gt_boxes: Optional[tf.Tensor] = None,
        gt_classes: Optional[tf.Tensor] = None,
        gt_masks: Optional[tf.Tensor] = None,
        gt_outer_boxes: Optional[tf.Tensor] = None,
        training: Optional[bool] = None,
        sampling_order: Optional[tf.Tensor] = None,
    ) -> dict[str, Any]:
        """Detects unless training, and predicts at sampled regions if there is ground truth.

        Args:
            images: uint8 [batch, height, width, 3], which are normalised here, or float, which are
                taken as normalised.
            image_shape: Height and width of each image without padding, in pixels of `images`,
                [batch, 2]. Boxes are clipped to it.
            anchor_boxes: Anchors by level, [height_l, width_l, anchors * 4] or with the batch in
                front, in place of the model's own.
            gt_boxes: Ground truth in pixels of `images`, [batch, boxes, 4], padded with -1.
            gt_classes: Its classes, [batch, boxes], padded with -1.
            gt_masks: Its masks within their boxes (or within `gt_outer_boxes`), [batch, boxes,
                height, width].
            gt_outer_boxes: Its boxes enlarged by `outer_boxes_scale`, [batch, boxes, 4].
            training: Whether batch normalisation uses the batch's moments, and detections are left
                out. Ground-truth boxes are then among the regions.
            sampling_order: Which regions are drawn, see `ROISampler`. None: random ones in
                training, the same ones each time otherwise.

        Returns:
            `backbone_features` and `decoder_features`, `rpn_scores` and `rpn_boxes` by level.

            With ground truth, for each stage (with `_1`, `_2`, ... from the second on):
            `class_outputs` [batch, samples, num_classes], `box_outputs` [batch, samples,
            num_classes * 4 or 4], `class_targets` [batch, samples], `box_targets` [batch, samples,
            4]; with masks `mask_outputs` and `mask_targets` [batch, masks, height, width], and
            `mask_class_targets` [batch, masks]; with a head for them `mask_scores` and
            `mask_score_targets` [batch, masks]. Without, the outputs of all regions.

            Unless training: `cls_outputs`, the logits that detections come from, and what the
            detection generator returns; with masks `detection_masks`, float32 [batch, detections,
            height, width], the chance of each pixel, 0 beyond `num_detections`; with enlarged boxes
            `detection_outer_boxes`, into which they are to be pasted; with a head for them
            `detection_mask_scores`, float32 [batch, detections], by which masks are to be ranked.
        """
        x = image_normalization.normalize_if_uint8(images, self.compute_dtype)
        backbone_features = self.backbone(x, training=training)
        features = backbone_features
        if self.decoder is not None:
            features = self.decoder(features, training=training)
        outputs: dict[str, Any] = {
            'backbone_features': backbone_features,
            'decoder_features': features,
        }
        features = self._keep_levels(features)
        scores, boxes = self.rpn_head(features, training=training)
        outputs.update(rpn_scores=scores, rpn_boxes=boxes)
        anchors = dict(anchor_boxes or self.make_anchor_boxes(images))
        rois = self._propose(scores, boxes, anchors, image_shape, training)
        truth = None
        if gt_boxes is not None:
            truth = _GroundTruth(gt_boxes, gt_classes, gt_outer_boxes, sampling_order)
        stages = self._run_stages(features, rois, image_shape, truth, outputs, training)
        if self._masks is not None and stages.matches is not None and gt_masks is not None:
            outputs |= self._learn_masks(features, stages.matches, image_shape, gt_masks, training)
        if not training:
            self._detect(stages, image_shape, outputs)
            if self._masks is not None:
                outputs |= self._masks.detect(features, outputs)
        return outputs

    def _propose(
        self,
        scores: Levels,
        boxes: Levels,
        anchors: Levels,
        image_shape: Optional[tf.Tensor],
        training: Optional[bool],
    ) -> tf.Tensor:
        """Regions [batch, rois, 4]; unless training without those that only fill up all images."""
        rois, _ = self.roi_generator(boxes, scores, anchors, image_shape, training=training)
        rois = tf.stop_gradient(rois)
        if training or not self.detection_generator.apply_nms:
            return rois
        is_real = tf.reduce_any(rois > 0.0, axis=-1)
        return rois[
            :, : region_stages.compute_longest(tf.reduce_sum(tf.cast(is_real, tf.int32), axis=1))
        ]

    def _run_stages(
        self,
        features: Levels,
        rois: tf.Tensor,
        image_shape: Optional[tf.Tensor],
        truth: Optional[_GroundTruth],
        outputs: dict[str, Any],
        training: Optional[bool],
    ) -> _Stages:
        """Classes and boxes of regions, each stage's boxes being the next one's regions.

        In training only sampled regions go through the heads. Otherwise all do, and the outputs of
        the samples are taken from theirs.
        """
        all_logits: list[tf.Tensor] = []
        matches: Optional[roi_sampling.MatchedRois] = None
        places = codes = None
        for index, (sampler, head) in enumerate(
            zip(self.roi_sampler, self.detection_head, strict=True)
        ):
            if index:
                rois = region_stages.refine_rois(codes, rois, image_shape, index - 1)
            if truth is not None and training:
                matches = sampler.sample(
                    rois, truth.boxes, truth.classes, truth.outer_boxes, truth.sampling_order
                )
                rois = matches.rois
            logits, codes = head(self.roi_aligner(features, rois), training=training)
            all_logits.append(logits)
            taken = logits, codes
            if truth is not None and not training:
                matches, worth = sampler.match(rois, truth.boxes, truth.classes, truth.outer_boxes)
                if places is None:
                    places = sampler.draw(worth, _get_order(truth, worth))
                matches = matches.take(places)
                taken = tuple(tf.gather(part, places, batch_dims=1) for part in taken)
            outputs.update(region_stages.name_outputs(index, *taken, matches))
        return _Stages(rois, all_logits, codes, matches)

    def _detect(
        self, stages: _Stages, image_shape: Optional[tf.Tensor], outputs: dict[str, Any]
    ) -> None:
        logits = stages.logits[-1]
        if self._is_ensemble:
            logits = tf.add_n(stages.logits) / len(stages.logits)
        outputs['cls_outputs'] = logits
        if stages.matches is None:
            outputs['box_outputs'] = stages.codes
        detections = self.detection_generator(
            stages.codes,
            logits,
            stages.rois,
            image_shape,
            region_stages.get_box_code_weights(len(stages.logits) - 1),
            bbox_per_class=not self._is_agnostic,
        )
        outputs.update(detections)
        if self.outer_boxes_scale > 1.0 and 'detection_boxes' in detections:
            outputs['detection_outer_boxes'] = self._enlarge(
                detections['detection_boxes'], image_shape
            )

    def _enlarge(self, boxes: tf.Tensor, image_shape: Optional[tf.Tensor]) -> tf.Tensor:
        """Boxes [batch, boxes, 4] in which masks are drawn."""
        if self.outer_boxes_scale == 1.0:
            return boxes
        sizes = tf.cast(image_shape, tf.float32)[:, None, :]
        return box_ops.compute_outer_boxes(boxes, sizes, self.outer_boxes_scale)

    def _learn_masks(
        self,
        features: Levels,
        matches: roi_sampling.MatchedRois,
        image_shape: Optional[tf.Tensor],
        gt_masks: tf.Tensor,
        training: Optional[bool],
    ) -> dict[str, tf.Tensor]:
        """Masks of sampled objects, within enlarged boxes where there are such, and their targets."""
        is_enlarged = self.outer_boxes_scale > 1.0
        gt_boxes = matches.gt_outer_boxes if is_enlarged else matches.gt_boxes
        rois = self._enlarge(matches.rois, image_shape)
        return self._masks.learn(features, matches, rois, gt_boxes, gt_masks, training)

    def make_anchor_boxes(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Anchors by level for images of this size: constants if the size is static."""
        return self._anchors.make_boxes(images)

    @property
    def checkpoint_items(self) -> dict[str, Any]:
        """Parts that are saved and restored under names of their own."""
        items: dict[str, Any] = {
            'backbone': self.backbone,
            'rpn_head': self.rpn_head,
            'detection_head': list(self.detection_head),
        }
        if self.decoder is not None:
            items['decoder'] = self.decoder
        if self.mask_head is not None:
            items['mask_head'] = self.mask_head
        if self.mask_scoring_head is not None:
            items['mask_scoring_head'] = self.mask_scoring_head
        return items

    def get_config(self) -> dict[str, Any]:
        return {
            'name': self.name,
            **model_parts.serialize_parts(self, _PARTS),
            'class_agnostic_bbox_pred': self._is_agnostic,
            'cascade_class_ensemble': self._is_ensemble,
            'outer_boxes_scale': self.outer_boxes_scale,
            **self._anchors.get_config(),
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Optional[dict[str, Any]] = None
    ) -> MaskRCNNModel:
        return cls(**model_parts.deserialize_parts(config, _PARTS, custom_objects))


def _to_list(parts: Any) -> list[Any]:
    return list(parts) if isinstance(parts, (list, tuple)) else [parts]


def _get_order(truth: _GroundTruth, worth: tf.Tensor) -> tf.Tensor:
    """The order given, or one that is the same each time, int32 [batch, rois]."""
    if truth.sampling_order is not None:
        return truth.sampling_order
    return roi_sampling.make_order(randomness.make_key(0), tf.shape(worth))
