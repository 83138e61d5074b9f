"""Faster, Mask and Cascade R-CNN: configs of the model. Model Garden's unless marked as ours."""

from __future__ import annotations

import dataclasses
import itertools
from typing import ClassVar, Literal, Optional

from official_lite.modeling import hyperparams
from official_lite.vision.configs import (
    backbones,
    checks,
    common,
    decoders,
    retinanet_model,
    semantic_segmentation_model,
)

__all__ = [
    'Anchor',
    'DetectionGenerator',
    'DetectionHead',
    'MaskHead',
    'MaskRCNN',
    'MaskROIAligner',
    'MaskSampler',
    'MaskScoringHead',
    'ROIAligner',
    'ROIGenerator',
    'ROISampler',
    'RPNHead',
]


@dataclasses.dataclass
class Anchor(retinanet_model.Anchor):
    """The boxes that proposals start from.

    Attributes:
        num_scales: Sizes per octave: `2 ** (i / num_scales)` times the smallest.
        aspect_ratios: Width over height of the anchors.
        anchor_size: Side of the smallest square anchor, in strides of its level.
    """

    num_scales: int = 1
    aspect_ratios: list[float] = dataclasses.field(default_factory=lambda: [0.5, 1.0, 2.0])
    anchor_size: float = 8.0


@dataclasses.dataclass
class RPNHead(hyperparams.Config):
    """Which anchors hold an object, and where: one tower, shared by all levels.

    Attributes:
        num_convs: Convolutions of the tower.
        num_filters: Channels of the tower.
        use_separable_conv: Whether convolutions are depthwise separable.
    """

    num_convs: int = 1
    num_filters: int = 256
    use_separable_conv: bool = False

    _weight_fields: ClassVar[tuple[str, ...]] = ('num_convs', 'num_filters', 'use_separable_conv')

    def _check(self, report: hyperparams.Report) -> None:
        checks.check_least(self, report, 0, 'num_convs')
        checks.check_least(self, report, 1, 'num_filters')


@dataclasses.dataclass
class DetectionHead(hyperparams.Config):
    """What a region is, and a better box: convolutions, then dense layers.

    Attributes:
        num_convs: Convolutions.
        num_filters: Channels of the convolutions.
        use_separable_conv: Whether convolutions are depthwise separable.
        num_fcs: Dense layers before the predictions.
        fc_dims: Units of the dense layers.
        class_agnostic_bbox_pred: Whether there is one box for all classes instead of one for
            each. Cascades need it.
        cascade_class_ensemble: Whether detections take the mean of all stages' class logits
            instead of the last stage's.
    """

    num_convs: int = 4
    num_filters: int = 256
    use_separable_conv: bool = False
    num_fcs: int = 1
    fc_dims: int = 1024
    class_agnostic_bbox_pred: bool = False
    cascade_class_ensemble: bool = False

    _weight_fields: ClassVar[tuple[str, ...]] = (
        'num_convs',
        'num_filters',
        'use_separable_conv',
        'num_fcs',
        'fc_dims',
        'class_agnostic_bbox_pred',
    )

    def _check(self, report: hyperparams.Report) -> None:
        checks.check_least(self, report, 0, 'num_convs', 'num_fcs')
        checks.check_least(self, report, 1, 'num_filters', 'fc_dims')


@dataclasses.dataclass
class ROIGenerator(hyperparams.Config):
    """How scores and box codes of anchors become proposals.

    Attributes:
        pre_nms_top_k: Best boxes of each level that go into suppression, in training.
        pre_nms_score_threshold: Boxes below this score are dropped, in training.
        pre_nms_min_size_threshold: Boxes with a shorter side, in px, are dropped, in training.
        nms_iou_threshold: A box that overlaps a better one of its level by more than this is
            dropped, in training. 0 means: none is.
        num_proposals: Proposals of an image, and the most of a level, in training.
        test_pre_nms_top_k: As `pre_nms_top_k`, in evaluation.
        test_pre_nms_score_threshold: As `pre_nms_score_threshold`, in evaluation.
        test_pre_nms_min_size_threshold: As `pre_nms_min_size_threshold`, in evaluation.
        test_nms_iou_threshold: As `nms_iou_threshold`, in evaluation.
        test_num_proposals: As `num_proposals`, in evaluation.
        use_batched_nms: Whether suppression is TensorFlow's operation on a batch, which keeps
            overlaps that equal the threshold; top_k is then without effect.
    """

    pre_nms_top_k: int = 2000
    pre_nms_score_threshold: float = 0.0
    pre_nms_min_size_threshold: float = 0.0
    nms_iou_threshold: float = 0.7
    num_proposals: int = 1000
    test_pre_nms_top_k: int = 1000
    test_pre_nms_score_threshold: float = 0.0
    test_pre_nms_min_size_threshold: float = 0.0
    test_nms_iou_threshold: float = 0.7
    test_num_proposals: int = 1000
    use_batched_nms: bool = False

    def _check(self, report: hyperparams.Report) -> None:
        for mode in ('', 'test_'):
            checks.check_least(self, report, 1, f'{mode}pre_nms_top_k', f'{mode}num_proposals')
            checks.check_least(self, report, 0, f'{mode}pre_nms_min_size_threshold')
            checks.check_share(
                self, report, f'{mode}pre_nms_score_threshold', f'{mode}nms_iou_threshold'
            )


@dataclasses.dataclass
class ROISampler(hyperparams.Config):
    """Which proposals the second stage learns from.

    Attributes:
        mix_gt_boxes: Whether ground-truth boxes are among the proposals.
        num_sampled_rois: Proposals taken from each image.
        foreground_fraction: Most of them that may be objects, as a share.
        foreground_iou_threshold: A proposal is an object from this IoU on.
        background_iou_high_threshold: A proposal is background below this IoU.
        background_iou_low_threshold: ... and from this one on. Proposals below are taken only
            when there are not enough others.
        cascade_iou_thresholds: `foreground_iou_threshold` of the second and later stages. None
            or [] means one stage.
    """

    mix_gt_boxes: bool = True
    num_sampled_rois: int = 512
    foreground_fraction: float = 0.25
    foreground_iou_threshold: float = 0.5
    background_iou_high_threshold: float = 0.5
    background_iou_low_threshold: float = 0.0
    cascade_iou_thresholds: Optional[list[float]] = None

    _weight_fields: ClassVar[tuple[str, ...]] = ('cascade_iou_thresholds',)

    def _check(self, report: hyperparams.Report) -> None:
        checks.check_least(self, report, 1, 'num_sampled_rois')
        names = (
            'background_iou_low_threshold',
            'background_iou_high_threshold',
            'foreground_iou_threshold',
        )
        checks.check_share(self, report, 'foreground_fraction', *names)
        for lower, upper in itertools.pairwise(names):
            limit = getattr(self, upper)
            if getattr(self, lower) > limit:
                report(lower, expected=f'at most {upper} ({limit:g})')
        if any(not 0 <= iou <= 1 for iou in self.cascade_iou_thresholds or ()):
            report('cascade_iou_thresholds', expected='numbers of 0 to 1')


@dataclasses.dataclass
class ROIAligner(hyperparams.Config):
    """How features are cut out at proposals.

    Attributes:
        crop_size: Height and width of what is cut out.
        sample_offset: Where in a bin the features are read, as a share of its side.
    """

    crop_size: int = 7
    sample_offset: float = 0.5

    def _check(self, report: hyperparams.Report) -> None:
        checks.check_least(self, report, 1, 'crop_size')
        checks.check_share(self, report, 'sample_offset')


@dataclasses.dataclass
class DetectionGenerator(hyperparams.Config):
    """How scores and box codes of proposals become detections.

    Attributes:
        apply_nms: Whether boxes that overlap better ones are dropped. If not, all come out.
        pre_nms_top_k: Best boxes of each class that go into suppression.
        pre_nms_score_threshold: Boxes below this score are dropped.
        nms_iou_threshold: A box that overlaps a better one by more than this is dropped.
        max_num_detections: Most detections of an image.
        nms_version: The versions differ in overlaps that equal the threshold.
        use_cpu_nms: Whether suppression is placed on the CPU.
        soft_nms_sigma: Overlap lowers scores instead of dropping boxes (arXiv:1704.04503); with
            'v1' only. None means no.
        use_sigmoid_probability: Whether each class is scored by itself (sigmoid) instead of
            against the others (softmax).
    """

    apply_nms: bool = True
    pre_nms_top_k: int = 5000
    pre_nms_score_threshold: float = 0.05
    nms_iou_threshold: float = 0.5
    max_num_detections: int = 100
    nms_version: Literal['v1', 'v2', 'batched'] = 'v2'
    use_cpu_nms: bool = False
    soft_nms_sigma: Optional[float] = None
    use_sigmoid_probability: bool = False

    def _check(self, report: hyperparams.Report) -> None:
        checks.check_least(self, report, 1, 'pre_nms_top_k', 'max_num_detections')
        checks.check_share(self, report, 'pre_nms_score_threshold', 'nms_iou_threshold')
        if self.soft_nms_sigma is not None and self.nms_version != 'v1':
            report('soft_nms_sigma', expected=f'null with nms_version={self.nms_version}')
        if self.soft_nms_sigma is not None and self.soft_nms_sigma <= 0:
            report('soft_nms_sigma', expected='more than 0, or null')


@dataclasses.dataclass
class MaskHead(hyperparams.Config):
    """Which pixels of a region are the object: convolutions, then an enlarging one.

    Attributes:
        upsample_factor: Side of the mask over the side of the features.
        num_convs: Convolutions before the enlarging one.
        num_filters: Channels of the convolutions.
        use_separable_conv: Whether convolutions are depthwise separable.
        class_agnostic: Whether there is one mask for all classes instead of one for each.
    """

    upsample_factor: int = 2
    num_convs: int = 4
    num_filters: int = 256
    use_separable_conv: bool = False
    class_agnostic: bool = False

    _weight_fields: ClassVar[tuple[str, ...]] = (
        'upsample_factor',
        'num_convs',
        'num_filters',
        'use_separable_conv',
        'class_agnostic',
    )

    def _check(self, report: hyperparams.Report) -> None:
        checks.check_least(self, report, 0, 'num_convs')
        checks.check_least(self, report, 1, 'num_filters', 'upsample_factor')


@dataclasses.dataclass
class MaskSampler(hyperparams.Config):
    """Which proposals the mask head learns from.

    Attributes:
        num_sampled_masks: Proposals of each image, objects first.
    """

    num_sampled_masks: int = 128

    def _check(self, report: hyperparams.Report) -> None:
        checks.check_least(self, report, 1, 'num_sampled_masks')


@dataclasses.dataclass
class MaskROIAligner(ROIAligner):
    """How features are cut out for masks.

    Attributes:
        crop_size: Height and width of what is cut out.
        sample_offset: Where in a bin the features are read, as a share of its side.
    """

    crop_size: int = 14
    sample_offset: float = 0.5


@dataclasses.dataclass
class MaskScoringHead(semantic_segmentation_model.MaskScoringHead):
    """What predicts the IoU of the mask of a region and its object (arXiv:1903.00241). Ours.

    Attributes:
        num_convs: Convolutions.
        num_filters: Channels of these convolutions.
        fc_input_size: Height and width that features are resized to before the dense layers.
        num_fcs: Dense layers before the prediction.
        fc_dims: Their units.
        use_depthwise_convolution: Whether convolutions are depthwise separable.
    """

    num_filters: int = 256
    fc_input_size: list[int] = dataclasses.field(default_factory=lambda: [7, 7])

    _weight_fields: ClassVar[tuple[str, ...]] = (
        'num_convs',
        'num_filters',
        'fc_input_size',
        'num_fcs',
        'fc_dims',
        'use_depthwise_convolution',
    )


@dataclasses.dataclass
class MaskRCNN(hyperparams.Config):
    """The model.

    Attributes:
        num_classes: Number of classes, background (label 0) among them. 0 means: from the data.
        input_size: Height and width, in px, and channels of the network's input. [] means not set.
        min_level: Finest level of the pyramid; level l has a stride of 2**l px.
        max_level: Coarsest level of the pyramid.
        anchor: The boxes that proposals start from.
        include_mask: Whether there are masks (Mask R-CNN) or boxes only (Faster R-CNN).
        outer_boxes_scale: Masks are learnt in boxes enlarged by this, 1 or more.
        backbone: What turns an image into features.
        decoder: What turns features into a pyramid.
        rpn_head: What finds anchors that hold an object.
        detection_head: What tells the class and the box of a proposal.
        roi_generator: What turns scored anchors into proposals.
        roi_sampler: What picks proposals to learn from.
        roi_aligner: What cuts features out for classes and boxes.
        detection_generator: What turns classes and boxes into detections.
        mask_head: What draws the mask of a proposal. None with `include_mask` false only.
        mask_sampler: What picks proposals to learn masks from. None as above.
        mask_roi_aligner: What cuts features out for masks. None as above.
        norm_activation: Normalisation and activation of all blocks.
        mask_scoring_head: Ours. What predicts how good masks are; detections of masks are then
            ranked by the class score times the prediction. None means by the class score alone.
    """

    num_classes: int = 0
    input_size: list[Optional[int]] = dataclasses.field(default_factory=list)
    min_level: int = 2
    max_level: int = 6
    anchor: Anchor = dataclasses.field(default_factory=Anchor)
    include_mask: bool = True
    outer_boxes_scale: float = 1.0
    backbone: backbones.Backbone = dataclasses.field(
        default_factory=lambda: backbones.Backbone(type='resnet')
    )
    decoder: decoders.Decoder = dataclasses.field(
        default_factory=lambda: decoders.Decoder(type='fpn')
    )
    rpn_head: RPNHead = dataclasses.field(default_factory=RPNHead)
    detection_head: DetectionHead = dataclasses.field(default_factory=DetectionHead)
    roi_generator: ROIGenerator = dataclasses.field(default_factory=ROIGenerator)
    roi_sampler: ROISampler = dataclasses.field(default_factory=ROISampler)
    roi_aligner: ROIAligner = dataclasses.field(default_factory=ROIAligner)
    detection_generator: DetectionGenerator = dataclasses.field(default_factory=DetectionGenerator)
    mask_head: Optional[MaskHead] = dataclasses.field(default_factory=MaskHead)
    mask_sampler: Optional[MaskSampler] = dataclasses.field(default_factory=MaskSampler)
    mask_roi_aligner: Optional[MaskROIAligner] = dataclasses.field(default_factory=MaskROIAligner)
    norm_activation: common.NormActivation = dataclasses.field(
        default_factory=lambda: common.NormActivation(
            norm_momentum=0.997, norm_epsilon=0.0001, use_sync_bn=True
        )
    )
    # Ours.
    mask_scoring_head: Optional[MaskScoringHead] = None

    _from_data: ClassVar[tuple[str, ...]] = ('num_classes',)
    _weight_fields: ClassVar[tuple[str, ...]] = (
        'num_classes',
        'min_level',
        'max_level',
        'include_mask',
    )

    def _check(self, report: hyperparams.Report) -> None:
        checks.check_detector(self, report)
        if self.outer_boxes_scale < 1:
            report('outer_boxes_scale', expected='1 or more')
        cascade = self.roi_sampler.cascade_iou_thresholds
        if cascade and not self.detection_head.class_agnostic_bbox_pred:
            report(
                'detection_head.class_agnostic_bbox_pred',
                expected='true with roi_sampler.cascade_iou_thresholds: a stage hands one box of '
                'each proposal to the next',
            )
        if self.detection_head.cascade_class_ensemble and not cascade:
            report(
                'detection_head.cascade_class_ensemble',
                expected='false without roi_sampler.cascade_iou_thresholds',
            )
        if self.include_mask:
            self._check_mask_parts(report)
        elif self.mask_scoring_head is not None:
            report('mask_scoring_head', expected='null, because include_mask is false')

    def _check_mask_parts(self, report: hyperparams.Report) -> None:
        for name in ('mask_head', 'mask_sampler', 'mask_roi_aligner'):
            if getattr(self, name) is None:
                report(name, expected='settings, because include_mask is true')
        if not self.detection_generator.apply_nms:
            report(
                'detection_generator.apply_nms',
                expected='true with include_mask: masks are drawn for detections',
            )
