"""Blocks and small layers: hand-made values, configs, and Model Garden's training mode."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite.vision.modeling.layers import nn_blocks, nn_layers
from tests import garden_weights

BLOCKS: dict[str, tuple[str, dict[str, Any]]] = {
    'residual': (
        'ResidualBlock',
        {'filters': 8, 'strides': 2, 'use_projection': True, 'se_ratio': 0.5},
    ),
    'residual, identity': ('ResidualBlock', {'filters': 6, 'strides': 1, 'use_sync_bn': True}),
    'bottleneck': (
        'BottleneckBlock',
        {
            'filters': 4,
            'strides': 2,
            'use_projection': True,
            'resnetd_shortcut': True,
            'se_ratio': 0.25,
        },
    ),
    'bottleneck, dilated': (
        'BottleneckBlock',
        {
            'filters': 4,
            'strides': 1,
            'use_projection': True,
            'dilation_rate': 2,
            'activation': 'swish',
        },
    ),
    'inverted': (
        'InvertedBottleneckBlock',
        {
            'in_filters': 6,
            'out_filters': 6,
            'expand_ratio': 4,
            'strides': 1,
            'se_ratio': 0.25,
            'activation': 'hard_swish',
            'se_gating_activation': 'hard_sigmoid',
        },
    ),
    'inverted, fused': (
        'InvertedBottleneckBlock',
        {
            'in_filters': 6,
            'out_filters': 10,
            'expand_ratio': 3,
            'strides': 2,
            'use_depthwise': False,
        },
    ),
    'inverted, no expansion': (
        'InvertedBottleneckBlock',
        {'in_filters': 6, 'out_filters': 4, 'expand_ratio': 1, 'strides': 2, 'kernel_size': 5},
    ),
    'separable': ('DepthwiseSeparableConvBlock', {'filters': 10, 'strides': 2}),
    'conv': (
        'Conv2DBNBlock',
        {'filters': 10, 'strides': 2, 'use_bias': True, 'use_normalization': False},
    ),
}
SHAPE = (4, 10, 14, 6)


@pytest.mark.parametrize('name', BLOCKS)
def test_config_round_trip_shapes_and_names(name: str) -> None:
    cls_name, options = BLOCKS[name]
    cls = getattr(nn_blocks, cls_name)
    block = cls(**options, kernel_regularizer=keras.regularizers.L2(0.1), name='block')
    copy = cls.from_config(block.get_config())
    assert copy.get_config() == block.get_config()
    assert {key: block.get_config()[key] for key in options} == options
    outputs = copy(tf.zeros(SHAPE), training=True)
    assert tuple(outputs.shape) == copy.compute_output_shape(SHAPE)
    # Layers carry the names of their attributes, so that keys are the same in every process.
    for variable in copy.variables:
        layer_name = variable.path.split('/')[1]
        assert getattr(copy, layer_name).name == layer_name
    assert copy.losses


@pytest.mark.garden
@pytest.mark.parametrize('name', BLOCKS)
def test_training_mode_equals_model_garden(name: str) -> None:
    """Outputs, gradients of inputs and weights, and moving statistics."""
    from official.vision.modeling.backbones import mobilenet as garden_mobilenet
    from official.vision.modeling.layers import nn_blocks as garden_blocks

    cls_name, options = BLOCKS[name]
    garden = garden_mobilenet if cls_name == 'Conv2DBNBlock' else garden_blocks
    options = {**options, 'norm_momentum': 0.9}
    if cls_name == 'Conv2DBNBlock':
        options.pop('norm_momentum')
    theirs, ours = getattr(garden, cls_name)(**options), getattr(nn_blocks, cls_name)(**options)
    generator = np.random.default_rng(0)
    images = tf.constant(generator.normal(size=SHAPE), tf.float32)
    theirs(images)
    ours(images)
    garden_weights.randomize_weights(theirs)
    if cls_name == 'InvertedBottleneckBlock' and options['expand_ratio'] == 1:
        theirs._conv0 = theirs._norm0 = None  # made but never used
    pairs = garden_weights.pair_variables(theirs, ours)
    garden_weights.carry_weights(theirs, ours)
    weights = tf.constant(generator.normal(size=ours.compute_output_shape(SHAPE)), tf.float32)
    results = []
    trainable = [(a, b) for a, b in pairs if a.trainable]
    for block, variables in (
        (theirs, [a for a, _ in trainable]),
        (ours, [b.value for _, b in trainable]),
    ):
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs = block(images, training=True)
            loss = tf.reduce_mean(outputs * weights)
        results.append([outputs, *tape.gradient(loss, [images, *variables])])
    for expected, got in zip(*results, strict=True):
        scale = max(np.abs(expected).max(), 1e-6)
        assert np.abs(np.asarray(got) - np.asarray(expected)).max() < 1e-4 * scale
    for a, b in pairs:
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5, err_msg=a.name)


def test_b20_resnet_d_shortcuts_reach_residual_blocks() -> None:
    block = nn_blocks.ResidualBlock(8, 2, use_projection=True, resnetd_shortcut=True)
    block.build((None, 8, 8, 4))
    assert block.shortcut_pool.strides == (2, 2)
    assert block.shortcut.strides == (1, 1)


def test_make_divisible_by_hand() -> None:
    assert [nn_layers.make_divisible(v, 8) for v in (3, 11, 12, 20, 100)] == [8, 16, 16, 24, 104]
    assert nn_layers.make_divisible(11, 8, round_down_protect=False) == 8
    assert nn_layers.round_filters(32, 0.35) == 16
    assert nn_layers.round_filters(32, 1.0, skip=True) == 32


def test_stochastic_depth_keeps_the_expectation() -> None:
    layer = nn_layers.StochasticDepth(0.25)
    x = tf.ones([4000, 2, 2, 1])
    y = layer(x, training=True).numpy()
    assert set(np.unique(y.round(5))) == {0.0, np.float32(1.33333)}
    assert np.all(y == y[:, :1, :1])  # whole examples
    assert abs(y.mean() - 1.0) < 0.05
    np.testing.assert_array_equal(layer(x, training=False), x)
    with pytest.raises(ValueError, match=r'at least 0 and below 1. Received: 1.5'):
        nn_layers.StochasticDepth(1.5)
    assert nn_layers.get_stochastic_depth_rate(0.2, 2, 4) == pytest.approx(0.1)
    with pytest.raises(ValueError, match='between 0 and 1'):
        nn_layers.get_stochastic_depth_rate(-0.1, 1, 2)


def test_squeeze_excitation_by_hand() -> None:
    layer = nn_layers.SqueezeExcitation(4, 4, 0.5, kernel_initializer='ones')
    x = tf.random.uniform([2, 3, 5, 4])
    hidden = tf.reduce_sum(tf.reduce_mean(x, [1, 2]), -1)  # both hidden units
    expected = x * tf.sigmoid(2.0 * hidden)[:, None, None, None]
    np.testing.assert_allclose(layer(x), expected, rtol=1e-5)
    assert layer.count_params() == 4 * 2 + 2 + 2 * 4 + 4


def test_nearest_upsampling_equals_kerass() -> None:
    x = tf.random.normal([2, 3, 4, 5])
    ours, keras_layer = nn_layers.NearestUpsampling(2), keras.layers.UpSampling2D(2)
    np.testing.assert_array_equal(ours(x), keras_layer(x))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        first, second = (tf.reduce_sum(layer(x) ** 3) for layer in (ours, keras_layer))
    np.testing.assert_allclose(tape.gradient(first, x), tape.gradient(second, x), rtol=1e-5)
