"""RevNets: sizes, levels, options, and the numbers of Model Garden."""

from __future__ import annotations

import typing
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite.modeling import hyperparams, performance, variable_keys
from official_lite.vision.configs import backbones as backbones_cfg
from official_lite.vision.configs import common
from official_lite.vision.modeling.backbones import factory, revnet
from official_lite.vision.modeling.layers.reversible import ReversibleGroup
from tests import garden_weights

SHAPE = [None, 64, 96, 3]
IMAGES = keras.layers.InputSpec(shape=SHAPE)

# Model Garden's: parameters, trained or not, and channels of the levels from 2 on.
NETWORKS: dict[int, tuple[int, tuple[int, ...]]] = {
    38: (468_096, (32, 64, 112)),
    56: (19_473_792, (512, 1024, 2048, 3328)),
    104: (37_332_352, (512, 1024, 2048, 3328)),
}


def _build_without_values(*args: Any, **kwargs: Any) -> revnet.RevNet:
    """A network of which the shapes are known and the variables have no values."""
    with keras.StatelessScope(initialize_variables=False):
        return revnet.RevNet(*args, **kwargs)


def _list_groups(model: revnet.RevNet) -> list[ReversibleGroup]:
    return [layer for layer in model.layers if isinstance(layer, ReversibleGroup)]


def test_config_specs_and_this_table_have_the_same_ids() -> None:
    assert set(NETWORKS) == set(revnet.REVNET_SPECS)
    assert set(NETWORKS) == set(typing.get_args(backbones_cfg.RevNetId))


@pytest.mark.parametrize('model_id', NETWORKS)
def test_parameters_levels_and_channels(model_id: int) -> None:
    parameters, channels = NETWORKS[model_id]
    model = _build_without_values(model_id, IMAGES)
    assert model.count_params() == parameters
    assert model.output_specs == {
        str(level): (None, 64 // 2**level, 96 // 2**level, count)
        for level, count in enumerate(channels, start=2)
    }
    assert set(model.output) == set(model.output_specs)


def test_sides_need_not_be_multiples() -> None:
    """There, the shortcuts of odd maps are smaller than what is added to them."""
    model = revnet.RevNet(38, keras.layers.InputSpec(shape=[None, 50, 71, 3]))
    outputs = model(tf.zeros((1, 50, 71, 3)))
    assert {level: value.shape[1:3] for level, value in outputs.items()} == {
        '2': (13, 18),
        '3': (7, 9),
        '4': (4, 5),
    }


def test_all_blocks_but_those_that_change_the_shape_are_reversible() -> None:
    found = {
        model_id: [
            [block.is_reversible for block in group.blocks]
            for group in _list_groups(_build_without_values(model_id, IMAGES))
        ]
        for model_id in NETWORKS
    }
    assert found[38] == [[True] * 3, [False, True, True], [False, True, True]]
    assert found[56] == [[False, *[True] * n] for n in (1, 1, 2, 1)]
    assert found[104] == [[False, *[True] * n] for n in (1, 1, 10, 1)]


def test_b20_norm_settings_and_activation_reach_inner_blocks() -> None:
    """There, only the stem gets them."""
    options = {
        'activation': 'swish',
        'use_sync_bn': True,
        'norm_momentum': 0.9,
        'norm_epsilon': 1e-4,
        'kernel_initializer': 'he_normal',
    }
    model = _build_without_values(56, IMAGES, **options)
    inner = [part for group in _list_groups(model) for b in group.blocks for part in (b.f, b.g)]
    assert len(inner) == 18
    for block in inner:
        got = block.get_config()
        assert {name: got[name] for name in options} == options
        norm = block.batch_norm_1.get_config()
        assert (norm['momentum'], norm['epsilon'], norm['synchronized']) == (0.9, 1e-4, True)


def test_regularizers_act_on_every_kernel() -> None:
    model = revnet.RevNet(38, IMAGES, kernel_regularizer=keras.regularizers.L2(0.1))
    kernels = [v for v in model.trainable_variables if len(v.shape) == 4]
    assert len(model.losses) == len(kernels) == 1 + 9 * 4


def test_refuses_what_is_not_there() -> None:
    with pytest.raises(ValueError, match=r'model_id to be one of \[38, 56, 104\]. Received: 50'):
        _build_without_values(50)
    with pytest.raises(hyperparams.ConfigError, match=r'model_id.*50'):
        backbones_cfg.RevNet(model_id=50).validate()  # type: ignore[arg-type]


def test_config_round_trip_and_stable_keys() -> None:
    model = revnet.RevNet(38, IMAGES, kernel_regularizer=keras.regularizers.L2(0.1))
    copy = type(model).from_config(model.get_config())
    assert copy.get_config() == model.get_config()
    keys, copied = (list(variable_keys.variable_keys({'backbone': m})) for m in (model, copy))
    assert keys == copied
    assert len(set(keys)) == len(keys) == len(model.variables)
    assert {
        'backbone/stem_conv/kernel',
        'backbone/revblock_group_2/blocks/0/f/conv2d_1/kernel',
        'backbone/revblock_group_3/blocks/0/g/batch_norm_0/moving_mean',
        'backbone/revblock_group_4/blocks/2/g/conv2d_2/kernel',
    } <= set(keys)


def test_builder_passes_every_field() -> None:
    norm_activation = common.NormActivation(
        activation='swish', use_sync_bn=True, norm_momentum=0.9, norm_epsilon=1e-4
    )
    config = backbones_cfg.Backbone(type='revnet', revnet=backbones_cfg.RevNet(model_id=38))
    with keras.StatelessScope(initialize_variables=False):
        model = factory.build_backbone(IMAGES, config, norm_activation, keras.regularizers.L2(0.1))
    got = model.get_config()
    expected = {'model_id': 38, 'activation': 'swish', 'use_sync_bn': True}
    expected |= {'norm_momentum': 0.9, 'norm_epsilon': 1e-4}
    assert {name: got[name] for name in expected} == expected
    assert got['kernel_regularizer']['config']['l2'] == pytest.approx(0.1)


def test_bfloat16_follows_float32() -> None:
    images = np.random.default_rng(0).normal(size=(2, 64, 96, 3)).astype(np.float32)
    exact = revnet.RevNet(38, IMAGES)
    garden_weights.randomize_weights(exact)
    performance.set_mixed_precision_policy('bfloat16')
    rounded = revnet.RevNet(38, IMAGES)
    rounded.set_weights(exact.get_weights())
    assert {v.dtype for v in rounded.trainable_variables} == {'float32'}
    expected, got = exact(images, training=False), rounded(images, training=False)
    for level, reference in expected.items():
        assert got[level].dtype == tf.bfloat16
        difference = tf.norm(tf.cast(got[level], tf.float32) - reference) / tf.norm(reference)
        assert difference < 0.05
