"""Residual blocks, and what they share with bottlenecks: the shortcut."""

from __future__ import annotations

from typing import Any, Optional

import keras
import tensorflow as tf

from official_lite.vision.modeling.layers import conv_block, nn_layers

Shape = nn_layers.Shape


class ShortcutBlock(conv_block.ConvBlock):
    """Shortcut, stochastic depth and output of the two kinds of ResNet block."""

    def _make_shortcut(self, filters: int) -> None:
        """Creates `shortcut` (and `shortcut_pool`) and `norm0`, if there is a projection."""
        config = self._config
        self.shortcut_pool = None
        if not config['use_projection']:
            return
        strides = config['strides']
        if config['resnetd_shortcut']:
            self.shortcut_pool = keras.layers.AveragePooling2D(
                2, strides, padding='same', dtype=self.dtype_policy, name='shortcut_pool'
            )
            strides = 1
        self.shortcut = self._conv('shortcut', filters, strides=strides)
        self.norm0 = self._norm('norm0')

    def _build_shortcut(self, input_shape: Shape) -> None:
        if self._config['use_projection']:
            self._build_chain(input_shape, self.shortcut_pool, self.shortcut, self.norm0)

    def _apply_shortcut(self, inputs: tf.Tensor, training: Optional[bool]) -> tf.Tensor:
        if not self._config['use_projection']:
            return inputs
        x = inputs if self.shortcut_pool is None else self.shortcut_pool(inputs)
        return self.norm0(self.shortcut(x), training=training)

    def _merge(self, branch: tf.Tensor, inputs: tf.Tensor, training: Optional[bool]) -> tf.Tensor:
        if self.squeeze_excitation is not None:
            branch = self.squeeze_excitation(branch)
        if self.stochastic_depth is not None:
            branch = self.stochastic_depth(branch, training=training)
        return self._activation(branch + self._apply_shortcut(inputs, training))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return conv_block.strided_shape(input_shape, self._config['strides'], self._out_filters)


@keras.saving.register_keras_serializable(package='official_lite')
class ResidualBlock(ShortcutBlock):
    """Two 3x3 convolutions and a shortcut (https://arxiv.org/abs/1512.03385).

    Args:
        filters: Number of filters of both convolutions and of the output.
        strides: Stride of the first convolution and of the projection.
        use_projection: Whether the shortcut is a 1x1 convolution; needed where the shape changes.
        se_ratio: Ratio of squeeze-and-excitation; None or 0 for none.
        resnetd_shortcut: Whether the projection pools and then convolves with stride 1
            (https://arxiv.org/abs/1812.01187).
        stochastic_depth_drop_rate: Drop rate of the branch; None or 0 for none.
        use_explicit_padding: Whether the first convolution pads by 1 on every side, as CenterNet's
            hourglass does, and not as little as possible at the end.
        **kwargs: Arguments of `ConvBlock` and of `keras.layers.Layer`.
    """

    def __init__(
        self,
        filters: int,
        strides: int,
        use_projection: bool = False,
        se_ratio: Optional[float] = None,
        resnetd_shortcut: bool = False,
        stochastic_depth_drop_rate: Optional[float] = None,
        *,
        use_explicit_padding: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            {
                'filters': filters,
                'strides': strides,
                'use_projection': use_projection,
                'se_ratio': se_ratio,
                'resnetd_shortcut': resnetd_shortcut,
                'stochastic_depth_drop_rate': stochastic_depth_drop_rate,
                'use_explicit_padding': use_explicit_padding,
            },
            **kwargs,
        )
        self._out_filters = filters
        self._make_shortcut(filters)
        self.explicit_padding = self._explicit_padding(3)
        padding = 'valid' if use_explicit_padding else 'same'
        self.conv1 = self._conv('conv1', filters, 3, strides, padding=padding)
        self.norm1 = self._norm('norm1')
        self.conv2 = self._conv('conv2', filters, 3)
        self.norm2 = self._norm('norm2')
        self.squeeze_excitation = self._squeeze_excitation(filters, filters)
        self.stochastic_depth = self._stochastic_depth()

    def build(self, input_shape: Shape) -> None:
        self._build_shortcut(input_shape)
        self._build_chain(
            input_shape,
            self.explicit_padding,
            self.conv1,
            self.norm1,
            self.conv2,
            self.norm2,
            self.squeeze_excitation,
        )

    def call(self, inputs: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        x = inputs if self.explicit_padding is None else self.explicit_padding(inputs)
        x = self._activation(self.norm1(self.conv1(x), training=training))
        x = self.norm2(self.conv2(x), training=training)
        return self._merge(x, inputs, training)
