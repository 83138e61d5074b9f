"""RetinaNet (arXiv:1708.02002): configs of the model. Model Garden's unless marked as ours."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal, Optional

from official_lite.modeling import hyperparams
from official_lite.vision.configs import backbones, checks, common, decoders

__all__ = ['Anchor', 'AttributeHead', 'DetectionGenerator', 'RetinaNet', 'RetinaNetHead']


@dataclasses.dataclass
class Anchor(hyperparams.Config):
    """The boxes that predictions start from.

    Attributes:
        num_scales: Sizes per octave: `2 ** (i / num_scales)` times the smallest.
        aspect_ratios: Width over height of the anchors.
        anchor_size: Side of the smallest square anchor, in strides of its level.
    """

    num_scales: int = 3
    aspect_ratios: list[float] = dataclasses.field(default_factory=lambda: [0.5, 1.0, 2.0])
    anchor_size: float = 4.0

    _weight_fields: ClassVar[tuple[str, ...]] = ('num_scales', 'aspect_ratios')

    def _check(self, report: hyperparams.Report) -> None:
        if self.num_scales < 1:
            report('num_scales', expected='1 or more')
        if not self.aspect_ratios or any(ratio <= 0 for ratio in self.aspect_ratios):
            report('aspect_ratios', expected='one or more numbers, each more than 0')
        if self.anchor_size <= 0:
            report('anchor_size', expected='more than 0')


@dataclasses.dataclass
class AttributeHead(hyperparams.Config):
    """A further prediction for every box.

    Attributes:
        name: Name of the attribute.
        type: Whether it is a number or a class.
        size: Numbers, or classes, of the attribute.
        prediction_tower_name: Attributes with the same name share a tower. '' means one of its own.
        num_convs: Convolutions of the tower. None means as many as the head's. Of attributes that
            share a tower, the first says it.
        num_filters: Channels of the tower. None means as many as the head's. Of attributes that
            share a tower, the first says it.
    """

    name: str = ''
    type: Literal['regression', 'classification'] = 'regression'
    size: int = 1
    prediction_tower_name: str = ''
    num_convs: Optional[int] = None
    num_filters: Optional[int] = None

    def _check(self, report: hyperparams.Report) -> None:
        if not self.name:
            report('name', expected='a name')
        if self.size < 1:
            report('size', expected='1 or more')
        if self.num_convs is not None and self.num_convs < 0:
            report('num_convs', expected='0 or more, or null')
        if self.num_filters is not None and self.num_filters < 1:
            report('num_filters', expected='1 or more, or null')


@dataclasses.dataclass
class RetinaNetHead(hyperparams.Config):
    """Two towers of convolutions, one for classes and one for boxes, shared by all levels.

    Attributes:
        num_convs: Convolutions of each tower.
        num_filters: Channels of each tower.
        use_separable_conv: Whether convolutions are depthwise separable.
        attribute_heads: Further predictions for every box.
        share_classification_heads: Whether attributes that are classes share the class tower.
        share_level_convs: Whether the levels share convolutions. BatchNorm is never shared.
    """

    num_convs: int = 4
    num_filters: int = 256
    use_separable_conv: bool = False
    attribute_heads: list[AttributeHead] = dataclasses.field(default_factory=list)
    share_classification_heads: bool = False
    share_level_convs: Optional[bool] = True

    _weight_fields: ClassVar[tuple[str, ...]] = (
        'num_convs',
        'num_filters',
        'use_separable_conv',
        'attribute_heads',
        'share_classification_heads',
        'share_level_convs',
    )

    def _check(self, report: hyperparams.Report) -> None:
        if self.num_convs < 0:
            report('num_convs', expected='0 or more')
        if self.num_filters < 1:
            report('num_filters', expected='1 or more')
        self._check_attributes(report)

    def _check_attributes(self, report: hyperparams.Report) -> None:
        names = [head.name for head in self.attribute_heads]
        towers: dict[str, AttributeHead] = {}
        for index, head in enumerate(self.attribute_heads):
            place = f'attribute_heads[{index}]'
            if head.name in names[:index]:
                report(f'{place}.name', expected='a name that no other attribute has')
            tower = head.prediction_tower_name
            if tower and self.share_classification_heads:
                report(
                    f'{place}.prediction_tower_name',
                    expected="'', because share_classification_heads is true",
                )
            first = towers.setdefault(tower, head) if tower else head
            for field in ('num_convs', 'num_filters'):
                if getattr(head, field) not in (None, getattr(first, field)):
                    report(
                        f'{place}.{field}',
                        expected=f'null, because {first.name!r} says it for the tower {tower!r}',
                    )


@dataclasses.dataclass
class DetectionGenerator(hyperparams.Config):
    """How scores and box codes become detections.

    Attributes:
        apply_nms: Whether boxes that overlap better ones are dropped. If not, all come out.
        decode_boxes: Whether box codes become boxes. If not, with apply_nms=false only, they come
            out as they are.
        pre_nms_top_k: Best boxes of each class, or of the image, that go into suppression.
        pre_nms_score_threshold: Boxes below this score are dropped.
        nms_iou_threshold: A box that overlaps a better one by more than this is dropped.
        max_num_detections: Most detections of an image.
        nms_version: 'v1', 'v2' and 'batched' differ in overlaps that equal the threshold; 'v3' has
            fixed shapes, for accelerators; 'tflite' is TFLite's operation, for export.
        use_cpu_nms: Whether suppression is placed on the CPU.
        soft_nms_sigma: Overlap lowers scores instead of dropping boxes (arXiv:1704.04503); with
            'v1' only. None means no.
        tflite_post_processing: Settings of 'tflite', which replace those above.
        return_decoded: Whether all boxes come out besides the detections. None means no.
        use_class_agnostic_nms: Whether boxes of different classes suppress each other.
        box_coder_weights: Weights of y, x, height and width in box codes. None means 1 each.
        nms_v3_refinements: Ours. Steps that bring 'v3' closer to the other versions. None means 2.
        pre_nms_top_k_sharding_block: Ours. Columns of a feature map that 'v3' sorts at a time.
            None means 128.
    """

    apply_nms: bool = True
    decode_boxes: bool = True
    pre_nms_top_k: int = 5000
    pre_nms_score_threshold: float = 0.05
    nms_iou_threshold: float = 0.5
    max_num_detections: int = 100
    nms_version: Literal['v1', 'v2', 'v3', 'batched', 'tflite'] = 'v2'
    use_cpu_nms: bool = False
    soft_nms_sigma: Optional[float] = None
    tflite_post_processing: common.TFLitePostProcessingConfig = dataclasses.field(
        default_factory=common.TFLitePostProcessingConfig
    )
    return_decoded: Optional[bool] = None
    use_class_agnostic_nms: Optional[bool] = False
    box_coder_weights: Optional[list[float]] = None
    # Ours.
    nms_v3_refinements: Optional[int] = None
    pre_nms_top_k_sharding_block: Optional[int] = None

    def _check(self, report: hyperparams.Report) -> None:
        for name in ('pre_nms_top_k', 'max_num_detections'):
            if getattr(self, name) < 1:
                report(name, expected='1 or more')
        for name in ('pre_nms_score_threshold', 'nms_iou_threshold'):
            if not 0 <= getattr(self, name) <= 1:
                report(name, expected='0 to 1')
        weights = self.box_coder_weights
        if weights is not None and (len(weights) != 4 or min(weights) <= 0):
            report('box_coder_weights', expected='4 numbers above 0: y, x, height, width')
        if not self.decode_boxes and self.apply_nms:
            report(
                'decode_boxes',
                expected='true, because apply_nms is',
                hint='apply_nms=false gives box codes and scores as they are',
            )
        self._check_version(report)

    def _check_version(self, report: hyperparams.Report) -> None:
        """Reports options that the version does not have, so that none is without effect."""
        version = self.nms_version
        if self.soft_nms_sigma is not None and version != 'v1':
            report('soft_nms_sigma', expected=f'null with nms_version={version}')
        if self.soft_nms_sigma is not None and self.soft_nms_sigma <= 0:
            report('soft_nms_sigma', expected='more than 0, or null')
        for name, least in (('nms_v3_refinements', 0), ('pre_nms_top_k_sharding_block', 1)):
            value = getattr(self, name)
            if value is not None and version != 'v3':
                report(name, expected=f'null with nms_version={version}')
            elif value is not None and value < least:
                report(name, expected=f'{least} or more')
        if version == 'tflite':
            self._check_tflite(report)
        elif self.tflite_post_processing != common.TFLitePostProcessingConfig():
            report(
                'tflite_post_processing',
                expected=f'the defaults, because nms_version is {version!r}',
            )

    def _check_tflite(self, report: hyperparams.Report) -> None:
        if self.use_class_agnostic_nms:
            report(
                'use_class_agnostic_nms',
                expected='false with nms_version=tflite',
                hint='tflite_post_processing.use_regular_nms=false suppresses across classes',
            )
        settings = self.tflite_post_processing
        scales = [settings.y_scale, settings.x_scale, settings.h_scale, settings.w_scale]
        if scales not in ([1.0] * 4, self.box_coder_weights):
            report(
                'tflite_post_processing',
                expected='scales of 1, or those of box_coder_weights, with which the model is '
                'trained',
                hint=f'box_coder_weights={scales} trains with these',
            )


@dataclasses.dataclass
class RetinaNet(hyperparams.Config):
    """The model.

    Attributes:
        num_classes: Number of classes, background (label 0) among them. 0 means: from the data.
        input_size: Height and width, in px, and channels of the network's input. [] means not set.
        min_level: Finest level of the pyramid; level l has a stride of 2**l px.
        max_level: Coarsest level of the pyramid.
        anchor: The boxes that predictions start from.
        backbone: What turns an image into features.
        decoder: What turns features into a pyramid.
        head: What turns the pyramid into scores and box codes.
        detection_generator: What turns those into detections.
        norm_activation: Normalisation and activation of all blocks.
    """

    num_classes: int = 0
    input_size: list[Optional[int]] = dataclasses.field(default_factory=list)
    min_level: int = 3
    max_level: int = 7
    anchor: Anchor = dataclasses.field(default_factory=Anchor)
    backbone: backbones.Backbone = dataclasses.field(
        default_factory=lambda: backbones.Backbone(type='resnet')
    )
    decoder: decoders.Decoder = dataclasses.field(
        default_factory=lambda: decoders.Decoder(type='fpn')
    )
    head: RetinaNetHead = dataclasses.field(default_factory=RetinaNetHead)
    detection_generator: DetectionGenerator = dataclasses.field(default_factory=DetectionGenerator)
    norm_activation: common.NormActivation = dataclasses.field(
        default_factory=common.NormActivation
    )

    _from_data: ClassVar[tuple[str, ...]] = ('num_classes',)
    _weight_fields: ClassVar[tuple[str, ...]] = ('num_classes', 'min_level', 'max_level')

    def _check(self, report: hyperparams.Report) -> None:
        checks.check_detector(self, report)
        if self.head.attribute_heads and self.detection_generator.nms_version == 'tflite':
            report(
                'detection_generator.nms_version',
                expected="not 'tflite' with attribute heads: the operation has no place for them",
                hint='detection_generator.apply_nms=false gives all boxes with their attributes',
            )
