"""The tables of the MobileDet family: one entry per block (https://arxiv.org/abs/2004.14525).

Found by architecture search for one kind of processor each. The order of the rows and their numbers
are those of the authors' release in TensorFlow's object detection API (models/ssd_mobiledet).
"""

from __future__ import annotations

import dataclasses
from typing import Literal, Optional

BlockKind = Literal['convbn', 'invertedbottleneck', 'tucker']


@dataclasses.dataclass(frozen=True)
class BlockSpec:
    """One block.

    Attributes:
        kind: Convolution with normalisation, inverted bottleneck or Tucker convolution.
        filters: Number of output channels.
        strides: Stride.
        kernel_size: Side of the kernel.
        activation: Name of the activation function.
        is_output: Whether the block's features are the output of its level.
        use_residual: Whether there is a shortcut where shapes allow one.
        use_depthwise: False for the fused form of an inverted bottleneck.
        expand_ratio: Expansion of an inverted bottleneck.
        se_ratio: Ratio of squeeze-and-excitation to an inverted bottleneck's expanded width, or None.
        input_compression_ratio: Width after a Tucker block's first convolution, relative to its
            input.
        output_compression_ratio: Width before its last convolution, relative to its output.
    """

    kind: BlockKind
    filters: int
    strides: int = 1
    kernel_size: int = 3
    activation: str = 'relu6'
    is_output: bool = False
    use_residual: bool = True
    use_depthwise: bool = True
    expand_ratio: float = 8.0
    se_ratio: Optional[float] = None
    input_compression_ratio: float = 1.0
    output_compression_ratio: float = 1.0


def _stem(filters: int, activation: str = 'relu6') -> BlockSpec:
    return BlockSpec('convbn', filters, 2, activation=activation)


def _ibn(
    filters: int,
    expand_ratio: float,
    *,
    kernel: int = 3,
    stride: int = 1,
    residual: bool = True,
    out: bool = False,
) -> BlockSpec:
    """An inverted bottleneck with a depthwise convolution."""
    return BlockSpec(
        'invertedbottleneck',
        filters,
        stride,
        kernel,
        is_output=out,
        use_residual=residual,
        expand_ratio=expand_ratio,
    )


def _fused(
    filters: int,
    expand_ratio: float,
    *,
    kernel: int = 3,
    stride: int = 1,
    residual: bool = True,
    out: bool = False,
) -> BlockSpec:
    """An inverted bottleneck of which the expansion is a full convolution."""
    block = _ibn(filters, expand_ratio, kernel=kernel, stride=stride, residual=residual, out=out)
    return dataclasses.replace(block, use_depthwise=False)


def _tucker(
    filters: int,
    input_ratio: float,
    output_ratio: float,
    *,
    residual: bool = True,
    out: bool = False,
) -> BlockSpec:
    return BlockSpec(
        'tucker',
        filters,
        is_output=out,
        use_residual=residual,
        input_compression_ratio=input_ratio,
        output_compression_ratio=output_ratio,
    )


def _with_excitation(*blocks: BlockSpec) -> tuple[BlockSpec, ...]:
    """Bottlenecks as processors of phones like them: squeeze-and-excitation, and hard swish."""
    return tuple(
        dataclasses.replace(block, se_ratio=0.25, activation='hard_swish') for block in blocks
    )


_CPU = (
    _stem(16, 'hard_swish'),
    *_with_excitation(
        _ibn(8, 1, residual=False, out=True),
        _ibn(16, 4, stride=2, residual=False, out=True),
        _ibn(32, 8, stride=2, residual=False),
        _ibn(32, 4),
        _ibn(32, 4),
        _ibn(32, 4, out=True),
        _ibn(72, 8, kernel=5, stride=2, residual=False),
        _ibn(72, 8),
        _ibn(72, 4, kernel=5),
        _ibn(72, 4),
        _ibn(72, 8, residual=False),
        _ibn(72, 8),
        _ibn(72, 8),
        _ibn(72, 8, out=True),
        _ibn(104, 8, kernel=5, stride=2, residual=False),
        _ibn(104, 4, kernel=5),
        _ibn(104, 4, kernel=5),
        _ibn(104, 4),
        _ibn(144, 8, residual=False, out=True),
    ),
)

_DSP = (
    _stem(32),
    _ibn(24, 1, residual=False, out=True),
    _fused(32, 4, stride=2, residual=False),
    _fused(32, 4),
    _ibn(32, 4),
    _tucker(32, 0.25, 0.75, out=True),
    _fused(64, 8, stride=2, residual=False),
    _ibn(64, 4),
    _fused(64, 4),
    _fused(64, 4, out=True),
    _fused(120, 8, stride=2, residual=False),
    _ibn(120, 4),
    _ibn(120, 8),
    _ibn(120, 8),
    _fused(144, 8, residual=False),
    _ibn(144, 8),
    _ibn(144, 8),
    _ibn(144, 8, out=True),
    _ibn(160, 4, stride=2, residual=False),
    _ibn(160, 4),
    _fused(160, 4, residual=False),
    _tucker(160, 0.75, 0.75),
    _ibn(240, 8, residual=False, out=True),
)

_EDGE_TPU = (
    _stem(32),
    _tucker(16, 0.25, 0.75, residual=False, out=True),
    _fused(16, 8, stride=2, residual=False),
    _fused(16, 4),
    _fused(16, 8),
    _fused(16, 4, out=True),
    _fused(40, 8, kernel=5, stride=2, residual=False),
    _fused(40, 4),
    _fused(40, 4),
    _fused(40, 4, out=True),
    _ibn(72, 8, stride=2, residual=False),
    _ibn(72, 8),
    _fused(72, 4),
    _fused(72, 4),
    _ibn(96, 8, kernel=5, residual=False),
    _ibn(96, 8, kernel=5),
    _ibn(96, 8),
    _ibn(96, 8, out=True),
    _ibn(120, 8, kernel=5, stride=2, residual=False),
    _ibn(120, 8),
    _ibn(120, 4, kernel=5),
    _ibn(120, 8),
    _ibn(384, 8, kernel=5, residual=False, out=True),
)

_GPU = (
    _stem(32),
    _tucker(16, 0.25, 0.25, residual=False, out=True),
    _fused(32, 8, stride=2, residual=False),
    _tucker(32, 0.25, 0.25),
    _tucker(32, 0.25, 0.25),
    _tucker(32, 0.25, 0.25, out=True),
    _fused(64, 8, stride=2, residual=False),
    _fused(64, 8),
    _fused(64, 8),
    _fused(64, 4, out=True),
    _fused(128, 8, stride=2, residual=False),
    _fused(128, 4),
    _fused(128, 4),
    _fused(128, 4),
    _fused(128, 8, residual=False),
    _fused(128, 8),
    _fused(128, 8),
    _fused(128, 8, out=True),
    _fused(128, 4, stride=2, residual=False),
    _fused(128, 4),
    _fused(128, 4),
    _fused(128, 4),
    _ibn(384, 8, residual=False, out=True),
)

MOBILEDET_SPECS: dict[str, tuple[BlockSpec, ...]] = {
    'MobileDetCPU': _CPU,
    'MobileDetDSP': _DSP,
    'MobileDetEdgeTPU': _EDGE_TPU,
    'MobileDetGPU': _GPU,
}
