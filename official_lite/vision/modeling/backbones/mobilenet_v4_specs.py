"""MobileNets V4, block by block (https://arxiv.org/abs/2404.10518, appendix D).

Which blocks are outputs, as in Model Garden.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Union

from official_lite.vision.modeling.backbones.mobilenet_blocks import POOLING, BlockSpec, conv

# A row of a table: sides of the first and of the middle depthwise kernel (0 for none), stride,
# filters, expansion, whether it is an output. Attention stands between the rows as it is.
_Row = tuple[int, int, int, int, float, bool]

_RELU, _RELU6 = 'relu', 'relu6'
# Model Garden's layers of this name compute the exact one.
_GELU = 'exact_gelu'


def _universal(
    rows: Sequence[Union[_Row, BlockSpec]], activation: str, *, use_layer_scale: bool = False
) -> tuple[BlockSpec, ...]:
    blocks = []
    for row in rows:
        if isinstance(row, BlockSpec):
            blocks.append(row)
            continue
        start, middle, stride, filters, expand, is_output = row
        blocks.append(
            BlockSpec(
                'universal',
                strides=stride,
                filters=filters,
                activation=activation,
                expand_ratio=expand,
                start_dw_kernel_size=start,
                middle_dw_kernel_size=middle,
                use_layer_scale=use_layer_scale,
                is_output=is_output,
            )
        )
    return tuple(blocks)


def _attention(filters: int, num_heads: int, head_dim: int, *, kv_strides: int) -> BlockSpec:
    return BlockSpec(
        'attention',
        filters=filters,
        num_heads=num_heads,
        head_dim=head_dim,
        kv_strides=kv_strides,
        use_layer_scale=True,
    )


def _stem(filters: int, activation: str) -> tuple[BlockSpec, BlockSpec]:
    """A convolution, and a fused inverted bottleneck as the output of level 2."""
    fused = BlockSpec(
        'invertedbottleneck',
        strides=2,
        filters=48,
        activation=activation,
        expand_ratio=4.0,
        use_depthwise=False,
        is_output=True,
    )
    return conv(3, 2, filters, activation), fused


def _top(activation: str) -> tuple[BlockSpec, ...]:
    return conv(1, 1, 960, activation), POOLING, conv(1, 1, 1280, activation)


MOBILENET_V4_CONV_SMALL = (
    conv(3, 2, 32, _RELU),
    conv(3, 2, 32, _RELU),
    conv(1, 1, 32, _RELU, is_output=True),
    conv(3, 2, 96, _RELU),
    conv(1, 1, 64, _RELU, is_output=True),
    *_universal(
        (
            (5, 5, 2, 96, 3.0, False),
            (0, 3, 1, 96, 2.0, False),
            (0, 3, 1, 96, 2.0, False),
            (0, 3, 1, 96, 2.0, False),
            (0, 3, 1, 96, 2.0, False),
            (3, 0, 1, 96, 4.0, True),
            (3, 3, 2, 128, 6.0, False),
            (5, 5, 1, 128, 4.0, False),
            (0, 5, 1, 128, 4.0, False),
            (0, 5, 1, 128, 3.0, False),
            (0, 3, 1, 128, 4.0, False),
            (0, 3, 1, 128, 4.0, True),
        ),
        _RELU,
    ),
    *_top(_RELU),
)

MOBILENET_V4_CONV_MEDIUM = (
    *_stem(32, _RELU),
    *_universal(
        (
            (3, 5, 2, 80, 4.0, False),
            (3, 3, 1, 80, 2.0, True),
            (3, 5, 2, 160, 6.0, False),
            (3, 3, 1, 160, 4.0, False),
            (3, 3, 1, 160, 4.0, False),
            (3, 5, 1, 160, 4.0, False),
            (3, 3, 1, 160, 4.0, False),
            (3, 0, 1, 160, 4.0, False),
            (0, 0, 1, 160, 2.0, False),
            (3, 0, 1, 160, 4.0, True),
            (5, 5, 2, 256, 6.0, False),
            (5, 5, 1, 256, 4.0, False),
            (3, 5, 1, 256, 4.0, False),
            (3, 5, 1, 256, 4.0, False),
            (0, 0, 1, 256, 4.0, False),
            (3, 0, 1, 256, 4.0, False),
            (3, 5, 1, 256, 2.0, False),
            (5, 5, 1, 256, 4.0, False),
            (0, 0, 1, 256, 4.0, False),
            (0, 0, 1, 256, 4.0, False),
            (5, 0, 1, 256, 2.0, True),
        ),
        _RELU,
    ),
    *_top(_RELU),
)

# For dense prediction: half the width in the last stage, whose output follows a convolution.
MOBILENET_V4_CONV_MEDIUM_SEG = (
    *_stem(32, _RELU6),
    *_universal(
        (
            (3, 5, 2, 80, 4.0, False),
            (3, 3, 1, 80, 2.0, True),
            (3, 5, 2, 160, 6.0, False),
            (3, 3, 1, 160, 4.0, False),
            (3, 3, 1, 160, 4.0, False),
            (3, 5, 1, 160, 4.0, False),
            (3, 3, 1, 160, 4.0, False),
            (3, 0, 1, 160, 4.0, False),
            (3, 0, 1, 160, 4.0, True),
            (5, 5, 2, 256, 6.0, False),
            (5, 5, 1, 128, 4.0, False),
            (3, 5, 1, 128, 4.0, False),
            (3, 5, 1, 128, 4.0, False),
            (3, 0, 1, 128, 4.0, False),
            (3, 5, 1, 128, 2.0, False),
            (5, 5, 1, 128, 4.0, False),
            (5, 0, 1, 128, 2.0, False),
        ),
        _RELU6,
    ),
    conv(1, 1, 448, _RELU6, is_output=True),
    POOLING,
    conv(1, 1, 1280, _RELU6),
)

MOBILENET_V4_CONV_LARGE = (
    *_stem(24, _RELU),
    *_universal(
        (
            (3, 5, 2, 96, 4.0, False),
            (3, 3, 1, 96, 4.0, True),
            (3, 5, 2, 192, 4.0, False),
            (3, 3, 1, 192, 4.0, False),
            (3, 3, 1, 192, 4.0, False),
            (3, 3, 1, 192, 4.0, False),
            (3, 5, 1, 192, 4.0, False),
            (5, 3, 1, 192, 4.0, False),
            (5, 3, 1, 192, 4.0, False),
            (5, 3, 1, 192, 4.0, False),
            (5, 3, 1, 192, 4.0, False),
            (5, 3, 1, 192, 4.0, False),
            (3, 0, 1, 192, 4.0, True),
            (5, 5, 2, 512, 4.0, False),
            (5, 5, 1, 512, 4.0, False),
            (5, 5, 1, 512, 4.0, False),
            (5, 5, 1, 512, 4.0, False),
            (5, 0, 1, 512, 4.0, False),
            (5, 3, 1, 512, 4.0, False),
            (5, 0, 1, 512, 4.0, False),
            (5, 0, 1, 512, 4.0, False),
            (5, 3, 1, 512, 4.0, False),
            (5, 5, 1, 512, 4.0, False),
            (5, 0, 1, 512, 4.0, False),
            (5, 0, 1, 512, 4.0, False),
            (5, 0, 1, 512, 4.0, True),
        ),
        _RELU,
    ),
    *_top(_RELU),
)

_MEDIUM_STAGE_4 = _attention(160, 4, 64, kv_strides=2)
_MEDIUM_STAGE_5 = _attention(256, 4, 64, kv_strides=1)

MOBILENET_V4_HYBRID_MEDIUM = (
    *_stem(32, _RELU),
    *_universal(
        (
            (3, 5, 2, 80, 4.0, False),
            (3, 3, 1, 80, 2.0, True),
            (3, 5, 2, 160, 6.0, False),
            (0, 0, 1, 160, 2.0, False),
            (3, 3, 1, 160, 4.0, False),
            (3, 5, 1, 160, 4.0, False),
            _MEDIUM_STAGE_4,
            (3, 3, 1, 160, 4.0, False),
            _MEDIUM_STAGE_4,
            (3, 0, 1, 160, 4.0, False),
            _MEDIUM_STAGE_4,
            (3, 3, 1, 160, 4.0, False),
            _MEDIUM_STAGE_4,
            (3, 0, 1, 160, 4.0, True),
            (5, 5, 2, 256, 6.0, False),
            (5, 5, 1, 256, 4.0, False),
            (3, 5, 1, 256, 4.0, False),
            (3, 5, 1, 256, 4.0, False),
            (0, 0, 1, 256, 2.0, False),
            (3, 5, 1, 256, 2.0, False),
            (0, 0, 1, 256, 2.0, False),
            (0, 0, 1, 256, 4.0, False),
            _MEDIUM_STAGE_5,
            (3, 0, 1, 256, 4.0, False),
            _MEDIUM_STAGE_5,
            (5, 5, 1, 256, 4.0, False),
            _MEDIUM_STAGE_5,
            (5, 0, 1, 256, 4.0, False),
            _MEDIUM_STAGE_5,
            (5, 0, 1, 256, 4.0, True),
        ),
        _RELU,
        use_layer_scale=True,
    ),
    *_top(_RELU),
)

_LARGE_STAGE_4 = _attention(192, 8, 48, kv_strides=2)
_LARGE_STAGE_5 = _attention(512, 8, 64, kv_strides=1)

MOBILENET_V4_HYBRID_LARGE = (
    *_stem(24, _GELU),
    *_universal(
        (
            (3, 5, 2, 96, 4.0, False),
            (3, 3, 1, 96, 4.0, True),
            (3, 5, 2, 192, 4.0, False),
            (3, 3, 1, 192, 4.0, False),
            (3, 3, 1, 192, 4.0, False),
            (3, 3, 1, 192, 4.0, False),
            (3, 5, 1, 192, 4.0, False),
            (5, 3, 1, 192, 4.0, False),
            (5, 3, 1, 192, 4.0, False),
            _LARGE_STAGE_4,
            (5, 3, 1, 192, 4.0, False),
            _LARGE_STAGE_4,
            (5, 3, 1, 192, 4.0, False),
            _LARGE_STAGE_4,
            (5, 3, 1, 192, 4.0, False),
            _LARGE_STAGE_4,
            (3, 0, 1, 192, 4.0, True),
            (5, 5, 2, 512, 4.0, False),
            (5, 5, 1, 512, 4.0, False),
            (5, 5, 1, 512, 4.0, False),
            (5, 5, 1, 512, 4.0, False),
            (5, 0, 1, 512, 4.0, False),
            (5, 3, 1, 512, 4.0, False),
            (5, 0, 1, 512, 4.0, False),
            (5, 0, 1, 512, 4.0, False),
            (5, 3, 1, 512, 4.0, False),
            (5, 5, 1, 512, 4.0, False),
            _LARGE_STAGE_5,
            (5, 0, 1, 512, 4.0, False),
            _LARGE_STAGE_5,
            (5, 0, 1, 512, 4.0, False),
            _LARGE_STAGE_5,
            (5, 0, 1, 512, 4.0, False),
            _LARGE_STAGE_5,
            (5, 0, 1, 512, 4.0, True),
        ),
        _GELU,
        use_layer_scale=True,
    ),
    *_top(_GELU),
)
