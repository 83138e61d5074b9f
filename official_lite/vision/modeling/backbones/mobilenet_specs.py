"""The networks of the MobileNet family, block by block.

Sources: V1 https://arxiv.org/abs/1704.04861, V2 https://arxiv.org/abs/1801.04381, V3
https://arxiv.org/abs/1905.02244, Multi-Hardware https://arxiv.org/abs/2008.08178; which blocks are
outputs, as in Model Garden.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal, Optional

BlockKind = Literal['convbn', 'depsepconv', 'invertedbottleneck', 'gpooling']


@dataclasses.dataclass(frozen=True)
class BlockSpec:
    """One block.

    Attributes:
        kind: Convolution with normalisation, depthwise separable convolution, inverted bottleneck,
            or global average pooling.
        kernel_size: Side of the kernel.
        strides: Stride.
        filters: Number of output channels; 0 for pooling.
        activation: Name of the activation function.
        expand_ratio: Expansion of an inverted bottleneck.
        se_ratio: Ratio of squeeze-and-excitation, or None.
        use_bias: Whether a convolution has a bias.
        use_normalization: Whether a convolution is normalised.
        use_depthwise: False for the fused form of an inverted bottleneck.
        use_residual: Whether an inverted bottleneck has a shortcut where shapes allow one.
        is_output: Whether the block's features are the output of its level.
    """

    kind: BlockKind
    kernel_size: int = 3
    strides: int = 1
    filters: int = 0
    activation: str = 'relu6'
    expand_ratio: float = 6.0
    se_ratio: Optional[float] = None
    use_bias: bool = False
    use_normalization: bool = True
    use_depthwise: bool = True
    use_residual: bool = True
    is_output: bool = False


# A row of a table: kernel size, stride, filters, expansion, whether it is an output.
_Row = tuple[int, int, int, float, bool]


def _conv(
    kernel_size: int, strides: int, filters: int, activation: str, **kwargs: bool
) -> BlockSpec:
    return BlockSpec('convbn', kernel_size, strides, filters, activation, **kwargs)


def _inverted(rows: Sequence[_Row], activation: str) -> tuple[BlockSpec, ...]:
    return tuple(
        BlockSpec(
            'invertedbottleneck', kernel, stride, filters, activation, expand, is_output=is_output
        )
        for kernel, stride, filters, expand, is_output in rows
    )


def _separable(rows: Sequence[tuple[int, int, bool]]) -> tuple[BlockSpec, ...]:
    return tuple(
        BlockSpec('depsepconv', 3, stride, filters, is_output=is_output)
        for stride, filters, is_output in rows
    )


def _v3(
    rows: Sequence[tuple[int, int, int, str, Optional[float], float, bool]],
) -> tuple[BlockSpec, ...]:
    return tuple(
        BlockSpec(
            'invertedbottleneck',
            kernel,
            stride,
            filters,
            activation,
            expand,
            se,
            is_output=is_output,
        )
        for kernel, stride, filters, activation, se, expand, is_output in rows
    )


def _edge_tpu(
    rows: Sequence[tuple[int, int, int, float, bool, bool, bool]],
) -> tuple[BlockSpec, ...]:
    return tuple(
        BlockSpec(
            'invertedbottleneck',
            kernel,
            stride,
            filters,
            'relu',
            expand,
            use_residual=residual,
            use_depthwise=depthwise,
            is_output=is_output,
        )
        for kernel, stride, filters, expand, residual, depthwise, is_output in rows
    )


_POOLING = BlockSpec('gpooling')
_RE, _HS = 'relu', 'hard_swish'

MOBILENET_V1 = (
    _conv(3, 2, 32, 'relu6'),
    *_separable(
        (
            (1, 64, False),
            (2, 128, False),
            (1, 128, True),
            (2, 256, False),
            (1, 256, True),
            (2, 512, False),
            (1, 512, False),
            (1, 512, False),
            (1, 512, False),
            (1, 512, False),
            (1, 512, True),
            (2, 1024, False),
            (1, 1024, True),
        )
    ),
)

MOBILENET_V2 = (
    _conv(3, 2, 32, 'relu6'),
    *_inverted(
        (
            (3, 1, 16, 1.0, False),
            (3, 2, 24, 6.0, False),
            (3, 1, 24, 6.0, True),
            (3, 2, 32, 6.0, False),
            (3, 1, 32, 6.0, False),
            (3, 1, 32, 6.0, True),
            (3, 2, 64, 6.0, False),
            (3, 1, 64, 6.0, False),
            (3, 1, 64, 6.0, False),
            (3, 1, 64, 6.0, False),
            (3, 1, 96, 6.0, False),
            (3, 1, 96, 6.0, False),
            (3, 1, 96, 6.0, True),
            (3, 2, 160, 6.0, False),
            (3, 1, 160, 6.0, False),
            (3, 1, 160, 6.0, False),
            (3, 1, 320, 6.0, True),
        ),
        'relu6',
    ),
    _conv(1, 1, 1280, 'relu6'),
)

MOBILENET_V3_LARGE = (
    _conv(3, 2, 16, _HS),
    *_v3(
        (
            (3, 1, 16, _RE, None, 1.0, False),
            (3, 2, 24, _RE, None, 4.0, False),
            (3, 1, 24, _RE, None, 3.0, True),
            (5, 2, 40, _RE, 0.25, 3.0, False),
            (5, 1, 40, _RE, 0.25, 3.0, False),
            (5, 1, 40, _RE, 0.25, 3.0, True),
            (3, 2, 80, _HS, None, 6.0, False),
            (3, 1, 80, _HS, None, 2.5, False),
            (3, 1, 80, _HS, None, 2.3, False),
            (3, 1, 80, _HS, None, 2.3, False),
            (3, 1, 112, _HS, 0.25, 6.0, False),
            (3, 1, 112, _HS, 0.25, 6.0, True),
            (5, 2, 160, _HS, 0.25, 6.0, False),
            (5, 1, 160, _HS, 0.25, 6.0, False),
            (5, 1, 160, _HS, 0.25, 6.0, True),
        )
    ),
    _conv(1, 1, 960, _HS),
    _POOLING,
    _conv(1, 1, 1280, _HS, use_normalization=False, use_bias=True),
)

_V3_SMALL_TRUNK = (
    _conv(3, 2, 16, _HS),
    *_v3(
        (
            (3, 2, 16, _RE, 0.25, 1.0, True),
            (3, 2, 24, _RE, None, 72.0 / 16.0, False),
            (3, 1, 24, _RE, None, 88.0 / 24.0, True),
            (5, 2, 40, _HS, 0.25, 4.0, False),
            (5, 1, 40, _HS, 0.25, 6.0, False),
            (5, 1, 40, _HS, 0.25, 6.0, False),
            (5, 1, 48, _HS, 0.25, 3.0, False),
            (5, 1, 48, _HS, 0.25, 3.0, True),
        )
    ),
)

MOBILENET_V3_SMALL = (
    *_V3_SMALL_TRUNK,
    *_v3(
        (
            (5, 2, 96, _HS, 0.25, 6.0, False),
            (5, 1, 96, _HS, 0.25, 6.0, False),
            (5, 1, 96, _HS, 0.25, 6.0, True),
        )
    ),
    _conv(1, 1, 576, _HS),
    _POOLING,
    _conv(1, 1, 1024, _HS, use_normalization=False, use_bias=True),
)

MOBILENET_V3_SMALL_REDUCED = (
    *_V3_SMALL_TRUNK,
    *_v3(
        (
            (5, 2, 48, _HS, 0.25, 3.0, False),
            (5, 1, 48, _HS, 0.25, 6.0, False),
            (5, 1, 48, _HS, 0.25, 6.0, True),
        )
    ),
    _conv(1, 1, 288, _HS),
    _POOLING,
    _conv(1, 1, 1024, _HS, use_normalization=False, use_bias=True),
)

MOBILENET_V3_EDGE_TPU = (
    _conv(3, 2, 32, _RE),
    *_edge_tpu(
        (
            (3, 1, 16, 1.0, True, False, False),
            (3, 2, 32, 8.0, True, False, False),
            (3, 1, 32, 4.0, True, False, False),
            (3, 1, 32, 4.0, True, False, False),
            (3, 1, 32, 4.0, True, False, True),
            (3, 2, 48, 8.0, True, False, False),
            (3, 1, 48, 4.0, True, False, False),
            (3, 1, 48, 4.0, True, False, False),
            (3, 1, 48, 4.0, True, False, True),
            (3, 2, 96, 8.0, True, True, False),
            (3, 1, 96, 4.0, True, True, False),
            (3, 1, 96, 4.0, True, True, False),
            (3, 1, 96, 4.0, True, True, False),
            (3, 1, 96, 8.0, False, True, False),
            (3, 1, 96, 4.0, True, True, False),
            (3, 1, 96, 4.0, True, True, False),
            (3, 1, 96, 4.0, True, True, True),
            (5, 2, 160, 8.0, True, True, False),
            (5, 1, 160, 4.0, True, True, False),
            (5, 1, 160, 4.0, True, True, False),
            (5, 1, 160, 4.0, True, True, False),
            (3, 1, 192, 8.0, True, True, True),
        )
    ),
    _conv(1, 1, 1280, _RE),
)

MOBILENET_MULTI_MAX = (
    _conv(3, 2, 32, _RE),
    *_inverted(
        (
            (3, 2, 32, 3.0, True),
            (5, 2, 64, 6.0, False),
            (3, 1, 64, 2.0, False),
            (3, 1, 64, 2.0, True),
            (5, 2, 128, 6.0, False),
            (3, 1, 128, 4.0, False),
            (3, 1, 128, 3.0, False),
            (3, 1, 128, 3.0, False),
            (3, 1, 128, 6.0, False),
            (3, 1, 128, 3.0, True),
            (3, 2, 160, 6.0, False),
            (5, 1, 160, 4.0, False),
            (3, 1, 160, 5.0, False),
            (5, 1, 160, 4.0, True),
        ),
        _RE,
    ),
    _conv(1, 1, 960, _RE),
    _POOLING,
    _conv(1, 1, 1280, _RE),
)

MOBILENET_MULTI_AVG = (
    _conv(3, 2, 32, _RE),
    *_inverted(
        (
            (3, 2, 32, 3.0, False),
            (3, 1, 32, 2.0, True),
            (5, 2, 64, 5.0, False),
            (3, 1, 64, 3.0, False),
            (3, 1, 64, 2.0, False),
            (3, 1, 64, 3.0, True),
            (5, 2, 128, 6.0, False),
            (3, 1, 128, 3.0, False),
            (3, 1, 128, 3.0, False),
            (3, 1, 128, 3.0, False),
            (3, 1, 160, 6.0, False),
            (3, 1, 160, 4.0, True),
            (3, 2, 192, 6.0, False),
            (5, 1, 192, 4.0, False),
            (5, 1, 192, 4.0, False),
            (5, 1, 192, 4.0, True),
        ),
        _RE,
    ),
    _conv(1, 1, 960, _RE),
    _POOLING,
    _conv(1, 1, 1280, _RE),
)

# By the names of Model Garden.
MOBILENET_SPECS: dict[str, tuple[BlockSpec, ...]] = {
    'MobileNetV1': MOBILENET_V1,
    'MobileNetV2': MOBILENET_V2,
    'MobileNetV3Large': MOBILENET_V3_LARGE,
    'MobileNetV3Small': MOBILENET_V3_SMALL,
    'MobileNetV3SmallReducedFilters': MOBILENET_V3_SMALL_REDUCED,
    'MobileNetV3EdgeTPU': MOBILENET_V3_EDGE_TPU,
    'MobileNetMultiMAX': MOBILENET_MULTI_MAX,
    'MobileNetMultiAVG': MOBILENET_MULTI_AVG,
}
