"""Learned factors of the channels of a residual branch (https://arxiv.org/abs/2103.17239)."""

from __future__ import annotations

from typing import Any, Optional

import keras
import tensorflow as tf

Shape = tuple[Optional[int], ...]


@keras.saving.register_keras_serializable(package='official_lite')
class LayerScale(keras.layers.Layer):
    """Multiplies each channel of a sequence by a learned factor.

    Args:
        init_values: What all factors start from.
    """

    def __init__(self, init_values: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gamma_init_value = init_values

    def build(self, input_shape: Shape) -> None:
        """Makes `gamma`, float32 [1, 1, channels], for inputs [batch, tokens, channels]."""
        self.gamma = self.add_weight(
            name='layerscale_gamma',
            shape=(1, 1, input_shape[-1]),
            initializer=keras.initializers.Constant(self.gamma_init_value),
            dtype='float32',
            autocast=False,
        )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return inputs * tf.cast(self.gamma, inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'init_values': self.gamma_init_value}


@keras.saving.register_keras_serializable(package='official_lite')
class MNV4LayerScale(keras.layers.Layer):
    """Multiplies each channel by a learned factor; inputs of any rank (MobileNet V4).

    Args:
        init_value: What all factors start from.
    """

    def __init__(self, init_value: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._init_value = init_value

    def build(self, input_shape: Shape) -> None:
        """Makes `gamma`, float32 [channels], for inputs [..., channels]."""
        self.gamma = self.add_weight(
            name='gamma',
            shape=(input_shape[-1],),
            initializer=keras.initializers.Constant(self._init_value),
            dtype='float32',
            autocast=False,
        )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return inputs * tf.cast(self.gamma, inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'init_value': self._init_value}
