"""Small models with every kind of layer that overrides know."""

import keras
import numpy as np
import tensorflow as tf

from official_lite.modeling import norm


def make_mlp() -> keras.Model:
    """[batch, 4] to [batch, 2]: dense, dropout, BatchNorm and dense, with fixed weights."""
    model = keras.Sequential(
        [
            keras.layers.Input((4,)),
            keras.layers.Dense(3, activation='relu', name='first'),
            keras.layers.Dropout(0.0, name='drop'),
            norm.BatchNormalization(momentum=0.9, name='norm'),
            keras.layers.Dense(2, name='last'),
        ]
    )
    set_weights(model)
    return model


class Detector(keras.Model):
    """Backbone and head as checkpoint items, and one layer of the model itself."""

    def __init__(self) -> None:
        super().__init__()
        inputs = keras.layers.Input((4,))
        x = keras.layers.Dense(5, name='stem')(inputs)
        x = keras.layers.Dense(5, activation='tanh', name='block')(x)
        self.backbone = keras.Model(inputs, x)
        self.head = keras.Sequential([keras.layers.Dense(2, name='cls')])
        self.out = keras.layers.Dense(1)
        self(tf.zeros([1, 4]))
        set_weights(self)

    @property
    def checkpoint_items(self) -> dict[str, keras.Model]:
        return {'backbone': self.backbone, 'head': self.head}

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        features = self.backbone(inputs, training=training)
        return self.out(self.head(features, training=training))


def set_weights(model: keras.Model) -> None:
    """Fixed values for everything that is trained."""
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape).astype(np.float32))


def make_inputs(batch: int = 6) -> tf.Tensor:
    """float32 [batch, 4]."""
    return tf.constant(np.random.default_rng(1).normal(size=(batch, 4)), tf.float32)
