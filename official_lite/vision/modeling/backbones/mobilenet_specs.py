"""MobileNets V1 to V3, block by block, and the names of the whole family.

Sources: V1 https://arxiv.org/abs/1704.04861, V2 https://arxiv.org/abs/1801.04381, V3
https://arxiv.org/abs/1905.02244; which blocks are outputs, as in Model Garden.
"""

from __future__ import annotations

from official_lite.vision.modeling.backbones import mobilenet_multi_specs as multi
from official_lite.vision.modeling.backbones import mobilenet_v4_specs as v4
from official_lite.vision.modeling.backbones.mobilenet_blocks import (
    POOLING,
    BlockSpec,
    conv,
    edge_tpu,
    inverted,
    separable,
    v3,
)

_RE, _HS = 'relu', 'hard_swish'

MOBILENET_V1 = (
    conv(3, 2, 32, 'relu6'),
    *separable(
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
    conv(3, 2, 32, 'relu6'),
    *inverted(
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
    conv(1, 1, 1280, 'relu6'),
)

MOBILENET_V3_LARGE = (
    conv(3, 2, 16, _HS),
    *v3(
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
    conv(1, 1, 960, _HS),
    POOLING,
    conv(1, 1, 1280, _HS, use_normalization=False, use_bias=True),
)

_V3_SMALL_TRUNK = (
    conv(3, 2, 16, _HS),
    *v3(
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
    *v3(
        (
            (5, 2, 96, _HS, 0.25, 6.0, False),
            (5, 1, 96, _HS, 0.25, 6.0, False),
            (5, 1, 96, _HS, 0.25, 6.0, True),
        )
    ),
    conv(1, 1, 576, _HS),
    POOLING,
    conv(1, 1, 1024, _HS, use_normalization=False, use_bias=True),
)

MOBILENET_V3_SMALL_REDUCED = (
    *_V3_SMALL_TRUNK,
    *v3(
        (
            (5, 2, 48, _HS, 0.25, 3.0, False),
            (5, 1, 48, _HS, 0.25, 6.0, False),
            (5, 1, 48, _HS, 0.25, 6.0, True),
        )
    ),
    conv(1, 1, 288, _HS),
    POOLING,
    conv(1, 1, 1024, _HS, use_normalization=False, use_bias=True),
)

MOBILENET_V3_EDGE_TPU = (
    conv(3, 2, 32, _RE),
    *edge_tpu(
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
    conv(1, 1, 1280, _RE),
)

# By the names of Model Garden.
MOBILENET_SPECS: dict[str, tuple[BlockSpec, ...]] = {
    'MobileNetV1': MOBILENET_V1,
    'MobileNetV2': MOBILENET_V2,
    'MobileNetV3Large': MOBILENET_V3_LARGE,
    'MobileNetV3Small': MOBILENET_V3_SMALL,
    'MobileNetV3SmallReducedFilters': MOBILENET_V3_SMALL_REDUCED,
    'MobileNetV3EdgeTPU': MOBILENET_V3_EDGE_TPU,
    'MobileNetMultiMAX': multi.MOBILENET_MULTI_MAX,
    'MobileNetMultiAVG': multi.MOBILENET_MULTI_AVG,
    'MobileNetMultiMAXSeg': multi.MOBILENET_MULTI_MAX_SEG,
    'MobileNetMultiAVGSeg': multi.MOBILENET_MULTI_AVG_SEG,
    'MobileNetV4ConvSmall': v4.MOBILENET_V4_CONV_SMALL,
    'MobileNetV4ConvMedium': v4.MOBILENET_V4_CONV_MEDIUM,
    'MobileNetV4ConvMediumSeg': v4.MOBILENET_V4_CONV_MEDIUM_SEG,
    'MobileNetV4ConvLarge': v4.MOBILENET_V4_CONV_LARGE,
    'MobileNetV4HybridMedium': v4.MOBILENET_V4_HYBRID_MEDIUM,
    'MobileNetV4HybridLarge': v4.MOBILENET_V4_HYBRID_LARGE,
}
