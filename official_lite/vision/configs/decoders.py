"""Configs of decoders. Fields and defaults are Model Garden's unless marked as ours.

To add a decoder of your own, leave this file alone: `register_decoder` in
`official_lite.vision.registries` adds the branch.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal, Optional

from official_lite.modeling import hyperparams

__all__ = ['ASPP', 'FPN', 'NASFPN', 'Decoder', 'Identity']


@dataclasses.dataclass
class Identity(hyperparams.Config):
    """No decoder: the backbone's levels go to the head as they are."""


@dataclasses.dataclass
class FPN(hyperparams.Config):
    """Feature pyramid network (arXiv:1612.03144).

    Attributes:
        num_filters: Channels of every level.
        fusion_type: Whether a level and the coarser one above it are added or put side by side.
        use_separable_conv: Whether convolutions are depthwise separable.
        use_keras_layer: Whether levels are enlarged by a Keras layer. Values are the same.
    """

    num_filters: int = 256
    fusion_type: Literal['sum', 'concat'] = 'sum'
    use_separable_conv: bool = False
    use_keras_layer: bool = False

    _weight_fields: ClassVar[tuple[str, ...]] = ('num_filters', 'fusion_type', 'use_separable_conv')

    def _check(self, report: hyperparams.Report) -> None:
        if self.num_filters < 1:
            report('num_filters', expected='1 or more')


@dataclasses.dataclass
class NASFPN(hyperparams.Config):
    """Feature pyramid found by architecture search (arXiv:1904.07392), for the levels 3 to 7.

    Attributes:
        num_filters: Channels of every level.
        num_repeats: How often the cell of seven nodes is applied.
        use_separable_conv: Whether convolutions are depthwise separable.
        merge_filters: Ours. Channels at which two levels are combined; levels with another number
            of channels are projected each time. Model Garden's is always 256. None means
            `num_filters`, which needs no projections: what a narrower pyramid wants.
    """

    num_filters: int = 256
    num_repeats: int = 5
    use_separable_conv: bool = False
    # Ours.
    merge_filters: Optional[int] = 256

    _weight_fields: ClassVar[tuple[str, ...]] = (
        'num_filters',
        'num_repeats',
        'use_separable_conv',
        'merge_filters',
    )

    def _check(self, report: hyperparams.Report) -> None:
        for name in ('num_filters', 'num_repeats'):
            if getattr(self, name) < 1:
                report(name, expected='1 or more')
        if self.merge_filters is not None and self.merge_filters < 1:
            report('merge_filters', expected='1 or more, or null: as num_filters')


@dataclasses.dataclass
class ASPP(hyperparams.Config):
    """Atrous spatial pyramid pooling of one level (arXiv:1706.05587), for DeepLab.

    Attributes:
        level: Level that is read and given.
        dilation_rates: Dilations of the 3x3 convolutions.
        dropout_rate: Chance that a feature is left out in training.
        num_filters: Channels of each branch and of the output.
        use_depthwise_convolution: Whether the 3x3 convolutions are depthwise separable.
        pool_kernel_size: Height and width of the windows whose means are taken, in pixels of the
            image. None or [] means the whole image.
        spp_layer_version: Both versions compute the same; L2 acts on depthwise kernels in 'v2'
            alone.
        output_tensor: Whether the output is a tensor and not a dict of one level.
    """

    level: int = 4
    dilation_rates: list[int] = dataclasses.field(default_factory=list)
    dropout_rate: float = 0.0
    num_filters: int = 256
    use_depthwise_convolution: bool = False
    pool_kernel_size: Optional[list[int]] = None
    spp_layer_version: Literal['v1', 'v2'] = 'v1'
    output_tensor: bool = False

    _weight_fields: ClassVar[tuple[str, ...]] = (
        'level',
        'dilation_rates',
        'num_filters',
        'use_depthwise_convolution',
    )

    def _check(self, report: hyperparams.Report) -> None:
        for name in ('level', 'num_filters'):
            if getattr(self, name) < 1:
                report(name, expected='1 or more')
        if any(rate < 1 for rate in self.dilation_rates):
            report('dilation_rates', expected='numbers of 1 or more')
        if not 0 <= self.dropout_rate < 1:
            report('dropout_rate', expected='at least 0 and less than 1')
        windows, smallest = self.pool_kernel_size, 2**self.level
        if windows and (len(windows) != 2 or min(windows) < smallest):
            report(
                'pool_kernel_size',
                expected=f'null or [height, width], {smallest} or more: a pixel of level '
                f'{self.level}',
            )


@dataclasses.dataclass
class Decoder(hyperparams.OneOfConfig):
    """Which decoder, and its settings.

    Attributes:
        type: Name of the branch that counts. None means not set.
        fpn: Feature pyramid network.
        nasfpn: NAS-FPN.
        identity: No decoder.
        aspp: Atrous spatial pyramid pooling.
    """

    type: Optional[str] = None
    fpn: FPN = dataclasses.field(default_factory=FPN)
    nasfpn: NASFPN = dataclasses.field(default_factory=NASFPN)
    identity: Identity = dataclasses.field(default_factory=Identity)
    aspp: ASPP = dataclasses.field(default_factory=ASPP)

    _weight_fields: ClassVar[tuple[str, ...]] = ('type',)
