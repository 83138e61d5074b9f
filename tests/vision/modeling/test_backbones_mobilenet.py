"""MobileNets: sizes, levels, options, and the numbers of Model Garden."""

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
from official_lite.vision.modeling.backbones import factory, mobilenet
from tests import garden_weights

IMAGES = keras.layers.InputSpec(shape=[None, 64, 96, 3])

# Parameters, and channels of the levels from '2' on: model_garden.md, 5.2; at 0.75 of the widths:
# Model Garden's own test.
NETWORKS: dict[str, tuple[int, int, tuple[int, ...], int]] = {
    'MobileNetV1': (3_228_864, 1_832_976, (128, 256, 512, 1024), 1024),
    'MobileNetV2': (2_257_984, 1_382_064, (24, 32, 96, 320), 1280),
    'MobileNetV3Large': (4_226_432, 2_731_616, (24, 40, 112, 160), 1280),
    'MobileNetV3Small': (1_529_968, 1_026_552, (16, 24, 48, 96), 1024),
    'MobileNetV3SmallReducedFilters': (694_880, 505_960, (16, 24, 48, 48), 1024),
    'MobileNetV3EdgeTPU': (2_849_312, 1_737_288, (32, 48, 96, 192), 1280),
    'MobileNetMultiMAX': (3_174_560, 2_045_816, (32, 64, 128, 160), 1280),
    'MobileNetMultiAVG': (3_704_416, 2_349_704, (32, 64, 160, 192), 1280),
    'MobileNetMultiMAXSeg': (1_929_088, 1_216_544, (32, 64, 128, 96, 448), 1280),
    'MobileNetMultiAVGSeg': (2_239_840, 1_395_272, (32, 64, 160, 96, 448), 1280),
    'MobileNetV4ConvSmall': (2_518_112, 1_670_408, (32, 64, 96, 128), 1280),
    'MobileNetV4ConvMedium': (8_502_416, 5_096_424, (48, 80, 160, 256), 1280),
    'MobileNetV4ConvMediumSeg': (3_787_024, 2_302_536, (48, 80, 160, 448), 1280),
    'MobileNetV4ConvLarge': (31_459_416, 18_099_824, (48, 96, 192, 512), 1280),
    'MobileNetV4HybridMedium': (9_869_488, 6_072_584, (48, 80, 160, 256), 1280),
    'MobileNetV4HybridLarge': (36_648_024, 21_598_064, (48, 96, 192, 512), 1280),
}


def _build_without_values(*args: Any, **kwargs: Any) -> mobilenet.MobileNet:
    """A network of which the shapes are known and the variables have no values."""
    with keras.StatelessScope(initialize_variables=False):
        return mobilenet.MobileNet(*args, **kwargs)


def _get_settings(model: keras.Model, cls_name: str, key: str) -> list[Any]:
    return [x.get_config()[key] for x in model.layers if type(x).__name__ == cls_name]


def test_configs_specs_and_this_table_have_the_same_names() -> None:
    assert set(NETWORKS) == set(mobilenet.MOBILENET_SPECS)
    assert set(NETWORKS) == set(typing.get_args(backbones_cfg.MobileNetId))


@pytest.mark.parametrize('model_id', NETWORKS)
def test_parameters_levels_and_channels(model_id: str) -> None:
    parameters, parameters_scaled, channels, last = NETWORKS[model_id]
    model = _build_without_values(model_id, input_specs=IMAGES)
    assert model.count_params() == parameters
    assert tuple(shape[-1] for shape in model.output_specs.values()) == channels
    for level, shape in model.output_specs.items():
        stride = 2 ** min(int(level), 5)  # those for segmentation have '6' at stride 32
        assert shape[1:3] == (64 // stride, 96 // stride)
    last_level = str(max(map(int, model.output_specs)) + 1)
    assert set(model.output) == {*model.output_specs, last_level}
    assert model.output[last_level].shape[-1] == last
    # The last layer keeps its width (its rule is that of scales below 1 only).
    scaled = _build_without_values(model_id, 0.75, IMAGES)
    assert scaled.count_params() == parameters_scaled
    assert scaled.output[last_level].shape[-1] == (768 if model_id == 'MobileNetV1' else last)


def test_finegrain_false_scales_the_last_layer_too() -> None:
    model = _build_without_values('MobileNetV2', 0.5, IMAGES, finegrain_classification_mode=False)
    assert model.output['6'].shape[-1] == 640


def test_v1_scales_without_rounding_and_min_depth_is_a_floor() -> None:
    model = _build_without_values('MobileNetV1', 0.3, IMAGES)
    assert model.output_specs['2'][-1] == 38  # 128 * 0.3 = 38.4; others round to 40
    model = _build_without_values('MobileNetV2', 0.05, IMAGES, min_depth=24)
    assert {shape[-1] for shape in model.output_specs.values()} == {24}


@pytest.mark.parametrize(
    ('model_id', 'channels'),
    [
        ('MobileNetV2', [144, 192, 576, 960]),
        ('MobileNetV3EdgeTPU', [None, None, 384, 1280]),
        ('MobileNetMultiAVGSeg', [64, 192, 640, 384]),
        ('MobileNetV4HybridMedium', [None, None, None, None]),
    ],
)
def test_intermediate_endpoints(model_id: str, channels: list[int | None]) -> None:
    """Channels: Model Garden's own test."""
    model = _build_without_values(model_id, input_specs=IMAGES, output_intermediate_endpoints=True)
    got = [model.output_specs.get(f'{level}/depthwise') for level in range(2, 6)]
    assert [shape and shape[-1] for shape in got] == channels


@pytest.mark.parametrize('model_id', NETWORKS)
@pytest.mark.parametrize('output_stride', [8, 16, 32])
def test_output_stride_is_the_largest(model_id: str, output_stride: int) -> None:
    model = _build_without_values(model_id, input_specs=IMAGES, output_stride=output_stride)
    levels = list(map(int, model.output_specs))
    deepest = int(np.log2(output_stride))
    assert levels == list(range(2, deepest + 1))
    assert model.output_specs[str(deepest)][1:] == (
        64 // output_stride,
        96 // output_stride,
        NETWORKS[model_id][2][-1],
    )


def test_output_stride_and_intermediate_endpoints() -> None:
    model = _build_without_values(
        'MobileNetV2', 0.25, IMAGES, output_stride=16, output_intermediate_endpoints=True
    )
    assert {level: value.shape[1:3] for level, value in model.output.items()} == {
        '2': (16, 24),
        '2/depthwise': (16, 24),
        '3': (8, 12),
        '3/depthwise': (8, 12),
        '4': (4, 6),
        '4/depthwise': (4, 6),
        '5': (4, 6),
    }


def test_defect_output_stride_reaches_plain_convolutions() -> None:
    """There, those of V4ConvSmall go on with their stride: level 2 came out at stride 8."""
    model = _build_without_values('MobileNetV4ConvSmall', input_specs=IMAGES, output_stride=4)
    assert model.output_specs['2'][1:3] == (16, 24)
    assert model.get_layer('block_3_convbn').get_config()['strides'] == 1


def test_defect_linear_stochastic_depth_reaches_attention() -> None:
    """There, attention has the last block's rate wherever it stands."""
    options = {'input_specs': IMAGES, 'stochastic_depth_drop_rate': 0.3}
    name = 'MobileNetV4HybridMedium'
    linear = _build_without_values(name, **options, flat_stochastic_depth_drop_rate=False)
    flat = _build_without_values(name, **options)
    num_blocks = len(mobilenet.MOBILENET_SPECS[name])
    for cls_name in ('MultiHeadSelfAttentionBlock', 'UniversalInvertedBottleneckBlock'):
        rates = _get_settings(linear, cls_name, 'stochastic_depth_drop_rate')
        places = [
            index + 1
            for index, layer in enumerate(linear.layers[1:])
            if type(layer).__name__ == cls_name
        ]
        np.testing.assert_allclose(rates, [0.3 * place / num_blocks for place in places])
        assert set(_get_settings(flat, cls_name, 'stochastic_depth_drop_rate')) == {0.3}


def test_regularizers_spare_depthwise_kernels_unless_asked() -> None:
    options = {'input_specs': IMAGES, 'kernel_regularizer': keras.regularizers.L2(0.1)}
    for name in ('MobileNetV1', 'MobileNetV2', 'MobileNetV4ConvSmall'):
        plain = mobilenet.MobileNet(name, 0.25, **options)
        both = mobilenet.MobileNet(name, 0.25, **options, regularize_depthwise=True)
        depthwise = [v for v in both.trainable_variables if len(v.shape) == 4 and v.shape[-1] == 1]
        assert len(both.losses) - len(plain.losses) == len(depthwise) > 0


@pytest.mark.parametrize(
    ('build', 'match'),
    [
        (lambda: mobilenet.MobileNet('MobileNetV9'), "one of .*'MobileNetV2'.*'MobileNetV9'"),
        (
            lambda: mobilenet.MobileNet('MobileNetV4ConvMedum'),
            "'MobileNetV4ConvMedum'. Did you mean 'MobileNetV4ConvMedium'",
        ),
        (lambda: mobilenet.MobileNet(filter_size_scale=0.0), 'Expected filter_size_scale above 0'),
        (lambda: mobilenet.MobileNet(output_stride=3), 'output_stride None or one of .*Received'),
        (lambda: mobilenet.MobileNet('MobileNetV1', output_stride=4), r'one of \[8, 16, 32\]'),
    ],
)
def test_refuses_what_is_not_there(build: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        build()


@pytest.mark.parametrize(
    ('values', 'match'),
    [
        (
            {'model_id': 'MobileNetV4HybridMedum'},
            "model_id.*MobileNetV4HybridMedum.*MobileNetV4HybridMedium'",
        ),
        ({'output_stride': 12}, 'output_stride.*None or one of 1, 2, 4, 8, 16, 32'),
        ({'model_id': 'MobileNetV1', 'output_stride': 4}, 'output_stride.*one of 8, 16, 32'),
        ({'stochastic_depth_drop_rate': 1.0}, 'stochastic_depth_drop_rate.*less than 1'),
    ],
)
def test_configs_are_checked(values: dict, match: str) -> None:
    with pytest.raises(hyperparams.ConfigError, match=match):
        backbones_cfg.MobileNet(**values).validate()


@pytest.mark.parametrize('model_id', ['MobileNetV2', 'MobileNetV4HybridMedium'])
def test_config_round_trip_and_stable_keys(model_id: str) -> None:
    def make() -> mobilenet.MobileNet:
        return mobilenet.MobileNet(
            model_id, 0.25, IMAGES, output_stride=16, stochastic_depth_drop_rate=0.2
        )

    model = make()
    copy = type(model).from_config(model.get_config())
    assert copy.get_config() == model.get_config()
    keys, copied = (list(variable_keys.variable_keys({'backbone': m})) for m in (model, copy))
    assert keys == copied == list(variable_keys.variable_keys({'backbone': make()}))
    # Each variable once; those of layers that are never used would show here.
    assert len(set(keys)) == len(keys) == len(model.variables)


def test_keys_of_attention_and_universal_blocks() -> None:
    keys = set(
        variable_keys.variable_keys(
            {'b': mobilenet.MobileNet('MobileNetV4HybridMedium', 0.25, IMAGES)}
        )
    )
    assert {
        'b/block_6_universal/start_dw_conv/kernel',
        'b/block_6_universal/layer_scale/gamma',
        'b/block_8_attention/input_norm/gamma',
        'b/block_8_attention/multi_query_attention/key_dw_norm/moving_mean',
        'b/block_8_attention/multi_query_attention/output_proj/kernel',
        'b/block_24_attention/multi_query_attention/query',
        'b/block_24_attention/multi_query_attention/output_projection',
        'b/block_24_attention/layer_scale/gamma',
    } <= keys


def test_builder_passes_every_field() -> None:
    norm_activation = common.NormActivation(
        activation='relu', use_sync_bn=True, norm_momentum=0.9, norm_epsilon=1e-4
    )
    config = backbones_cfg.Backbone(
        type='mobilenet',
        mobilenet=backbones_cfg.MobileNet(
            model_id='MobileNetV3Small',
            filter_size_scale=0.5,
            stochastic_depth_drop_rate=0.1,
            flat_stochastic_depth_drop_rate=False,
            output_stride=16,
            output_intermediate_endpoints=True,
        ),
    )
    model = factory.build_backbone(IMAGES, config, norm_activation, keras.regularizers.L2(0.1))
    got = model.get_config()
    expected = {
        **config.mobilenet.as_dict(),
        'use_sync_bn': True,
        'norm_momentum': 0.9,
        'norm_epsilon': 1e-4,
    }
    assert {name: got[name] for name in expected} == expected
    assert got['kernel_regularizer']['config']['l2'] == pytest.approx(0.1)


@pytest.mark.parametrize('model_id', ['MobileNetV3Small', 'MobileNetV4HybridMedium'])
def test_bfloat16_follows_float32(model_id: str) -> None:
    images = np.random.default_rng(0).normal(size=(2, 64, 96, 3)).astype(np.float32)
    exact = mobilenet.MobileNet(model_id, 0.5, IMAGES)
    garden_weights.randomize_weights(exact)
    for variable in exact.trainable_variables:
        if 'layer_scale' in variable.path:  # of order 1, they let rounding grow over 40 blocks
            variable.assign(0.1 * variable)
    performance.set_mixed_precision_policy('bfloat16')
    rounded = mobilenet.MobileNet(model_id, 0.5, IMAGES)
    rounded.set_weights(exact.get_weights())
    assert {v.dtype for v in rounded.trainable_variables} == {'float32'}
    expected, got = exact(images, training=False), rounded(images, training=False)
    for level, reference in expected.items():
        assert got[level].dtype == tf.bfloat16
        difference = tf.norm(tf.cast(got[level], tf.float32) - reference) / tf.norm(reference)
        assert difference < 0.05


# A defect of Model Garden's


@pytest.mark.garden
def test_defect_attention_takes_maps_that_are_not_square() -> None:
    """Model Garden's attention with fewer keys reshapes queries as if maps were square."""
    import tf_keras
    from official.vision.modeling.backbones import mobilenet as garden_mobilenet

    images = np.zeros((1, 64, 96, 3), np.float32)
    ours = mobilenet.MobileNet('MobileNetV4HybridMedium', 0.25, IMAGES)
    assert ours(images)['5'].shape == (1, 2, 3, 64)
    with pytest.raises(Exception, match=r'(?i)shape|reshape'):
        garden_mobilenet.MobileNet(
            'MobileNetV4HybridMedium',
            0.25,
            tf_keras.layers.InputSpec(shape=[None, 64, 96, 3]),
        )(images)
