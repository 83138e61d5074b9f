"""Semantic segmentation: configs of the model. Model Garden's unless marked as ours."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal, Optional, Union

from official_lite.modeling import hyperparams
from official_lite.vision.configs import backbones, common, decoders

__all__ = ['FeatureFusion', 'MaskScoringHead', 'SegmentationHead', 'SemanticSegmentationModel']

FeatureFusion = Literal[
    'deeplabv3plus', 'deeplabv3plus_sum_to_merge', 'pyramid_fusion', 'panoptic_fpn_fusion'
]


@dataclasses.dataclass
class SegmentationHead(hyperparams.Config):
    """What turns features into the logits of each place.

    Attributes:
        level: Level of the decoder's features that it reads; their stride is 2**level px.
        num_convs: Convolutions before the prediction.
        num_filters: Channels of these convolutions.
        use_depthwise_convolution: Whether they are depthwise separable.
        prediction_kernel_size: Side of the kernel of the prediction.
        upsample_factor: How many times higher and wider the features become before the prediction.
        logit_activation: What is applied to logits. None means nothing.
        feature_fusion: How features of other levels come in: 'deeplabv3plus' and
            'deeplabv3plus_sum_to_merge' (one finer level of the backbone), 'pyramid_fusion' (all
            levels of the decoder, added) or 'panoptic_fpn_fusion' (1901.02446). None: not at all.
        low_level: That finer level, or the name of an endpoint such as '2/depthwise'.
        low_level_num_filters: Channels to which its features are projected.
        decoder_min_level: Finest level of 'panoptic_fpn_fusion'. None means the model's `min_level`.
        decoder_max_level: Its coarsest level. None means the model's `max_level`.
    """

    level: int = 3
    num_convs: int = 2
    num_filters: int = 256
    use_depthwise_convolution: bool = False
    prediction_kernel_size: int = 1
    upsample_factor: int = 1
    logit_activation: Optional[Literal['sigmoid', 'softmax']] = None
    feature_fusion: Optional[FeatureFusion] = None
    low_level: Union[int, str] = 2
    low_level_num_filters: int = 48
    decoder_min_level: Optional[Union[int, str]] = None
    decoder_max_level: Optional[Union[int, str]] = None

    _weight_fields: ClassVar[tuple[str, ...]] = (
        'level',
        'num_convs',
        'num_filters',
        'use_depthwise_convolution',
        'prediction_kernel_size',
        'feature_fusion',
        'low_level',
        'low_level_num_filters',
        'decoder_min_level',
        'decoder_max_level',
    )

    def _check(self, report: hyperparams.Report) -> None:
        if self.num_convs < 0:
            report('num_convs', expected='0 or more')
        for name in ('num_filters', 'prediction_kernel_size', 'upsample_factor'):
            if getattr(self, name) < 1:
                report(name, expected='1 or more')


@dataclasses.dataclass
class MaskScoringHead(hyperparams.Config):
    """What predicts the IoU of each class from the logits (arXiv:1903.00241).

    Attributes:
        num_convs: Convolutions.
        num_filters: Channels of these convolutions.
        fc_input_size: Height and width that features are resized to before the dense layers.
        num_fcs: Dense layers before the prediction.
        fc_dims: Their units.
        use_depthwise_convolution: Whether convolutions are depthwise separable.
    """

    num_convs: int = 4
    num_filters: int = 128
    fc_input_size: list[int] = dataclasses.field(default_factory=list)
    num_fcs: int = 2
    fc_dims: int = 1024
    use_depthwise_convolution: bool = False

    def _check(self, report: hyperparams.Report) -> None:
        for name in ('num_convs', 'num_fcs'):
            if getattr(self, name) < 0:
                report(name, expected='0 or more')
        for name in ('num_filters', 'fc_dims'):
            if getattr(self, name) < 1:
                report(name, expected='1 or more')
        if len(self.fc_input_size) != 2 or min(self.fc_input_size) < 1:
            report('fc_input_size', expected='[height, width] of 1 or more')


@dataclasses.dataclass
class SemanticSegmentationModel(hyperparams.Config):
    """Backbone, decoder and head; logits of each place of the image.

    Attributes:
        num_classes: Number of classes. 0 means: from the data.
        input_size: Height and width, px, and channels of images. None for sides that vary, [] means
            not set.
        min_level: Finest level of a decoder that makes a pyramid.
        max_level: Coarsest level of a decoder that makes a pyramid.
        head: What turns features into logits.
        backbone: What turns an image into features.
        decoder: What turns these into richer ones.
        mask_scoring_head: What predicts how good the masks are. None means nothing.
        norm_activation: Normalisation and activation of all blocks.
    """

    num_classes: int = 0
    input_size: list[Optional[int]] = dataclasses.field(default_factory=list)
    min_level: int = 3
    max_level: int = 6
    head: SegmentationHead = dataclasses.field(default_factory=SegmentationHead)
    backbone: backbones.Backbone = dataclasses.field(
        default_factory=lambda: backbones.Backbone(type='resnet')
    )
    decoder: decoders.Decoder = dataclasses.field(
        default_factory=lambda: decoders.Decoder(type='identity')
    )
    mask_scoring_head: Optional[MaskScoringHead] = None
    norm_activation: common.NormActivation = dataclasses.field(
        default_factory=common.NormActivation
    )

    _from_data: ClassVar[tuple[str, ...]] = ('num_classes',)
    _weight_fields: ClassVar[tuple[str, ...]] = ('num_classes', 'min_level', 'max_level')

    def _check(self, report: hyperparams.Report) -> None:
        if self.num_classes < 0:
            report('num_classes', expected='2 or more, or 0: from the data')
        if not 1 <= self.min_level <= self.max_level:
            report('min_level', expected=f'1 to max_level ({self.max_level})')
        if not self.input_size:
            return
        if len(self.input_size) != 3:
            report('input_size', expected='[height, width, channels]')
        elif any(size is not None and size < 1 for size in self.input_size):
            report('input_size', expected='numbers of 1 or more, or null')
