"""EfficientNets: sizes, levels, options, and the numbers of Model Garden."""

from __future__ import annotations

import math
import typing
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite.modeling import hyperparams, performance, variable_keys
from official_lite.vision.configs import backbones as backbones_cfg
from official_lite.vision.configs import common
from official_lite.vision.modeling.backbones import efficientnet, factory
from tests import garden_weights

SHAPE = [None, 64, 96, 3]
IMAGES = keras.layers.InputSpec(shape=SHAPE)

# Model Garden's: parameters, trained or not, with squeeze-and-excitation of 0.25; channels of the
# levels 2 to 5, and of the last layer.
NETWORKS: dict[str, tuple[int, tuple[int, ...], int]] = {
    'b0': (4_049_564, (24, 40, 112, 320), 1280),
    'b1': (6_575_232, (24, 40, 112, 320), 1280),
    'b2': (7_768_562, (24, 48, 120, 352), 1408),
    'b3': (10_783_528, (32, 48, 136, 384), 1536),
    'b4': (17_673_816, (32, 56, 160, 448), 1792),
    'b5': (28_513_520, (40, 64, 176, 512), 2048),
    'b6': (40_960_136, (40, 72, 200, 576), 2304),
    'b7': (64_097_680, (48, 80, 224, 640), 2560),
}


def _build_without_values(*args: Any, **kwargs: Any) -> efficientnet.EfficientNet:
    """A network of which the shapes are known and the variables have no values."""
    with keras.StatelessScope(initialize_variables=False):
        return efficientnet.EfficientNet(*args, **kwargs)


def test_config_scalings_and_this_table_have_the_same_names() -> None:
    assert set(NETWORKS) == set(efficientnet.EFFICIENTNET_SCALINGS)
    assert set(NETWORKS) == set(typing.get_args(backbones_cfg.EfficientNetId))


@pytest.mark.parametrize('model_id', NETWORKS)
def test_parameters_levels_and_channels(model_id: str) -> None:
    parameters, channels, last = NETWORKS[model_id]
    model = _build_without_values(model_id, IMAGES, se_ratio=0.25)
    assert model.count_params() == parameters
    assert model.output_specs == {
        str(level): (None, 64 // 2**level, 96 // 2**level, count)
        for level, count in zip(range(2, 6), channels, strict=True)
    }
    assert set(model.output) == {'2', '3', '4', '5', '6'}
    assert model.output['6'].shape == (None, 2, 3, last)


def test_without_squeeze_and_excitation_b0_has_the_default_s_parameters() -> None:
    assert _build_without_values('b0', IMAGES).count_params() == 3_413_024


@pytest.mark.parametrize('model_id', ['b0', 'b4'])
def test_repeats_are_rounded_up(model_id: str) -> None:
    model = _build_without_values(model_id, IMAGES)
    depth = efficientnet.EFFICIENTNET_SCALINGS[model_id].depth
    names = [layer.name for layer in model.layers]
    for index, group in enumerate(efficientnet.EFFICIENTNET_GROUPS):
        blocks = [name for name in names if name.startswith(f'group_{index}_block_')]
        assert len(blocks) == math.ceil(depth * group.repeats)


def test_options_reach_every_block() -> None:
    options = {
        'se_ratio': 0.25,
        'stochastic_depth_drop_rate': 0.2,
        'activation': 'swish',
        'se_inner_activation': 'gelu',
        'use_sync_bn': True,
        'norm_momentum': 0.9,
        'norm_epsilon': 1e-4,
    }
    model = _build_without_values('b0', IMAGES, **options)
    blocks = [layer for layer in model.layers if layer.name.startswith('group_')]
    assert len(blocks) == 16
    for block in blocks:
        got = block.get_config()
        assert {name: got[name] for name in options} == options
    for name in ('stem_norm', 'last_norm'):
        got = model.get_layer(name).get_config()
        assert (got['momentum'], got['epsilon'], got['synchronized']) == (0.9, 1e-4, True)


def test_regularizers_spare_depthwise_kernels() -> None:
    model = efficientnet.EfficientNet('b0', IMAGES, kernel_regularizer=keras.regularizers.L2(0.1))
    kernels = [v for v in model.trainable_variables if len(v.shape) == 4]
    assert len(model.losses) == len(kernels) - 16


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        ({'model_id': 'b8'}, r"Expected model_id to be one of \['b0'.*Received: 'b8'"),
        ({'model_id': 'b0', 'se_ratio': 1.5}, 'ratio between 0 and 1. Received: se_ratio=1.5'),
        ({'model_id': 'b0', 'stochastic_depth_drop_rate': 1.0}, 'drop rate of at least 0'),
    ],
)
def test_refuses_what_is_not_there(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        _build_without_values(input_specs=IMAGES, **options)


@pytest.mark.parametrize(
    ('values', 'match'),
    [
        ({'model_id': 'b8'}, "model_id.*'b8'"),
        ({'se_ratio': 1.5}, 'se_ratio.*0 to 1'),
        ({'stochastic_depth_drop_rate': 1.0}, 'stochastic_depth_drop_rate.*less than 1'),
    ],
)
def test_configs_are_checked(values: dict[str, Any], match: str) -> None:
    with pytest.raises(hyperparams.ConfigError, match=match):
        backbones_cfg.EfficientNet(**values).validate()


def test_config_round_trip_and_stable_keys() -> None:
    model = efficientnet.EfficientNet(
        'b0', IMAGES, se_ratio=0.25, kernel_regularizer=keras.regularizers.L2(0.1)
    )
    copy = type(model).from_config(model.get_config())
    assert copy.get_config() == model.get_config()
    keys, copied = (list(variable_keys.variable_keys({'backbone': m})) for m in (model, copy))
    assert keys == copied
    assert len(set(keys)) == len(keys) == len(model.variables)
    assert {
        'backbone/stem_conv/kernel',
        'backbone/group_0_block_0/conv1/kernel',
        'backbone/group_1_block_1/squeeze_excitation/se_reduce/bias',
        'backbone/last_norm/moving_mean',
    } <= set(keys)


def test_builder_passes_every_field() -> None:
    norm_activation = common.NormActivation(
        activation='swish', use_sync_bn=True, norm_momentum=0.9, norm_epsilon=1e-4
    )
    config = backbones_cfg.Backbone(
        type='efficientnet',
        efficientnet=backbones_cfg.EfficientNet(
            model_id='b1', se_ratio=0.25, stochastic_depth_drop_rate=0.1
        ),
    )
    with keras.StatelessScope(initialize_variables=False):
        model = factory.build_backbone(
            IMAGES,
            config,
            norm_activation,
            keras.regularizers.L2(0.1),
            se_inner_activation='swish',
        )
    got = model.get_config()
    expected = {
        **config.efficientnet.as_dict(),
        **norm_activation.as_dict(),
        'se_inner_activation': 'swish',
    }
    expected = {name: value for name, value in expected.items() if name in got}
    assert len(expected) == 8
    assert {name: got[name] for name in expected} == expected
    assert got['kernel_regularizer']['config']['l2'] == pytest.approx(0.1)


def test_bfloat16_follows_float32() -> None:
    images = np.random.default_rng(0).normal(size=(2, 64, 96, 3)).astype(np.float32)
    exact = efficientnet.EfficientNet('b0', IMAGES, se_ratio=0.25, activation='swish')
    garden_weights.randomize_weights(exact)
    performance.set_mixed_precision_policy('bfloat16')
    rounded = efficientnet.EfficientNet('b0', IMAGES, se_ratio=0.25, activation='swish')
    rounded.set_weights(exact.get_weights())
    assert {v.dtype for v in rounded.trainable_variables} == {'float32'}
    expected, got = exact(images, training=False), rounded(images, training=False)
    for level, reference in expected.items():
        assert got[level].dtype == tf.bfloat16
        difference = tf.norm(tf.cast(got[level], tf.float32) - reference) / tf.norm(reference)
        assert difference < 0.05
