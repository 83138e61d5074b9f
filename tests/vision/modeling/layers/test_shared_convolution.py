"""Convolutions shared by several maps."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite.vision.modeling.layers import shared_convolution


def _make_layer(dtype: str) -> keras.layers.Layer:
    keras.utils.set_random_seed(0)
    layer = keras.layers.Conv2D(5, 3, padding='same', bias_initializer='normal', dtype=dtype)
    layer.build((None, None, None, 4))
    return layer


def _make_maps() -> list[tf.Tensor]:
    rng = np.random.default_rng(0)
    return [tf.constant(rng.normal(size=(2, side, 3, 4)), tf.float32) for side in (6, 3, 1)]


@pytest.mark.parametrize('dtype', ['float32', 'mixed_bfloat16'])
def test_values_are_those_of_the_layer_and_gradients_too(dtype: str) -> None:
    layer, maps = _make_layer(dtype), _make_maps()
    results = []
    for convolve in (shared_convolution.make_convolve(), lambda layer, x: layer(x)):
        with tf.GradientTape() as tape:
            outputs = [convolve(layer, x) for x in maps]
            loss = tf.add_n([tf.reduce_sum(tf.cast(o, tf.float32) ** 2) for o in outputs])
        results.append((outputs, tape.gradient(loss, layer.trainable_variables)))
    (ours, our_gradients), (expected, expected_gradients) = results
    for got, wanted in zip(ours, expected, strict=True):
        assert got.dtype == layer.compute_dtype
        np.testing.assert_array_equal(got, wanted)
    for got, wanted in zip(our_gradients, expected_gradients, strict=True):
        assert got.dtype == tf.float32
        limit = 0.0 if dtype == 'float32' else 2.0**-7 * float(tf.reduce_max(tf.abs(wanted)))
        np.testing.assert_allclose(got, wanted, rtol=0, atol=limit)


def test_a_kernel_is_cast_once_for_all_maps() -> None:
    layer, maps = _make_layer('mixed_bfloat16'), _make_maps()

    @tf.function(autograph=False)
    def apply() -> list[tf.Tensor]:
        convolve = shared_convolution.make_convolve()
        return [convolve(layer, x) for x in maps]

    graph = apply.get_concrete_function().graph
    casts = [op for op in graph.get_operations() if op.type == 'Cast']
    assert len(casts) == 2 + len(maps)  # kernel, bias, and each map


def test_other_layers_are_called() -> None:
    layer = keras.layers.SeparableConv2D(5, 3, dtype='mixed_bfloat16')
    x = tf.ones([1, 4, 4, 2])
    got = shared_convolution.make_convolve()(layer, x)
    np.testing.assert_array_equal(got, layer(x))
