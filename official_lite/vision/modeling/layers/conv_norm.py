"""Convolutions with batch normalisation and activation, full and depthwise separable."""

from __future__ import annotations

from typing import Any, Optional

import keras
import tensorflow as tf

from official_lite.vision.modeling.layers import conv_block, nn_layers

Shape = nn_layers.Shape


@keras.saving.register_keras_serializable(package='official_lite')
class Conv2DBNBlock(conv_block.ConvBlock):
    """A convolution, batch normalisation and activation.

    Args:
        filters: Number of filters.
        kernel_size: Side of the kernel.
        strides: Stride.
        use_bias: Whether the convolution has a bias.
        use_explicit_padding: Whether to pad as much on all sides, and not as little as possible at
            the end.
        use_normalization: Whether there is batch normalisation.
        dilation_rate: Dilation.
        **kwargs: Arguments of `ConvBlock` and of `keras.layers.Layer`.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int = 3,
        strides: int = 1,
        use_bias: bool = False,
        use_explicit_padding: bool = False,
        activation: str = 'relu6',
        *,
        use_normalization: bool = True,
        dilation_rate: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            {
                'filters': filters,
                'kernel_size': kernel_size,
                'strides': strides,
                'use_bias': use_bias,
                'use_explicit_padding': use_explicit_padding,
                'use_normalization': use_normalization,
                'dilation_rate': dilation_rate,
            },
            activation=activation,
            **kwargs,
        )
        self.explicit_padding = self._explicit_padding(dilation_rate * (kernel_size - 1) + 1)
        self.conv0 = self._conv(
            'conv0',
            filters,
            kernel_size,
            strides,
            use_bias=use_bias,
            padding='same' if self.explicit_padding is None else 'valid',
            dilation_rate=dilation_rate,
        )
        self.norm0 = self._norm('norm0') if use_normalization else None

    def build(self, input_shape: Shape) -> None:
        self._build_chain(input_shape, self.explicit_padding, self.conv0, self.norm0)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return conv_block.strided_shape(
            input_shape, self._config['strides'], self._config['filters']
        )

    def call(self, inputs: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        x = inputs if self.explicit_padding is None else self.explicit_padding(inputs)
        x = self.conv0(x)
        if self.norm0 is not None:
            x = self.norm0(x, training=training)
        return self._activation(x)


@keras.saving.register_keras_serializable(package='official_lite')
class DepthwiseSeparableConvBlock(conv_block.ConvBlock):
    """A depthwise and a 1x1 convolution, each with batch normalisation and activation (MobileNet
    V1).

    Args:
        filters: Number of filters of the 1x1 convolution.
        kernel_size: Side of the depthwise kernel.
        strides: Stride of the depthwise convolution.
        regularize_depthwise: Whether the regulariser acts on the depthwise kernel too.
        dilation_rate: Dilation of the depthwise convolution.
        **kwargs: Arguments of `ConvBlock` and of `keras.layers.Layer`.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int = 3,
        strides: int = 1,
        regularize_depthwise: bool = False,
        activation: str = 'relu6',
        dilation_rate: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            {
                'filters': filters,
                'kernel_size': kernel_size,
                'strides': strides,
                'regularize_depthwise': regularize_depthwise,
                'dilation_rate': dilation_rate,
            },
            activation=activation,
            **kwargs,
        )
        self.dwconv0 = self._depthwise_conv(
            'dwconv0', kernel_size, strides, dilation_rate, is_regularized=regularize_depthwise
        )
        self.norm0 = self._norm('norm0')
        self.conv1 = self._conv('conv1', filters)
        self.norm1 = self._norm('norm1')

    def build(self, input_shape: Shape) -> None:
        self._build_chain(input_shape, self.dwconv0, self.norm0, self.conv1, self.norm1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return conv_block.strided_shape(
            input_shape, self._config['strides'], self._config['filters']
        )

    def call(self, inputs: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        x = self._activation(self.norm0(self.dwconv0(inputs), training=training))
        return self._activation(self.norm1(self.conv1(x), training=training))
