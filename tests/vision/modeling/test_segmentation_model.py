"""Segmentation models: parts that go together, configs, refusals, and Model Garden's numbers."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite import errors
from official_lite.modeling import hyperparams, performance, variable_keys
from official_lite.vision import registries
from official_lite.vision.configs import semantic_segmentation_model as segmentation_cfg
from official_lite.vision.modeling import factory, segmentation_model
from tests import garden_gradients, garden_weights

IMAGES = keras.layers.InputSpec(shape=[None, 64, 96, 3])

# Small, and of levels 2 to 4.
_BASE: dict[str, Any] = {
    'num_classes': 3,
    'input_size': [64, 96, 3],
    'min_level': 3,
    'max_level': 5,
    'backbone': {'type': 'resnet', 'resnet': {'model_id': 10, 'depth_multiplier': 0.125}},
    'head': {'num_convs': 1, 'num_filters': 32},
    'norm_activation': {'use_sync_bn': False},
}
_FPN = {'decoder': {'type': 'fpn', 'fpn': {'num_filters': 8}}}
_ASPP = {
    'decoder': {'type': 'aspp', 'aspp': {'level': 4, 'num_filters': 8, 'dilation_rates': [2]}},
    'head.level': 4,
}
_PLUS = {**_ASPP, 'head.feature_fusion': 'deeplabv3plus', 'head.low_level_num_filters': 4}
_PANOPTIC = {**_FPN, 'head.feature_fusion': 'panoptic_fpn_fusion'}


def _make_config(**overrides: Any) -> segmentation_cfg.SemanticSegmentationModel:
    config = segmentation_cfg.SemanticSegmentationModel()
    config.override(_BASE)
    for path, value in overrides.items():
        config.override({path: value})
    config.validate()
    return config


def _build(**overrides: Any) -> segmentation_model.SegmentationModel:
    return factory.build_segmentation_model(IMAGES, _make_config(**overrides))


MODELS: dict[str, tuple[dict[str, Any], int]] = {
    'no decoder': ({'decoder.type': 'identity'}, 3),
    'FPN': (_FPN, 3),
    'FPN, pyramid': ({**_FPN, 'head.feature_fusion': 'pyramid_fusion'}, 3),
    'FPN, panoptic': (_PANOPTIC, 3),
    'DeepLabV3': (_ASPP, 4),
    'DeepLabV3, a tensor': ({**_ASPP, 'decoder.aspp.output_tensor': True}, 4),
    'DeepLabV3+': (_PLUS, 2),
    'DeepLabV3+, scores': (
        {**_PLUS, 'mask_scoring_head': {'fc_input_size': [4, 4], 'fc_dims': 8, 'num_filters': 8}},
        2,
    ),
}


@pytest.mark.parametrize('name', MODELS)
def test_logits_round_trip_and_keys(name: str) -> None:
    overrides, level = MODELS[name]
    model = _build(**overrides)
    images = tf.random.stateless_normal([2, 64, 96, 3], [1, 2])
    outputs = model(images)
    assert outputs['logits'].shape == (2, 64 >> level, 96 >> level, 3)
    assert ('mask_scores' in outputs) is ('mask_scoring_head' in overrides)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model))
    copy.set_weights(model.get_weights())
    np.testing.assert_array_equal(copy(images)['logits'], outputs['logits'])
    keys = list(variable_keys.variable_keys(model.checkpoint_items))
    assert keys == list(variable_keys.variable_keys(copy.checkpoint_items))
    assert len(keys) == len(model.variables)
    parts = {'backbone', 'head', *overrides} & {'backbone', 'head', 'decoder', 'mask_scoring_head'}
    assert {key.split('/')[0] for key in keys} == parts


def test_uint8_images_are_normalised() -> None:
    model = _build(**_PLUS)
    images = tf.cast(tf.random.stateless_uniform([1, 64, 96, 3], [1, 2], 0, 256, tf.int32), 'uint8')
    mean = np.float32([0.485, 0.456, 0.406]) * 255
    stddev = np.float32([0.229, 0.224, 0.225]) * 255
    expected = model((images.numpy() - mean) / stddev)['logits']
    np.testing.assert_allclose(model(images)['logits'], expected, rtol=1e-3, atol=1e-6)


def test_images_of_any_size() -> None:
    spec = keras.layers.InputSpec(shape=[None, None, None, 3])
    config = _make_config(**{**_PLUS, 'decoder.aspp.pool_kernel_size': [64, 64]})
    model = factory.build_segmentation_model(spec, config)

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3])])
    def predict(images: tf.Tensor) -> tf.Tensor:
        return model(images)['logits']

    for size in ((64, 96), (96, 65)):
        shape = (1, -(-size[0] // 4), -(-size[1] // 4), 3)
        assert predict(tf.zeros([1, *size, 3])).shape == shape


def test_bfloat16_follows_float32() -> None:
    images = tf.random.stateless_normal([2, 64, 96, 3], [1, 2])
    exact = _build(**_PLUS)
    exact.set_weights([w * 3 if w.ndim > 1 else w for w in exact.get_weights()])
    expected = exact(images)['logits']
    performance.set_mixed_precision_policy('bfloat16')
    rounded = _build(**_PLUS)
    rounded.set_weights(exact.get_weights())
    got = rounded(images)['logits']
    assert got.dtype == tf.bfloat16
    assert tf.norm(tf.cast(got, tf.float32) - expected) / tf.norm(expected) < 0.05


def test_training_reaches_every_trainable_variable() -> None:
    model = _build(
        **{**_PLUS, 'mask_scoring_head': {'fc_input_size': [4, 4], 'fc_dims': 8, 'num_filters': 8}}
    )
    images = tf.random.stateless_normal([2, 64, 96, 3], [1, 2])
    with tf.GradientTape() as tape:
        outputs = model(images, training=True)
        loss = tf.add_n([tf.reduce_mean(tf.square(x)) for x in outputs.values()])
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    used = {
        v.path: g
        for v, g in zip(model.trainable_variables, gradients, strict=True)
        if g is not None
    }
    unused = {v.path for v in model.trainable_variables} - set(used)
    # DeepLabV3+ at level 4 leaves level 5 of the backbone alone.
    assert all('stage_5' in path for path in unused)


# Fields

_VALUES: dict[str, Any] = {
    'level': 4,
    'num_convs': 2,
    'num_filters': 64,
    'use_depthwise_convolution': True,
    'prediction_kernel_size': 3,
    'upsample_factor': 2,
    'logit_activation': 'sigmoid',
    'feature_fusion': 'pyramid_fusion',
    'low_level': 3,
    'low_level_num_filters': 6,
    'decoder_min_level': 4,
    'decoder_max_level': 4,
}
_CONTEXT: dict[str, dict[str, Any]] = {
    'low_level': _PLUS,
    'low_level_num_filters': _PLUS,
    'decoder_min_level': _PANOPTIC,
    'decoder_max_level': _PANOPTIC,
}
_SCORING_VALUES: dict[str, Any] = {
    'num_convs': 1,
    'num_filters': 4,
    'fc_input_size': [2, 4],
    'num_fcs': 1,
    'fc_dims': 4,
    'use_depthwise_convolution': True,
}


def _describe(overrides: dict[str, Any]) -> str:
    with keras.StatelessScope(initialize_variables=False):
        model = _build(**overrides)
    return str(
        [
            {v.path: tuple(v.shape) for v in model.variables},
            {k: x for k, x in model.head.get_config().items() if k in ('level', 'upsample_factor')},
            getattr(model.head.classifier, 'activation', None),
            [x.get_config().get('use_sync_bn') for x in (model.head, model.mask_scoring_head) if x],
            model.head.get_config()['feature_fusion'],
            model.mask_scoring_head and model.mask_scoring_head.get_config()['fc_input_size'],
        ]
    )


def test_d3_every_field_of_the_head_changes_the_model() -> None:
    fields = {field.name for field in dataclasses.fields(segmentation_cfg.SegmentationHead)}
    assert fields - {'default_params', 'restrictions'} == set(_VALUES)
    for name, value in _VALUES.items():
        context = _CONTEXT.get(name, _FPN)
        assert _describe({**context, f'head.{name}': value}) != _describe(context), name


def test_d3_every_field_of_mask_scoring_changes_the_model() -> None:
    fields = {field.name for field in dataclasses.fields(segmentation_cfg.MaskScoringHead)}
    assert fields - {'default_params', 'restrictions'} == set(_SCORING_VALUES)
    base = {'fc_input_size': [4, 4], 'fc_dims': 8, 'num_filters': 8}
    plain = _describe({**_FPN, 'mask_scoring_head': base})
    for name, value in _SCORING_VALUES.items():
        changed = {**_FPN, 'mask_scoring_head': {**base, name: value}}
        assert _describe(changed) != plain, name


# Heads of one's own


@dataclasses.dataclass
class _PlugHead(segmentation_cfg.SegmentationHead):
    """The config of a head that is one convolution."""


class _OneConv(keras.layers.Layer):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv = keras.layers.Conv2D(num_classes, 1)

    def build(self, input_shape: Any) -> None:
        self.conv.build(input_shape[1]['3'])

    def call(self, inputs: Any, training: bool | None = None) -> tf.Tensor:
        del training
        return self.conv(inputs[1]['3'])


def test_a_registered_head_takes_the_place_of_ours() -> None:
    def build(decoder_specs: Any, model_config: Any, **kwargs: Any) -> _OneConv:
        assert '3' in decoder_specs
        assert set(kwargs) == {'backbone_specs', 'l2_regularizer'}
        return _OneConv(model_config.num_classes)

    registries.register_head('segmentation_test_head', config=_PlugHead, builder=build)
    try:
        config = _make_config(**_FPN)
        config.head = _PlugHead()
        model = factory.build_segmentation_model(IMAGES, config)
    finally:
        registries.HEADS.remove('segmentation_test_head')
    assert isinstance(model.head, _OneConv)
    assert model(tf.zeros([1, 64, 96, 3]))['logits'].shape == (1, 8, 12, 3)
    assert model.head.count_params() == 8 * 3 + 3


# Refusals


@pytest.mark.parametrize(
    ('overrides', 'match'),
    [
        ({'num_classes': 0}, 'task.model.num_classes: .*expected 1 or more; received 0'),
        ({**_FPN, 'head.level': 7}, 'task.model.head: The decoder has no features of level 7'),
        (
            {**_ASPP, 'decoder.aspp.level': 6},
            'task.model.decoder: There are no features of level 6',
        ),
        (
            {**_PLUS, 'head.low_level': 7},
            'task.model.head: The backbone has no features of level 7',
        ),
        (
            {**_PANOPTIC, 'head.decoder_min_level': 2},
            'task.model.head: .*target_level=3, min_level=2',
        ),
        ({'mask_scoring_head': {}}, r'mask_scoring_head.fc_input_size: expected \[height, width\]'),
    ],
)
def test_parts_that_do_not_fit_are_refused(overrides: dict[str, Any], match: str) -> None:
    with pytest.raises(errors.UsageError, match=match):
        _build(**overrides)


def test_b16_an_unknown_fusion_is_refused_with_the_config() -> None:
    config = segmentation_cfg.SemanticSegmentationModel()
    with pytest.raises(
        hyperparams.ConfigError, match=r"feature_fusion.*'deeplabv3plus'.*deeplabv3_plus"
    ):
        config.override({'head': {'feature_fusion': 'deeplabv3_plus'}})


def test_b15_panoptic_fusion_is_built_from_a_config() -> None:
    model = _build(**_PANOPTIC)
    fusion = model.head.panoptic_fpn_fusion
    # Between the model's levels, and for as many channels as the decoder's.
    assert list(fusion.input) == ['3', '4', '5']
    assert fusion.get_config()['num_fpn_filters'] == 8
    model = _build(**_PANOPTIC, **{'head.decoder_min_level': 4, 'head.decoder_max_level': '5'})
    assert list(model.head.panoptic_fpn_fusion.input) == ['4', '5']


# Parity


@pytest.mark.garden
@pytest.mark.slow
def test_b15_model_garden_cannot_build_panoptic_fusion_from_a_config() -> None:
    import tf_keras
    from official.vision.configs import semantic_segmentation as garden_cfg
    from official.vision.modeling import factory as garden_factory

    config = garden_cfg.SemanticSegmentationModel(
        num_classes=3,
        head=garden_cfg.SegmentationHead(
            feature_fusion='panoptic_fpn_fusion', decoder_min_level=3, decoder_max_level=5
        ),
    )
    config.backbone.resnet.model_id = 18
    config.decoder.type = 'fpn'
    spec = tf_keras.layers.InputSpec(shape=[None, 64, 96, 3])
    model = garden_factory.build_segmentation_model(spec, config)
    with pytest.raises(TypeError, match='NoneType'):
        model(tf.zeros([1, 64, 96, 3]))


def _build_theirs(overrides: dict[str, Any]) -> Any:
    import tf_keras
    from official.vision.configs import semantic_segmentation as garden_cfg
    from official.vision.modeling import factory as garden_factory

    config = garden_cfg.SemanticSegmentationModel()
    for path, value in itertools.chain(_BASE.items(), overrides.items()):
        for name in reversed(path.split('.')):
            value = {name: value}
        config.override(value)
    spec = tf_keras.layers.InputSpec(shape=[None, 64, 96, 3])
    model = garden_factory.build_segmentation_model(spec, config)
    model(tf.zeros([1, 64, 96, 3]))
    return model


GARDEN_MODELS: dict[str, dict[str, Any]] = {
    'DeepLabV3+': {
        'backbone': {
            'type': 'mobilenet',
            'mobilenet': {
                'output_stride': 16,
                'filter_size_scale': 0.25,
                'output_intermediate_endpoints': True,
            },
        },
        **_PLUS,
        'head.low_level': '2/depthwise',
        'norm_activation.norm_momentum': 0.9,
    },
    'FPN': {**_FPN, 'norm_activation.norm_momentum': 0.9},
}


@pytest.mark.garden
@pytest.mark.parametrize('name', ['DeepLabV3+', pytest.param('FPN', marks=pytest.mark.slow)])
def test_frozen_model_equals_model_garden(name: str) -> None:
    theirs, ours = _build_theirs(GARDEN_MODELS[name]), _build(**GARDEN_MODELS[name])
    garden_weights.randomize_weights(theirs)
    garden_weights.carry_weights(theirs, ours)
    assert ours.count_params() == theirs.count_params()
    images = tf.random.stateless_normal([2, 64, 96, 3], [1, 2])
    expected, got = theirs(images, training=False)['logits'], ours(images)['logits']
    largest = max(1.0, float(tf.reduce_max(tf.abs(expected))))
    np.testing.assert_allclose(got, expected, atol=1e-4 * largest, rtol=0)


@pytest.mark.garden
@pytest.mark.slow
def test_training_of_a_small_model_equals_model_garden() -> None:
    overrides = GARDEN_MODELS['FPN']
    images = tf.random.stateless_normal([8, 64, 96, 3], [1, 2])
    theirs, ours = _build_theirs(overrides), _build(**overrides)
    # Rounding errors grow through the normalisation of a whole network.
    garden_gradients.assert_equal(theirs, ours, images, tolerance=2e-3)


def test_deeplabv3_has_the_parameters_of_model_garden() -> None:
    """R101 and 21 classes: model_garden.md, 5.7."""
    config = segmentation_cfg.SemanticSegmentationModel()
    config.override(
        {
            'num_classes': 21,
            'backbone': {
                'type': 'dilated_resnet',
                'dilated_resnet': {
                    'model_id': 101,
                    'output_stride': 16,
                    'stem_type': 'v1',
                    'multigrid': [1, 2, 4],
                },
            },
            'decoder': {'type': 'aspp', 'aspp': {'level': 4, 'dilation_rates': [12, 24, 36]}},
            'head': {'level': 4, 'num_convs': 0},
        }
    )
    with keras.StatelessScope(initialize_variables=False):
        model = factory.build_segmentation_model(IMAGES, config)
    assert model.count_params() == 58_273_237
