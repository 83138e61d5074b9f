"""MobileDets: sizes, levels, options, and the numbers of Model Garden."""

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
from official_lite.vision.modeling.backbones import factory, mobiledet
from tests import garden_weights

SHAPE = [None, 64, 96, 3]
IMAGES = keras.layers.InputSpec(shape=SHAPE)

# Model Garden's: parameters, trained or not, and channels of the levels 1 to 5.
NETWORKS: dict[str, tuple[int, tuple[int, ...]]] = {
    'MobileDetCPU': (3_036_728, (8, 16, 32, 72, 144)),
    'MobileDetDSP': (5_886_464, (24, 32, 64, 144, 240)),
    'MobileDetEdgeTPU': (2_815_456, (16, 16, 40, 96, 384)),
    'MobileDetGPU': (11_718_560, (16, 32, 64, 128, 384)),
}


def _build_without_values(*args: Any, **kwargs: Any) -> mobiledet.MobileDet:
    """A network of which the shapes are known and the variables have no values."""
    with keras.StatelessScope(initialize_variables=False):
        return mobiledet.MobileDet(*args, **kwargs)


def test_config_specs_and_this_table_have_the_same_names() -> None:
    assert set(NETWORKS) == set(mobiledet.MOBILEDET_SPECS)
    assert set(NETWORKS) == set(typing.get_args(backbones_cfg.MobileDetId))


@pytest.mark.parametrize('model_id', NETWORKS)
def test_parameters_levels_and_channels(model_id: str) -> None:
    parameters, channels = NETWORKS[model_id]
    model = _build_without_values(model_id, input_specs=IMAGES)
    assert model.count_params() == parameters
    assert model.output_specs == {
        str(level): (None, 64 // 2**level, 96 // 2**level, count)
        for level, count in zip(range(1, 6), channels, strict=True)
    }
    assert set(model.output) == set(model.output_specs)


def test_scaled_widths_are_the_nearest_multiples_and_min_depth_is_a_floor() -> None:
    # 0.55 * (16, 16, 40, 96, 384) = 8.8, 8.8, 22, 52.8, 211.2; a protected 8.8 would be 16
    model = _build_without_values('MobileDetEdgeTPU', 0.55, IMAGES)
    assert [shape[-1] for shape in model.output_specs.values()] == [8, 8, 24, 56, 208]
    model = _build_without_values('MobileDetEdgeTPU', 0.05, IMAGES, min_depth=16)
    assert [shape[-1] for shape in model.output_specs.values()] == [16, 16, 16, 16, 16]


def test_options_reach_every_block() -> None:
    options = {'use_sync_bn': True, 'norm_momentum': 0.9, 'norm_epsilon': 1e-4}
    model = _build_without_values('MobileDetDSP', 0.25, IMAGES, **options)
    assert len(model.layers) == 1 + len(mobiledet.MOBILEDET_SPECS['MobileDetDSP'])
    for block in model.layers[1:]:
        got = block.get_config()
        assert {name: got[name] for name in options} == options


@pytest.mark.parametrize('model_id', NETWORKS)
def test_regularizers_spare_depthwise_kernels_unless_asked(model_id: str) -> None:
    options = {'input_specs': IMAGES, 'kernel_regularizer': keras.regularizers.L2(0.1)}
    plain = mobiledet.MobileDet(model_id, 0.25, **options)
    both = mobiledet.MobileDet(model_id, 0.25, **options, regularize_depthwise=True)
    num_depthwise = sum(
        block.kind == 'invertedbottleneck' and block.use_depthwise
        for block in mobiledet.MOBILEDET_SPECS[model_id]
    )
    assert len(both.losses) - len(plain.losses) == num_depthwise > 0


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        ({'model_id': 'MobileDetGPUs'}, "one of .*'MobileDetCPU'.*Did you mean 'MobileDetGPU'"),
        ({'filter_size_scale': 0.0}, 'Expected filter_size_scale above 0'),
    ],
)
def test_refuses_what_is_not_there(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        _build_without_values(**options)


@pytest.mark.parametrize(
    ('values', 'match'),
    [
        ({'model_id': 'MobileDetTPU'}, 'model_id.*MobileDetTPU'),
        ({'filter_size_scale': -1.0}, 'filter_size_scale.*more than 0'),
    ],
)
def test_configs_are_checked(values: dict[str, Any], match: str) -> None:
    with pytest.raises(hyperparams.ConfigError, match=match):
        backbones_cfg.MobileDet(**values).validate()


def test_config_round_trip_and_stable_keys() -> None:
    model = mobiledet.MobileDet(
        'MobileDetDSP', 0.25, IMAGES, kernel_regularizer=keras.regularizers.L2(0.1)
    )
    copy = type(model).from_config(model.get_config())
    assert copy.get_config() == model.get_config()
    keys, copied = (list(variable_keys.variable_keys({'backbone': m})) for m in (model, copy))
    assert keys == copied
    assert len(set(keys)) == len(keys) == len(model.variables)
    assert {
        'backbone/block_0_convbn/conv0/kernel',
        'backbone/block_1_invertedbottleneck/conv1/kernel',
        'backbone/block_5_tucker/conv1/kernel',
        'backbone/block_5_tucker/norm2/moving_mean',
    } <= set(keys)


def _build_from_config(activation: str = 'relu', **values: Any) -> keras.Model:
    norm_activation = common.NormActivation(
        activation=activation, use_sync_bn=True, norm_momentum=0.9, norm_epsilon=1e-4
    )
    config = backbones_cfg.Backbone(type='mobiledet', mobiledet=backbones_cfg.MobileDet(**values))
    with keras.StatelessScope(initialize_variables=False):
        return factory.build_backbone(IMAGES, config, norm_activation, keras.regularizers.L2(0.1))


def test_builder_passes_every_field() -> None:
    expected = {'model_id': 'MobileDetEdgeTPU', 'filter_size_scale': 0.5}
    got = _build_from_config(**expected).get_config()
    expected |= {'use_sync_bn': True, 'norm_momentum': 0.9, 'norm_epsilon': 1e-4}
    assert {name: got[name] for name in expected} == expected
    assert got['kernel_regularizer']['config']['l2'] == pytest.approx(0.1)


def test_builder_says_that_the_activations_are_the_network_s_own(
    recwarn: pytest.WarningsRecorder,
) -> None:
    _build_from_config()
    assert not [w for w in recwarn if 'activation' in str(w.message)]
    with pytest.warns(UserWarning, match='MobileDetCPU has its own'):
        _build_from_config('swish')


@pytest.mark.parametrize('model_id', ['MobileDetCPU', 'MobileDetDSP'])
def test_bfloat16_follows_float32(model_id: str) -> None:
    images = np.random.default_rng(0).normal(size=(2, 64, 96, 3)).astype(np.float32)
    exact = mobiledet.MobileDet(model_id, 0.5, IMAGES)
    garden_weights.randomize_weights(exact)
    performance.set_mixed_precision_policy('bfloat16')
    rounded = mobiledet.MobileDet(model_id, 0.5, IMAGES)
    rounded.set_weights(exact.get_weights())
    assert {v.dtype for v in rounded.trainable_variables} == {'float32'}
    expected, got = exact(images, training=False), rounded(images, training=False)
    for level, reference in expected.items():
        assert got[level].dtype == tf.bfloat16
        difference = tf.norm(tf.cast(got[level], tf.float32) - reference) / tf.norm(reference)
        assert difference < 0.05
