"""Activations and initialisers."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite.modeling import activations, initializers

X = np.linspace(-5.0, 5.0, 21, dtype=np.float32)


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('relu', np.maximum(X, 0)),
        ('ReLU6', np.clip(X, 0, 6)),
        ('swish', X / (1 + np.exp(-X))),
        ('hard_swish', X * np.clip(X + 3, 0, 6) / 6),
        ('hard_sigmoid', np.clip(X + 3, 0, 6) * 0.16667),
        ('exact_gelu', [x * (1 + math.erf(x / math.sqrt(2))) / 2 for x in X]),
        ('mish', X * np.tanh(np.log1p(np.exp(X)))),
        ('linear', X),
        (None, X),
        (tf.tanh, np.tanh(X)),
    ],
)
def test_values(name, expected: np.ndarray) -> None:
    np.testing.assert_allclose(activations.get_activation(name)(X), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('dtype', ['float32', 'float64', 'bfloat16'])
def test_gelu_is_tensorflows_without_its_power(dtype: str) -> None:
    """A power of each element costs several times what a product does, unless Grappler rewrites it."""
    x = tf.cast(np.linspace(-6, 6, 101), dtype)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        got, expected = activations.gelu(x), tf.nn.gelu(x, approximate=True)
    tolerance = 5e-2 if dtype == 'bfloat16' else 1e-6
    for a, b in ((got, expected), (tape.gradient(got, x), tape.gradient(expected, x))):
        np.testing.assert_allclose(
            tf.cast(a, tf.float64), tf.cast(b, tf.float64), rtol=tolerance, atol=tolerance
        )
    graph = tf.function(activations.gelu).get_concrete_function(x).graph
    assert 'Pow' not in {operation.type for operation in graph.get_operations()}


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"Expected one of .*'relu'.* 'rleu'. Did you mean 'relu'"):
        activations.get_activation('rleu')


@pytest.mark.garden
@pytest.mark.parametrize(
    'name',
    [
        'relu',
        'relu6',
        'swish',
        'simple_swish',
        'hard_swish',
        'hard_sigmoid',
        'mish',
        'gelu',
        'leaky_relu',
        'sigmoid',
    ],
)
def test_equals_model_garden(name: str) -> None:
    from official.modeling import tf_utils

    expected = tf_utils.get_activation(name)(tf.constant(X))
    if name == 'leaky_relu':
        expected = tf_utils.get_activation(name, use_keras_layer=True)(tf.constant(X))
    np.testing.assert_allclose(activations.get_activation(name)(X), expected, rtol=1e-5, atol=1e-6)


def test_cloned_initialisers_draw_other_numbers() -> None:
    original = keras.initializers.RandomNormal(stddev=0.5)
    clone = initializers.clone_initializer(original)
    assert clone.get_config() == original.get_config()
    assert not np.allclose(original((100,)), clone((100,)))
    assert initializers.clone_initializer('zeros') == 'zeros'


def test_prior_bias() -> None:
    bias = initializers.make_prior_bias_initializer(0.01)((3,))
    np.testing.assert_allclose(tf.sigmoid(bias), [0.01] * 3, rtol=1e-5)
    with pytest.raises(ValueError, match=r'between 0 and 1. Received: prior=1'):
        initializers.make_prior_bias_initializer(1.0)
