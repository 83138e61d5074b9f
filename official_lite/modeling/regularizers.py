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
