"""What blocks of convolutions share: how they make their parts, and their configuration.

Convolutions have no bias and are followed by batch normalisation. Attributes carry the names of
their layers, from which checkpoint keys derive.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, Optional

import keras

from official_lite.modeling import activations, norm
from official_lite.modeling import initializers as initializers_lib
from official_lite.vision.modeling.layers import convolution, nn_layers

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
        return convolution.Conv2D(
            filters,
            kernel_size,
            strides,
            kernel_initializer=initializers_lib.clone_initializer(
                self._config['kernel_initializer']
            ),
            kernel_regularizer=self._config['kernel_regularizer'],
            bias_regularizer=self._config['bias_regularizer'],
            dtype=self.dtype_policy,
            name=name,
            **{'use_bias': False, 'padding': 'same', **kwargs},
        )

    def _explicit_padding(self, kernel_size: int) -> Optional[keras.layers.ZeroPadding2D]:
        """Zeros around the map for an odd kernel, as many on each side; None where not asked for."""
        if not self._config['use_explicit_padding'] or kernel_size == 1:
            return None
        return keras.layers.ZeroPadding2D(
            (kernel_size - 1) // 2, dtype=self.dtype_policy, name='explicit_padding'
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


def strided_shape(input_shape: Shape, strides: int, filters: int) -> Shape:
    """Shape after a convolution with padding `same`."""
    batch, height, width = tuple(input_shape)[:3]
    return (
        batch,
        *(None if side is None else -(-side // strides) for side in (height, width)),
        filters,
    )
