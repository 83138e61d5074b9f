"""Dilated ResNets: sizes, levels, dilations, every field, and the numbers of Model Garden."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite.modeling import hyperparams, variable_keys
from official_lite.vision.configs import backbones as backbones_cfg
from official_lite.vision.configs import common
from official_lite.vision.modeling.backbones import factory, resnet, resnet_deeplab

IMAGES = keras.layers.InputSpec(shape=[None, 64, 96, 3])


def _build_without_values(*args: Any, **kwargs: Any) -> resnet_deeplab.DilatedResNet:
    """A network of which the shapes are known and the variables have no values."""
    with keras.StatelessScope(initialize_variables=False):
        return resnet_deeplab.DilatedResNet(*args, **kwargs)


def _list_blocks(model: keras.Model) -> dict[str, tuple[int, int]]:
    """(stride, dilation) of each block."""
    configs = {x.name: x.get_config() for x in model.layers if 'block' in x.name}
    return {name: (x['strides'], x['dilation_rate']) for name, x in configs.items()}


@pytest.mark.parametrize(
    ('model_id', 'stem_type', 'parameters'),
    [
        # A ResNet's (model_garden.md, 5.2), and there R101 with stem 'v1'.
        (50, 'v0', 23_561_152),
        (101, 'v0', 42_605_504),
        (152, 'v0', 58_295_232),
        (200, 'v0', 62_800_832),
        (101, 'v1', 42_729_664),
    ],
)
def test_parameters(model_id: int, stem_type: str, parameters: int) -> None:
    model = _build_without_values(model_id, 16, IMAGES, stem_type)
    assert model.count_params() == parameters


def test_stem_v1_by_hand() -> None:
    model = _build_without_values(50, 16, IMAGES, 'v1')
    stem = 9 * (3 * 64 + 64 * 64 + 64 * 128) + 4 * (64 + 64 + 128)
    # The first block reads 128 channels and not 64: its 1x1 convolution and its projection.
    assert model.count_params() == 23_561_152 - (49 * 3 * 64 + 4 * 64) + stem + 64 * (64 + 256)


@pytest.mark.parametrize(
    ('output_stride', 'shapes'),
    [
        (4, {'2': (16, 24, 2048)}),
        (8, {'2': (16, 24, 256), '3': (8, 12, 2048)}),
        (16, {'2': (16, 24, 256), '3': (8, 12, 512), '4': (4, 6, 2048)}),
        (32, {'2': (16, 24, 256), '3': (8, 12, 512), '4': (4, 6, 1024), '5': (2, 3, 2048)}),
    ],
)
def test_levels_end_at_the_output_stride(
    output_stride: int, shapes: dict[str, tuple[int, ...]]
) -> None:
    model = _build_without_values(50, output_stride, IMAGES)
    assert model.output_specs == {level: (None, *shape) for level, shape in shapes.items()}


def test_strides_become_dilation_and_multigrid_is_for_the_last_stages() -> None:
    model = _build_without_values(50, 8, IMAGES, multigrid=[1, 2, 4], last_stage_repeats=2)
    blocks = _list_blocks(model)
    repeats = {2: 3, 3: 4, 4: 6, 5: 3, 6: 3}
    assert list(blocks) == [f'stage_{i}_block_{j}' for i, n in repeats.items() for j in range(n)]
    assert {blocks[f'stage_2_block_{j}'] for j in range(3)} == {(1, 1)}
    assert [blocks[f'stage_3_block_{j}'] for j in range(4)] == [(2, 1), (1, 1), (1, 1), (1, 1)]
    assert {blocks[f'stage_4_block_{j}'] for j in range(6)} == {(1, 2)}
    assert [blocks[f'stage_5_block_{j}'] for j in range(3)] == [(1, 4), (1, 8), (1, 16)]
    assert [blocks[f'stage_6_block_{j}'] for j in range(3)] == [(1, 8), (1, 16), (1, 32)]


def test_a_repeated_last_stage_has_its_own_weights() -> None:
    once, twice = (_build_without_values(50, 16, IMAGES, last_stage_repeats=n) for n in (1, 2))
    # Three blocks that read 2048 channels, and a projection.
    block = 2048 * 512 + 9 * 512 * 512 + 512 * 2048 + 4 * (512 + 512 + 2048)
    assert twice.count_params() - once.count_params() == 3 * block + 2048 * 2048 + 4 * 2048
    assert once.output_specs == twice.output_specs


def test_stochastic_depth_grows_with_the_stage() -> None:
    model = _build_without_values(
        50, 16, IMAGES, init_stochastic_depth_rate=0.6, last_stage_repeats=2
    )
    rates = [
        model.get_layer(f'stage_{i}_block_0').get_config()['stochastic_depth_drop_rate']
        for i in range(2, 7)
    ]
    np.testing.assert_allclose(rates, [0.2, 0.3, 0.4, 0.5, 0.6])


@pytest.mark.slow
def test_with_output_stride_32_it_is_a_resnet() -> None:
    keras.utils.set_random_seed(1)
    plain, dilated = resnet.ResNet(50, IMAGES), resnet_deeplab.DilatedResNet(50, 32, IMAGES)
    dilated.set_weights(plain.get_weights())
    images = tf.random.stateless_normal([1, 64, 96, 3], [1, 2])
    expected, got = plain(images), dilated(images)
    for level, value in expected.items():
        np.testing.assert_array_equal(got[level], value)


# Config

_VALUES: dict[str, Any] = {
    'model_id': 101,
    'output_stride': 8,
    'multigrid': [1, 2, 4],
    'stem_type': 'v1',
    'last_stage_repeats': 2,
    'se_ratio': 0.25,
    'stochastic_depth_drop_rate': 0.2,
    'resnetd_shortcut': True,
    'replace_stem_max_pool': True,
}
_NORM_VALUES: dict[str, Any] = {
    'activation': 'swish',
    'use_sync_bn': True,
    'norm_momentum': 0.5,
    'norm_epsilon': 1e-5,
}


def _describe(values: dict[str, Any], norm_values: dict[str, Any]) -> str:
    config = backbones_cfg.Backbone(type='dilated_resnet')
    config.dilated_resnet.override(values)
    config.validate()
    norm_activation = common.NormActivation(**{'use_sync_bn': False, **norm_values})
    with keras.StatelessScope(initialize_variables=False):
        model = factory.build_backbone(IMAGES, config, norm_activation)
    return str([(type(x).__name__, x.get_config()) for x in model.layers])


def test_d3_every_field_changes_the_network() -> None:
    fields = {x.name for x in dataclasses.fields(backbones_cfg.DilatedResNet)}
    assert fields - {'default_params', 'restrictions'} == set(_VALUES)
    base = _describe({}, {})
    assert base == _describe({}, {})
    for name, value in _VALUES.items():
        assert _describe({name: value}, {}) != base, name
    for name, value in _NORM_VALUES.items():
        assert _describe({}, {name: value}) != base, name


def test_config_has_the_networks_names() -> None:
    hints = typing.get_type_hints(backbones_cfg.DilatedResNet)
    assert typing.get_args(hints['model_id']) == resnet_deeplab.DILATED_RESNET_IDS
    assert typing.get_args(hints['output_stride']) == resnet_deeplab.OUTPUT_STRIDES


@pytest.mark.parametrize(
    ('values', 'match'),
    [
        ({'model_id': 18}, 'model_id.*50, 101, 152, 200.*18'),
        ({'output_stride': 64}, 'output_stride.*4, 8, 16, 32.*64'),
        ({'stem_type': 'v2'}, 'stem_type.*v0.*v1.*v2'),
        ({'multigrid': [1, 2]}, 'multigrid.*3 numbers'),
        ({'multigrid': [0, 1, 2]}, 'multigrid.*1 or more'),
        ({'multigrid': [1, 2, 4], 'output_stride': 32}, 'multigrid.*nothing is dilated'),
        ({'last_stage_repeats': 0}, 'last_stage_repeats.*1 or more'),
        ({'se_ratio': 1.5}, 'se_ratio.*0 to 1'),
        ({'stochastic_depth_drop_rate': 1.0}, 'stochastic_depth_drop_rate.*less than 1'),
    ],
)
def test_configs_are_checked(values: dict[str, Any], match: str) -> None:
    with pytest.raises(hyperparams.ConfigError, match=match):
        backbones_cfg.DilatedResNet(**values).validate()


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        ({'model_id': 34}, r'model_id to be one of \[50, 101, 152, 200\]. Received: 34'),
        ({'output_stride': 12}, r'output_stride to be one of \[4, 8, 16, 32\]. Received: 12'),
        ({'stem_type': 'v2'}, "stem_type to be one of .*'v0', 'v1'.*Received: 'v2'"),
        ({'multigrid': [1, 2]}, r'Expected 3 numbers. Received: \[1, 2\]'),
        ({'last_stage_repeats': 0}, 'last_stage_repeats of 1 or more. Received: 0'),
    ],
)
def test_refuses_what_is_not_there(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        resnet_deeplab.DilatedResNet(**{'model_id': 50, 'output_stride': 16, **options})


def test_config_round_trip_and_stable_keys() -> None:
    model = resnet_deeplab.DilatedResNet(
        50,
        16,
        IMAGES,
        multigrid=(1, 2, 4),
        se_ratio=0.25,
        init_stochastic_depth_rate=0.2,
        kernel_regularizer=keras.regularizers.L2(1e-4),
    )
    with keras.StatelessScope(initialize_variables=False):
        copy = type(model).from_config(model.get_config())
    assert copy.get_config() == model.get_config()
    assert [v.path for v in copy.variables] == [v.path for v in model.variables]
    keys = list(variable_keys.variable_keys({'backbone': model}))
    assert len(keys) == len(model.variables)
    assert 'backbone/stage_5_block_0/conv2/kernel' in keys
