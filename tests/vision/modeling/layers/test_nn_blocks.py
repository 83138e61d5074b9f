"""Blocks and small layers: hand-made values, configs, and Model Garden's training mode."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite.modeling import variable_keys
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
    'universal, start and middle': (
        'UniversalInvertedBottleneckBlock',
        {
            'in_filters': 6,
            'out_filters': 10,
            'expand_ratio': 3.0,
            'strides': 2,
            'start_dw_kernel_size': 5,
            'middle_dw_kernel_size': 3,
        },
    ),
    'universal, start with the stride': (
        'UniversalInvertedBottleneckBlock',
        {
            'in_filters': 6,
            'out_filters': 10,
            'expand_ratio': 2.0,
            'strides': 2,
            'middle_dw_downsample': False,
            'start_dw_kernel_size': 3,
            'middle_dw_kernel_size': 0,
            'divisible_by': 8,
        },
    ),
    'universal, end, identity': (
        'UniversalInvertedBottleneckBlock',
        {
            'in_filters': 6,
            'out_filters': 6,
            'expand_ratio': 2.5,
            'strides': 1,
            'middle_dw_kernel_size': 3,
            'end_dw_kernel_size': 3,
            'use_layer_scale': True,
            'dilation_rate': 2,
            'activation': 'relu6',
            'depthwise_activation': 'hard_swish',
            'use_sync_bn': True,
        },
    ),
    'universal, without depthwise convolutions': (
        'UniversalInvertedBottleneckBlock',
        {
            'in_filters': 6,
            'out_filters': 6,
            'expand_ratio': 4.0,
            'strides': 1,
            'middle_dw_kernel_size': 0,
        },
    ),
    'separable': ('DepthwiseSeparableConvBlock', {'filters': 10, 'strides': 2}),
    'conv': (
        'Conv2DBNBlock',
        {'filters': 10, 'strides': 2, 'use_bias': True, 'use_normalization': False},
    ),
    'conv, explicit padding': (
        'Conv2DBNBlock',
        {'filters': 10, 'kernel_size': 7, 'strides': 2, 'use_explicit_padding': True},
    ),
    'residual, explicit padding': (
        'ResidualBlock',
        {'filters': 8, 'strides': 2, 'use_projection': True, 'use_explicit_padding': True},
    ),
    'tucker': (
        'TuckerConvBlock',
        {
            'in_filters': 6,
            'out_filters': 10,
            'input_compression_ratio': 0.5,
            'output_compression_ratio': 0.75,
            'strides': 2,
            'kernel_size': 5,
        },
    ),
    'tucker, identity': (
        'TuckerConvBlock',
        {
            'in_filters': 6,
            'out_filters': 6,
            'input_compression_ratio': 0.3,
            'output_compression_ratio': 0.9,
            'strides': 1,
            'divisible_by': 4,
            'activation': 'relu6',
        },
    ),
    'attention of one key, thinned keys': (
        'MultiHeadSelfAttentionBlock',
        {
            'input_dim': 6,
            'num_heads': 2,
            'key_dim': 4,
            'value_dim': 3,
            'use_multi_query': True,
            'kv_strides': 2,
        },
    ),
    'attention of one key, thinned queries, position encoding': (
        'MultiHeadSelfAttentionBlock',
        {
            'input_dim': 6,
            'num_heads': None,
            'key_dim': 3,
            'value_dim': 5,
            'use_multi_query': True,
            'query_h_strides': 2,
            'query_w_strides': 2,
            'kv_strides': 2,
            'downsampling_dw_kernel_size': 5,
            'use_cpe': True,
            'cpe_dw_kernel_size': 3,
        },
    ),
    'attention of one key, all positions': (
        'MultiHeadSelfAttentionBlock',
        {
            'input_dim': 6,
            'num_heads': 3,
            'key_dim': 4,
            'value_dim': 5,
            'use_multi_query': True,
            'use_sync_bn': True,
            'use_layer_scale': False,
        },
    ),
    'attention of many keys': (
        'MultiHeadSelfAttentionBlock',
        {
            'input_dim': 6,
            'num_heads': 2,
            'key_dim': 4,
            'value_dim': 4,
            'use_bias': True,
            'use_residual': False,
        },
    ),
}
SHAPE = (4, 10, 14, 6)
# Model Garden's attention with fewer keys or queries works on square maps only.
SQUARE = (4, 10, 10, 6)


@pytest.mark.parametrize('name', BLOCKS)
def test_config_round_trip_shapes_and_names(name: str) -> None:
    cls_name, options = BLOCKS[name]
    cls = getattr(nn_blocks, cls_name)
    is_attention = cls_name == 'MultiHeadSelfAttentionBlock'
    regularizer = {} if is_attention else {'kernel_regularizer': keras.regularizers.L2(0.1)}
    block = cls(**options, **regularizer, name='block')
    copy = cls.from_config(block.get_config())
    assert copy.get_config() == block.get_config()
    assert {key: block.get_config()[key] for key in options} == options
    outputs = copy(tf.zeros(SHAPE), training=True)
    assert tuple(outputs.shape) == copy.compute_output_shape(SHAPE)
    # Layers carry the names of their attributes, so that keys are the same in every process.
    for variable in copy.variables:
        layer_name = variable.path.split('/')[1]
        assert getattr(copy, layer_name).name == layer_name
    assert is_attention or copy.losses
    keys = variable_keys.variable_keys({'block': copy})
    assert len(keys) == len(copy.variables)


@pytest.mark.garden
@pytest.mark.parametrize('name', BLOCKS)
def test_training_mode_equals_model_garden(name: str) -> None:
    """Outputs, gradients of inputs and weights, and moving statistics."""
    from official.vision.modeling.backbones import mobilenet as garden_mobilenet
    from official.vision.modeling.layers import nn_blocks as garden_blocks

    cls_name, options = BLOCKS[name]
    garden = garden_mobilenet if cls_name == 'Conv2DBNBlock' else garden_blocks
    # Inside its attention, Model Garden always has the default (B20).
    if cls_name != 'MultiHeadSelfAttentionBlock' and options.get('use_normalization', True):
        options = {**options, 'norm_momentum': 0.9}
    theirs, ours = getattr(garden, cls_name)(**options), getattr(nn_blocks, cls_name)(**options)
    generator = np.random.default_rng(0)
    shape = SQUARE if 'use_multi_query' in options else SHAPE
    images = tf.constant(generator.normal(size=shape), tf.float32)
    theirs(images)
    ours(images)
    garden_weights.randomize_weights(theirs)
    if cls_name == 'InvertedBottleneckBlock' and options['expand_ratio'] == 1:
        theirs._conv0 = theirs._norm0 = None  # made but never used
    pairs = garden_weights.pair_variables(theirs, ours)
    garden_weights.carry_weights(theirs, ours)
    weights = tf.constant(generator.normal(size=ours.compute_output_shape(shape)), tf.float32)
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
    """There, they are ignored. Weights that were trained so are those of `resnetd_shortcut=False`,
    which has the same variables."""
    block = nn_blocks.ResidualBlock(8, 2, use_projection=True, resnetd_shortcut=True)
    block.build((None, 8, 8, 4))
    assert block.shortcut_pool.strides == (2, 2)
    assert block.shortcut.strides == (1, 1)
    plain = nn_blocks.ResidualBlock(8, 2, use_projection=True, resnetd_shortcut=False)
    plain.build((None, 8, 8, 4))
    keys, plain_keys = (
        {key: tuple(v.shape) for key, v in variable_keys.variable_keys({'block': b}).items()}
        for b in (block, plain)
    )
    assert keys == plain_keys


@pytest.mark.garden
def test_b20_weights_of_model_gardens_residual_blocks_with_resnet_d_carry_over() -> None:
    from official.vision.modeling.layers import nn_blocks as garden_blocks

    theirs = garden_blocks.ResidualBlock(8, 2, use_projection=True, resnetd_shortcut=True)
    ours = nn_blocks.ResidualBlock(8, 2, use_projection=True, resnetd_shortcut=False)
    images = tf.random.normal(SHAPE)
    theirs(images)
    ours(images)
    garden_weights.randomize_weights(theirs)
    garden_weights.carry_weights(theirs, ours)
    np.testing.assert_allclose(ours(images), theirs(images), atol=1e-5)


def test_b20_norm_settings_reach_attentions_inner_norms() -> None:
    """There, they have the defaults, which released networks use throughout."""
    settings = {'norm_momentum': 0.9, 'norm_epsilon': 0.01, 'use_sync_bn': True}
    block = nn_blocks.MultiHeadSelfAttentionBlock(
        6, 2, 4, 4, use_multi_query=True, kv_strides=2, query_h_strides=2, **settings
    )
    block.build((None, 8, 8, 6))
    attention = block.multi_query_attention
    for layer in (
        block.input_norm,
        attention.key_dw_norm,
        attention.value_dw_norm,
        attention.query_downsampling_norm,
    ):
        assert (layer.momentum, layer.epsilon, layer.synchronized) == (0.9, 0.01, True)


@pytest.mark.garden
def test_b20_weights_of_model_gardens_attention_carry_over_with_any_epsilon() -> None:
    """Its inner norms add 0.001 to the variance whatever the epsilon: so does 0.001 - epsilon more
    variance here."""
    from official.vision.modeling.layers import nn_blocks as garden_blocks

    options = {'use_multi_query': True, 'kv_strides': 2, 'norm_epsilon': 1e-4}
    theirs = garden_blocks.MultiHeadSelfAttentionBlock(6, 2, 4, 4, **options)
    ours = nn_blocks.MultiHeadSelfAttentionBlock(6, 2, 4, 4, **options)
    features = tf.random.normal(SQUARE)
    theirs(features)
    ours(features)
    garden_weights.randomize_weights(theirs)
    # Small variances, so that epsilon counts.
    for layer in ('_key_dw_norm', '_value_dw_norm'):
        getattr(theirs._multi_query_attention, layer).moving_variance.assign([0.002] * 6)
    garden_weights.carry_weights(theirs, ours)
    assert np.abs(ours(features) - theirs(features)).max() > 1e-3
    for layer in ('key_dw_norm', 'value_dw_norm'):
        variance = getattr(ours.multi_query_attention, layer).moving_variance
        variance.assign(variance + (0.001 - 1e-4))
    np.testing.assert_allclose(ours(features), theirs(features), atol=1e-5)


def test_universal_block_needs_the_convolution_that_has_the_stride() -> None:
    options = {'in_filters': 4, 'out_filters': 4, 'expand_ratio': 2, 'strides': 2}
    with pytest.raises(
        ValueError, match=r'at the middle, .*Expected middle_dw_kernel_size above 0'
    ):
        nn_blocks.UniversalInvertedBottleneckBlock(
            **options, start_dw_kernel_size=3, middle_dw_kernel_size=0
        )
    with pytest.raises(ValueError, match=r'at the start, .*or middle_dw_downsample=True'):
        nn_blocks.UniversalInvertedBottleneckBlock(**options, middle_dw_downsample=False)


def test_empty_endpoints_are_returned_where_asked_for() -> None:
    x = tf.zeros(SHAPE)
    for block in (
        nn_blocks.UniversalInvertedBottleneckBlock(6, 6, 2, 1, output_intermediate_endpoints=True),
        nn_blocks.MultiHeadSelfAttentionBlock(6, 2, 4, output_intermediate_endpoints=True),
    ):
        features, endpoints = block(x)
        assert features.shape == SHAPE
        assert endpoints == {}
        assert block.compute_output_shape(SHAPE) == (SHAPE, {})


@pytest.mark.parametrize('name', BLOCKS)
def test_branches_that_are_dropped_leave_the_shortcut(name: str) -> None:
    """With a drop rate near 1, training returns what the block makes of its shortcut alone."""
    cls_name, options = BLOCKS[name]
    if cls_name in ('Conv2DBNBlock', 'DepthwiseSeparableConvBlock'):
        return
    block = getattr(nn_blocks, cls_name)(**options, stochastic_depth_drop_rate=0.999999)
    x = tf.random.normal(SHAPE)
    got = block(x, training=True)
    has_shortcut = tuple(got.shape) == SHAPE and options.get('use_residual', True)
    has_shortcut = has_shortcut and not options.get('use_projection')
    if not has_shortcut:
        assert (block.stochastic_depth is None) != bool(options.get('use_projection'))
        return
    expected = x if block.get_config().get('use_cpe') is not True else x + block.cpe_dw_conv(x)
    if cls_name in ('ResidualBlock', 'BottleneckBlock'):
        expected = tf.nn.relu(x)
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_layer_scales_by_hand() -> None:
    sequence, features = tf.ones([2, 3, 4]), tf.ones([2, 3, 5, 4])
    scale, mnv4 = nn_blocks.LayerScale(1e-4), nn_blocks.MNV4LayerScale(1e-5)
    np.testing.assert_allclose(scale(sequence), np.full([2, 3, 4], 1e-4), rtol=1e-6)
    np.testing.assert_allclose(mnv4(features), np.full([2, 3, 5, 4], 1e-5), rtol=1e-6)
    assert scale.gamma.shape == (1, 1, 4)
    mnv4.gamma.assign([1.0, 2.0, 3.0, 4.0])
    np.testing.assert_allclose(mnv4(features)[0, 0, 0], [1.0, 2.0, 3.0, 4.0])
    for layer in (scale, mnv4):
        assert type(layer).from_config(layer.get_config()).get_config() == layer.get_config()
    # Factors are float32 and outputs have the dtype of the inputs.
    assert nn_blocks.MNV4LayerScale(0.1, dtype='mixed_bfloat16')(features).dtype == tf.bfloat16


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
