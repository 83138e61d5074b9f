"""ASPP: values worked out by hand, sizes, refusals, every field, and numbers of Model Garden."""

from __future__ import annotations

import dataclasses
import types
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite import errors
from official_lite.modeling import hyperparams, performance, variable_keys
from official_lite.vision.configs import common
from official_lite.vision.configs import decoders as decoders_cfg
from official_lite.vision.modeling.decoders import aspp, factory
from official_lite.vision.modeling.layers import deeplab
from tests import garden_gradients

SPECS = {'3': (None, 16, 24, 6), '4': (None, 8, 12, 5)}


def _make_features(batch: int = 2) -> dict[str, tf.Tensor]:
    return {
        level: tf.random.stateless_normal([batch, *shape[1:]], [7, int(level)])
        for level, shape in SPECS.items()
    }


# By hand


def _make_by_hand(**options: Any) -> deeplab.SpatialPyramidPooling:
    """One channel; branches are the pixel, the pixel two up and two to the left, and the mean.

    They have the weights 1, 10 and 100. Each of the two normalisations divides by 1.5.
    """
    layer = deeplab.SpatialPyramidPooling(
        1, [2], activation='linear', batchnorm_epsilon=1.25, dropout=0.0, **options
    )
    layer.build((None, None, None, 1))
    point, dilated, pooled = (branch['conv'] for branch in layer.aspp_layers)
    for conv in (point, pooled):
        conv.kernel.assign(tf.ones([1, 1, 1, 1]))
    kernel = np.zeros([3, 3, 1, 1], np.float32)
    kernel[0, 0] = 1.0
    dilated.kernel.assign(kernel)
    layer.projection['conv'].kernel.assign(tf.reshape([1.0, 10.0, 100.0], [1, 1, 3, 1]))
    return layer


def _shift(x: np.ndarray) -> np.ndarray:
    return np.pad(x, [(0, 0), (2, 0), (2, 0), (0, 0)])[:, :-2, :-2]


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(3).normal(size=[2, 4, 6, 1]).astype(np.float32)


def test_pooling_of_the_whole_map_by_hand(pixels: np.ndarray) -> None:
    mean = pixels.mean((1, 2), keepdims=True)
    expected = (pixels + 10 * _shift(pixels) + 100 * mean) / 1.5**2
    np.testing.assert_allclose(_make_by_hand()(pixels), expected, rtol=1e-5, atol=1e-5)


def test_pooling_of_windows_by_hand(pixels: np.ndarray) -> None:
    layer = _make_by_hand(pool_kernel_size=[2, 3], interpolation='nearest')
    means = pixels.reshape([2, 2, 2, 2, 3, 1]).mean((2, 4))
    pooled = means.repeat(2, axis=1).repeat(3, axis=2)
    expected = (pixels + 10 * _shift(pixels) + 100 * pooled) / 1.5**2
    np.testing.assert_allclose(layer(pixels), expected, rtol=1e-5, atol=1e-5)


def test_incomplete_windows_are_left_out(pixels: np.ndarray) -> None:
    layer = _make_by_hand(pool_kernel_size=[3, 4])
    window = pixels[:, :3, :4].mean((1, 2), keepdims=True)
    expected = (pixels + 10 * _shift(pixels) + 100 * window) / 1.5**2
    np.testing.assert_allclose(layer(pixels), expected, rtol=1e-5, atol=1e-5)


def test_a_map_smaller_than_a_window_is_one_window(pixels: np.ndarray) -> None:
    expected = _make_by_hand()(pixels)
    np.testing.assert_allclose(_make_by_hand(pool_kernel_size=[32, 64])(pixels), expected, 1e-5)


def test_windows_of_the_decoder_are_in_pixels_of_the_image() -> None:
    decoder = aspp.ASPP(4, [6], pool_kernel_size=[512, 1024])
    assert decoder.aspp.get_config()['pool_kernel_size'] == [32, 64]
    for none in (None, []):
        decoder = aspp.ASPP(4, [6], pool_kernel_size=none)
        assert decoder.aspp.get_config()['pool_kernel_size'] is None


# Shapes and options


@pytest.mark.parametrize('version', aspp.VERSIONS)
@pytest.mark.parametrize('use_depthwise', [False, True])
def test_parameters(version: str, use_depthwise: bool) -> None:
    decoder = aspp.ASPP(
        4, [6, 12], 8, spp_layer_version=version, use_depthwise_convolution=use_depthwise
    )
    decoder.build(SPECS)
    dilated = 9 * 5 + 5 * 8 if use_depthwise else 9 * 5 * 8
    assert decoder.count_params() == 2 * 5 * 8 + 2 * dilated + 4 * 8 * 8 + 5 * 4 * 8


def test_output_is_a_dict_of_the_level_or_the_map() -> None:
    features = _make_features()
    decoder = aspp.ASPP(4, [2], 8)
    outputs = decoder(features)
    assert list(outputs) == ['4']
    assert outputs['4'].shape == (2, 8, 12, 8)
    assert decoder.output_specs == {'4': (2, 8, 12, 8)}
    np.testing.assert_array_equal(decoder(features['4'])['4'], outputs['4'])
    tensor = aspp.ASPP(4, [2], 8, output_tensor=True)
    assert tensor(features).shape == (2, 8, 12, 8)


def test_symbolic_and_unknown_sizes() -> None:
    inputs = {'4': keras.Input([None, None, 5]), '3': keras.Input([None, None, 6])}
    for windows in (None, [64, 64]):
        decoder = aspp.ASPP(4, [2], 8, pool_kernel_size=windows)
        assert decoder(inputs)['4'].shape == (None, None, None, 8)
        features = _make_features()['4']

        @tf.function(input_signature=[tf.TensorSpec([None, None, None, 5])])
        def compute(x: tf.Tensor, decoder: aspp.ASPP = decoder) -> tf.Tensor:
            return decoder(x)['4']

        np.testing.assert_allclose(compute(features), decoder(features)['4'], atol=1e-5)


def test_dropout_acts_in_training_only() -> None:
    features = _make_features()
    decoder = aspp.ASPP(4, [2], 8, dropout_rate=0.5, activation='linear')
    assert not np.any(np.asarray(decoder(features)['4']) == 0)
    share = np.mean(np.asarray(decoder(features, training=True)['4']) == 0)
    assert 0.4 < share < 0.6


def test_depthwise_kernels_are_regularised_in_version_2_alone() -> None:
    losses = {}
    for version in aspp.VERSIONS:
        decoder = aspp.ASPP(
            4,
            [2, 3],
            8,
            use_depthwise_convolution=True,
            spp_layer_version=version,
            kernel_regularizer=keras.regularizers.L2(0.5),
        )
        decoder.build(SPECS)
        losses[version] = len(decoder.losses)
    assert losses == {'v1': 5, 'v2': 7}  # four branches and the projection, two depthwise kernels


def test_bfloat16_follows_float32() -> None:
    features = _make_features()
    exact = aspp.ASPP(4, [2, 3], 8)
    expected = exact(features)['4']
    performance.set_mixed_precision_policy('bfloat16')
    rounded = aspp.ASPP(4, [2, 3], 8)
    rounded.build(SPECS)
    rounded.set_weights(exact.get_weights())
    got = rounded(features)['4']
    assert got.dtype == tf.bfloat16
    assert {v.dtype for v in rounded.trainable_variables} == {'float32'}
    difference = tf.norm(tf.cast(got, tf.float32) - expected) / tf.norm(expected)
    assert difference < 0.03


def test_config_round_trip_and_keys() -> None:
    decoder = aspp.ASPP(
        4,
        [6, 12],
        8,
        pool_kernel_size=[32, 64],
        use_depthwise_convolution=True,
        spp_layer_version='v2',
        kernel_regularizer=keras.regularizers.L2(0.1),
        name='context',
    )
    decoder.build(SPECS)
    config = keras.saving.serialize_keras_object(decoder)
    copy = keras.saving.deserialize_keras_object(config)
    assert copy.get_config() == decoder.get_config()
    assert copy.output_specs == decoder.output_specs == {'4': (None, 8, 12, 8)}
    keys = list(variable_keys.variable_keys({'decoder': decoder}))
    assert keys == list(variable_keys.variable_keys({'decoder': copy}))
    assert len(keys) == len(decoder.variables)
    assert {
        'decoder/aspp/aspp_layers/0/conv/kernel',
        'decoder/aspp/aspp_layers/1/depthwise/kernel',
        'decoder/aspp/projection/norm/gamma',
    } <= set(keys)


@pytest.mark.parametrize(
    ('build', 'match'),
    [
        (lambda: aspp.ASPP(4, [6], spp_layer_version='v3'), r"\['v1', 'v2'\]. Received: 'v3'"),
        (lambda: aspp.ASPP(4, [6], pool_kernel_size=[8, 8]), r'of 1 or more. Received: \[0, 0\]'),
        (lambda: aspp.ASPP(4, [6], pool_kernel_size=[16]), r'two numbers.* Received: \[1\]'),
        (lambda: aspp.ASPP(4, [0]), r'dilation_rates of 1 or more. Received: .*\[0\]'),
        (lambda: aspp.ASPP(4, [6], interpolation='cubic'), "Unknown interpolation.*'cubic'"),
        (lambda: aspp.ASPP(5, [6])(_make_features()), r"level to be one of \['3', '4'\].*: 5"),
        (
            lambda: deeplab.SpatialPyramidPooling(8, [6])(tf.zeros([2, 8, 8])),
            r'height, width, channels\]. Received: \(2, 8, 8\)',
        ),
    ],
)
def test_refuses_what_does_not_fit(build: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        build()


# Config


def _make_model_config(**decoder: Any) -> Any:
    return types.SimpleNamespace(
        decoder=decoders_cfg.Decoder(decoder),
        norm_activation=common.NormActivation(
            activation='swish', use_sync_bn=True, norm_momentum=0.5, norm_epsilon=0.25
        ),
    )


def test_the_builder_passes_everything_on() -> None:
    settings: dict[str, Any] = {
        'level': 3,
        'dilation_rates': [2, 4],
        'dropout_rate': 0.25,
        'num_filters': 8,
        'use_depthwise_convolution': True,
        'pool_kernel_size': [32, 64],
        'spp_layer_version': 'v2',
        'output_tensor': True,
    }
    fields = {field.name for field in dataclasses.fields(decoders_cfg.ASPP)}
    assert fields - {'default_params', 'restrictions'} == set(settings)
    regularizer = keras.regularizers.L2(0.5)
    config = _make_model_config(type='aspp', aspp=settings)
    decoder = factory.build_decoder(SPECS, config, regularizer)
    expected = {
        **settings,
        'activation': 'swish',
        'use_sync_bn': True,
        'norm_momentum': 0.5,
        'norm_epsilon': 0.25,
        'kernel_regularizer': keras.regularizers.serialize(regularizer),
    }
    found = decoder.get_config()
    assert {key: found[key] for key in expected} == expected
    assert decoder.built
    assert decoder.output_specs == {'3': (None, 16, 24, 8)}
    with pytest.raises(errors.UsageError, match="expected type 'aspp'; received 'identity'"):
        aspp.build_aspp_decoder(SPECS, _make_model_config(type='identity'))


def _describe(**settings: Any) -> list[Any]:
    base = {'dilation_rates': [2], 'num_filters': 4, 'use_depthwise_convolution': True}
    config = _make_model_config(type='aspp', aspp={**base, **settings})
    decoder = factory.build_decoder(SPECS, config, keras.regularizers.L2(0.5))
    leaves = [x for x in decoder._flatten_layers() if not list(x._flatten_layers(False))]
    features = _make_features()
    return [
        [(x.name, {**x.get_config(), 'kernel_initializer': None}) for x in leaves],
        {key: v.shape for key, v in variable_keys.variable_keys({'decoder': decoder}).items()},
        str(tf.nest.map_structure(lambda x: (x.dtype, x.shape), decoder(features))),
        decoder.aspp.get_config()['pool_kernel_size'],
        decoder.output_specs,
    ]


def test_d3_every_field_changes_the_decoder() -> None:
    values = {
        'level': 3,
        'dilation_rates': [3],
        'dropout_rate': 0.25,
        'num_filters': 8,
        'use_depthwise_convolution': False,
        'pool_kernel_size': [32, 64],
        'spp_layer_version': 'v2',
        'output_tensor': True,
    }
    base = str(_describe())
    assert base == str(_describe())
    for name, value in values.items():
        assert str(_describe(**{name: value})) != base, name


@pytest.mark.parametrize(
    ('values', 'match'),
    [
        ({'spp_layer_version': 'v3'}, 'spp_layer_version.*v1.*v2.*v3'),
        ({'dilation_rates': [0]}, 'dilation_rates.*1 or more'),
        ({'dropout_rate': 1.0}, 'dropout_rate.*less than 1'),
        ({'num_filters': 0}, 'num_filters.*1 or more'),
        ({'level': 0}, 'level.*1 or more'),
        ({'pool_kernel_size': [8, 8]}, 'pool_kernel_size.*16 or more: a pixel of level 4'),
        ({'pool_kernel_size': [512]}, r'pool_kernel_size.*\[height, width\]'),
    ],
)
def test_configs_are_checked(values: dict[str, Any], match: str) -> None:
    with pytest.raises(hyperparams.ConfigError, match=match):
        decoders_cfg.ASPP(**values).validate()


# Parity

PAIRS: dict[str, dict[str, Any]] = {
    'v1': {'dilation_rates': [2, 4, 6], 'activation': 'relu'},
    'v1, depthwise, windows': {
        'dilation_rates': [1, 3],
        'use_depthwise_convolution': True,
        'pool_kernel_size': [64, 96],
        'use_sync_bn': True,
    },
    'v1, no dilation': {'dilation_rates': []},
    'v2': {'dilation_rates': [2, 4], 'spp_layer_version': 'v2'},
    'v2, depthwise, windows': {
        'dilation_rates': [3],
        'use_depthwise_convolution': True,
        'pool_kernel_size': [48, 64],
        'spp_layer_version': 'v2',
    },
}


@pytest.mark.garden
@pytest.mark.parametrize(
    'name',
    [pytest.param(name, marks=[] if 'windows' in name else pytest.mark.slow) for name in PAIRS],
)
def test_outputs_gradients_and_statistics_equal_model_garden(name: str) -> None:
    from official.vision.modeling.decoders import aspp as garden_aspp

    options = {
        'level': 4,
        'num_filters': 16,
        'activation': 'swish',
        'norm_momentum': 0.9,
        **PAIRS[name],
    }
    # Fewer values per channel would leave normalisation of pooled maps to rounding errors.
    features = _make_features(batch=8)
    theirs, ours = garden_aspp.ASPP(**options), aspp.ASPP(**options)
    theirs(features)
    ours(features)
    garden_gradients.assert_equal(theirs, ours, features)
