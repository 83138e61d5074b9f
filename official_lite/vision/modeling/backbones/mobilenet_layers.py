"""Layers of the blocks that the tables of the MobileNet family consist of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Optional

import keras

from official_lite.vision.modeling.backbones.mobilenet_blocks import BlockSpec
from official_lite.vision.modeling.layers import nn_blocks

# Version 1 scales its widths without rounding them to multiples.
UNDIVIDED = 'MobileNetV1'


class Placement(NamedTuple):
    """Stride and dilation of a block, which depend on the output stride and what came before."""

    strides: int
    dilation_rate: int
    output_stride: int  # after the block


def get_divisor(config: Mapping[str, Any]) -> int:
    """What widths are multiples of."""
    return 1 if config['model_id'] == UNDIVIDED else config['divisible_by']


class Slot(NamedTuple):
    """What a block is made from: its row in the table, its place, and the network's arguments."""

    in_filters: int
    block: BlockSpec
    placement: Placement
    drop_rate: Optional[float]
    name: str
    config: Mapping[str, Any]

    @property
    def norm_options(self) -> dict[str, Any]:
        names = ('use_sync_bn', 'norm_momentum', 'norm_epsilon')
        return {'name': self.name, **{name: self.config[name] for name in names}}

    @property
    def conv_options(self) -> dict[str, Any]:
        names = ('kernel_initializer', 'kernel_regularizer', 'bias_regularizer')
        options = {name: self.config[name] for name in names}
        return {'activation': self.block.activation, **options, **self.norm_options}

    @property
    def bottleneck_options(self) -> dict[str, Any]:
        """Arguments of both kinds of inverted bottleneck."""
        return {
            'in_filters': self.in_filters,
            'out_filters': self.block.filters,
            'expand_ratio': self.block.expand_ratio,
            'strides': self.placement.strides,
            'dilation_rate': self.placement.dilation_rate,
            'stochastic_depth_drop_rate': self.drop_rate,
            'divisible_by': get_divisor(self.config),
            'regularize_depthwise': self.config['regularize_depthwise'],
            'use_residual': self.block.use_residual,
            **self.conv_options,
        }


def _make_pooling(slot: Slot) -> keras.layers.Layer:
    return keras.layers.GlobalAveragePooling2D(keepdims=True, name=slot.name)


def _make_conv(slot: Slot) -> keras.layers.Layer:
    return nn_blocks.Conv2DBNBlock(
        slot.block.filters,
        slot.block.kernel_size,
        slot.placement.strides,
        use_bias=slot.block.use_bias,
        use_normalization=slot.block.use_normalization,
        dilation_rate=slot.placement.dilation_rate,
        **slot.conv_options,
    )


def _make_separable(slot: Slot) -> keras.layers.Layer:
    return nn_blocks.DepthwiseSeparableConvBlock(
        slot.block.filters,
        slot.block.kernel_size,
        slot.placement.strides,
        dilation_rate=slot.placement.dilation_rate,
        regularize_depthwise=slot.config['regularize_depthwise'],
        **slot.conv_options,
    )


def _make_inverted(slot: Slot) -> keras.layers.Layer:
    return nn_blocks.InvertedBottleneckBlock(
        kernel_size=slot.block.kernel_size,
        se_ratio=slot.block.se_ratio,
        se_gating_activation='hard_sigmoid',
        expand_se_in_filters=True,
        use_depthwise=slot.block.use_depthwise,
        output_intermediate_endpoints=slot.config['output_intermediate_endpoints'],
        **slot.bottleneck_options,
    )


def _make_universal(slot: Slot) -> keras.layers.Layer:
    return nn_blocks.UniversalInvertedBottleneckBlock(
        start_dw_kernel_size=slot.block.start_dw_kernel_size,
        middle_dw_kernel_size=slot.block.middle_dw_kernel_size,
        use_layer_scale=slot.block.use_layer_scale,
        **slot.bottleneck_options,
    )


def _make_attention(slot: Slot) -> keras.layers.Layer:
    return nn_blocks.MultiHeadSelfAttentionBlock(
        slot.in_filters,
        slot.block.num_heads,
        key_dim=slot.block.head_dim,
        value_dim=slot.block.head_dim,
        use_multi_query=True,
        kv_strides=slot.block.kv_strides,
        stochastic_depth_drop_rate=slot.drop_rate,
        use_layer_scale=slot.block.use_layer_scale,
        **slot.norm_options,
    )


_MAKERS: dict[str, Callable[[Slot], keras.layers.Layer]] = {
    'convbn': _make_conv,
    'depsepconv': _make_separable,
    'invertedbottleneck': _make_inverted,
    'universal': _make_universal,
    'attention': _make_attention,
    'gpooling': _make_pooling,
}


def make_layer(slot: Slot) -> keras.layers.Layer:
    """The layer of a block."""
    return _MAKERS[slot.block.kind](slot)
