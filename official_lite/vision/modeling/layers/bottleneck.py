"""Bottleneck blocks."""

from __future__ import annotations

from typing import Any, Optional

import keras
import tensorflow as tf

from official_lite.vision.modeling.layers import nn_layers, residual

Shape = nn_layers.Shape


@keras.saving.register_keras_serializable(package='official_lite')
class BottleneckBlock(residual.ShortcutBlock):
    """1x1, 3x3 and 1x1 convolutions and a shortcut (https://arxiv.org/abs/1512.03385).

    Args:
        filters: Number of filters of the first two convolutions; the output has four times as many.
        strides: Stride of the 3x3 convolution and of the projection.
        dilation_rate: Dilation of the 3x3 convolution.
        use_projection: Whether the shortcut is a 1x1 convolution; needed where the shape changes.
        se_ratio: Ratio of squeeze-and-excitation; None or 0 for none.
        resnetd_shortcut: Whether the projection pools and then convolves with stride 1
            (https://arxiv.org/abs/1812.01187).
        stochastic_depth_drop_rate: Drop rate of the branch; None or 0 for none.
        **kwargs: Arguments of `ConvBlock` and of `keras.layers.Layer`.
    """

    def __init__(
        self,
        filters: int,
        strides: int,
        dilation_rate: int = 1,
        use_projection: bool = False,
        se_ratio: Optional[float] = None,
        resnetd_shortcut: bool = False,
        stochastic_depth_drop_rate: Optional[float] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            {
                'filters': filters,
                'strides': strides,
                'dilation_rate': dilation_rate,
                'use_projection': use_projection,
                'se_ratio': se_ratio,
                'resnetd_shortcut': resnetd_shortcut,
                'stochastic_depth_drop_rate': stochastic_depth_drop_rate,
            },
            **kwargs,
        )
        self._out_filters = 4 * filters
        self._make_shortcut(self._out_filters)
        self.conv1 = self._conv('conv1', filters)
        self.norm1 = self._norm('norm1')
        self.conv2 = self._conv('conv2', filters, 3, strides, dilation_rate=dilation_rate)
        self.norm2 = self._norm('norm2')
        self.conv3 = self._conv('conv3', self._out_filters)
        self.norm3 = self._norm('norm3')
        self.squeeze_excitation = self._squeeze_excitation(self._out_filters, self._out_filters)
        self.stochastic_depth = self._stochastic_depth()

    def build(self, input_shape: Shape) -> None:
        self._build_shortcut(input_shape)
        self._build_chain(
            input_shape,
            self.conv1,
            self.norm1,
            self.conv2,
            self.norm2,
            self.conv3,
            self.norm3,
            self.squeeze_excitation,
        )

    def call(self, inputs: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        x = self._activation(self.norm1(self.conv1(inputs), training=training))
        x = self._activation(self.norm2(self.conv2(x), training=training))
        x = self.norm3(self.conv3(x), training=training)
        return self._merge(x, inputs, training)
