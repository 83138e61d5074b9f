"""Keras's values and gradients, in forms that TensorFlow computes fast and right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite.vision.modeling.layers import convolution

CASES: dict[str, tuple[tuple[int, int], dict[str, Any]]] = {
    'small rate': ((9, 7), {'dilation_rate': 2}),
    'rate next to the side': ((8, 8), {'dilation_rate': 7}),
    'rate of the side': ((8, 8), {'dilation_rate': 8}),
    'rate beyond one side': ((4, 12), {'dilation_rate': 5}),
    'two rates': ((8, 12), {'dilation_rate': (9, 2)}),
    'five taps': ((9, 9), {'dilation_rate': 4, 'kernel_size': 5}),
    'even kernel': ((5, 5), {'dilation_rate': 6, 'kernel_size': (2, 3)}),
    'valid': ((9, 8), {'dilation_rate': 3, 'padding': 'valid'}),
    'bias and activation': ((6, 6), {'dilation_rate': 3, 'use_bias': True, 'activation': 'tanh'}),
    'groups': ((6, 6), {'dilation_rate': 2, 'groups': 2}),
    'no dilation': ((6, 6), {'strides': 2}),
    'sampled': ((7, 6), {'strides': 2, 'kernel_size': 1}),
    'sampled by two strides': ((7, 8), {'strides': (1, 3), 'kernel_size': 1, 'padding': 'valid'}),
}


@pytest.fixture
def forget_device() -> Iterator[None]:
    convolution.has_gradients.cache_clear()
    yield
    convolution.has_gradients.cache_clear()


def _make(cls: type[keras.layers.Conv2D], **kwargs: Any) -> keras.layers.Conv2D:
    arguments: dict[str, Any] = {'kernel_size': 3, 'padding': 'same', 'use_bias': False, **kwargs}
    layer = cls(4, **arguments)
    layer.build((None, None, None, 6))
    return layer


def _run(layer: keras.layers.Conv2D, images: tf.Tensor) -> list[np.ndarray]:
    """The output, and the gradients of a weighted sum of it."""
    weights = [variable.value for variable in layer.trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch(images)
        output = layer(images)
        size = tf.cast(tf.size(output), tf.float32)
        total = tf.reduce_sum(
            tf.cast(output, tf.float32) * tf.reshape(tf.range(size), output.shape)
        )
        total = total / size
    weights = [variable.value for variable in layer.trainable_variables]
    gradients = tape.gradient(total, [images, *weights])
    return [tf.cast(value, tf.float32).numpy() for value in (output, *gradients)]


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16', 'float16'])
@pytest.mark.parametrize('case', CASES)
def test_values_and_gradients_are_keras_s(case: str, dtype: str) -> None:
    size, arguments = CASES[case]
    generator = np.random.default_rng(0)
    # Small whole numbers, whose sums are exact in every type.
    images = tf.cast(generator.integers(-2, 3, (2, *size, 6)), dtype)
    layer = _make(convolution.Conv2D, dtype=dtype, **arguments)
    reference = _make(keras.layers.Conv2D, dtype=dtype, **arguments)
    weights = [generator.integers(-2, 3, value.shape) for value in layer.get_weights()]
    layer.set_weights(weights)
    reference.set_weights(weights)
    tolerance = {'float32': 1e-5, 'bfloat16': 2e-2, 'float16': 2e-3}[dtype]
    for got, expected in zip(_run(layer, images), _run(reference, images), strict=True):
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance * 50)


def _operations(layer: keras.layers.Layer) -> set[str]:
    images = tf.TensorSpec([2, 8, 8, 6], tf.float32)
    graph = tf.function(layer).get_concrete_function(images).graph
    return {operation.type for operation in graph.get_operations()}


def test_features_are_not_rearranged(forget_device: None, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = _make(convolution.Conv2D, dilation_rate=2)
    if convolution.has_gradients('float32'):
        assert 'SpaceToBatchND' not in _operations(layer)
    # A device that computes gradients as if there were no dilation, as depthwise ones are on CPUs.
    differentiate = tf.raw_ops.Conv2DBackpropFilter
    monkeypatch.setattr(
        tf.raw_ops,
        'Conv2DBackpropFilter',
        lambda **kwargs: differentiate(**{**kwargs, 'dilations': [1] * 4}),
    )
    convolution.has_gradients.cache_clear()
    assert not convolution.has_gradients('float32')
    assert 'SpaceToBatchND' in _operations(layer)


def test_a_device_without_the_gradients_is_found(forget_device: None) -> None:
    if not tf.config.list_physical_devices('GPU'):
        assert not convolution.has_gradients('float64')  # oneDNN has none
    with tf.GradientTape():  # where layers are called
        assert isinstance(convolution.has_gradients('float32'), bool)


def test_taps_that_meet_padding_alone_are_not_computed() -> None:
    layer = _make(convolution.Conv2D, dilation_rate=(8, 3))
    images = tf.ones([1, 8, 8, 6])
    kernel = np.zeros([3, 3, 6, 4], np.float32)
    kernel[1] = 1.0
    layer.kernel.assign(kernel)
    expected = layer(images).numpy()
    kernel[[0, 2]] = np.nan  # rows that lie above and below the image
    layer.kernel.assign(kernel)
    if convolution.has_gradients('float32'):
        np.testing.assert_array_equal(layer(images), expected)


def test_a_layer_comes_back_from_its_config() -> None:
    layer = _make(convolution.Conv2D, dilation_rate=(3, 2))
    config = keras.layers.serialize(layer)
    again = keras.layers.deserialize(config)
    assert type(again) is convolution.Conv2D
    assert again.dilation_rate == (3, 2)


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_onednn_gets_no_strided_point_convolution_of_few_channels(dtype: str) -> None:
    """Which ends the process on maps as wide as these, or has wrong gradients."""
    layer = _make(convolution.Conv2D, kernel_size=1, strides=2, dtype=dtype)
    images = tf.cast(np.random.default_rng(0).integers(-2, 3, [2, 64, 128, 6]), dtype)
    graph = tf.function(layer).get_concrete_function(images).graph
    (operation,) = (found for found in graph.get_operations() if found.type == 'Conv2D')
    assert operation.get_attr('strides') == [1, 1, 1, 1]
    output, _, by_kernel = _run(layer, images)
    weights = np.arange(output.size).reshape(output.shape) / output.size
    expected = np.einsum('bhwi,bhwo->io', tf.cast(images[:, ::2, ::2], tf.float32), weights)
    np.testing.assert_allclose(by_kernel[0, 0], expected, rtol=2e-2, atol=2)
