"""What the tables of the MobileNet family consist of: one entry per block."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal, Optional

BlockKind = Literal[
    'convbn', 'depsepconv', 'invertedbottleneck', 'universal', 'attention', 'gpooling'
]


@dataclasses.dataclass(frozen=True)
class BlockSpec:
    """One block.

    Attributes:
        kind: Convolution with normalisation, depthwise separable convolution, inverted bottleneck,
            universal inverted bottleneck, multi-query attention, or global average pooling.
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
        start_dw_kernel_size: Side of a universal block's first depthwise kernel; 0 for none.
        middle_dw_kernel_size: Side of its middle depthwise kernel; 0 for none.
        use_layer_scale: Whether a universal or attention block has layer scale.
        num_heads: Heads of an attention block.
        head_dim: Length of its queries, keys and values.
        kv_strides: By how much keys and values are fewer, in both directions.
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
    start_dw_kernel_size: int = 0
    middle_dw_kernel_size: int = 0
    use_layer_scale: bool = False
    num_heads: int = 0
    head_dim: int = 0
    kv_strides: int = 1
    is_output: bool = False


POOLING = BlockSpec('gpooling')

# A row of a table: kernel size, stride, filters, expansion, whether it is an output.
Row = tuple[int, int, int, float, bool]


def conv(
    kernel_size: int, strides: int, filters: int, activation: str, **kwargs: bool
) -> BlockSpec:
    """A convolution, batch normalisation and activation."""
    return BlockSpec('convbn', kernel_size, strides, filters, activation, **kwargs)


def inverted(rows: Sequence[Row], activation: str) -> tuple[BlockSpec, ...]:
    """Inverted bottlenecks with one activation."""
    return tuple(
        BlockSpec(
            'invertedbottleneck', kernel, stride, filters, activation, expand, is_output=is_output
        )
        for kernel, stride, filters, expand, is_output in rows
    )


def separable(rows: Sequence[tuple[int, int, bool]]) -> tuple[BlockSpec, ...]:
    """Depthwise separable convolutions: stride, filters, whether it is an output."""
    return tuple(
        BlockSpec('depsepconv', 3, stride, filters, is_output=is_output)
        for stride, filters, is_output in rows
    )


def v3(
    rows: Sequence[tuple[int, int, int, str, Optional[float], float, bool]],
) -> tuple[BlockSpec, ...]:
    """Kernel size, stride, filters, activation, squeeze-and-excitation, expansion, output."""
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


def edge_tpu(
    rows: Sequence[tuple[int, int, int, float, bool, bool, bool]],
) -> tuple[BlockSpec, ...]:
    """Kernel size, stride, filters, expansion, residual, depthwise, output."""
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
