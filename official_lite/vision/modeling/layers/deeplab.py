"""Atrous spatial pyramid pooling, DeepLab's view of several distances at once."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import keras
import tensorflow as tf

from official_lite.modeling import activations, norm
from official_lite.modeling import initializers as initializers_lib
from official_lite.vision.modeling.layers import convolution, nn_layers, resizing

Shape = nn_layers.Shape
Branch = dict[str, keras.layers.Layer]


@keras.saving.register_keras_serializable(package='official_lite')
class SpatialPyramidPooling(keras.layers.Layer):
    """Convolutions of several dilations and pooled features, side by side, and a projection
    (https://arxiv.org/abs/1706.05587; depthwise separable: https://arxiv.org/abs/1802.02611).

    Branches are a 1x1 convolution, a 3x3 convolution for each dilation, and a 1x1 convolution of
    means over windows, resized back. Each ends in batch normalisation and activation. They are
    concatenated and projected by another 1x1 convolution.

    Input: features [batch, height, width, channels].
    Output: features [batch, height, width, output_channels].

    Args:
        output_channels: Channels of each branch and of the output.
        dilation_rates: Dilations of the 3x3 convolutions.
        pool_kernel_size: Height and width of windows, in pixels of the features; they do not
            overlap, and incomplete ones are left out. A map that is smaller than a window is one
            window. None for one window, the whole map.
        use_sync_bn: Whether batch normalisation uses the moments of all replicas.
        batchnorm_momentum: Momentum of the moving statistics.
        batchnorm_epsilon: Added to variances.
        activation: Name of the activation function.
        dropout: Chance that an output is dropped in training.
        kernel_initializer: Initialiser of convolution kernels.
        kernel_regularizer: Regulariser of convolution kernels.
        interpolation: How pooled features are resized, one of `resizing.METHODS`.
        use_depthwise_convolution: Whether 3x3 convolutions are depthwise separable.
        regularize_depthwise: Whether depthwise kernels have the initialiser and the regulariser
            too, as in version 2 of Model Garden's layer. If not, they have Keras's initialiser and
            no regulariser, as in version 1.

    Raises:
        ValueError: If a number is out of range, `interpolation` is unknown, or the input is not 4-D.
    """

    def __init__(
        self,
        output_channels: int,
        dilation_rates: Sequence[int],
        pool_kernel_size: Optional[Sequence[int]] = None,
        use_sync_bn: bool = False,
        batchnorm_momentum: float = 0.99,
        batchnorm_epsilon: float = 0.001,
        activation: str = 'relu',
        dropout: float = 0.5,
        kernel_initializer: initializers_lib.Initializer = 'glorot_uniform',
        kernel_regularizer: Optional[keras.regularizers.Regularizer] = None,
        interpolation: str = 'bilinear',
        use_depthwise_convolution: bool = False,
        *,
        regularize_depthwise: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        # A proxy, because Keras would wrap a plain dict.
        self._config: Mapping[str, Any] = types.MappingProxyType(
            {
                'output_channels': output_channels,
                'dilation_rates': list(dilation_rates),
                'pool_kernel_size': None if pool_kernel_size is None else list(pool_kernel_size),
                'use_sync_bn': use_sync_bn,
                'batchnorm_momentum': batchnorm_momentum,
                'batchnorm_epsilon': batchnorm_epsilon,
                'activation': activation,
                'dropout': dropout,
                'kernel_initializer': kernel_initializer,
                'kernel_regularizer': keras.regularizers.get(kernel_regularizer),
                'interpolation': interpolation,
                'use_depthwise_convolution': use_depthwise_convolution,
                'regularize_depthwise': regularize_depthwise,
            }
        )
        self._check()
        self._activation = activations.get_activation(activation)
        self.aspp_layers: list[Branch] = [
            self._make_branch('point'),
            *(self._make_branch(f'dilated_{i}', rate) for i, rate in enumerate(dilation_rates)),
            self._make_branch('pooled'),
        ]
        self.projection = self._make_branch('projection')
        self.dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name='dropout')

    def _check(self) -> None:
        config = self._config
        if config['interpolation'] not in resizing.METHODS:
            raise ValueError(
                f'Unknown interpolation. Expected one of {list(resizing.METHODS)}. '
                f'Received: {config["interpolation"]!r}'
            )
        if any(rate < 1 for rate in config['dilation_rates']):
            raise ValueError(
                'Expected dilation_rates of 1 or more. '
                f'Received: dilation_rates={config["dilation_rates"]}'
            )
        kernel = config['pool_kernel_size']
        if kernel is not None and (len(kernel) != 2 or min(kernel) < 1):
            raise ValueError(
                'Windows have a height and a width of at least one pixel of the features. '
                f'Expected pool_kernel_size of two numbers of 1 or more. Received: {kernel}'
            )

    def _make_branch(self, name: str, dilation_rate: Optional[int] = None) -> Branch:
        """Convolution and normalisation: 1x1, or 3x3 with a dilation, in two steps if separable."""
        config = self._config
        branch: Branch = {}
        is_separable = dilation_rate is not None and config['use_depthwise_convolution']
        if is_separable:
            kernel = {}
            if config['regularize_depthwise']:
                kernel['depthwise_initializer'] = self._initializer()
                kernel['depthwise_regularizer'] = config['kernel_regularizer']
            branch['depthwise'] = keras.layers.DepthwiseConv2D(
                3,
                padding='same',
                dilation_rate=dilation_rate,
                use_bias=False,
                dtype=self.dtype_policy,
                name=f'{name}_depthwise',
                **kernel,
            )
        is_point = dilation_rate is None or is_separable
        branch['conv'] = convolution.Conv2D(
            config['output_channels'],
            1 if is_point else 3,
            padding='same',
            dilation_rate=1 if is_point else dilation_rate,
            use_bias=False,
            kernel_initializer=self._initializer(),
            kernel_regularizer=config['kernel_regularizer'],
            dtype=self.dtype_policy,
            name=f'{name}_conv',
        )
        branch['norm'] = norm.BatchNormalization(
            config['batchnorm_momentum'],
            config['batchnorm_epsilon'],
            synchronized=config['use_sync_bn'],
            dtype=self.dtype_policy,
            name=f'{name}_norm',
        )
        return branch

    def _initializer(self) -> initializers_lib.Initializer:
        return initializers_lib.clone_initializer(self._config['kernel_initializer'])

    def build(self, input_shape: Shape) -> None:
        if len(input_shape) != 4:
            raise ValueError(
                'SpatialPyramidPooling pools height and width. Expected features of shape '
                f'[batch, height, width, channels]. Received: {tuple(input_shape)}'
            )
        place = (None, None, None)
        for branch in self.aspp_layers:
            _build_branch(branch, (*place, input_shape[-1]))
        channels = len(self.aspp_layers) * self._config['output_channels']
        _build_branch(self.projection, (*place, channels))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:3], self._config['output_channels'])

    def call(self, inputs: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        outputs = [self._apply(branch, inputs, training) for branch in self.aspp_layers[:-1]]
        pooled = self._apply(self.aspp_layers[-1], self._pool(inputs), training)
        size = resizing.get_size(inputs)
        outputs.append(resizing.resize(pooled, size, self._config['interpolation']))
        x = self._apply(self.projection, tf.concat(outputs, axis=-1), training)
        return self.dropout(x, training=training)

    def _apply(self, branch: Branch, x: tf.Tensor, training: Optional[bool]) -> tf.Tensor:
        if 'depthwise' in branch:
            x = branch['depthwise'](x)
        return self._activation(branch['norm'](branch['conv'](x), training=training))

    def _pool(self, inputs: tf.Tensor) -> tf.Tensor:
        kernel = self._config['pool_kernel_size']
        if kernel is None:
            return tf.reduce_mean(inputs, axis=[1, 2], keepdims=True)  # [batch, 1, 1, channels]
        sides = inputs.shape[1:3]
        kernel = [
            window if side is None else min(window, side)
            for window, side in zip(kernel, sides, strict=True)
        ]
        return tf.nn.avg_pool2d(inputs, kernel, kernel, 'VALID')

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **nn_layers.serialize_arguments(self._config)}


def _build_branch(branch: Branch, shape: Shape) -> None:
    for layer in branch.values():
        layer.build(shape)
        shape = layer.compute_output_shape(shape)
