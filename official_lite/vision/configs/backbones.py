"""Configs of backbones. Fields and defaults are Model Garden's unless marked as ours.

A backbone without max-pool in its stem is asked for by `ResNet.stem_pool = False`: the stem's
convolution keeps its stride of 2 and the first stage takes the other stride of 2, so that level l
has a stride of 2**l with and without it.

To add a backbone of your own, leave this file alone: `register_backbone` in
`official_lite.vision.registries` adds the branch.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal, Optional

from official_lite.modeling import hyperparams
from official_lite.vision.configs.vit import Transformer, VisionTransformer
from official_lite.vision.configs.zoos import KerasApplications, KerasHub

__all__ = [
    'Backbone',
    'DilatedResNet',
    'EfficientNet',
    'KerasApplications',
    'KerasHub',
    'MobileDet',
    'MobileNet',
    'ResNet',
    'ResNetUNet',
    'RevNet',
    'SpineNet',
    'SpineNetMobile',
    'Transformer',
    'VisionTransformer',
]


@dataclasses.dataclass
class ResNet(hyperparams.Config):
    """Residual networks (arXiv:1512.03385), ResNet-D (arXiv:1812.01187), ResNet-RS (arXiv:2103.07579).

    Attributes:
        model_id: Number of layers. 10 to 34 have basic blocks, 50 and more bottlenecks.
        depth_multiplier: Factor on the number of channels of every stage.
        stem_type: 'v0' is one 7x7 convolution, 'v1' three 3x3 convolutions.
        se_ratio: Channels of squeeze-and-excitation relative to its input. 0 means none.
        stochastic_depth_drop_rate: Chance that the last stage's blocks are skipped in training.
        scale_stem: Whether `depth_multiplier` acts on the stem too.
        resnetd_shortcut: Whether shortcuts are averaged before they are projected.
        replace_stem_max_pool: Whether a convolution of stride 2 takes the max-pool's place.
        bn_trainable: Whether BatchNorm's scale and offset are trained.
        stem_pool: Ours. Whether the stem ends in its max-pool (or what replaces it). If not, the
            stem's convolution keeps its stride of 2 and the first stage gets a stride of 2, so that
            every level keeps its stride.
    """

    model_id: Literal[10, 18, 26, 34, 50, 101, 152, 200, 270, 350, 420] = 50
    depth_multiplier: float = 1.0
    stem_type: Literal['v0', 'v1'] = 'v0'
    se_ratio: float = 0.0
    stochastic_depth_drop_rate: float = 0.0
    scale_stem: bool = True
    resnetd_shortcut: bool = False
    replace_stem_max_pool: bool = False
    bn_trainable: bool = True
    # Ours.
    stem_pool: bool = True

    _weight_fields: ClassVar[tuple[str, ...]] = (
        'model_id',
        'depth_multiplier',
        'stem_type',
        'se_ratio',
        'scale_stem',
        'resnetd_shortcut',
        'replace_stem_max_pool',
        'stem_pool',
    )

    def _check(self, report: hyperparams.Report) -> None:
        if self.depth_multiplier <= 0:
            report('depth_multiplier', expected='more than 0')
        if not 0 <= self.se_ratio <= 1:
            report('se_ratio', expected='0 to 1')
        if not 0 <= self.stochastic_depth_drop_rate < 1:
            report('stochastic_depth_drop_rate', expected='at least 0 and less than 1')
        if self.replace_stem_max_pool and not self.stem_pool:
            report(
                'replace_stem_max_pool',
                expected='false, because stem_pool is off: there is nothing to replace',
            )


@dataclasses.dataclass
class DilatedResNet(hyperparams.Config):
    """Residual networks that keep their resolution at the end (arXiv:1706.05587), for DeepLab.

    Attributes:
        model_id: Number of layers.
        output_stride: Stride of the coarsest level: 16 gives the levels 2 to 4. Later strides become
            dilation.
        multigrid: Factors of the dilation of the three blocks of the last stage. None means 1.
        stem_type: 'v0' is one 7x7 convolution, 'v1' three 3x3 convolutions.
        last_stage_repeats: How often there is a last stage, each with twice the dilation.
        se_ratio: Channels of squeeze-and-excitation relative to its input. 0 means none.
        stochastic_depth_drop_rate: Chance that the last stage's blocks are skipped in training.
        resnetd_shortcut: Whether shortcuts are averaged before they are projected.
        replace_stem_max_pool: Whether a convolution of stride 2 takes the max-pool's place.
    """

    model_id: Literal[50, 101, 152, 200] = 50
    output_stride: Literal[4, 8, 16, 32] = 16
    multigrid: Optional[list[int]] = None
    stem_type: Literal['v0', 'v1'] = 'v0'
    last_stage_repeats: int = 1
    se_ratio: float = 0.0
    stochastic_depth_drop_rate: float = 0.0
    resnetd_shortcut: bool = False
    replace_stem_max_pool: bool = False

    _weight_fields: ClassVar[tuple[str, ...]] = (
        'model_id',
        'stem_type',
        'last_stage_repeats',
        'se_ratio',
        'resnetd_shortcut',
        'replace_stem_max_pool',
    )

    def _check(self, report: hyperparams.Report) -> None:
        if not 0 <= self.se_ratio <= 1:
            report('se_ratio', expected='0 to 1')
        if not 0 <= self.stochastic_depth_drop_rate < 1:
            report('stochastic_depth_drop_rate', expected='at least 0 and less than 1')
        if self.last_stage_repeats < 1:
            report('last_stage_repeats', expected='1 or more')
        if self.multigrid is None:
            return
        if len(self.multigrid) != 3 or min(self.multigrid) < 1:
            report('multigrid', expected='null or 3 numbers of 1 or more: one for each block')
        elif self.output_stride == 32 and self.last_stage_repeats == 1:
            report('multigrid', expected='null, because nothing is dilated with output_stride=32')


@dataclasses.dataclass
class ResNetUNet(hyperparams.Config):
    """Residual networks, refined from the top down by ConvNeXt blocks (arXiv:2312.06052).

    Attributes:
        model_id: Number of layers of the residual network.
        depth_multiplier: Factor on the number of channels of every stage and refined level.
        stem_type: 'v0' is one 7x7 convolution, 'v1' three 3x3 convolutions.
        se_ratio: Channels of squeeze-and-excitation relative to its input. 0 means none.
        stochastic_depth_drop_rate: Chance that the blocks of the third refined level are skipped in
            training.
        scale_stem: Whether `depth_multiplier` acts on the stem too.
        resnetd_shortcut: Whether shortcuts are averaged before they are projected.
        replace_stem_max_pool: Whether a convolution of stride 2 takes the max-pool's place.
        bn_trainable: Whether BatchNorm's scale and offset are trained.
        classification_output: Whether the finest refined level comes out as level 6 too, where
            classifiers look.
        upsample_kernel_sizes: Sides of the kernels of level 5, 4 and so on. None means [7, 7, 7].
        upsample_repeats: ConvNeXt blocks of these levels. None means [18, 1, 1].
        upsample_filters: Channels of these levels. None means [384, 384, 384].
    """

    model_id: Literal[10, 18, 26, 34, 50, 101, 152, 200, 270, 350, 420] = 50
    depth_multiplier: float = 1.0
    stem_type: Literal['v0', 'v1'] = 'v0'
    se_ratio: float = 0.0
    stochastic_depth_drop_rate: float = 0.0
    scale_stem: bool = True
    resnetd_shortcut: bool = False
    replace_stem_max_pool: bool = False
    bn_trainable: bool = True
    classification_output: bool = False
    upsample_kernel_sizes: Optional[list[int]] = None
    upsample_repeats: Optional[list[int]] = None
    upsample_filters: Optional[list[int]] = None

    _weight_fields: ClassVar[tuple[str, ...]] = (
        'model_id',
        'depth_multiplier',
        'stem_type',
        'se_ratio',
        'scale_stem',
        'resnetd_shortcut',
        'replace_stem_max_pool',
        'upsample_kernel_sizes',
        'upsample_repeats',
        'upsample_filters',
    )

    def _check(self, report: hyperparams.Report) -> None:
        if self.depth_multiplier <= 0:
            report('depth_multiplier', expected='more than 0')
        if not 0 <= self.se_ratio <= 1:
            report('se_ratio', expected='0 to 1')
        # The fourth refined level has 9/8 of it.
        if not 0 <= self.stochastic_depth_drop_rate < 8 / 9:
            report('stochastic_depth_drop_rate', expected='at least 0 and less than 8/9')
        num_levels = len(self.upsample_filters or [384, 384, 384])
        if not 1 <= num_levels <= 4:
            report('upsample_filters', expected='null or 1 to 4 numbers: of level 5, 4 and so on')
        for name in ('upsample_kernel_sizes', 'upsample_repeats', 'upsample_filters'):
            values = getattr(self, name) or [1] * 3
            if len(values) != num_levels or min(values) < 1:
                report(name, expected=f'{num_levels} numbers of 1 or more, one for each level')


MobileNetId = Literal[
    'MobileNetV1',
    'MobileNetV2',
    'MobileNetV3Large',
    'MobileNetV3Small',
    'MobileNetV3SmallReducedFilters',
    'MobileNetV3EdgeTPU',
    'MobileNetMultiMAX',
    'MobileNetMultiAVG',
    'MobileNetMultiMAXSeg',
    'MobileNetMultiAVGSeg',
    'MobileNetV4ConvSmall',
    'MobileNetV4ConvMedium',
    'MobileNetV4ConvMediumSeg',
    'MobileNetV4ConvLarge',
    'MobileNetV4HybridMedium',
    'MobileNetV4HybridLarge',
]


@dataclasses.dataclass
class MobileNet(hyperparams.Config):
    """MobileNets (arXiv:1704.04861, 1801.04381, 1905.02244, 2008.08178, 2404.10518).

    Attributes:
        model_id: Which network. MobileNetMulti*Seg have a level 6 of stride 32; under a decoder that
            reaches level 6, give them `output_stride=32`, which makes these features level 5.
        filter_size_scale: Factor on the number of channels.
        stochastic_depth_drop_rate: Chance that a block is skipped in training.
        flat_stochastic_depth_drop_rate: Whether that chance is the same for all blocks; if not, it
            rises from 0 at the first block.
        output_stride: Largest stride, a power of 2 up to 32 (MobileNetV1: 8, 16 or 32); later ones
            become dilation. None means no limit.
        output_intermediate_endpoints: Whether the levels' depthwise features come out too.
    """

    model_id: MobileNetId = 'MobileNetV2'
    filter_size_scale: float = 1.0
    stochastic_depth_drop_rate: float = 0.0
    flat_stochastic_depth_drop_rate: bool = True
    output_stride: Optional[int] = None
    output_intermediate_endpoints: bool = False

    _weight_fields: ClassVar[tuple[str, ...]] = ('model_id', 'filter_size_scale')

    def _check(self, report: hyperparams.Report) -> None:
        if self.filter_size_scale <= 0:
            report('filter_size_scale', expected='more than 0')
        if not 0 <= self.stochastic_depth_drop_rate < 1:
            report('stochastic_depth_drop_rate', expected='at least 0 and less than 1')
        strides = (8, 16, 32) if self.model_id == 'MobileNetV1' else (1, 2, 4, 8, 16, 32)
        if self.output_stride is not None and self.output_stride not in strides:
            report('output_stride', expected=f'None or one of {", ".join(map(str, strides))}')


EfficientNetId = Literal['b0', 'b1', 'b2', 'b3', 'b4', 'b5', 'b6', 'b7']


@dataclasses.dataclass
class EfficientNet(hyperparams.Config):
    """EfficientNet (arXiv:1905.11946). The paper's have `se_ratio=0.25` and the activation swish.

    Attributes:
        model_id: Which size.
        se_ratio: Channels of squeeze-and-excitation relative to a block's input. 0 means none.
        stochastic_depth_drop_rate: Chance that a block is skipped in training, the same for all.
        se_inner_activation: Activation inside squeeze-and-excitation. The paper's is swish.
    """

    model_id: EfficientNetId = 'b0'
    se_ratio: float = 0.0
    stochastic_depth_drop_rate: float = 0.0
    se_inner_activation: str = 'relu'

    _weight_fields: ClassVar[tuple[str, ...]] = ('model_id', 'se_ratio')

    def _check(self, report: hyperparams.Report) -> None:
        if not 0 <= self.se_ratio <= 1:
            report('se_ratio', expected='0 to 1')
        if not 0 <= self.stochastic_depth_drop_rate < 1:
            report('stochastic_depth_drop_rate', expected='at least 0 and less than 1')


@dataclasses.dataclass
class SpineNet(hyperparams.Config):
    """SpineNet (arXiv:1912.05027), a backbone that is its own decoder: use decoder 'identity'.

    Attributes:
        model_id: Which size.
        stochastic_depth_drop_rate: Chance that the last block is skipped in training.
        min_level: Finest output level.
        max_level: Coarsest output level.
    """

    model_id: Literal['49S', '49', '96', '143', '143L', '190'] = '49'
    stochastic_depth_drop_rate: float = 0.0
    min_level: int = 3
    max_level: int = 7

    _weight_fields: ClassVar[tuple[str, ...]] = ('model_id', 'min_level', 'max_level')

    def _check(self, report: hyperparams.Report) -> None:
        if not 0 <= self.stochastic_depth_drop_rate < 1:
            report('stochastic_depth_drop_rate', expected='at least 0 and less than 1')
        if not 2 <= self.min_level <= self.max_level:
            report('min_level', expected=f'2 to max_level ({self.max_level})')
        if self.max_level > 7:
            report('max_level', expected='7 or less')


@dataclasses.dataclass
class SpineNetMobile(hyperparams.Config):
    """SpineNet of inverted bottlenecks (arXiv:2010.11426); use decoder 'identity'.

    Attributes:
        model_id: Which size.
        stochastic_depth_drop_rate: Chance that the last block is skipped in training.
        se_ratio: Channels of squeeze-and-excitation relative to a block's input. 0 means none.
        expand_ratio: Factor by which blocks widen their input inside.
        min_level: Finest output level.
        max_level: Coarsest output level, and of blocks.
        use_keras_upsampling_2d: Whether maps are enlarged by a Keras layer. Values are the same.
    """

    model_id: Literal['49', '49S', '49XS'] = '49'
    stochastic_depth_drop_rate: float = 0.0
    se_ratio: float = 0.2
    expand_ratio: int = 6
    min_level: int = 3
    max_level: int = 7
    use_keras_upsampling_2d: bool = False

    _weight_fields: ClassVar[tuple[str, ...]] = (
        'model_id',
        'se_ratio',
        'expand_ratio',
        'min_level',
        'max_level',
    )

    def _check(self, report: hyperparams.Report) -> None:
        if not 0 <= self.se_ratio <= 1:
            report('se_ratio', expected='0 to 1')
        if not 0 <= self.stochastic_depth_drop_rate < 1:
            report('stochastic_depth_drop_rate', expected='at least 0 and less than 1')
        if self.expand_ratio < 1:
            report('expand_ratio', expected='1 or more')
        if not 3 <= self.min_level <= self.max_level:
            report('min_level', expected=f'3 to max_level ({self.max_level})')
        if self.max_level > 7:
            report('max_level', expected='7 or less')


MobileDetId = Literal['MobileDetCPU', 'MobileDetDSP', 'MobileDetEdgeTPU', 'MobileDetGPU']


@dataclasses.dataclass
class MobileDet(hyperparams.Config):
    """MobileDets (arXiv:2004.14525), for detectors; their activations are their own.

    Attributes:
        model_id: Which network: each is meant for one kind of processor.
        filter_size_scale: Factor on the number of channels.
    """

    model_id: MobileDetId = 'MobileDetCPU'
    filter_size_scale: float = 1.0

    _weight_fields: ClassVar[tuple[str, ...]] = ('model_id', 'filter_size_scale')

    def _check(self, report: hyperparams.Report) -> None:
        if self.filter_size_scale <= 0:
            report('filter_size_scale', expected='more than 0')


RevNetId = Literal[38, 56, 104]


@dataclasses.dataclass
class RevNet(hyperparams.Config):
    """Reversible residual networks (arXiv:1707.04585): memory of training does not grow with depth.

    Attributes:
        model_id: Number of layers. 38 has the levels 2 to 4, the others 2 to 5.
    """

    model_id: RevNetId = 56

    _weight_fields: ClassVar[tuple[str, ...]] = ('model_id',)


@dataclasses.dataclass
class Backbone(hyperparams.OneOfConfig):
    """Which backbone, and its settings.

    Attributes:
        type: Name of the branch that counts. None means not set.
        resnet: Residual networks.
        dilated_resnet: Residual networks that keep their resolution at the end.
        resnet_unet: Residual networks refined from the top down. Ours: Model Garden has it in a
            project only.
        revnet: Reversible residual networks.
        efficientnet: EfficientNets.
        spinenet: SpineNets.
        spinenet_mobile: SpineNets of inverted bottlenecks.
        mobilenet: MobileNets.
        mobiledet: MobileDets.
        vit: Vision transformers.
        keras_applications: Ours. Models of `keras.applications`.
        keras_hub: Ours. Image backbones of KerasHub.
    """

    type: Optional[str] = None
    resnet: ResNet = dataclasses.field(default_factory=ResNet)
    dilated_resnet: DilatedResNet = dataclasses.field(default_factory=DilatedResNet)
    resnet_unet: ResNetUNet = dataclasses.field(default_factory=ResNetUNet)
    revnet: RevNet = dataclasses.field(default_factory=RevNet)
    efficientnet: EfficientNet = dataclasses.field(default_factory=EfficientNet)
    spinenet: SpineNet = dataclasses.field(default_factory=SpineNet)
    spinenet_mobile: SpineNetMobile = dataclasses.field(default_factory=SpineNetMobile)
    mobilenet: MobileNet = dataclasses.field(default_factory=MobileNet)
    mobiledet: MobileDet = dataclasses.field(default_factory=MobileDet)
    vit: VisionTransformer = dataclasses.field(default_factory=VisionTransformer)
    # Ours.
    keras_applications: KerasApplications = dataclasses.field(default_factory=KerasApplications)
    keras_hub: KerasHub = dataclasses.field(default_factory=KerasHub)

    _weight_fields: ClassVar[tuple[str, ...]] = ('type',)
