"""What heads share: how they make their parts, and their configuration."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from typing import Any, Optional

import keras
import tensorflow as tf

from official_lite.modeling import activations, norm
from official_lite.vision.modeling.layers import nn_layers

# Spread of the kernels of an anchor head at the start.
_TOWER_STDDEV = 0.01
_PREDICTOR_STDDEV = 1e-5
# The product of a depthwise and a pointwise kernel is what counts where there are both.
_SEPARABLE_PREDICTOR_STDDEV = 0.03

Shape = nn_layers.Shape
MakeInitializer = Callable[[], keras.initializers.Initializer]


class NormalizedHead(keras.layers.Layer):
    """Layers that are each followed by batch normalisation and activation.

    Args:
        options: The head's own arguments, which become part of its configuration.
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
                'activation': activation,
                'use_sync_bn': use_sync_bn,
                'norm_momentum': norm_momentum,
                'norm_epsilon': norm_epsilon,
                'kernel_regularizer': keras.regularizers.get(kernel_regularizer),
                'bias_regularizer': keras.regularizers.get(bias_regularizer),
            }
        )
        self._activation = activations.get_activation(activation)

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

    def _make_depthwise_conv(self, name: str) -> keras.layers.DepthwiseConv2D:
        return keras.layers.DepthwiseConv2D(
            3,
            padding='same',
            use_bias=False,
            depthwise_initializer=keras.initializers.RandomNormal(stddev=0.01),
            depthwise_regularizer=self._config['kernel_regularizer'],
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

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **nn_layers.serialize_arguments(self._config)}


class ConvHead(NormalizedHead):
    """A head of 3x3 or 1x1 convolutions with biases.

    Its option `use_separable_conv` says whether they are depthwise separable.
    """

    def _make_conv(
        self,
        name: str,
        filters: int,
        kernel_size: int,
        make_initializer: MakeInitializer,
        **kwargs: Any,
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
            **kwargs,
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


class AnchorHead(ConvHead):
    """A head that predicts at every anchor: convolutions with normalisation, then predictors.

    Its options `min_level` and `max_level` say on which levels it stands.
    """

    def __init__(self, options: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(options, **kwargs)
        self._levels = tuple(
            str(level) for level in range(options['min_level'], options['max_level'] + 1)
        )

    def _make_tower_initializer(self) -> keras.initializers.Initializer:
        # Model Garden starts separable towers from Keras's default.
        if self._config['use_separable_conv']:
            return keras.initializers.GlorotUniform()
        return keras.initializers.RandomNormal(stddev=_TOWER_STDDEV)

    def _make_predictor_initializer(self) -> keras.initializers.Initializer:
        is_separable = self._config['use_separable_conv']
        return keras.initializers.RandomNormal(
            stddev=_SEPARABLE_PREDICTOR_STDDEV if is_separable else _PREDICTOR_STDDEV
        )


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
