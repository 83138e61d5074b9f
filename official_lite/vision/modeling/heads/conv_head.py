"""What the heads of a two-stage detector share: how they make their parts, and their configuration."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from typing import Any, Optional

import keras
import tensorflow as tf

from official_lite.modeling import activations, norm
from official_lite.vision.modeling.layers import nn_layers

Shape = nn_layers.Shape
MakeInitializer = Callable[[], keras.initializers.Initializer]


class ConvHead(keras.layers.Layer):
    """Convolutions with biases, each followed by batch normalisation and activation.

    Args:
        options: The head's own arguments, which become part of its configuration.
        use_separable_conv: Whether convolutions are depthwise separable.
        activation: Name of the activation function.
        use_sync_bn: Whether batch normalisation uses the moments of all replicas.
        norm_momentum: Momentum of the moving statistics.
        norm_epsilon: Added to variances.
        kernel_regularizer: Regulariser of kernels.
        bias_regularizer: Regulariser of biases.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        *,
        use_separable_conv: bool,
        activation: str,
        use_sync_bn: bool,
        norm_momentum: float,
        norm_epsilon: float,
        kernel_regularizer: Optional[keras.regularizers.Regularizer],
        bias_regularizer: Optional[keras.regularizers.Regularizer],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        # A proxy, because Keras would wrap a plain dict.
        self._config: Mapping[str, Any] = types.MappingProxyType(
            {
                **options,
                'use_separable_conv': use_separable_conv,
                'activation': activation,
                'use_sync_bn': use_sync_bn,
                'norm_momentum': norm_momentum,
                'norm_epsilon': norm_epsilon,
                'kernel_regularizer': keras.regularizers.get(kernel_regularizer),
                'bias_regularizer': keras.regularizers.get(bias_regularizer),
            }
        )
        self._activation = activations.get_activation(activation)

    def _make_conv(
        self, name: str, filters: int, kernel_size: int, make_initializer: MakeInitializer
    ) -> keras.layers.Layer:
        is_separable = self._config['use_separable_conv']
        kernels: dict[str, Any] = {}
        for prefix in ('depthwise', 'pointwise') if is_separable else ('kernel',):
            kernels[f'{prefix}_initializer'] = make_initializer()
            kernels[f'{prefix}_regularizer'] = self._config['kernel_regularizer']
        cls = keras.layers.SeparableConv2D if is_separable else keras.layers.Conv2D
        return cls(
            filters,
            kernel_size,
            padding='same',
            bias_regularizer=self._config['bias_regularizer'],
            dtype=self.dtype_policy,
            name=name,
            **kernels,
        )

    def _make_dense(
        self, name: str, units: int, initializer: keras.initializers.Initializer
    ) -> keras.layers.Dense:
        return keras.layers.Dense(
            units,
            kernel_initializer=initializer,
            kernel_regularizer=self._config['kernel_regularizer'],
            bias_regularizer=self._config['bias_regularizer'],
            dtype=self.dtype_policy,
            name=name,
        )

    def _make_norm(self, name: str) -> norm.BatchNormalization:
        return norm.BatchNormalization(
            self._config['norm_momentum'],
            self._config['norm_epsilon'],
            synchronized=self._config['use_sync_bn'],
            dtype=self.dtype_policy,
            name=name,
        )

    def _apply(
        self,
        layers: list[keras.layers.Layer],
        norms: list[norm.BatchNormalization],
        x: tf.Tensor,
        training: Optional[bool],
    ) -> tf.Tensor:
        for layer, norm_layer in zip(layers, norms, strict=True):
            if not training and type(layer) in (keras.layers.Conv2D, keras.layers.Dense):
                x = self._activation(_apply_folded(layer, norm_layer, x))
            else:
                x = self._activation(norm_layer(layer(x), training=training))
        return x

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **nn_layers.serialize_arguments(self._config)}


def _apply_folded(
    layer: keras.layers.Layer, norm_layer: norm.BatchNormalization, x: tf.Tensor
) -> tf.Tensor:
    """A layer and its normalisation in one.

    Features of a thousand regions are larger than any cache: each pass over them counts.
    """
    weights = (tf.cast(tf.convert_to_tensor(v), tf.float32) for v in (layer.kernel, layer.bias))
    kernel, bias = (tf.cast(part, layer.compute_dtype) for part in norm_layer.fold(*weights))
    x = tf.cast(x, layer.compute_dtype)
    if isinstance(layer, keras.layers.Dense):
        return tf.nn.bias_add(tf.matmul(x, kernel), bias)
    return tf.nn.bias_add(layer.convolution_op(x, kernel), bias)


def build_pairs(
    layers: list[keras.layers.Layer], norms: list[norm.BatchNormalization], shape: Shape
) -> Shape:
    """Builds layers, each with its normalisation, and returns the shape of the last one's output."""
    for layer, norm_layer in zip(layers, norms, strict=True):
        if not layer.built:
            layer.build(shape)
        shape = tuple(layer.compute_output_shape(shape))
        norm_layer.build(shape)
    return shape
