"""Multi-query attention: worked out in NumPy, maps of any shape, Model Garden, two replicas."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from official_lite.vision.modeling.layers import nn_blocks
from tests import garden_weights

_LAYERS = (nn_blocks.MultiQueryAttentionLayerV1, nn_blocks.MultiQueryAttentionLayerV2)
_Thinned = nn_blocks.OptimizedMultiQueryAttentionLayerWithDownSampling


def _softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _attend(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """One head of one example: [positions, key], [others, key], [others, value]."""
    return _softmax(q @ k.T / np.sqrt(k.shape[-1])) @ v


def _randomize(layer: Any) -> None:
    garden_weights.randomize_weights(layer)


@pytest.mark.parametrize('cls', _LAYERS)
def test_equals_numpy_head_by_head(cls: Any) -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(2, 3, 5, 6)).astype(np.float32)
    m = generator.normal(size=(2, 7, 6)).astype(np.float32)
    layer = cls(num_heads=3, key_dim=4, value_dim=2)
    got = layer((tf.constant(x), tf.constant(m)))
    _randomize(layer)
    got = layer((tf.constant(x), tf.constant(m)))
    query, key, value, output = (
        w.numpy() for w in (layer.query, layer.key, layer.value, layer.output_projection)
    )
    if cls is nn_blocks.MultiQueryAttentionLayerV2:  # to [heads, channels, length]
        query, output = query.transpose(0, 2, 1), output.transpose(1, 0, 2)
    expected = np.zeros_like(x)
    for example in range(2):
        tokens = x[example].reshape(15, 6)
        for head in range(3):
            heads = _attend(tokens @ query[head], m[example] @ key, m[example] @ value)
            expected[example] += (heads @ output[head].T).reshape(3, 5, 6)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    copy = cls.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()


def test_needs_equal_numbers_of_channels() -> None:
    layer = nn_blocks.MultiQueryAttentionLayerV2(2, 4, 4)
    with pytest.raises(ValueError, match=r'one number of channels. Received: .*6\).*5\)'):
        layer((tf.zeros([1, 3, 6]), tf.zeros([1, 3, 5])))


@pytest.mark.parametrize(('query_h', 'query_w', 'kv'), [(1, 1, 2), (2, 1, 1), (1, 3, 2), (2, 2, 3)])
def test_any_height_and_width(query_h: int, query_w: int, kv: int) -> None:
    """Sides that are no multiples of strides; turning the map and the strides turns the result."""
    options = {'num_heads': 2, 'key_dim': 4, 'value_dim': 3, 'kv_strides': kv}
    layer = _Thinned(query_h_strides=query_h, query_w_strides=query_w, **options)
    turned = _Thinned(query_h_strides=query_w, query_w_strides=query_h, **options)
    x = tf.random.normal([2, 5, 8, 6])
    assert layer(x).shape == x.shape
    turned(x)
    _randomize(layer)
    for ours, theirs in zip(turned.weights, layer.weights, strict=True):
        value = theirs.numpy()
        is_depthwise = value.ndim == 4 and value.shape[0] > 1
        ours.assign(value.transpose(1, 0, 2, 3) if is_depthwise else value)
    got = turned(tf.transpose(x, [0, 2, 1, 3]))
    np.testing.assert_allclose(tf.transpose(got, [0, 2, 1, 3]), layer(x), rtol=1e-4, atol=1e-5)
    # The same inside of a function that knows neither height nor width.
    function = tf.function(layer, input_signature=[tf.TensorSpec([None, None, None, 6])])
    np.testing.assert_allclose(function(x), layer(x), rtol=1e-4, atol=1e-5)


def test_thinned_keys_by_hand() -> None:
    """With stride 2 and a kernel of one in its middle, keys are every second position."""
    layer = _Thinned(num_heads=1, key_dim=4, value_dim=4, kv_strides=2)
    x = np.random.default_rng(0).normal(size=(1, 5, 7, 4)).astype(np.float32)
    layer(x)
    identity = np.eye(4, dtype=np.float32)[None, None]
    for projection in (layer.query_proj, layer.key_proj, layer.value_proj, layer.output_proj):
        projection.kernel.assign(identity)
    for conv in (layer.key_dw_conv, layer.value_dw_conv):
        kernel = np.zeros([3, 3, 4, 1], np.float32)
        kernel[1, 1] = 1.0
        conv.kernel.assign(kernel)
    # 5 and 7 are odd, so that padding is 1 on both sides and kernels stand on 0, 2, 4, (6).
    others = x[0, ::2, ::2].reshape(-1, 4) / np.sqrt(1.0 + 0.001)
    expected = _attend(x[0].reshape(-1, 4), others, others).reshape(5, 7, 4)
    np.testing.assert_allclose(layer(x, training=False)[0], expected, rtol=1e-4, atol=1e-5)


def test_dropout_acts_in_training_only() -> None:
    layer = nn_blocks.MultiQueryAttentionLayerV2(2, 4, 4, dropout=0.5)
    x = tf.random.normal([2, 9, 6])
    np.testing.assert_array_equal(layer((x, x)), layer((x, x), training=False))
    first, second = layer((x, x), training=True), layer((x, x), training=True)
    assert np.abs(first - second).max() > 1e-3
    assert nn_blocks.MultiQueryAttentionLayerV2(2, 4, 4).dropout is None


@pytest.mark.parametrize('kv_strides', [1, 2])
def test_bfloat16_follows_float32(kv_strides: int) -> None:
    def make(dtype: str) -> Any:
        return nn_blocks.MultiHeadSelfAttentionBlock(
            8, 2, 4, 4, use_multi_query=True, kv_strides=kv_strides, dtype=dtype
        )

    exact, rounded = make('float32'), make('mixed_bfloat16')
    x = tf.random.normal([2, 6, 10, 8])
    exact(x)
    rounded(x)
    _randomize(exact)
    rounded.set_weights(exact.get_weights())
    got = rounded(x)
    assert got.dtype == tf.bfloat16
    assert {v.dtype for v in rounded.variables} == {'float32'}
    expected = exact(x)
    assert tf.norm(tf.cast(got, tf.float32) - expected) / tf.norm(expected) < 0.02


@pytest.mark.garden
@pytest.mark.parametrize('cls', _LAYERS)
def test_equals_model_garden(cls: Any) -> None:
    from official.vision.modeling.layers import nn_blocks as garden_blocks

    theirs = getattr(garden_blocks, cls.__name__)(3, 4, 2)
    ours = cls(3, 4, 2)
    x, m = tf.random.normal([2, 9, 6]), tf.random.normal([2, 7, 6])
    theirs((x, m))
    ours((x, m))
    garden_weights.randomize_weights(theirs)
    assert garden_weights.carry_weights(theirs, ours) == 4
    np.testing.assert_allclose(ours((x, m)), theirs((x, m)), rtol=1e-4, atol=1e-5)


REPLICAS = """
import numpy as np
import tensorflow as tf
cpu = tf.config.list_physical_devices('CPU')[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from official_lite.vision.modeling.layers import nn_blocks
from tests import garden_weights

x = np.random.default_rng(0).normal(size=(4, 6, 10, 6)).astype(np.float32)
weights = np.random.default_rng(1).normal(size=x.shape).astype(np.float32)

def make():
    return [
        nn_blocks.UniversalInvertedBottleneckBlock(
            6, 6, 2.0, 1, start_dw_kernel_size=3, use_layer_scale=True, use_sync_bn=True
        ),
        nn_blocks.MultiHeadSelfAttentionBlock(
            6, 2, 4, 4, use_multi_query=True, kv_strides=2, query_h_strides=2, use_sync_bn=True
        ),
    ]

def run(strategy):
    with strategy.scope():
        blocks = make()
        for block in blocks:
            block.build(x.shape)
            garden_weights.randomize_weights(block)
    variables = [v.value for block in blocks for v in block.trainable_variables]

    def step(x, weights):
        with tf.GradientTape() as tape:
            y = x
            for block in blocks:
                y = block(y, training=True)
            loss = tf.reduce_sum(y * weights)
        gradients = tape.gradient(loss, variables)
        return y, tf.distribute.get_replica_context().all_reduce('SUM', gradients)

    def take(array):
        parts = np.split(array, strategy.num_replicas_in_sync)
        return strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(parts[context.replica_id_in_sync_group])
        )

    y, gradients = tf.function(lambda a, b: strategy.run(step, (a, b)))(take(x), take(weights))
    y = np.concatenate([part.numpy() for part in strategy.experimental_local_results(y)])
    gradients = [strategy.experimental_local_results(g)[0].numpy() for g in gradients]
    statistics = [v.numpy() for block in blocks for v in block.non_trainable_variables]
    return [y, *gradients, *statistics]

one = run(tf.distribute.OneDeviceStrategy('CPU:0'))
two = run(tf.distribute.MirroredStrategy(['CPU:0', 'CPU:1'], tf.distribute.ReductionToOneDevice()))
for a, b in zip(one, two, strict=True):
    # An offset before a normalisation has no true gradient, hence the floor.
    np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-3 * max(np.abs(a).max(), 0.1))
print('agrees', len(one))
"""


def test_two_replicas_do_what_one_device_does() -> None:
    result = subprocess.run(
        [sys.executable, '-c', textwrap.dedent(REPLICAS)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert 'agrees' in result.stdout, result.stderr[-3000:]
