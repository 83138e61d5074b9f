"""Reversible layers: hand-made values, gradients, what stays in memory, and Model Garden's numbers."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite.modeling import performance, variable_keys
from official_lite.vision.modeling.layers import residual_inner, reversible
from tests import garden_weights

INNER_BLOCKS = {
    'residual': residual_inner.ResidualInner,
    'bottleneck': residual_inner.BottleneckResidualInner,
}
# Channels by which a layer of 3 filters in its inner blocks is reversible.
CHANNELS = {'residual': 6, 'bottleneck': 24}


def _make_layer(
    kind: str = 'residual', *, strides: int = 1, is_manual: bool = True, **options: Any
) -> reversible.ReversibleLayer:
    cls = INNER_BLOCKS[kind]
    options = {'norm_momentum': 0.9, **options}
    return reversible.ReversibleLayer(
        cls(3, strides, name='f', **options), cls(3, 1, name='g', **options), is_manual
    )


def _make_group(
    num_blocks: int, kind: str = 'residual', *, strides: int = 1, **options: Any
) -> reversible.ReversibleGroup:
    return reversible.ReversibleGroup(
        [
            _make_layer(kind, strides=1 if index else strides, **options)
            for index in range(num_blocks)
        ]
    )


def _make_images(*shape: int) -> tf.Tensor:
    return tf.constant(np.random.default_rng(0).normal(size=shape), tf.float32)


def _differentiate(
    layer: keras.layers.Layer, images: tf.Tensor, *, training: bool
) -> list[np.ndarray]:
    """Outputs, gradients of inputs and weights, and state after one step inside a tf.function."""
    weights = np.random.default_rng(1).normal(size=layer.compute_output_shape(images.shape))
    variables = [v.value for v in layer.trainable_variables]

    @tf.function
    def step(x: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = layer(x, training=training)
            loss = tf.reduce_mean(tf.cast(outputs, tf.float32) * weights.astype(np.float32))
        return [outputs, *tape.gradient(loss, [x, *variables])]

    results = [tf.cast(result, tf.float32).numpy() for result in step(images)]
    return results + [v.numpy() for v in layer.non_trainable_variables]


def _check_equal(got: Sequence[np.ndarray], expected: Sequence[np.ndarray], limit: float) -> None:
    for a, b in zip(got, expected, strict=True):
        assert np.abs(a - b).max() <= limit * max(np.abs(b).max(), 1e-3)


# Values


def test_halves_by_hand() -> None:
    """y1 = x1 + f(x2), y2 = x2 + g(y1)."""
    generator = np.random.default_rng(0)
    kernels = generator.normal(size=(2, 2, 2)).astype(np.float32)
    f, g = (
        keras.layers.Conv2D(2, 1, use_bias=False, kernel_initializer=lambda _, dtype, k=k: k)
        for k in kernels.reshape(2, 1, 1, 2, 2)
    )
    images = generator.normal(size=(2, 3, 4, 4)).astype(np.float32)
    y1 = images[..., :2] + images[..., 2:] @ kernels[0]
    y2 = images[..., 2:] + y1 @ kernels[1]
    got = reversible.ReversibleLayer(f, g)(images)
    np.testing.assert_allclose(got, np.concatenate([y1, y2], -1), rtol=1e-5, atol=1e-5)


def test_shortcuts_average_and_pad_with_zeros() -> None:
    """Also of maps with odd sides, of which the last averages are over fewer pixels."""
    layer = _make_layer(strides=2)
    images = np.arange(30, dtype=np.float32).reshape(1, 3, 5, 2)
    layer.build(images.shape)
    for variable in layer.trainable_variables:
        variable.assign(tf.zeros_like(variable.value))
    means = [
        [images[0, row : row + 2, column : column + 2].mean((0, 1)) for column in (0, 2, 4)]
        for row in (0, 2)
    ]
    expected = np.zeros((1, 2, 3, 6), np.float32)
    expected[0, ..., 1], expected[0, ..., 4] = np.asarray(means)[..., 0], np.asarray(means)[..., 1]
    assert layer.compute_output_shape(images.shape) == expected.shape
    np.testing.assert_allclose(layer(images), expected)


# Gradients


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize(
    ('kind', 'strides', 'channels'),
    [
        ('residual', 1, 6),
        ('residual', 2, 4),
        ('bottleneck', 1, 24),
        ('bottleneck', 1, 10),
    ],
)
def test_gradients_and_statistics_are_those_of_the_tape(
    kind: str, strides: int, channels: int, training: bool
) -> None:
    images = _make_images(3, 6, 8, channels)
    results = []
    for is_manual in (True, False):
        group = _make_group(3, kind, strides=strides, is_manual=is_manual)
        group.build(images.shape)
        assert group.blocks[0].is_reversible is (strides == 1 and channels == CHANNELS[kind])
        garden_weights.randomize_weights(group)
        results.append(_differentiate(group, images, training=training))
    _check_equal(*results, 1e-4)


def test_gradients_inside_and_outside_of_a_function_are_the_same() -> None:
    images = _make_images(3, 6, 8, 6)
    results = []
    for is_eager in (True, False):
        group = _make_group(3)
        group.build(images.shape)
        garden_weights.randomize_weights(group)
        tf.config.run_functions_eagerly(is_eager)
        try:
            results.append(_differentiate(group, images, training=True))
        finally:
            tf.config.run_functions_eagerly(False)
    _check_equal(*results, 1e-5)


def test_dropout_drops_the_same_when_it_is_computed_again() -> None:
    images = _make_images(3, 6, 8, 6)

    def make_inner(seed: int) -> keras.Sequential:
        dropout = keras.layers.Dropout(0.5, seed=seed)
        return keras.Sequential([dropout, keras.layers.Conv2D(3, 3, padding='same')])

    results = []
    for is_manual in (True, False):
        layer = reversible.ReversibleLayer(make_inner(1), make_inner(2), is_manual)
        layer.build(images.shape)
        for index, variable in enumerate(layer.trainable_variables):
            variable.assign(_make_images(*variable.shape) * (0.1 + 0.1 * index))
        results.append(_differentiate(layer, images, training=True))
    _check_equal(*results, 1e-4)


def test_gradients_pass_through_frozen_layers() -> None:
    images = _make_images(3, 6, 8, 6)
    results = []
    for is_manual in (True, False):
        group = _make_group(2, is_manual=is_manual)
        group.build(images.shape)
        garden_weights.randomize_weights(group)
        group.trainable = False
        results.append(_differentiate(group, images, training=True))
    _check_equal(*results, 1e-4)


def test_bfloat16_goes_back_from_unrounded_sums() -> None:
    """So that gradients are about as exact as the tape's."""
    images = _make_images(3, 6, 8, 6)
    exact = _make_group(4)
    exact.build(images.shape)
    garden_weights.randomize_weights(exact, kernel_scale=0.5)
    reference = _differentiate(exact, images, training=True)[1]
    performance.set_mixed_precision_policy('bfloat16')
    errors = []
    for is_manual in (True, False):
        group = _make_group(4, is_manual=is_manual)
        group.build(images.shape)
        group.set_weights(exact.get_weights())
        assert group(images).dtype == tf.bfloat16
        gradient = _differentiate(group, images, training=True)[1]
        errors.append(np.linalg.norm(gradient - reference) / np.linalg.norm(reference))
    assert errors[0] < 1.2 * errors[1] < 0.3


# Memory


def _find_root(tensor: tf.Tensor) -> tf.Tensor:
    """The tensor of which this one is the same buffer."""
    while tensor.op.type in ('Identity', 'IdentityN', 'StopGradient'):
        tensor = tensor.op.inputs[tensor.value_index]
    return tensor


def _list_kept(layer: keras.layers.Layer, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Shapes of the features that the forward pass makes and the backward pass reads.

    In the graph of a step, what waits for the gradient of the output is the backward pass.
    """
    variables = [v.value for v in layer.trainable_variables]

    @tf.function
    def step(x: tf.Tensor, dy: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
        return tape.gradient(y, [x, *variables], dy)

    specs = [tf.TensorSpec(s) for s in (shape, layer.compute_output_shape(shape))]
    graph = step.get_concrete_function(*specs).graph
    backward = {graph.inputs[1].op.name}
    kept = {}
    for op in graph.get_operations():
        if {x.name for x in (*(t.op for t in op.inputs), *op.control_inputs)} & backward:
            backward.add(op.name)
            for tensor in map(_find_root, op.inputs):
                if tensor.op.name not in backward and tensor.shape.rank == 4:
                    kept[tensor.name] = tuple(tensor.shape)
    # Kernels have four dimensions too, but another first one.
    return sorted(value for value in kept.values() if value[0] == shape[0])


@pytest.mark.parametrize('num_blocks', [1, 4])
def test_only_outputs_are_kept_for_the_backward_pass(num_blocks: int) -> None:
    shape = (7, 4, 6, 24)
    group = _make_group(num_blocks, 'bottleneck')
    group.build(shape)
    assert _list_kept(group, shape) == [shape]


def test_inputs_are_kept_too_where_the_first_block_is_not_reversible() -> None:
    shape = (7, 4, 6, 10)
    group = _make_group(3, 'bottleneck', strides=2)
    group.build(shape)
    assert _list_kept(group, shape) == [(7, 2, 3, 24), shape]


def test_a_tape_keeps_more_with_every_block() -> None:
    """What the tests above would find if they were broken."""
    shape = (7, 4, 6, 24)
    counts = []
    for num_blocks in (1, 2, 3):
        group = _make_group(num_blocks, 'bottleneck', is_manual=False)
        group.build(shape)
        counts.append(len(_list_kept(group, shape)))
    assert counts[0] >= 8
    assert counts[2] - counts[1] == counts[1] - counts[0] >= 8


# Configs and errors


@pytest.mark.parametrize('kind', INNER_BLOCKS)
def test_config_round_trip_shapes_and_keys(kind: str) -> None:
    group = _make_group(
        2, kind, strides=2, kernel_regularizer=keras.regularizers.L2(0.1), activation='swish'
    )
    copy = reversible.ReversibleGroup.from_config(group.get_config())
    assert copy.get_config() == group.get_config()
    images = tf.zeros((2, 5, 8, 4))
    outputs = copy(images, training=True)
    assert outputs.shape == copy.compute_output_shape(images.shape) == (2, 3, 4, CHANNELS[kind])
    assert len(copy.losses) == {'residual': 8, 'bottleneck': 12}[kind]
    keys = variable_keys.variable_keys({'group': copy})
    assert len(keys) == len(copy.variables)
    assert 'group/blocks/1/g/conv2d_2/kernel' in keys


@pytest.mark.parametrize(
    ('make', 'shape', 'match'),
    [
        (_make_layer, (1, 4, 4, 5), r'even number of channels. Received: \(1, 4, 4, 5\)'),
        (_make_layer, (1, 4, 4, 8), r'at least half the channels of the input. Received: input'),
        (
            lambda: reversible.ReversibleLayer(
                residual_inner.ResidualInner(3, 1), residual_inner.ResidualInner(4, 1)
            ),
            (1, 4, 4, 6),
            r'f and g with equal shapes.*f \(1, 4, 4, 3\), g \(1, 4, 4, 4\)',
        ),
        (
            lambda: reversible.ReversibleGroup([_make_layer(), _make_layer(strides=2)]),
            (1, 4, 4, 6),
            'Only the first layer of a group may change the shape. Received: layer 1',
        ),
    ],
)
def test_refuses_shapes_that_do_not_fit(make: Any, shape: tuple[int, ...], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        make().build(shape)


def test_refuses_a_second_stride() -> None:
    inner = residual_inner.ResidualInner(3, 2)
    with pytest.raises(ValueError, match='layer g without stride'):
        reversible.ReversibleLayer(inner, inner)


# Replicas

REPLICAS = """
import numpy as np, tensorflow as tf
cpus = tf.config.list_physical_devices('CPU')
tf.config.set_logical_device_configuration(cpus[0], [tf.config.LogicalDeviceConfiguration()] * 2)
from official_lite.vision.modeling.layers import residual_inner, reversible
from tests import garden_weights

random = np.random.default_rng(0)
x = random.normal(size=(4, 6, 8, 4)).astype(np.float32)
weights = random.normal(size=(4, 3, 4, 6)).astype(np.float32)

def make(is_manual, use_sync_bn):
    inner = lambda s: residual_inner.ResidualInner(3, s, use_sync_bn=use_sync_bn)
    return reversible.ReversibleGroup(
        [reversible.ReversibleLayer(inner(s), inner(1), is_manual) for s in (2, 1)]
    )

def run(strategy, is_manual, use_sync_bn):
    with strategy.scope():
        group = make(is_manual, use_sync_bn)
        group.build(x.shape)
        garden_weights.randomize_weights(group)
    variables = [v.value for v in group.trainable_variables]

    def step(x, weights):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = group(x, training=True)
            loss = tf.reduce_sum(y * weights)
        dx, *gradients = tape.gradient(loss, [x, *variables])
        return [y, dx], tf.distribute.get_replica_context().all_reduce('SUM', gradients)

    def take(array):
        parts = np.split(array, strategy.num_replicas_in_sync)
        return strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(parts[context.replica_id_in_sync_group])
        )

    split, gradients = tf.function(lambda a, b: strategy.run(step, (a, b)))(take(x), take(weights))
    local = strategy.experimental_local_results
    whole = [np.concatenate([part.numpy() for part in local(value)]) for value in split]
    gradients = [local(g)[0].numpy() for g in gradients]
    return [*whole, *gradients, *[v.numpy() for v in group.non_trainable_variables]]

def compare(a, b, limit):
    for p, q in zip(a, b, strict=True):
        np.testing.assert_allclose(p, q, rtol=limit, atol=limit * max(np.abs(q).max(), 0.1))

mirrored = tf.distribute.MirroredStrategy(
    ['CPU:0', 'CPU:1'], tf.distribute.ReductionToOneDevice()
)
one = tf.distribute.OneDeviceStrategy('CPU:0')
compare(run(mirrored, True, True), run(one, False, True), 1e-3)
compare(run(mirrored, True, False), run(mirrored, False, False), 1e-4)
print('agrees')
"""


def test_replicas_compute_again_what_they_computed() -> None:
    """Two replicas' gradients are the tape's; synchronised, those of one device."""
    result = subprocess.run(
        [sys.executable, '-c', textwrap.dedent(REPLICAS)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert 'agrees' in result.stdout, result.stderr[-3000:]


# Parity


@pytest.mark.garden
@pytest.mark.parametrize(
    ('kind', 'strides', 'channels', 'batch_norm_first'),
    [
        ('residual', 1, 6, False),
        ('residual', 2, 2, True),
        ('bottleneck', 1, 24, True),
        ('bottleneck', 2, 12, True),
        ('bottleneck', 1, 12, False),
    ],
)
def test_training_mode_equals_model_garden(
    kind: str, strides: int, channels: int, batch_norm_first: bool
) -> None:
    """Outputs, gradients of inputs and weights, and moving statistics."""
    from official.vision.modeling.layers import nn_blocks as garden_blocks

    options = {'batch_norm_first': batch_norm_first, 'norm_momentum': 0.9}
    garden_cls = getattr(garden_blocks, INNER_BLOCKS[kind].__name__)
    theirs = garden_blocks.ReversibleLayer(
        garden_cls(3, strides, **options), garden_cls(3, 1, **options)
    )
    ours = _make_layer(kind, strides=strides, **options)
    images = _make_images(4, 6, 10, channels)
    theirs(images)
    ours(images)
    garden_weights.randomize_weights(theirs)
    pairs = garden_weights.pair_variables(theirs, ours)
    garden_weights.carry_weights(theirs, ours)
    weights = _make_images(*ours.compute_output_shape(images.shape))
    trainable = [(a, b) for a, b in pairs if a.trainable]
    results = []
    for layer, variables in (
        (theirs, [a for a, _ in trainable]),
        (ours, [b.value for _, b in trainable]),
    ):
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs = layer(images, training=True)
            loss = tf.reduce_mean(outputs * weights)
        gradients = tape.gradient(loss, [images, *variables])
        results.append([np.asarray(value) for value in (outputs, *gradients)])
    _check_equal(results[1], results[0], 1e-4)
    for a, b in pairs:
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5, err_msg=a.name)
