"""Tucker convolution blocks (generalised bottlenecks)."""

from __future__ import annotations

from typing import Any, Optional

import keras
import tensorflow as tf

from official_lite.vision.modeling.layers import conv_block, nn_layers

Shape = nn_layers.Shape


@keras.saving.register_keras_serializable(package='official_lite')
class TuckerConvBlock(conv_block.ConvBlock):
    """A convolution between two 1x1 convolutions that make it narrower
    (MobileDet, https://arxiv.org/abs/2004.14525, section 3).

    Args:
        in_filters: Number of channels of the input.
        out_filters: Number of channels of the output.
        input_compression_ratio: Width after the first 1x1 convolution, relative to `in_filters`.
        output_compression_ratio: Width after the middle one, relative to `out_filters`.
        strides: Stride of the middle one.
        kernel_size: Side of its kernel.
        stochastic_depth_drop_rate: Drop rate of the branch; None or 0 for none.
        divisible_by: What inner widths are multiples of; rounding may lose more than 10%.
        use_residual: Whether there is a shortcut where shapes allow one.
        **kwargs: Arguments of `ConvBlock` and of `keras.layers.Layer`.
    """

    def __init__(
        self,
        in_filters: int,
        out_filters: int,
        input_compression_ratio: float,
        output_compression_ratio: float,
        strides: int,
        kernel_size: int = 3,
        stochastic_depth_drop_rate: Optional[float] = None,
        *,
        divisible_by: int = 1,
        use_residual: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            {
                'in_filters': in_filters,
                'out_filters': out_filters,
                'input_compression_ratio': input_compression_ratio,
                'output_compression_ratio': output_compression_ratio,
                'strides': strides,
                'kernel_size': kernel_size,
                'stochastic_depth_drop_rate': stochastic_depth_drop_rate,
                'divisible_by': divisible_by,
                'use_residual': use_residual,
            },
            **kwargs,
        )
        self.conv0 = self._conv('conv0', self._compress(in_filters, input_compression_ratio))
        self.norm0 = self._norm('norm0')
        self.conv1 = self._conv(
            'conv1', self._compress(out_filters, output_compression_ratio), kernel_size, strides
        )
        self.norm1 = self._norm('norm1')
        self.conv2 = self._conv('conv2', out_filters)
        self.norm2 = self._norm('norm2')
        self._has_shortcut = use_residual and in_filters == out_filters and strides == 1
        self.stochastic_depth = self._stochastic_depth() if self._has_shortcut else None

    def _compress(self, filters: int, ratio: float) -> int:
        return nn_layers.make_divisible(
            filters * ratio, self._config['divisible_by'], round_down_protect=False
        )

    def build(self, input_shape: Shape) -> None:
        self._build_chain(
            input_shape, self.conv0, self.norm0, self.conv1, self.norm1, self.conv2, self.norm2
        )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return conv_block.strided_shape(
            input_shape, self._config['strides'], self._config['out_filters']
        )

    def call(self, inputs: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        x = self._activation(self.norm0(self.conv0(inputs), training=training))
        x = self._activation(self.norm1(self.conv1(x), training=training))
        x = self.norm2(self.conv2(x), training=training)
        if not self._has_shortcut:
            return x
        if self.stochastic_depth is not None:
            x = self.stochastic_depth(x, training=training)
        return x + inputs
