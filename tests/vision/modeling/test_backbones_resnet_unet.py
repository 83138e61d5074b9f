"""ResNet-UNets and ConvNeXt blocks: sizes, levels, every field, and the numbers of Model Garden."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite.modeling import hyperparams, performance, variable_keys
from official_lite.vision.configs import backbones as backbones_cfg
from official_lite.vision.configs import common
from official_lite.vision.modeling.backbones import factory, resnet, resnet_unet
from official_lite.vision.modeling.layers import convnext
from tests import garden_gradients

IMAGES = keras.layers.InputSpec(shape=[None, 64, 96, 3])
# Two refined levels.
SMALL: dict[str, Any] = {
    'model_id': 10,
    'depth_multiplier': 0.25,
    'upsample_repeats': [2, 1],
    'upsample_filters': [32, 64],
    'upsample_kernel_sizes': [3, 5],
}


def _build_without_values(**options: Any) -> resnet_unet.ResNetUNet:
    """A network of which the shapes are known and the variables have no values."""
    with keras.StatelessScope(initialize_variables=False):
        return resnet_unet.ResNetUNet(**{'input_specs': IMAGES, **options})


# Block


def _count_block(dim: int, kernel_size: int) -> int:
    """Depthwise convolution, two dense layers, the squeeze between them, and scales by hand."""
    wide, hidden = 4 * dim, int(4 * dim * 0.0625)
    convs = kernel_size**2 * dim + dim + dim * wide + wide + wide * dim + dim
    return convs + wide * hidden + hidden + hidden * wide + wide + 2 * dim + dim


def test_block_by_hand() -> None:
    """Without squeeze-and-excitation, with a depthwise kernel and dense layers that pass values."""
    block = convnext.ConvNeXtBlock(2, layer_scale_init_value=0.5, kernel_size=3, se_ratio=0.0)
    pixels = np.random.default_rng(1).normal(size=[2, 4, 5, 2]).astype(np.float32)
    block.build(pixels.shape)
    kernel = np.zeros([3, 3, 2, 1], np.float32)
    kernel[1, 1] = 1.0
    block.depthwise_conv.set_weights([kernel, np.zeros(2)])
    block.pointwise_conv1.set_weights([np.eye(2, 8, dtype=np.float32), np.zeros(8)])
    block.pointwise_conv2.set_weights([np.eye(8, 2, dtype=np.float32), np.ones(2)])
    mean = pixels.mean(-1, keepdims=True)
    x = (pixels - mean) / np.sqrt(pixels.var(-1, keepdims=True) + 1e-6)
    gelu = 0.5 * x * (1 + np.asarray(tf.math.erf(x / np.sqrt(2.0))))
    np.testing.assert_allclose(block(pixels), pixels + 0.5 * (gelu + 1), rtol=1e-4, atol=1e-5)


def test_block_starts_as_its_input_and_drops_in_training() -> None:
    pixels = tf.random.stateless_normal([64, 4, 5, 8], [1, 2])
    block = convnext.ConvNeXtBlock(8)
    np.testing.assert_allclose(block(pixels), pixels, atol=1e-4)
    assert block.count_params() == _count_block(8, 7)
    plain = convnext.ConvNeXtBlock(8, layer_scale_init_value=0.0, drop_rate=0.5)
    plain.build(pixels.shape)
    assert plain.count_params() == _count_block(8, 7) - 8
    plain.pointwise_conv2.bias.assign(tf.ones([8]))
    outputs = plain(pixels, training=True)
    is_dropped = tf.reduce_all(tf.equal(outputs, pixels), axis=[1, 2, 3])
    assert 0.2 < float(tf.reduce_mean(tf.cast(is_dropped, tf.float32))) < 0.8


def test_block_round_trip_and_keys() -> None:
    block = convnext.ConvNeXtBlock(8, 0.25, 0.5, 5, 0.25, name='block')
    copy = convnext.ConvNeXtBlock.from_config(block.get_config())
    assert copy.get_config() == block.get_config()
    copy(tf.zeros([1, 4, 4, 8]))
    keys = variable_keys.variable_keys({'block': copy})
    assert len(keys) == len(copy.variables)
    assert {'block/layer_scale', 'block/norm/gamma', 'block/squeeze_excitation/se_reduce/bias'} <= (
        set(keys)
    )


# Network


def test_parameters_of_maskconvers() -> None:
    """Model Garden's own test; level 5 has 18 blocks of 384 channels, levels 4 and 3 have one."""
    model = _build_without_values(model_id=50)
    assert model.count_params() == 55_205_440
    laterals = (2048 + 1024 + 512) * 384 + 2 * 384 * 384 + 5 * 2 * 384
    assert model.count_params() == 23_561_152 + laterals + 20 * _count_block(384, 7)
    assert model.output_specs == {
        '2': (None, 16, 24, 256),
        '3': (None, 8, 12, 384),
        '4': (None, 4, 6, 384),
        '5': (None, 2, 3, 384),
    }


@pytest.mark.parametrize('model_id', [18, 34, 101])
def test_parameters_of_other_depths(model_id: int) -> None:
    with keras.StatelessScope(initialize_variables=False):
        plain = resnet.ResNet(model_id, IMAGES)
    model = _build_without_values(model_id=model_id, upsample_repeats=[1, 1, 1])
    channels = sum(plain.output_specs[level][-1] for level in '345')
    laterals = channels * 384 + 2 * 384 * 384 + 5 * 2 * 384
    assert model.count_params() == plain.count_params() + laterals + 3 * _count_block(384, 7)


def test_levels_that_are_not_refined_are_the_resnets() -> None:
    model = _build_without_values(**SMALL, classification_output=True)
    assert model.output_specs == {
        '2': (None, 16, 24, 16),
        '3': (None, 8, 12, 32),
        '4': (None, 4, 6, 16),
        '5': (None, 2, 3, 8),
        '6': (None, 4, 6, 16),
    }


def test_stochastic_depth_grows_with_the_depth() -> None:
    model = _build_without_values(**SMALL, init_stochastic_depth_rate=0.8)
    blocks = [x.get_config() for x in model.layers if 'block' in x.name]
    rates = [x.get('stochastic_depth_drop_rate', x.get('drop_rate')) for x in blocks]
    np.testing.assert_allclose(rates, [0.2, 0.3, 0.4, 0.5, 0.6, 0.6, 0.7])


def test_config_round_trip_and_keys() -> None:
    model = resnet_unet.ResNetUNet(
        input_specs=IMAGES, **SMALL, kernel_regularizer=keras.regularizers.L2(1e-4)
    )
    copy = resnet_unet.ResNetUNet.from_config(model.get_config())
    assert copy.get_config() == model.get_config()
    keys, copied = (list(variable_keys.variable_keys({'backbone': m})) for m in (model, copy))
    assert keys == copied
    assert len(keys) == len(model.variables)
    assert {
        'backbone/refine_5_block_1/depthwise_conv/kernel',
        'backbone/lateral_4_conv/kernel',
    } <= (set(keys))


def test_bfloat16_follows_float32() -> None:
    images = tf.random.stateless_normal([2, 64, 96, 3], [1, 2])
    exact = resnet_unet.ResNetUNet(input_specs=IMAGES, **SMALL)
    performance.set_mixed_precision_policy('bfloat16')
    rounded = resnet_unet.ResNetUNet(input_specs=IMAGES, **SMALL)
    rounded.set_weights(exact.get_weights())
    expected, got = exact(images), rounded(images)
    for level, reference in expected.items():
        assert got[level].dtype == tf.bfloat16
        difference = tf.norm(tf.cast(got[level], tf.float32) - reference) / tf.norm(reference)
        assert difference < 0.03


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        ({'model_id': 51}, 'model_id to be one of .*50.*Received: 51'),
        ({'stem_type': 'v2'}, "'v0', 'v1'.*Received: 'v2'"),
        ({'upsample_repeats': [1, 1]}, r'1 to 4. Received: upsample_repeats=\[1, 1\]'),
        (
            {'input_specs': keras.layers.InputSpec(shape=[None, 64, 80, 3])},
            r'multiples of 32. Received: \[64, 80\]',
        ),
    ],
)
def test_refuses_what_does_not_fit(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        resnet_unet.ResNetUNet(**{'model_id': 50, **options})


# Config

_VALUES: dict[str, Any] = {
    'model_id': 18,
    'depth_multiplier': 0.5,
    'stem_type': 'v1',
    'se_ratio': 0.25,
    'stochastic_depth_drop_rate': 0.2,
    'scale_stem': False,
    'resnetd_shortcut': True,
    'replace_stem_max_pool': True,
    'bn_trainable': False,
    'classification_output': True,
    'upsample_kernel_sizes': [5, 5],
    'upsample_repeats': [1, 2],
    'upsample_filters': [64, 64],
}
_NORM_VALUES: dict[str, Any] = {
    'activation': 'swish',
    'use_sync_bn': True,
    'norm_momentum': 0.5,
    'norm_epsilon': 1e-5,
}


def _describe(values: dict[str, Any], norm_values: dict[str, Any]) -> str:
    config = backbones_cfg.Backbone(type='resnet_unet')
    config.resnet_unet.override({**SMALL, **values})
    config.validate()
    norm_activation = common.NormActivation(**{'use_sync_bn': False, **norm_values})
    with keras.StatelessScope(initialize_variables=False):
        model = factory.build_backbone(IMAGES, config, norm_activation)
    layers = [(type(x).__name__, x.trainable, x.get_config()) for x in model.layers]
    return str([layers, model.output_specs])


def test_d3_every_field_changes_the_network() -> None:
    fields = {x.name for x in dataclasses.fields(backbones_cfg.ResNetUNet)}
    assert fields - {'default_params', 'restrictions'} == set(_VALUES)
    base = _describe({}, {})
    assert base == _describe({}, {})
    for name, value in _VALUES.items():
        assert _describe({name: value}, {}) != base, name
    for name, value in _NORM_VALUES.items():
        assert _describe({}, {name: value}) != base, name


@pytest.mark.parametrize(
    ('values', 'match'),
    [
        ({'model_id': 51}, 'model_id.*10, 18, 26, 34, 50.*51'),
        ({'se_ratio': 1.5}, 'se_ratio.*0 to 1'),
        ({'stochastic_depth_drop_rate': 0.9}, 'stochastic_depth_drop_rate.*less than 8/9'),
        ({'depth_multiplier': 0.0}, 'depth_multiplier.*more than 0'),
        ({'upsample_filters': [1] * 5}, 'upsample_filters.*1 to 4 numbers'),
        ({'upsample_repeats': [1, 1]}, 'upsample_repeats.*3 numbers of 1 or more'),
        ({'upsample_kernel_sizes': [7, 7, 0]}, 'upsample_kernel_sizes.*1 or more'),
    ],
)
def test_configs_are_checked(values: dict[str, Any], match: str) -> None:
    with pytest.raises(hyperparams.ConfigError, match=match):
        backbones_cfg.ResNetUNet(**values).validate()


# Parity


@pytest.mark.garden
@pytest.mark.parametrize('se_ratio', [0.0625, 0.0])
def test_block_equals_model_garden(se_ratio: float) -> None:
    from official.vision.modeling.backbones import resnet_unet as garden_unet

    features = tf.random.stateless_normal([3, 6, 9, 16], [1, 2])
    options = {'dim': 16, 'kernel_size': 5, 'se_ratio': se_ratio}
    theirs, ours = garden_unet.ConvNeXtBlock(**options), convnext.ConvNeXtBlock(**options)
    theirs(features)
    ours(features)
    garden_gradients.assert_equal(theirs, ours, features)
