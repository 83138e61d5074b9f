"""Blocks of convolutional networks, under Model Garden's import path. Each lives in a file of its
own kind, next to this one."""

from __future__ import annotations

from official_lite.vision.modeling.layers.bottleneck import BottleneckBlock
from official_lite.vision.modeling.layers.conv_block import ConvBlock
from official_lite.vision.modeling.layers.conv_norm import (
    Conv2DBNBlock,
    DepthwiseSeparableConvBlock,
)
from official_lite.vision.modeling.layers.inverted_bottleneck import InvertedBottleneckBlock
from official_lite.vision.modeling.layers.layer_scale import LayerScale, MNV4LayerScale
from official_lite.vision.modeling.layers.multi_query_attention import (
    MultiQueryAttentionLayerV1,
    MultiQueryAttentionLayerV2,
)
from official_lite.vision.modeling.layers.residual import ResidualBlock
from official_lite.vision.modeling.layers.residual_inner import (
    BottleneckResidualInner,
    ResidualInner,
)
from official_lite.vision.modeling.layers.reversible import ReversibleLayer
from official_lite.vision.modeling.layers.self_attention import MultiHeadSelfAttentionBlock
from official_lite.vision.modeling.layers.thinned_attention import (
    OptimizedMultiQueryAttentionLayerWithDownSampling,
)
from official_lite.vision.modeling.layers.transformer_encoder_block import (
    TransformerEncoderBlock,
)
from official_lite.vision.modeling.layers.tucker import TuckerConvBlock
from official_lite.vision.modeling.layers.universal_inverted_bottleneck import (
    UniversalInvertedBottleneckBlock,
)

__all__ = [
    'BottleneckBlock',
    'BottleneckResidualInner',
    'Conv2DBNBlock',
    'ConvBlock',
    'DepthwiseSeparableConvBlock',
    'InvertedBottleneckBlock',
    'LayerScale',
    'MNV4LayerScale',
    'MultiHeadSelfAttentionBlock',
    'MultiQueryAttentionLayerV1',
    'MultiQueryAttentionLayerV2',
    'OptimizedMultiQueryAttentionLayerWithDownSampling',
    'ResidualBlock',
    'ResidualInner',
    'ReversibleLayer',
    'TransformerEncoderBlock',
    'TuckerConvBlock',
    'UniversalInvertedBottleneckBlock',
]
