"""Regularisers."""

from __future__ import annotations

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package='official_lite')
class L2(keras.regularizers.L2):
    """`l2` times the sum of squares: Keras' numbers in one pass over the weights, not two.

    Args:
        l2: Factor, float.
    """

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """float32 scalar for weights of any shape."""
        return 2.0 * float(self.l2) * tf.nn.l2_loss(tf.convert_to_tensor(x))


@keras.saving.register_keras_serializable(package='official_lite')
class ActivityL1L2(keras.regularizers.L1L2):
    """Keras' L1L2 for what layers return, summed in float32 whatever they compute in.

    Args:
        l1: Factor of the sum of absolute values, float.
        l2: Factor of the sum of squares, float.
    """

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """float32 scalar for outputs of any shape."""
        return super().__call__(tf.cast(x, tf.float32))
