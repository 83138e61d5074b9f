"""ResNets: sizes, shapes, options, and the numbers of Model Garden."""

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
from official_lite.vision.modeling.backbones import factory, resnet

IMAGES = keras.layers.InputSpec(shape=[None, 64, 96, 3])

# model_garden.md, 5.2 and 10.4; the last three from the formula below, which gives the others too.
RESNET_PARAMETERS = {
    10: 4_915_904,
    18: 11_190_464,
    26: 17_465_024,
    34: 21_306_048,
    50: 23_561_152,
    101: 42_605_504,
    152: 58_295_232,
    200: 62_800_832,
    270: 87_793_088,
    350: 111_049_152,
    420: 130_105_792,
}
# Of ResNet-RS 50: https://arxiv.org/abs/2103.07579.
RS: dict[str, Any] = {
    'stem_type': 'v1',
    'resnetd_shortcut': True,
    'replace_stem_max_pool': True,
    'se_ratio': 0.25,
}


def _build_without_values(*args: Any, **kwargs: Any) -> resnet.ResNet:
    """A network of which the shapes are known and the variables have no values."""
    with keras.StatelessScope(initialize_variables=False):
        return resnet.ResNet(*args, **kwargs)


def _count(model_id: int) -> int:
    """Parameters by hand: kernels, and four numbers per channel of each normalisation."""
    kind, repeats = resnet.RESNET_SPECS[model_id]
    total, channels = 7 * 7 * 3 * 64 + 4 * 64, 64
    for width, repeat in zip((64, 128, 256, 512), repeats, strict=True):
        if kind == 'residual':
            outer, sizes = width, lambda c, w=width: [9 * c * w + 4 * w, 9 * w * w + 4 * w]
        else:
            outer = 4 * width

            def sizes(c: int, w: int = width) -> list[int]:
                return [c * w + 4 * w, 9 * w * w + 4 * w, 4 * w * w + 16 * w]

        total += sum(sizes(channels)) + channels * outer + 4 * outer  # with the projection
        total += (repeat - 1) * sum(sizes(outer))
        channels = outer
    return total


@pytest.mark.parametrize('model_id', resnet.RESNET_SPECS)
def test_parameters_levels_and_channels(model_id: int) -> None:
    model = _build_without_values(model_id, IMAGES)
    assert model.count_params() == RESNET_PARAMETERS[model_id] == _count(model_id)
    factor = 1 if model_id < 50 else 4
    assert dict(model.output_specs) == {
        '2': (None, 16, 24, 64 * factor),
        '3': (None, 8, 12, 128 * factor),
        '4': (None, 4, 6, 256 * factor),
        '5': (None, 2, 3, 512 * factor),
    }


def test_resnet_50_trainable_and_rs_parameters() -> None:
    model = _build_without_values(50, IMAGES)
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == 23_508_032
    assert _build_without_values(50, IMAGES, **RS).count_params() == 33_696_288


def test_config_has_all_depths() -> None:
    hints = typing.get_type_hints(backbones_cfg.ResNet)
    assert set(typing.get_args(hints['model_id'])) == set(resnet.RESNET_SPECS)


@pytest.mark.parametrize(
    ('values', 'match'),
    [
        ({'model_id': 51}, 'model_id.*10, 18, 26, 34, 50.*51'),
        ({'se_ratio': 1.5}, 'se_ratio.*0 to 1'),
        ({'stochastic_depth_drop_rate': 1.0}, 'stochastic_depth_drop_rate.*less than 1'),
        ({'depth_multiplier': 0.0}, 'depth_multiplier.*more than 0'),
    ],
)
def test_configs_are_checked(values: dict, match: str) -> None:
    with pytest.raises(hyperparams.ConfigError, match=match):
        backbones_cfg.ResNet(**values).validate()


@pytest.mark.parametrize(
    ('options', 'shapes'),
    [
        ({}, {'2': (16, 24), '3': (8, 12), '4': (4, 6), '5': (2, 3)}),
        ({'stem_pool': False}, {'2': (16, 24), '3': (8, 12), '4': (4, 6), '5': (2, 3)}),
        ({'replace_stem_max_pool': True, 'stem_type': 'v1'}, {'2': (16, 24), '5': (2, 3)}),
    ],
)
def test_resnet_levels(options: dict, shapes: dict) -> None:
    model = resnet.ResNet(10, IMAGES, depth_multiplier=0.25, **options)
    outputs = model(tf.zeros([1, 64, 96, 3]))
    for level, shape in shapes.items():
        assert outputs[level].shape[1:3] == shape
        assert model.output_specs[level][1:3] == shape


def test_stem_pool_changes_no_variable_but_the_work_of_stage_2() -> None:
    with_pool, without = (resnet.ResNet(10, IMAGES, stem_pool=value) for value in (True, False))
    assert with_pool.count_params() == without.count_params()
    assert 'stem_pool' not in [layer.name for layer in without.layers]
    assert without.get_layer('stage_2_block_0').get_config()['strides'] == 2
    with pytest.raises(ValueError, match='at most one of the two'):
        resnet.ResNet(10, IMAGES, stem_pool=False, replace_stem_max_pool=True)


def test_scale_stem_and_depth_multiplier() -> None:
    model = resnet.ResNet(10, IMAGES, depth_multiplier=0.5)
    assert model.get_layer('stem_conv').filters == 32
    model = resnet.ResNet(10, IMAGES, depth_multiplier=0.5, scale_stem=False)
    assert model.get_layer('stem_conv').filters == 64
    assert model.output_specs['2'][-1] == 32


def test_bn_trainable_false_freezes_statistics_and_affine_parameters() -> None:
    model = resnet.ResNet(10, IMAGES, depth_multiplier=0.25, bn_trainable=False)
    assert not [v.path for v in model.trainable_variables if 'norm' in v.path]
    before = [v.numpy() for v in model.non_trainable_variables]
    model(tf.random.normal([2, 64, 96, 3]), training=True)
    for old, variable in zip(before, model.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())


def test_stochastic_depth_drops_in_training_only() -> None:
    model = resnet.ResNet(10, IMAGES, depth_multiplier=0.25, init_stochastic_depth_rate=0.5)
    rates = [
        layer.get_config()['stochastic_depth_drop_rate']
        for layer in model.layers
        if layer.name.startswith('stage')
    ]
    np.testing.assert_allclose(rates, [0.2, 0.3, 0.4, 0.5])
    images = tf.random.normal([2, 64, 96, 3])
    first, second = (model(images, training=False)['5'] for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ('build', 'match'),
    [
        (lambda: resnet.ResNet(51), 'Expected model_id to be one of .*50.*Received: 51'),
        (lambda: resnet.ResNet(50, stem_type='v2'), "stem_type 'v0' or 'v1'. Received: 'v2'"),
    ],
)
def test_refuses_what_is_not_there(build: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        build()


@pytest.mark.parametrize(
    'make',
    [
        lambda: resnet.ResNet(
            10,
            IMAGES,
            depth_multiplier=0.25,
            se_ratio=0.25,
            kernel_regularizer=keras.regularizers.L2(1e-4),
        ),
        lambda: resnet.ResNet(50, IMAGES, 0.25, init_stochastic_depth_rate=0.2, **RS),
    ],
)
def test_config_round_trip_and_stable_keys(make: Any) -> None:
    model = make()
    copy = type(model).from_config(model.get_config())
    assert copy.get_config() == model.get_config()
    keys, copied = (list(variable_keys.variable_keys({'backbone': m})) for m in (model, copy))
    assert keys == copied == list(variable_keys.variable_keys({'backbone': make()}))
    assert len(keys) == len(model.variables)


def test_builders_pass_every_field() -> None:
    norm_activation = common.NormActivation(
        activation='swish', use_sync_bn=False, norm_momentum=0.9, norm_epsilon=1e-4
    )
    config = backbones_cfg.Backbone(
        type='resnet',
        resnet=backbones_cfg.ResNet(
            model_id=10,
            depth_multiplier=0.25,
            stem_type='v1',
            se_ratio=0.25,
            stochastic_depth_drop_rate=0.1,
            scale_stem=False,
            resnetd_shortcut=True,
            bn_trainable=False,
            stem_pool=False,
        ),
    )
    model = factory.build_backbone(IMAGES, config, norm_activation, keras.regularizers.L2(0.1))
    got = model.get_config()
    expected = {
        **config.resnet.as_dict(),
        'activation': 'swish',
        'use_sync_bn': False,
        'norm_momentum': 0.9,
        'norm_epsilon': 1e-4,
        'init_stochastic_depth_rate': 0.1,
    }
    expected.pop('stochastic_depth_drop_rate')
    assert {name: got[name] for name in expected} == expected
    assert got['kernel_regularizer']['config']['l2'] == pytest.approx(0.1)
    with pytest.raises(LookupError, match='resnet'):
        factory.build_backbone(IMAGES, backbones_cfg.Backbone(type=None), norm_activation)


@pytest.mark.parametrize('options', [{}, {**RS, 'activation': 'swish'}], ids=['plain', 'rs'])
def test_bfloat16_follows_float32(options: dict) -> None:
    images = np.random.default_rng(0).normal(size=(2, 64, 96, 3)).astype(np.float32)
    exact = resnet.ResNet(10, IMAGES, 0.25, **options)
    performance.set_mixed_precision_policy('bfloat16')
    rounded = resnet.ResNet(10, IMAGES, 0.25, **options)
    rounded.set_weights(exact.get_weights())
    assert {v.dtype for v in rounded.trainable_variables} == {'float32'}
    expected, got = exact(images, training=False), rounded(images, training=False)
    for level, reference in expected.items():
        assert got[level].dtype == tf.bfloat16
        difference = tf.norm(tf.cast(got[level], tf.float32) - reference) / tf.norm(reference)
        assert difference < 0.03
