"""SpineNets: sizes, levels, options, refusals, and numbers of Model Garden."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite import errors
from official_lite.modeling import variable_keys
from official_lite.vision.configs import backbones as backbones_cfg
from official_lite.vision.configs import common
from official_lite.vision.modeling.backbones import factory, spinenet, spinenet_mobile
from tests import garden_weights

SIZE = (128, 256)
IMAGES = keras.layers.InputSpec(shape=[None, *SIZE, 3])

# model_garden.md, 5.2; 143L as tf-models-official 2.20 builds it.
SPINENET_PARAMETERS = {'49S': 9_146_351, '49': 21_920_192}
LARGE_SPINENET_PARAMETERS = {
    '96': 36_385_728,
    '143': 60_413_888,
    '143L': 101_011_093,
    '190': 126_849_216,
}
MOBILE_PARAMETERS = {'49': 2_313_892, '49S': 1_004_872, '49XS': 869_400}


def _build(name: str, spec: keras.layers.InputSpec = IMAGES, **options: Any) -> keras.Model:
    config = backbones_cfg.Backbone(type=name)
    config.override({name: options})
    activation = common.NormActivation(activation='swish', use_sync_bn=False)
    return factory.build_backbone(spec, config, activation)


def _small(**options: Any) -> spinenet.SpineNet:
    values = {'filter_size_scale': 0.125, 'endpoints_num_filters': 8, **options}
    return spinenet.SpineNet(**{'input_specs': IMAGES, **values})


def _small_mobile(**options: Any) -> spinenet_mobile.SpineNetMobile:
    values = {'filter_size_scale': 0.25, 'endpoints_num_filters': 8, **options}
    return spinenet_mobile.SpineNetMobile(**{'input_specs': IMAGES, **values})


# Sizes


@pytest.mark.parametrize('model_id', SPINENET_PARAMETERS)
def test_spinenet_parameters(model_id: str) -> None:
    model = _build('spinenet', model_id=model_id)
    assert model.count_params() == SPINENET_PARAMETERS[model_id]
    assert model.output_specs['3'] == (None, 16, 32, 128 if model_id == '49S' else 256)


@pytest.mark.slow
@pytest.mark.parametrize('model_id', LARGE_SPINENET_PARAMETERS)
def test_large_spinenet_parameters(model_id: str) -> None:
    model = _build('spinenet', model_id=model_id)
    assert model.count_params() == LARGE_SPINENET_PARAMETERS[model_id]


@pytest.mark.parametrize('model_id', MOBILE_PARAMETERS)
def test_mobile_parameters(model_id: str) -> None:
    model = _build('spinenet_mobile', model_id=model_id)
    assert model.count_params() == MOBILE_PARAMETERS[model_id]
    filters = {'49': 48, '49S': 40, '49XS': 24}[model_id]
    assert model.output_specs['7'] == (None, 1, 2, filters)


@pytest.mark.parametrize('make', [_small, _small_mobile])
@pytest.mark.parametrize(('first', 'last'), [(3, 7), (4, 6), (3, 5), (5, 5)])
def test_levels(make: Any, first: int, last: int) -> None:
    model = make(min_level=first, max_level=last)
    outputs = model(tf.zeros([2, *SIZE, 3]))
    shapes = {str(n): (2, 128 // 2**n, 256 // 2**n, 8) for n in range(first, last + 1)}
    assert {level: tuple(x.shape) for level, x in outputs.items()} == shapes
    assert {level: (2, *x[1:]) for level, x in model.output_specs.items()} == shapes


def test_finest_level_of_each() -> None:
    assert _small(min_level=2).output_specs['2'] == (None, 32, 64, 8)
    with pytest.raises(ValueError, match=r'outputs of the levels \[3, 4, 5, 6, 7\].*min_level=2'):
        _small_mobile(min_level=2)


def test_outputs_that_are_not_wanted_cost_nothing() -> None:
    names = {layer.name for layer in _small(min_level=3).layers}
    assert 'block_15' in names
    assert 'block_16' not in names  # the output of level 2
    assert 'block_16' in {layer.name for layer in _small(min_level=2).layers}


def test_mobile_has_no_block_that_is_coarser_than_its_last_level() -> None:
    spec = keras.layers.InputSpec(shape=[None, 96, 64, 3])
    model = _small_mobile(input_specs=spec, max_level=5)
    assert model.output_specs['5'] == (None, 3, 2, 8)
    assert (
        min(layer.output.shape[1] for layer in model.layers if layer.name.startswith('block')) == 3
    )


@pytest.mark.parametrize('make', [_small, _small_mobile])
def test_sizes_that_vary_give_the_same_network(make: Any) -> None:
    """What feeds no block joins an output of its shape, whether or not the size is known."""
    fixed = make()
    varying = make(input_specs=keras.layers.InputSpec(shape=[None, None, None, 3]))
    varying.set_weights(fixed.get_weights())
    images = tf.random.stateless_normal([1, *SIZE, 3], [1, 2])
    expected, got = fixed(images), varying(images)
    for level in expected:
        np.testing.assert_allclose(got[level], expected[level], atol=1e-5)
    assert varying(tf.zeros([1, 256, 128, 3]))['7'].shape == (1, 2, 1, 8)


# Options


def test_drop_rates_rise_block_by_block() -> None:
    for model in (
        _small(init_stochastic_depth_rate=0.32),
        _small_mobile(init_stochastic_depth_rate=0.32),
    ):
        blocks = {
            layer.name: layer.get_config()['stochastic_depth_drop_rate']
            for layer in model.layers
            if 'stochastic_depth_drop_rate' in layer.get_config()
        }
        assert blocks.pop('stem_block_0') is blocks.pop('stem_block_1') is None
        assert blocks['block_1'] == pytest.approx(0.02)
        assert blocks['block_15'] == pytest.approx(0.3)


@pytest.mark.parametrize('make', [_small, _small_mobile])
def test_repeats_stand_in_a_row(make: Any) -> None:
    """Each block is fed by the one before it, and only the first one projects or has a stride."""
    model = make(block_repeats=3)
    names = [layer.name for layer in model.layers]
    assert {'block_5', 'block_5_repeat_1', 'block_5_repeat_2'} <= set(names)
    for repeat, before in (
        ('block_5_repeat_2', 'block_5_repeat_1'),
        ('block_5_repeat_1', 'block_5'),
    ):
        assert model.get_layer(repeat).input is model.get_layer(before).output
    assert model.get_layer('stem_block_1_repeat_1').get_config()['strides'] == 1


def test_b18_depthwise_kernels_are_initialised_and_regularised() -> None:
    model = _small_mobile(kernel_regularizer=keras.regularizers.L2(0.5), filter_size_scale=1.0)
    kernel = model.get_layer('block_3_input_0_stride_0_conv').kernel
    assert kernel.regularizer is not None
    # fan-in of [3, 3, channels, 1], truncated at two standard deviations
    assert np.std(kernel) == pytest.approx((9 * kernel.shape[2]) ** -0.5, rel=0.1)


def test_keras_upsampling_has_the_same_values() -> None:
    models = [_small_mobile(use_keras_upsampling_2d=value) for value in (False, True)]
    models[1].set_weights(models[0].get_weights())
    images = tf.random.stateless_normal([1, *SIZE, 3], [1, 2])
    for first, second in zip(*(tf.nest.flatten(model(images)) for model in models), strict=True):
        np.testing.assert_array_equal(first, second)
    classes = [{type(layer).__name__ for layer in model.layers} for model in models]
    assert 'UpSampling2D' in classes[1] - classes[0]


@pytest.mark.parametrize('make', [_small, _small_mobile])
def test_config_round_trip_and_keys(make: Any) -> None:
    model = make(kernel_regularizer=keras.regularizers.L2(1e-4))
    copy = type(model).from_config(model.get_config())
    assert copy.get_config() == model.get_config()
    assert len(copy.losses) == len(model.losses) > 0
    first, second = (list(variable_keys.variable_keys({'backbone': m})) for m in (model, copy))
    assert first == second
    assert 'backbone/stem_conv/kernel' in first
    assert 'backbone/endpoint_7_norm/gamma' in first


def test_own_blocks() -> None:
    blocks = [(3, 'bottleneck', (0, 1), False), (3, 'residual', (1, 2), True)]
    model = _small(block_specs=blocks, max_level=3)
    assert model.get_layer('block_2').name in [layer.name for layer in model.layers]
    assert type(model).from_config(model.get_config()).count_params() == model.count_params()
    # Blocks of stride 8 are all that there is, so that sizes need be multiples of 8 only.
    _small(
        block_specs=blocks,
        max_level=3,
        input_specs=keras.layers.InputSpec(shape=[None, 24, 40, 3]),
    )


def test_unused_blocks_join_the_output_of_their_shape() -> None:
    """Worked out by hand: block 1 feeds nothing, so that it is the third summand of block 2."""
    blocks = [(2, 'residual', (0, 1), False), (2, 'residual', (0, 1), True)]
    model = _small(block_specs=blocks, min_level=2, max_level=2)
    merged = model.get_layer('block_2_merge')
    assert len(merged.input) == 3
    assert merged.input[2] is model.get_layer('block_1').output
    blocks[0] = (2, 'bottleneck', (0, 1), False)  # four times the channels
    assert (
        len(_small(block_specs=blocks, min_level=2, max_level=2).get_layer('block_2_merge').input)
        == 2
    )


# Refusals


@pytest.mark.parametrize(
    ('make', 'match'),
    [
        (
            lambda: _small(input_specs=keras.layers.InputSpec(shape=[None, 128, 320, 3])),
            'stride of 128 px. Expected an image width that is a multiple of 128. Received: 320',
        ),
        (
            lambda: _small_mobile(
                max_level=6, input_specs=keras.layers.InputSpec(shape=[None, 96, None, 3])
            ),
            'image height that is a multiple of 64. Received: 96',
        ),
        (lambda: _small(max_level=8), r'levels \[2, 3, 4, 5, 6, 7\].*min_level=3, max_level=8'),
        (lambda: _small(filter_size_scale=0.0), 'Expected filter_size_scale above 0'),
        (lambda: _small_mobile(expand_ratio=0), 'Expected expand_ratio above 0'),
        (lambda: _small(block_specs=[(3, 'mbconv', (0, 1), True)]), "Unknown block.*'mbconv'"),
        (lambda: _small_mobile(block_specs=[(9, 'mbconv', (0, 1), True)]), 'Unknown block.*9'),
        (lambda: _small(block_specs=[(3, 'residual', (0, 2), True)]), 'Block 1 .* from 0 to 1'),
        (lambda: _small(activation='swich'), "Did you mean 'swish'"),
    ],
)
def test_refuses_what_cannot_be_built(make: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        make()


def test_builders_refuse_the_config_of_another_backbone() -> None:
    other = backbones_cfg.Backbone(type='resnet')
    for module, name in ((spinenet, 'spinenet'), (spinenet_mobile, 'spinenet_mobile')):
        build = getattr(module, f'build_{name}')
        with pytest.raises(errors.UsageError, match=f"expected type '{name}'; received 'resnet'"):
            build(IMAGES, other, common.NormActivation())


@pytest.mark.parametrize(
    ('config', 'match'),
    [
        (backbones_cfg.SpineNet(min_level=1), r'min_level: expected 2 to max_level \(7\)'),
        (backbones_cfg.SpineNet(max_level=8), 'max_level: expected 7 or less'),
        (backbones_cfg.SpineNetMobile(min_level=2), r'min_level: expected 3 to max_level \(7\)'),
        (backbones_cfg.SpineNetMobile(expand_ratio=0), 'expand_ratio: expected 1 or more'),
        (backbones_cfg.SpineNetMobile(se_ratio=1.5), 'se_ratio: expected 0 to 1'),
        (
            backbones_cfg.SpineNet(stochastic_depth_drop_rate=1.0),
            'stochastic_depth_drop_rate: expected at least 0 and less than 1',
        ),
    ],
)
def test_configs_are_checked(config: Any, match: str) -> None:
    with pytest.raises(errors.OfficialLiteError, match=match):
        config.validate()


_CHANGES: dict[str, dict[str, Any]] = {
    'spinenet': {
        'model_id': '49',
        'stochastic_depth_drop_rate': 0.5,
        'min_level': 4,
        'max_level': 6,
    },
    'spinenet_mobile': {
        'model_id': '49S',
        'stochastic_depth_drop_rate': 0.5,
        'se_ratio': 0.5,
        'expand_ratio': 3,
        'min_level': 4,
        'max_level': 6,
        'use_keras_upsampling_2d': True,
    },
}


@functools.cache
def _describe_base(name: str) -> list[Any]:
    return _describe(_build(name, model_id='49S' if name == 'spinenet' else '49XS'))


def _describe(model: keras.Model) -> list[Any]:
    parts: list[Any] = [(v.path, tuple(v.shape)) for v in model.variables]
    for layer in model.layers:
        rate = layer.get_config().get('stochastic_depth_drop_rate')
        parts.append((type(layer).__name__, layer.name, rate))
    return parts


@pytest.mark.parametrize(
    ('name', 'field'), [(name, field) for name in _CHANGES for field in _CHANGES[name]]
)
def test_d3_a_field_changes_the_model(name: str, field: str) -> None:
    config = getattr(backbones_cfg.Backbone(), name)
    fields = {f.name for f in dataclasses.fields(config)} - {'default_params', 'restrictions'}
    assert fields == set(_CHANGES[name])
    changed = {'model_id': '49S' if name == 'spinenet' else '49XS', field: _CHANGES[name][field]}
    assert _describe(_build(name, **changed)) != _describe_base(name)


# Training mode against Model Garden; frozen networks are in test_backbone_parity.py

PAIRS: dict[str, tuple[Any, dict[str, Any]]] = {
    'repeats': (
        spinenet,
        {
            'filter_size_scale': 0.25,
            'endpoints_num_filters': 16,
            'block_repeats': 2,
            'resample_alpha': 1.0,
            'min_level': 2,
            'max_level': 6,
            'activation': 'relu',
        },
    ),
    'mobile 49XS': (spinenet_mobile, {'filter_size_scale': 0.6, 'endpoints_num_filters': 24}),
}


def _make_pair(name: str) -> tuple[Any, Any]:
    import tf_keras
    from official.vision.modeling.backbones import spinenet as garden_spinenet
    from official.vision.modeling.backbones import spinenet_mobile as garden_mobile

    module, options = PAIRS[name]
    options = {'activation': 'swish', **options}
    if module is spinenet:
        garden, ours = garden_spinenet.SpineNet, spinenet.SpineNet
    else:
        garden, ours = garden_mobile.SpineNetMobile, spinenet_mobile.SpineNetMobile
    spec = tf_keras.layers.InputSpec(shape=[None, *SIZE, 3])
    pair = garden(input_specs=spec, **options), ours(input_specs=IMAGES, **options)
    garden_weights.randomize_weights(pair[0])
    garden_weights.carry_weights(*pair)
    return pair


@pytest.mark.garden
@pytest.mark.parametrize('name', ['repeats', pytest.param('mobile 49XS', marks=pytest.mark.slow)])
def test_moving_statistics_equal_model_garden_after_training(name: str) -> None:
    theirs, ours = _make_pair(name)
    images = tf.random.stateless_normal([4, *SIZE, 3], [3, 4])
    for model in (theirs, ours):
        model(images, training=True)
    for variable, other in garden_weights.pair_variables(theirs, ours):
        if 'moving' in variable.name:
            np.testing.assert_allclose(other, variable, rtol=1e-4, atol=1e-4, err_msg=variable.name)
