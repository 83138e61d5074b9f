"""Inverted bottleneck blocks, with a depthwise convolution or fused."""

from __future__ import annotations

from typing import Any, Optional

import keras
import tensorflow as tf

from official_lite.modeling import activations
from official_lite.vision.modeling.layers import conv_block, nn_layers

Shape = nn_layers.Shape


@keras.saving.register_keras_serializable(package='official_lite')
class InvertedBottleneckBlock(conv_block.ConvBlock):
    """Expansion, depthwise convolution and projection (https://arxiv.org/abs/1801.04381).

    Args:
        in_filters: Number of channels of the input.
        out_filters: Number of channels of the output.
        expand_ratio: Width of the middle as a multiple of `in_filters`; 1 or less leaves the
            expansion out.
        strides: Stride of the depthwise convolution (of the expansion in the fused form).
        kernel_size: Side of the depthwise kernel (of the expansion in the fused form).
        se_ratio: Ratio of squeeze-and-excitation; None or 0 for none.
        stochastic_depth_drop_rate: Drop rate of the branch; None or 0 for none.
        se_inner_activation: Activation inside squeeze-and-excitation.
        se_gating_activation: Activation of its gates.
        se_round_down_protect: See `nn_layers.make_divisible`.
        expand_se_in_filters: Whether `se_ratio` refers to the expanded width rather than to
            `in_filters`.
        depthwise_activation: Activation after the depthwise convolution; None means `activation`.
        dilation_rate: Dilation of the depthwise convolution.
        divisible_by: What inner widths are multiples of.
        regularize_depthwise: Whether the regulariser acts on the depthwise kernel too.
        use_depthwise: False for the fused form, in which the expansion is a full convolution.
        use_residual: Whether there is a shortcut where shapes allow one.
        output_intermediate_endpoints: Whether to return also `{'depthwise': features}`, the
            features after the depthwise convolution.
        **kwargs: Arguments of `ConvBlock` and of `keras.layers.Layer`.
    """

    def __init__(
        self,
        in_filters: int,
        out_filters: int,
        expand_ratio: float,
        strides: int,
        kernel_size: int = 3,
        se_ratio: Optional[float] = None,
        stochastic_depth_drop_rate: Optional[float] = None,
        *,
        se_inner_activation: str = 'relu',
        se_gating_activation: str = 'sigmoid',
        se_round_down_protect: bool = True,
        expand_se_in_filters: bool = False,
        depthwise_activation: Optional[str] = None,
        dilation_rate: int = 1,
        divisible_by: int = 1,
        regularize_depthwise: bool = False,
        use_depthwise: bool = True,
        use_residual: bool = True,
        output_intermediate_endpoints: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            {
                'in_filters': in_filters,
                'out_filters': out_filters,
                'expand_ratio': expand_ratio,
                'strides': strides,
                'kernel_size': kernel_size,
                'se_ratio': se_ratio,
                'stochastic_depth_drop_rate': stochastic_depth_drop_rate,
                'se_inner_activation': se_inner_activation,
                'se_gating_activation': se_gating_activation,
                'se_round_down_protect': se_round_down_protect,
                'expand_se_in_filters': expand_se_in_filters,
                'depthwise_activation': depthwise_activation,
                'dilation_rate': dilation_rate,
                'divisible_by': divisible_by,
                'regularize_depthwise': regularize_depthwise,
                'use_depthwise': use_depthwise,
                'use_residual': use_residual,
                'output_intermediate_endpoints': output_intermediate_endpoints,
            },
            **kwargs,
        )
        self._make_expansion()
        self._make_depthwise()
        self.squeeze_excitation = self._squeeze_excitation(
            self._middle_filters if expand_se_in_filters else in_filters,
            self._middle_filters,
            divisible_by=divisible_by,
            round_down_protect=se_round_down_protect,
            activation=se_inner_activation,
            gating_activation=se_gating_activation,
        )
        self.conv2 = self._conv('conv2', out_filters)
        self.norm2 = self._norm('norm2')
        self._has_shortcut = use_residual and in_filters == out_filters and strides == 1
        self.stochastic_depth = self._stochastic_depth() if self._has_shortcut else None

    def _make_depthwise(self) -> None:
        config = self._config
        self.conv1: Optional[keras.layers.Layer] = None
        self.norm1: Optional[keras.layers.Layer] = None
        if config['use_depthwise']:
            self.conv1 = self._depthwise_conv(
                'conv1',
                config['kernel_size'],
                config['strides'],
                config['dilation_rate'],
                is_regularized=config['regularize_depthwise'],
            )
            self.norm1 = self._norm('norm1')
        self._depthwise_activation = activations.get_activation(
            config['depthwise_activation'] or config['activation']
        )

    def _make_expansion(self) -> None:
        config = self._config
        self._middle_filters = config['in_filters']
        self.conv0: Optional[keras.layers.Layer] = None
        self.norm0: Optional[keras.layers.Layer] = None
        if config['expand_ratio'] <= 1:
            return
        self._middle_filters = nn_layers.make_divisible(
            config['in_filters'] * config['expand_ratio'], config['divisible_by']
        )
        is_fused = not config['use_depthwise']
        self.conv0 = self._conv(
            'conv0',
            self._middle_filters,
            config['kernel_size'] if is_fused else 1,
            config['strides'] if is_fused else 1,
        )
        self.norm0 = self._norm('norm0')

    def build(self, input_shape: Shape) -> None:
        self._build_chain(
            input_shape,
            self.conv0,
            self.norm0,
            self.conv1,
            self.norm1,
            self.squeeze_excitation,
            self.conv2,
            self.norm2,
        )

    def compute_output_shape(self, input_shape: Shape) -> Any:
        strides = self._config['strides'] if self.conv1 is not None or self.conv0 is not None else 1
        shape = conv_block.strided_shape(input_shape, strides, self._config['out_filters'])
        if not self._config['output_intermediate_endpoints']:
            return shape
        endpoints = {}
        if self.conv1 is not None:
            endpoints['depthwise'] = (*shape[:-1], self._middle_filters)
        return shape, endpoints

    def call(self, inputs: tf.Tensor, training: Optional[bool] = None) -> Any:
        endpoints = {}
        x = inputs
        if self.conv0 is not None and self.norm0 is not None:
            x = self._activation(self.norm0(self.conv0(x), training=training))
        if self.conv1 is not None and self.norm1 is not None:
            x = self._depthwise_activation(self.norm1(self.conv1(x), training=training))
            endpoints['depthwise'] = x
        if self.squeeze_excitation is not None:
            x = self.squeeze_excitation(x)
        x = self.norm2(self.conv2(x), training=training)
        if self._has_shortcut:
            if self.stochastic_depth is not None:
                x = self.stochastic_depth(x, training=training)
            x = x + inputs
        return (x, endpoints) if self._config['output_intermediate_endpoints'] else x
