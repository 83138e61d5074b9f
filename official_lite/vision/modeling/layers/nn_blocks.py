"""Residual, bottleneck and inverted bottleneck blocks.

Convolutions have no bias and are followed by batch normalisation. Attributes carry the names of
their layers, from which checkpoint keys derive.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, Optional

import keras
import tensorflow as tf

from official_lite.modeling import activations, norm
from official_lite.modeling import initializers as initializers_lib
from official_lite.vision.modeling.layers import nn_layers

Shape = nn_layers.Shape


class ConvBlock(keras.layers.Layer):
    """What the blocks of this file share: how they make their parts, and their configuration.

    Args:
        options: The block's own arguments, which become part of its configuration.
        activation: Name of the activation function.
        kernel_initializer: Initialiser of convolution kernels.
        kernel_regularizer: Regulariser of convolution kernels.
        bias_regularizer: Regulariser of convolution biases, where there are any.
        use_sync_bn: Whether batch normalisation uses the moments of all replicas.
        norm_momentum: Momentum of the moving statistics.
        norm_epsilon: Added to variances.
        bn_trainable: Whether batch normalisation is trained; False puts it into inference mode.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        *,
        activation: str = 'relu',
        kernel_initializer: initializers_lib.Initializer = initializers_lib.DEFAULT,
        kernel_regularizer: Optional[keras.regularizers.Regularizer] = None,
        bias_regularizer: Optional[keras.regularizers.Regularizer] = None,
        use_sync_bn: bool = False,
        norm_momentum: float = 0.99,
        norm_epsilon: float = 0.001,
        bn_trainable: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        # A proxy, because Keras would wrap a plain dict.
        self._config: Mapping[str, Any] = types.MappingProxyType(
            {
                **options,
                'activation': activation,
                'kernel_initializer': kernel_initializer,
                'kernel_regularizer': keras.regularizers.get(kernel_regularizer),
                'bias_regularizer': keras.regularizers.get(bias_regularizer),
                'use_sync_bn': use_sync_bn,
                'norm_momentum': norm_momentum,
                'norm_epsilon': norm_epsilon,
                'bn_trainable': bn_trainable,
            }
        )
        self._activation = activations.get_activation(activation)

    def _conv(
        self, name: str, filters: int, kernel_size: int = 1, strides: int = 1, **kwargs: Any
    ) -> keras.layers.Conv2D:
        return keras.layers.Conv2D(
            filters,
            kernel_size,
            strides,
            padding='same',
            kernel_initializer=initializers_lib.clone_initializer(
                self._config['kernel_initializer']
            ),
            kernel_regularizer=self._config['kernel_regularizer'],
            bias_regularizer=self._config['bias_regularizer'],
            dtype=self.dtype_policy,
            name=name,
            **{'use_bias': False, **kwargs},
        )

    def _depthwise_conv(
        self,
        name: str,
        kernel_size: int,
        strides: int = 1,
        dilation_rate: int = 1,
        is_regularized: bool = False,
    ) -> keras.layers.DepthwiseConv2D:
        return keras.layers.DepthwiseConv2D(
            kernel_size,
            strides,
            padding='same',
            dilation_rate=dilation_rate,
            use_bias=False,
            depthwise_initializer=initializers_lib.clone_initializer(
                self._config['kernel_initializer']
            ),
            depthwise_regularizer=self._config['kernel_regularizer'] if is_regularized else None,
            dtype=self.dtype_policy,
            name=name,
        )

    def _norm(self, name: str) -> norm.BatchNormalization:
        return norm.BatchNormalization(
            self._config['norm_momentum'],
            self._config['norm_epsilon'],
            synchronized=self._config['use_sync_bn'],
            trainable=self._config['bn_trainable'],
            dtype=self.dtype_policy,
            name=name,
        )

    def _squeeze_excitation(
        self, in_filters: int, out_filters: int, **kwargs: Any
    ) -> Optional[keras.layers.Layer]:
        if not nn_layers.is_active_se_ratio(self._config['se_ratio']):
            return None
        return nn_layers.SqueezeExcitation(
            in_filters,
            out_filters,
            self._config['se_ratio'],
            kernel_initializer=initializers_lib.clone_initializer(
                self._config['kernel_initializer']
            ),
            kernel_regularizer=self._config['kernel_regularizer'],
            bias_regularizer=self._config['bias_regularizer'],
            dtype=self.dtype_policy,
            name='squeeze_excitation',
            **kwargs,
        )

    def _stochastic_depth(self) -> Optional[nn_layers.StochasticDepth]:
        rate = self._config['stochastic_depth_drop_rate']
        if not rate:
            return None
        return nn_layers.StochasticDepth(rate, dtype=self.dtype_policy, name='stochastic_depth')

    def _build_chain(self, shape: Shape, *layers: Optional[keras.layers.Layer]) -> Shape:
        """Builds layers that feed one another, and returns the shape of the last one's output."""
        for layer in layers:
            if layer is not None:
                layer.build(shape)
                shape = tuple(layer.compute_output_shape(shape))
        return shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **nn_layers.serialize_arguments(self._config)}


class _ResidualBlock(ConvBlock):
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
        return _strided(input_shape, self._config['strides'], self._out_filters)


@keras.saving.register_keras_serializable(package='official_lite')
class ResidualBlock(_ResidualBlock):
    """Two 3x3 convolutions and a shortcut (https://arxiv.org/abs/1512.03385).

    Args:
        filters: Number of filters of both convolutions and of the output.
        strides: Stride of the first convolution and of the projection.
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
                'use_projection': use_projection,
                'se_ratio': se_ratio,
                'resnetd_shortcut': resnetd_shortcut,
                'stochastic_depth_drop_rate': stochastic_depth_drop_rate,
            },
            **kwargs,
        )
        self._out_filters = filters
        self._make_shortcut(filters)
        self.conv1 = self._conv('conv1', filters, 3, strides)
        self.norm1 = self._norm('norm1')
        self.conv2 = self._conv('conv2', filters, 3)
        self.norm2 = self._norm('norm2')
        self.squeeze_excitation = self._squeeze_excitation(filters, filters)
        self.stochastic_depth = self._stochastic_depth()

    def build(self, input_shape: Shape) -> None:
        self._build_shortcut(input_shape)
        self._build_chain(
            input_shape, self.conv1, self.norm1, self.conv2, self.norm2, self.squeeze_excitation
        )

    def call(self, inputs: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        x = self._activation(self.norm1(self.conv1(inputs), training=training))
        x = self.norm2(self.conv2(x), training=training)
        return self._merge(x, inputs, training)


@keras.saving.register_keras_serializable(package='official_lite')
class BottleneckBlock(_ResidualBlock):
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


@keras.saving.register_keras_serializable(package='official_lite')
class Conv2DBNBlock(ConvBlock):
    """A convolution, batch normalisation and activation.

    Args:
        filters: Number of filters.
        kernel_size: Side of the kernel.
        strides: Stride.
        use_bias: Whether the convolution has a bias.
        use_normalization: Whether there is batch normalisation.
        **kwargs: Arguments of `ConvBlock` and of `keras.layers.Layer`.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int = 3,
        strides: int = 1,
        use_bias: bool = False,
        activation: str = 'relu6',
        use_normalization: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            {
                'filters': filters,
                'kernel_size': kernel_size,
                'strides': strides,
                'use_bias': use_bias,
                'use_normalization': use_normalization,
            },
            activation=activation,
            **kwargs,
        )
        self.conv0 = self._conv('conv0', filters, kernel_size, strides, use_bias=use_bias)
        self.norm0 = self._norm('norm0') if use_normalization else None

    def build(self, input_shape: Shape) -> None:
        self._build_chain(input_shape, self.conv0, self.norm0)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return _strided(input_shape, self._config['strides'], self._config['filters'])

    def call(self, inputs: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        x = self.conv0(inputs)
        if self.norm0 is not None:
            x = self.norm0(x, training=training)
        return self._activation(x)


@keras.saving.register_keras_serializable(package='official_lite')
class DepthwiseSeparableConvBlock(ConvBlock):
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
        return _strided(input_shape, self._config['strides'], self._config['filters'])

    def call(self, inputs: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        x = self._activation(self.norm0(self.dwconv0(inputs), training=training))
        return self._activation(self.norm1(self.conv1(x), training=training))


@keras.saving.register_keras_serializable(package='official_lite')
class InvertedBottleneckBlock(ConvBlock):
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
        self._middle_filters = in_filters
        self.conv0: Optional[keras.layers.Layer] = None
        self.norm0: Optional[keras.layers.Layer] = None
        self.conv1: Optional[keras.layers.Layer] = None
        self.norm1: Optional[keras.layers.Layer] = None
        if expand_ratio > 1:
            self._middle_filters = nn_layers.make_divisible(in_filters * expand_ratio, divisible_by)
            self._make_expansion()
        if use_depthwise:
            self.conv1 = self._depthwise_conv(
                'conv1', kernel_size, strides, dilation_rate, is_regularized=regularize_depthwise
            )
            self.norm1 = self._norm('norm1')
        self._depthwise_activation = activations.get_activation(
            depthwise_activation or self._config['activation']
        )
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

    def _make_expansion(self) -> None:
        is_fused = not self._config['use_depthwise']
        self.conv0 = self._conv(
            'conv0',
            self._middle_filters,
            self._config['kernel_size'] if is_fused else 1,
            self._config['strides'] if is_fused else 1,
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
        shape = _strided(input_shape, strides, self._config['out_filters'])
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


def _strided(input_shape: Shape, strides: int, filters: int) -> Shape:
    """Shape after a convolution with padding `same`."""
    batch, height, width = tuple(input_shape)[:3]
    return (
        batch,
        *(None if side is None else -(-side // strides) for side in (height, width)),
        filters,
    )
