"""The two functions inside of a reversible block, of which it adds the outputs to its halves."""

from __future__ import annotations

from typing import Any, Optional

import keras
import tensorflow as tf

from official_lite.vision.modeling.layers import conv_block, nn_layers

Shape = nn_layers.Shape


class InnerBlock(conv_block.ConvBlock):
    """Convolutions, each after batch normalisation and activation but for the first, if so chosen.

    Args:
        filters: Number of filters of the first convolution.
        strides: Stride of the first convolution.
        batch_norm_first: Whether normalisation and activation come before the first convolution
            too.
        **kwargs: Arguments of `ConvBlock` and of `keras.layers.Layer`.
    """

    # Output channels as a multiple of `filters`.
    expansion = 1

    def __init__(
        self, filters: int, strides: int, *, batch_norm_first: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(
            {'filters': filters, 'strides': strides, 'batch_norm_first': batch_norm_first},
            **kwargs,
        )
        self.batch_norm_0 = self._norm('batch_norm_0') if batch_norm_first else None

    @property
    def strides(self) -> int:
        """By how much the output is smaller than the input, in both directions."""
        return int(self._config['strides'])

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        filters = self.expansion * self._config['filters']
        return conv_block.strided_shape(input_shape, self.strides, filters)

    def _enter(self, inputs: tf.Tensor, training: Optional[bool]) -> tf.Tensor:
        if self.batch_norm_0 is None:
            return inputs
        return self._activation(self.batch_norm_0(inputs, training=training))


@keras.saving.register_keras_serializable(package='official_lite')
class ResidualInner(InnerBlock):
    """Two 3x3 convolutions (RevNet, https://arxiv.org/abs/1707.04585).

    Args:
        filters: Number of filters of both.
        strides: Stride of the first one.
        **kwargs: Arguments of `InnerBlock`.
    """

    def __init__(self, filters: int, strides: int, **kwargs: Any) -> None:
        super().__init__(filters, strides, **kwargs)
        self.conv2d_1 = self._conv('conv2d_1', filters, 3, strides)
        self.batch_norm_1 = self._norm('batch_norm_1')
        self.conv2d_2 = self._conv('conv2d_2', filters, 3)

    def build(self, input_shape: Shape) -> None:
        self._build_chain(
            input_shape, self.batch_norm_0, self.conv2d_1, self.batch_norm_1, self.conv2d_2
        )

    def call(self, inputs: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        x = self.conv2d_1(self._enter(inputs, training))
        return self.conv2d_2(self._activation(self.batch_norm_1(x, training=training)))


@keras.saving.register_keras_serializable(package='official_lite')
class BottleneckResidualInner(InnerBlock):
    """A 1x1, a 3x3 and a 1x1 convolution (RevNet, https://arxiv.org/abs/1707.04585).

    Args:
        filters: Number of filters of the first two; the last one has four times as many.
        strides: Stride of the first one.
        **kwargs: Arguments of `InnerBlock`.
    """

    expansion = 4

    def __init__(self, filters: int, strides: int, **kwargs: Any) -> None:
        super().__init__(filters, strides, **kwargs)
        self.conv2d_1 = self._conv('conv2d_1', filters, 1, strides)
        self.batch_norm_1 = self._norm('batch_norm_1')
        self.conv2d_2 = self._conv('conv2d_2', filters, 3)
        self.batch_norm_2 = self._norm('batch_norm_2')
        self.conv2d_3 = self._conv('conv2d_3', self.expansion * filters)

    def build(self, input_shape: Shape) -> None:
        self._build_chain(
            input_shape,
            self.batch_norm_0,
            self.conv2d_1,
            self.batch_norm_1,
            self.conv2d_2,
            self.batch_norm_2,
            self.conv2d_3,
        )

    def call(self, inputs: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        x = self.conv2d_1(self._enter(inputs, training))
        x = self.conv2d_2(self._activation(self.batch_norm_1(x, training=training)))
        return self.conv2d_3(self._activation(self.batch_norm_2(x, training=training)))
