"""Backbones: sizes, shapes, options, and numbers of Model Garden."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite.modeling import variable_keys
from official_lite.vision.configs import backbones as backbones_cfg
from official_lite.vision.configs import common
from official_lite.vision.modeling.backbones import factory, mobilenet, resnet
from tests import garden_weights

IMAGES = keras.layers.InputSpec(shape=[None, 64, 96, 3])

# model_garden.md, 5.2 and 10.4.
RESNET_PARAMETERS = {
    10: 4_915_904,
    18: 11_190_464,
    26: 17_465_024,
    34: 21_306_048,
    50: 23_561_152,
    101: 42_605_504,
}
MOBILENET_PARAMETERS = {
    'MobileNetV2': 2_257_984,
    'MobileNetV3Large': 4_226_432,
    'MobileNetV3Small': 1_529_968,
}


@pytest.mark.parametrize('model_id', RESNET_PARAMETERS)
def test_resnet_parameters(model_id: int) -> None:
    model = resnet.ResNet(model_id, IMAGES)
    assert model.count_params() == RESNET_PARAMETERS[model_id]
    channels = [shape[-1] for shape in model.output_specs.values()]
    factor = 1 if model_id < 50 else 4
    assert channels == [64 * factor, 128 * factor, 256 * factor, 512 * factor]


def test_resnet_50_trainable_and_rs_parameters() -> None:
    model = resnet.ResNet(50, IMAGES)
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == 23_508_032
    model = resnet.ResNet(
        50,
        IMAGES,
        stem_type='v1',
        resnetd_shortcut=True,
        replace_stem_max_pool=True,
        se_ratio=0.25,
    )
    assert model.count_params() == 33_696_288


@pytest.mark.parametrize('model_id', MOBILENET_PARAMETERS)
def test_mobilenet_parameters(model_id: str) -> None:
    assert (
        mobilenet.MobileNet(model_id, input_specs=IMAGES).count_params()
        == (MOBILENET_PARAMETERS[model_id])
    )


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
        (lambda: mobilenet.MobileNet('MobileNetV9'), "one of .*'MobileNetV2'.*'MobileNetV9'"),
        (lambda: mobilenet.MobileNet(filter_size_scale=0.0), 'Expected filter_size_scale above 0'),
        (lambda: mobilenet.MobileNet(output_stride=3), 'output_stride None or one of .*Received'),
        (lambda: mobilenet.MobileNet('MobileNetV1', output_stride=4), r'one of \[8, 16, 32\]'),
    ],
)
def test_refuses_what_is_not_there(build, match: str) -> None:
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
        lambda: mobilenet.MobileNet(input_specs=IMAGES, filter_size_scale=0.35),
    ],
)
def test_config_round_trip_and_stable_keys(make) -> None:
    model = make()
    copy = type(model).from_config(model.get_config())
    assert copy.get_config() == model.get_config()
    keys, copied = (list(variable_keys.variable_keys({'backbone': m})) for m in (model, copy))
    assert keys == copied == list(variable_keys.variable_keys({'backbone': make()}))
    assert len(keys) == len(model.variables)


@pytest.mark.parametrize('model_id', mobilenet.MOBILENET_SPECS)
def test_mobilenet_levels_are_logarithms_of_strides(model_id: str) -> None:
    model = mobilenet.MobileNet(model_id, 0.25, IMAGES)
    for level, shape in model.output_specs.items():
        assert shape[1:3] == (64 // 2 ** int(level), 96 // 2 ** int(level))
    last_level = str(max(int(level) for level in model.output_specs) + 1)
    assert last_level in model(tf.zeros([1, 64, 96, 3]))


def test_mobilenet_output_stride_and_intermediate_endpoints() -> None:
    model = mobilenet.MobileNet(
        'MobileNetV2', 0.25, IMAGES, output_stride=16, output_intermediate_endpoints=True
    )
    outputs = model(tf.zeros([1, 64, 96, 3]))
    assert {level: value.shape[1:3] for level, value in outputs.items()} == {
        '2': (16, 24),
        '2/depthwise': (16, 24),
        '3': (8, 12),
        '3/depthwise': (8, 12),
        '4': (4, 6),
        '4/depthwise': (4, 6),
        '5': (4, 6),
    }


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


# Parity

GARDEN_RESNETS = {
    'v0': {'model_id': 18},
    'bottleneck': {'model_id': 50, 'depth_multiplier': 0.25},
    'rs': {
        'model_id': 50,
        'depth_multiplier': 0.25,
        'stem_type': 'v1',
        'resnetd_shortcut': True,
        'replace_stem_max_pool': True,
        'se_ratio': 0.25,
        'activation': 'swish',
    },
    'plain stem': {
        'model_id': 10,
        'depth_multiplier': 0.5,
        'scale_stem': False,
        'norm_epsilon': 1e-5,
    },
    'sync': {'model_id': 10, 'use_sync_bn': True, 'norm_epsilon': 1e-5},
}


def _compare(theirs, ours, images: np.ndarray) -> float:
    """Largest difference of the outputs relative to max(1, largest reference)."""
    garden_weights.randomize_weights(theirs)
    garden_weights.carry_weights(theirs, ours)
    expected, got = theirs(images, training=False), ours(images, training=False)
    assert set(expected) == set(got)
    worst = 0.0
    for level, reference in expected.items():
        reference = reference.numpy()
        error = np.abs(got[level].numpy() - reference).max() / max(1.0, np.abs(reference).max())
        worst = max(worst, float(error))
    return worst


@pytest.fixture(scope='module')
def images() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(2, 64, 96, 3)).astype(np.float32)


@pytest.mark.garden
@pytest.mark.parametrize('name', GARDEN_RESNETS)
def test_resnet_equals_model_garden(name: str, images: np.ndarray) -> None:
    import tf_keras
    from official.vision.modeling.backbones import resnet as garden_resnet

    options = GARDEN_RESNETS[name]
    theirs = garden_resnet.ResNet(
        input_specs=tf_keras.layers.InputSpec(shape=[None, 64, 96, 3]), **options
    )
    ours = resnet.ResNet(input_specs=IMAGES, **options)
    assert _compare(theirs, ours, images) < 1e-4


@pytest.mark.garden
@pytest.mark.parametrize(
    'options',
    [
        *({'model_id': name} for name in mobilenet.MOBILENET_SPECS if name != 'MobileNetV2'),
        {'model_id': 'MobileNetV2', 'filter_size_scale': 0.35},
        {'model_id': 'MobileNetV2', 'output_stride': 8, 'output_intermediate_endpoints': True},
        {'model_id': 'MobileNetV1', 'output_stride': 16, 'filter_size_scale': 0.5},
    ],
    ids=str,
)
def test_mobilenet_equals_model_garden(options: dict, images: np.ndarray) -> None:
    import tf_keras
    from official.vision.modeling.backbones import mobilenet as garden_mobilenet

    theirs = garden_mobilenet.MobileNet(
        input_specs=tf_keras.layers.InputSpec(shape=[None, 64, 96, 3]), **options
    )
    ours = mobilenet.MobileNet(input_specs=IMAGES, **options)
    assert _compare(theirs, ours, images) < 1e-4
