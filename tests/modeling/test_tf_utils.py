"""Model Garden's helpers under its names."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite.modeling import tf_utils

X = tf.constant([[-2.0, 0.5, 3.0]])


@pytest.mark.parametrize('use_keras_layer', [False, True])
@pytest.mark.parametrize(
    ('name', 'kwargs', 'expected'),
    [
        ('relu', {}, tf.nn.relu(X)),
        ('Swish', {}, X * tf.sigmoid(X)),
        ('leaky_relu', {'alpha': 0.1}, [[-0.2, 0.5, 3.0]]),
        ('gelu', {'approximate': False}, tf.nn.gelu(X, approximate=False)),
        ('gelu', {'approximate': True}, tf.nn.gelu(X, approximate=True)),
        (tf.nn.tanh, {}, tf.tanh(X)),
        (None, {}, X),
    ],
)
def test_activations_take_tensors_and_symbols(name, kwargs, expected, use_keras_layer) -> None:
    activation = tf_utils.get_activation(name, use_keras_layer, **kwargs)
    assert isinstance(activation, keras.layers.Layer) == use_keras_layer
    np.testing.assert_allclose(activation(X), expected, rtol=1e-6)
    inputs = keras.Input((3,))
    model = keras.Model(inputs, activation(inputs))
    np.testing.assert_allclose(model(X), expected, rtol=1e-6)


def test_unknown_activation() -> None:
    with pytest.raises(ValueError, match=r"Did you mean 'relu'\?"):
        tf_utils.get_activation('rellu', use_keras_layer=True)


def test_shape_list_is_dynamic_where_it_must_be() -> None:
    assert tf_utils.get_shape_list(X, 2) == [1, 3]

    @tf.function(input_signature=[tf.TensorSpec([None, 3])])
    def get_sides(x: tf.Tensor) -> tf.Tensor:
        batch, width = tf_utils.get_shape_list(x)
        assert width == 3
        return batch

    assert int(get_sides(tf.zeros([5, 3]))) == 5
    with pytest.raises(ValueError, match=r'boxes: expected 3 or 4 dimensions, received shape'):
        tf_utils.get_shape_list(X, [3, 4], 'boxes')


def test_safe_mean_of_nothing_is_zero() -> None:
    assert float(tf_utils.safe_mean(tf.constant([1.0, 3.0]))) == 2.0
    assert float(tf_utils.safe_mean(tf.zeros([0]))) == 0.0


def test_clones_of_initializers_draw_on_their_own() -> None:
    initializer = keras.initializers.RandomNormal(stddev=0.3)
    clone = tf_utils.clone_initializer(initializer)
    assert clone is not initializer
    assert clone.stddev == 0.3
    assert tf_utils.clone_initializer('zeros') == 'zeros'


def test_concatenation_over_replicas() -> None:
    @tf.function
    def concatenate() -> tf.Tensor:
        return tf_utils.cross_replica_concat(tf.fill([2, 3], tf_utils.get_replica_id()), axis=0)

    values = tf.distribute.get_strategy().run(concatenate)
    np.testing.assert_array_equal(values, np.zeros([2, 3]))
    with (
        tf.distribute.MirroredStrategy(['CPU:0']).scope(),
        pytest.raises(RuntimeError, match='received a cross-replica context'),
    ):
        tf_utils.get_replica_id()
