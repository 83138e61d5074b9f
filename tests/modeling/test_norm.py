"""Batch normalisation: numbers of the incumbent, by kind of statistics, dtype and replica."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite.modeling import norm

SHAPE = (3, 5, 4, 6)


def _make_inputs(shape: tuple[int, ...] = SHAPE, offset: float = 2.0) -> np.ndarray:
    return np.random.default_rng(0).normal(offset, 1.5, shape).astype(np.float32)


def _make_layer(**kwargs) -> norm.BatchNormalization:
    layer = norm.BatchNormalization(0.9, 1e-3, **kwargs)
    layer.build((None, *SHAPE[1:]))
    return layer


def test_training_normalises_with_the_moments_of_the_batch() -> None:
    layer = _make_layer()
    layer.gamma.assign(np.full(6, 2.0))
    layer.beta.assign(np.full(6, 0.5))
    x = _make_inputs()
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    expected = 2.0 * (x - mean) / np.sqrt(variance + 1e-3) + 0.5
    np.testing.assert_allclose(layer(x, training=True), expected, atol=1e-5)
    n = x.size // 6
    np.testing.assert_allclose(layer.moving_mean, 0.1 * mean, rtol=1e-5)
    expected_variance = 0.9 + 0.1 * variance * n / (n - 1)
    np.testing.assert_allclose(layer.moving_variance, expected_variance, rtol=1e-5)


def test_synchronized_layers_keep_the_population_variance() -> None:
    layer = _make_layer(synchronized=True)
    x = _make_inputs()
    layer(x, training=True)
    expected = 0.9 + 0.1 * x.var((0, 1, 2))
    np.testing.assert_allclose(layer.moving_variance, expected, rtol=1e-5)


@pytest.mark.parametrize('frozen', [True, False])
def test_inference_and_frozen_layers_use_moving_statistics(frozen: bool) -> None:
    layer = _make_layer()
    layer.moving_mean.assign(np.arange(6.0))
    layer.moving_variance.assign(np.arange(1.0, 7.0))
    layer.trainable = not frozen
    x = _make_inputs()
    got = layer(x, training=frozen)
    np.testing.assert_allclose(
        got, (x - np.arange(6.0)) / np.sqrt(np.arange(1.0, 7.0) + 1e-3), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_array_equal(layer.moving_mean, np.arange(6.0))


def test_variables_and_config() -> None:
    layer = norm.BatchNormalization(
        0.95, 1e-4, synchronized=True, gamma_regularizer=keras.regularizers.L2(0.1), name='n'
    )
    layer.build((None, 4))
    assert [v.name for v in layer.variables] == ['gamma', 'beta', 'moving_mean', 'moving_variance']
    assert [v.name for v in layer.trainable_variables] == ['gamma', 'beta']
    copy = norm.BatchNormalization.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    assert len(norm.BatchNormalization(center=False, scale=False).variables) == 0


@pytest.mark.parametrize('dtype', ['mixed_bfloat16', 'mixed_float16'])
@pytest.mark.parametrize('synchronized', [False, True])
def test_statistics_are_float32_whatever_the_compute_dtype(dtype: str, synchronized: bool) -> None:
    # Halves overflow at 65,504: the variance of these values does not fit.
    x = _make_inputs(offset=300.0)
    layer = _make_layer(dtype=dtype, synchronized=synchronized)
    y = layer(tf.cast(x, layer.compute_dtype), training=True)
    assert y.dtype == layer.compute_dtype
    assert {v.dtype for v in layer.variables} == {'float32'}
    seen = tf.cast(tf.cast(x, layer.compute_dtype), tf.float32).numpy()
    np.testing.assert_allclose(layer.moving_mean, 0.1 * seen.mean((0, 1, 2)), rtol=1e-4)


@pytest.mark.parametrize(
    ('shape', 'match'),
    [((None, 4, None), 'a known number of channels'), ((None, 4, 4, 3), 'the last axis')],
)
def test_refuses_what_it_cannot_normalise(shape: tuple, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        norm.BatchNormalization(axis=1 if shape[-1] else -1).build(shape)


@pytest.mark.garden
@pytest.mark.parametrize('shape', [SHAPE, (7, 6), (4, 5, 6), (2, 3, 2, 2, 6)])
@pytest.mark.parametrize('synchronized', [False, True])
@pytest.mark.parametrize('epsilon', [1e-3, 1e-5])
def test_equals_the_incumbent(shape: tuple[int, ...], synchronized: bool, epsilon: float) -> None:
    import tf_keras

    theirs = tf_keras.layers.BatchNormalization(
        momentum=0.9, epsilon=epsilon, synchronized=synchronized
    )
    ours = norm.BatchNormalization(0.9, epsilon, synchronized=synchronized)
    theirs.build((None, *shape[1:]))
    ours.build((None, *shape[1:]))
    generator = np.random.default_rng(3)
    for variable, other in zip(theirs.weights, ours.variables, strict=True):
        value = generator.uniform(0.5, 1.5, 6).astype(np.float32)
        variable.assign(value)
        other.assign(value)
    # Small variances make epsilon count.
    scale = np.float32(0.01 if epsilon == 1e-5 else 1.0)
    for step in range(3):
        x = tf.constant(generator.normal(1.0, 1.0, shape).astype(np.float32) * scale)
        weights = generator.normal(size=shape).astype(np.float32)
        gradients = []
        for layer in (theirs, ours):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = layer(x, training=True)
                loss = tf.reduce_sum(y * weights)
            variables = [x, *(layer.gamma, layer.beta)]
            variables = [
                getattr(v, 'value', v) if layer is ours and v is not x else v for v in variables
            ]
            gradients.append([y, *tape.gradient(loss, variables)])
        for expected, got in zip(*gradients, strict=True):
            atol = 1e-4 * max(1.0, float(np.abs(expected).max()))
            np.testing.assert_allclose(got, expected, atol=atol, err_msg=f'step {step}')
    for variable, other in zip(theirs.weights, ours.variables, strict=True):
        np.testing.assert_allclose(other, variable, rtol=2e-6, atol=1e-7)
    x = generator.normal(size=shape).astype(np.float32)
    np.testing.assert_allclose(ours(x), theirs(x), atol=1e-5)


REPLICAS = """
import sys
import numpy as np
import tensorflow as tf
cpu = tf.config.list_physical_devices('CPU')[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from official_lite.modeling import norm

x = np.random.default_rng(0).normal(100.0, 0.5, (6, 3, 4, 5)).astype(np.float32)
x[:2] += 0.3
weights = np.random.default_rng(1).normal(size=x.shape).astype(np.float32)

def run(strategy, synchronized, split):
    with strategy.scope():
        layer = norm.BatchNormalization(0.9, synchronized=synchronized)
        layer.build((None, 3, 4, 5))

    def step(x, weights):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
            loss = tf.reduce_sum(y * weights)
        dx, gamma, beta = tape.gradient(loss, [x, layer.gamma.value, layer.beta.value])
        context = tf.distribute.get_replica_context()
        return y, dx, context.all_reduce('SUM', gamma), context.all_reduce('SUM', beta)

    def take(array):
        parts = [array[:split], array[split:]] if strategy.num_replicas_in_sync == 2 else [array]
        return strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(parts[context.replica_id_in_sync_group])
        )

    y, dx, gamma, beta = tf.function(lambda a, b: strategy.run(step, (a, b)))(take(x), take(weights))
    y, dx = (np.concatenate(strategy.experimental_local_results(parts)) for parts in (y, dx))
    gamma, beta = (strategy.experimental_local_results(v)[0].numpy() for v in (gamma, beta))
    statistics = []
    for variable in (layer.moving_mean, layer.moving_variance):
        copies = [v.numpy() for v in strategy.experimental_local_results(variable.value)]
        for copy in copies:
            np.testing.assert_array_equal(copy, copies[0])
        statistics.append(copies[0])
    return y, dx, gamma, beta, *statistics

one = tf.distribute.OneDeviceStrategy('CPU:0')
two = tf.distribute.MirroredStrategy(['CPU:0', 'CPU:1'], tf.distribute.ReductionToOneDevice())
mode = sys.argv[1]
if mode == 'synchronized':
    # Replicas with unequal parts of the batch.
    expected, got = run(one, True, 0), run(two, True, 2)
    for a, b in zip(expected, got):
        np.testing.assert_allclose(b, a, rtol=2e-4, atol=2e-4)
else:
    *_, mean, variance = run(two, False, 2)
    parts = [x[:2], x[2:]]
    np.testing.assert_allclose(mean, 0.1 * np.mean([p.mean((0, 1, 2)) for p in parts], 0), rtol=1e-5)
    unbiased = [p.var((0, 1, 2)) * (p.size / 5) / (p.size / 5 - 1) for p in parts]
    np.testing.assert_allclose(variance, 0.9 + 0.1 * np.mean(unbiased, 0), rtol=1e-4)
print('agrees')
"""


@pytest.mark.parametrize('mode', ['synchronized', 'unsynchronized'])
def test_two_replicas(mode: str) -> None:
    """Synchronised replicas do what one device does; others keep the mean of their statistics."""
    result = subprocess.run(
        [sys.executable, '-c', textwrap.dedent(REPLICAS), mode],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert 'agrees' in result.stdout, result.stderr[-3000:]
