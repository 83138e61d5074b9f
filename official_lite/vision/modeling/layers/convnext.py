"""ConvNeXt blocks."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, Optional

import keras
import tensorflow as tf

from official_lite.modeling import activations
from official_lite.vision.modeling.layers import nn_layers

Shape = nn_layers.Shape

LAYER_NORM_EPSILON = 1e-6
EXPANSION = 4
KERNEL_STDDEV = 0.02


@keras.saving.register_keras_serializable(package='official_lite')
class ConvNeXtBlock(keras.layers.Layer):
    """Depthwise convolution, layer normalisation, two dense layers, and the input
    (https://arxiv.org/abs/2201.03545, figure 4).

    Between the dense layers, which widen features four times and narrow them again, are an exact
    GELU and squeeze-and-excitation.

    Args:
        dim: Number of channels of input and output.
        drop_rate: Chance that the branch is dropped in training.
        layer_scale_init_value: First value of the factors of the branch's channels; 0 for none.
        kernel_size: Side of the depthwise kernel.
        se_ratio: Hidden width of squeeze-and-excitation relative to its input; 0 for none.
    """

    def __init__(
        self,
        dim: int,
        drop_rate: Optional[float] = 0.0,
        layer_scale_init_value: float = 1e-6,
        kernel_size: int = 7,
        se_ratio: float = 0.0625,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        # A proxy, because Keras would wrap a plain dict.
        self._config: Mapping[str, Any] = types.MappingProxyType(
            {
                'dim': dim,
                'drop_rate': drop_rate,
                'layer_scale_init_value': layer_scale_init_value,
                'kernel_size': kernel_size,
                'se_ratio': se_ratio,
            }
        )
        self.depthwise_conv = keras.layers.DepthwiseConv2D(
            kernel_size,
            padding='same',
            depthwise_initializer=_make_initializer(),
            dtype=self.dtype_policy,
            name='depthwise_conv',
        )
        self.norm = keras.layers.LayerNormalization(
            epsilon=LAYER_NORM_EPSILON, dtype=self.dtype_policy, name='norm'
        )
        self.pointwise_conv1 = self._make_dense('pointwise_conv1', EXPANSION * dim)
        self.squeeze_excitation = (
            nn_layers.SqueezeExcitation(
                EXPANSION * dim,
                EXPANSION * dim,
                se_ratio,
                activation='gelu',
                dtype=self.dtype_policy,
                name='squeeze_excitation',
            )
            if nn_layers.is_active_se_ratio(se_ratio)
            else None
        )
        self.pointwise_conv2 = self._make_dense('pointwise_conv2', dim)
        self.drop_path = nn_layers.StochasticDepth(
            drop_rate, dtype=self.dtype_policy, name='drop_path'
        )
        self.layer_scale: Any = None

    def _make_dense(self, name: str, units: int) -> keras.layers.Dense:
        return keras.layers.Dense(
            units, kernel_initializer=_make_initializer(), dtype=self.dtype_policy, name=name
        )

    def build(self, input_shape: Shape) -> None:
        dim = self._config['dim']
        shape = (*input_shape[:-1], dim)
        wide = (*input_shape[:-1], EXPANSION * dim)
        self.depthwise_conv.build(input_shape)
        self.norm.build(shape)
        self.pointwise_conv1.build(shape)
        if self.squeeze_excitation is not None:
            self.squeeze_excitation.build(wide)
        self.pointwise_conv2.build(wide)
        value = self._config['layer_scale_init_value']
        if value > 0:
            self.layer_scale = self.add_weight(
                name='layer_scale',
                shape=(1, 1, 1, dim),
                initializer=keras.initializers.Constant(value),
            )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)

    def call(self, inputs: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        x = self.pointwise_conv1(self.norm(self.depthwise_conv(inputs)))
        x = activations.exact_gelu(x)
        if self.squeeze_excitation is not None:
            x = self.squeeze_excitation(x)
        x = self.pointwise_conv2(x)
        if self.layer_scale is not None:
            x = x * tf.cast(tf.convert_to_tensor(self.layer_scale), x.dtype)
        return inputs + self.drop_path(x, training=training)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._config}


def _make_initializer() -> keras.initializers.Initializer:
    return keras.initializers.TruncatedNormal(stddev=KERNEL_STDDEV)
