"""Every field of RetinaNet's model and losses changes what is built, or is listed here.

The model is compared by what it consists of (variables, leaf layers and their settings, levels,
anchors), never by constructor arguments that a class merely keeps; where that is the same, by the
outputs for fixed weights.
"""

from __future__ import annotations

import dataclasses
import json
import warnings
import zlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite.core import config_definitions as cfg
from official_lite.modeling import freezing, hyperparams, variable_keys
from official_lite.vision.configs import common
from official_lite.vision.configs import retinanet as retinanet_cfg
from official_lite.vision.modeling import factory
from official_lite.vision.ops import anchor
from official_lite.vision.serving import detection
from official_lite.vision.tasks import retinanet

# 64 px, levels 3 to 5, and the further level that FPN makes from them with an activation.
_BASE: dict[str, Any] = {
    'num_classes': 3,
    'input_size': [64, 64, 3],
    'min_level': 3,
    'max_level': 6,
    'anchor': {'num_scales': 1, 'aspect_ratios': [1.0]},
    'decoder': {'type': 'fpn', 'fpn': {'num_filters': 8}},
    'head': {'num_convs': 1, 'num_filters': 8},
    'norm_activation': {'use_sync_bn': False},
}
_BACKBONES: dict[str, dict[str, Any]] = {
    'resnet': {'type': 'resnet', 'resnet': {'model_id': 10, 'depth_multiplier': 0.125}},
    'mobilenet': {'type': 'mobilenet', 'mobilenet': {'filter_size_scale': 0.25}},
    'efficientnet': {'type': 'efficientnet'},
    'revnet': {'type': 'revnet', 'revnet': {'model_id': 38}},
    'mobiledet': {'type': 'mobiledet', 'mobiledet': {'filter_size_scale': 0.25}},
}
_ATTRIBUTE = {'name': 'depth', 'type': 'classification', 'size': 2}

# What a field becomes, where no rule of `_perturb` fits.
_VALUES: dict[str, Any] = {
    'input_size': [64, 128, 3],
    'min_level': 4,
    'max_level': 5,
    'anchor.aspect_ratios': [2.0],
    'backbone.resnet.model_id': 18,
    'backbone.resnet.stem_type': 'v1',
    'backbone.resnet.depth_multiplier': 0.25,
    'backbone.efficientnet.model_id': 'b1',
    'backbone.efficientnet.se_inner_activation': 'swish',
    'backbone.mobiledet.model_id': 'MobileDetDSP',
    'backbone.mobilenet.model_id': 'MobileNetV3Small',
    'backbone.revnet.model_id': 56,
    'backbone.mobilenet.filter_size_scale': 0.5,
    'backbone.mobilenet.output_stride': 16,
    'decoder.fpn.fusion_type': 'concat',
    'head.attribute_heads': [_ATTRIBUTE],
    'norm_activation.activation': 'swish',
    'norm_activation.norm_momentum': 0.5,
}
# What else must be set for a field to mean something.
_CONTEXT: dict[str, dict[str, Any]] = {
    'backbone.efficientnet.se_inner_activation': {'backbone.efficientnet.se_ratio': 0.25},
    'backbone.resnet.scale_stem': {'backbone.resnet.depth_multiplier': 0.25},
    'backbone.mobilenet.flat_stochastic_depth_drop_rate': {
        'backbone.mobilenet.stochastic_depth_drop_rate': 0.5
    },
    'backbone.mobilenet.output_stride': {'max_level': 4},
    'head.share_classification_heads': {'head.attribute_heads': [_ATTRIBUTE]},
}
_NOT_ALIVE = {
    'decoder.fpn.use_keras_layer': 'enlarging by a Keras layer has the same values',
}


def _make_config(backbone: str, **overrides: Any) -> retinanet_cfg.RetinaNet:
    config = retinanet_cfg.RetinaNet()
    config.override({**_BASE, 'backbone': _BACKBONES[backbone]})
    for path, value in overrides.items():
        config.override({path: value})
    return config


def _leaves(config: hyperparams.Config, prefix: str = '') -> Iterator[str]:
    """Paths of fields; of a OneOf, those of the chosen branch and not its type."""
    names = [field.name for field in dataclasses.fields(config)]
    if isinstance(config, hyperparams.OneOfConfig):
        names = [str(config.type)]
    for name in names:
        if name in ('default_params', 'restrictions'):
            continue
        child, path = getattr(config, name), f'{prefix}{name}'
        if isinstance(child, hyperparams.Config):
            yield from _leaves(child, f'{path}.')
        else:
            yield path


def _get(config: Any, path: str) -> Any:
    for name in path.split('.'):
        config = getattr(config, name)
    return config


def _perturb(path: str, value: Any) -> Any:
    if path in _VALUES:
        return _VALUES[path]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * 0.5 if value else 0.25
    raise AssertionError(f'{path}: say in _VALUES what {value!r} is to become')


def _build(config: retinanet_cfg.RetinaNet) -> Any:
    keras.utils.clear_session()
    spec = keras.layers.InputSpec(shape=[None, *config.input_size])
    return factory.build_retinanet(spec, config)


def _describe(model: Any) -> str:
    keys = variable_keys.variable_keys(model.checkpoint_items)
    leaves = []
    for layer in model._flatten_layers(include_self=False):
        if not list(layer._flatten_layers(include_self=False)) and layer.name != (
            'detection_generator'
        ):
            leaves.append((layer.name, layer.trainable, layer.get_config()))
    anchors = model.make_anchor_boxes(tf.zeros([1, *model.backbone.inputs[0].shape[1:]]))
    parts = [
        {key: tuple(v.shape) for key, v in keys.items()},
        leaves,
        {level: np.asarray(boxes).tolist() for level, boxes in anchors.items()},
        [dict(part.output_specs) for part in (model.backbone, model.decoder)],
    ]
    return json.dumps(parts, default=str, sort_keys=True)


def _compute_outputs(model: Any) -> list[np.ndarray]:
    for key, variable in variable_keys.variable_keys(model.checkpoint_items).items():
        if variable.dtype.startswith('float'):
            random = np.random.default_rng(zlib.crc32(key.encode()))
            variable.assign(np.abs(random.normal(size=variable.shape, scale=0.3)) + 0.01)
    images = np.random.default_rng(1).normal(size=[1, *model.backbone.inputs[0].shape[1:]])
    outputs = model(tf.constant(images, tf.float32), training=True)
    return [np.asarray(value) for value in tf.nest.flatten(outputs)]


_SHARED: dict[str, tuple[str, Any]] = {}


def _base(backbone: str, context: dict[str, Any]) -> tuple[str, Any]:
    name = f'{backbone} {context}'
    if name not in _SHARED:
        model = _build(_make_config(backbone, **context))
        _SHARED[name] = (_describe(model), model)
    return _SHARED[name]


def _model_fields() -> list[tuple[str, str]]:
    fields = []
    for backbone in _BACKBONES:
        for path in _leaves(_make_config(backbone)):
            shared = not path.startswith(('backbone.', 'norm_activation.'))
            is_repeated = shared and backbone != 'resnet'
            if not path.startswith('detection_generator.') and not is_repeated:
                fields.append((backbone, path))
    return fields


@pytest.mark.parametrize(('backbone', 'path'), _model_fields())
@pytest.mark.filterwarnings('ignore::UserWarning')
def test_d3_a_field_changes_the_model(backbone: str, path: str) -> None:
    context = _CONTEXT.get(path, {})
    description, base = _base(backbone, context)
    config = _make_config(backbone, **context)
    value = _perturb(path, _get(config, path))
    model = _build(_make_config(backbone, **{**context, path: value}))
    changed = _describe(model) != description
    if not changed or path in _NOT_ALIVE:
        pairs = zip(_compute_outputs(base), _compute_outputs(model), strict=True)
        changed = any(not np.allclose(a, b, rtol=1e-5) for a, b in pairs)
    assert changed is (path not in _NOT_ALIVE)


# Detections.

_DETECTION_VALUES: dict[str, Any] = {
    'pre_nms_top_k': 2,
    'pre_nms_score_threshold': 0.6,
    'nms_iou_threshold': 0.05,
    'max_num_detections': 3,
    'nms_version': 'batched',
    'soft_nms_sigma': 0.3,
    'return_decoded': True,
    'use_class_agnostic_nms': True,
    'box_coder_weights': [2.0, 2.0, 1.0, 1.0],
    'nms_v3_refinements': 0,
    'pre_nms_top_k_sharding_block': 8,
}
_DETECTION_CONTEXT: dict[str, dict[str, Any]] = {
    'soft_nms_sigma': {'nms_version': 'v1'},
    'decode_boxes': {'apply_nms': False},
    'nms_v3_refinements': {'nms_version': 'v3', 'nms_iou_threshold': 0.1},
    'pre_nms_top_k_sharding_block': {'nms_version': 'v3', 'pre_nms_top_k': 20},
}
# The versions differ at overlaps equal to the threshold (tests/vision/ops); where they run does not
# change what comes out, nor does how many are sorted at a time.
_DETECTION_EQUAL = {'use_cpu_nms', 'nms_version', 'pre_nms_top_k_sharding_block'}


def _detect(**overrides: Any) -> dict[str, np.ndarray]:
    config = retinanet_cfg.DetectionGenerator(**overrides)
    generator = factory.build_detection_generator(config)
    random = np.random.default_rng(3)
    anchors = anchor.Anchor(3, 3, 1, [1.0], 4.0, [64, 64]).multilevel_boxes
    boxes = {'3': tf.constant(random.normal(size=[1, 8, 8, 4], scale=0.3), tf.float32)}
    scores = {'3': tf.constant(random.normal(size=[1, 8, 8, 3]), tf.float32)}
    found = generator(boxes, scores, anchors, tf.constant([[64.0, 64.0]]))
    return {k: np.asarray(v) for k, v in found.items() if v is not None and not isinstance(v, dict)}


def _is_equal(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    return first.keys() == second.keys() and all(
        first[k].shape == second[k].shape and np.allclose(first[k], second[k]) for k in first
    )


_DETECTION_FIELDS = [
    path
    for path in _leaves(retinanet_cfg.DetectionGenerator())
    if not path.startswith('tflite_post_processing')
]


@pytest.mark.parametrize('name', _DETECTION_FIELDS)
def test_d3_a_field_changes_detections(name: str) -> None:
    context = _DETECTION_CONTEXT.get(name, {})
    default = getattr(retinanet_cfg.DetectionGenerator(), name)
    value = _DETECTION_VALUES.get(name, not default)
    is_alive = not _is_equal(_detect(**context), _detect(**{**context, name: value}))
    assert is_alive is (name not in _DETECTION_EQUAL)


_TFLITE_CONTEXT = {'detections_per_class': {'use_regular_nms': True}}
_TFLITE_VALUES = {
    'max_detections': 2,
    'max_classes_per_detection': 1,
    'detections_per_class': 1,
    'nms_score_threshold': 0.8,
}


@pytest.mark.parametrize(
    'name',
    [
        field.name
        for field in dataclasses.fields(common.TFLitePostProcessingConfig())
        if field.name not in ('default_params', 'restrictions')
    ],
)
def test_d3_a_field_changes_the_detections_of_tflite(name: str) -> None:
    context = {'nms_iou_threshold': 0.3, **_TFLITE_CONTEXT.get(name, {})}
    default = getattr(common.TFLitePostProcessingConfig(**context), name)
    value = _TFLITE_VALUES.get(name, _perturb(name, default))
    first, second = (
        _detect(nms_version='tflite', tflite_post_processing={**context, **change})
        for change in ({}, {name: value})
    )
    assert not _is_equal(first, second)


_ATTRIBUTE_CONTEXT: dict[str, list[dict[str, Any]]] = {
    'prediction_tower_name': [{'name': 'colour', 'prediction_tower_name': 'shared'}]
}


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('name', 'height'),
        ('type', 'regression'),
        ('size', 3),
        ('prediction_tower_name', 'shared'),
        ('num_convs', 2),
        ('num_filters', 5),
    ],
)
def test_d3_a_field_of_an_attribute_head_changes_the_model(name: str, value: Any) -> None:
    others = _ATTRIBUTE_CONTEXT.get(name, [])
    first, second = (
        _describe(_build(_make_config('resnet', **{'head.attribute_heads': [*others, head]})))
        if name != 'type'
        else _describe_bias(head)
        for head in (_ATTRIBUTE, {**_ATTRIBUTE, name: value})
    )
    assert first != second


def _describe_bias(head: dict[str, Any]) -> str:
    """Classes start from a small probability, numbers from 0."""
    model = _build(_make_config('resnet', **{'head.attribute_heads': [head]}))
    return str(np.asarray(model.head.att_predictors['depth'].bias))


@pytest.mark.parametrize(
    ('name', 'value'), [('match_threshold', 0.9), ('unmatched_threshold', 0.1)]
)
def test_d3_a_threshold_of_labels_changes_the_loss(name: str, value: float) -> None:
    losses = []
    for change in ({}, {name: value}):
        config = retinanet_cfg.RetinaNetTask(model=_make_config('resnet'))
        config.train_data.parser.override(change)
        losses.append(_compute_total_loss(config))
    assert losses[0] != pytest.approx(losses[1], rel=1e-4)


def _compute_total_loss(config: retinanet_cfg.RetinaNetTask, aux: Any = None) -> float:
    random = np.random.default_rng(5)
    shapes = {'3': 8, '4': 4, '5': 2, '6': 1}
    outputs = {
        key: {
            level: tf.constant(random.normal(size=[1, n, n, channels]), tf.float32)
            for level, n in shapes.items()
        }
        for key, channels in (('cls_outputs', 3), ('box_outputs', 4))
    }
    labels = {
        'image_info': tf.constant([[[64.0, 64.0], [64.0, 64.0], [1.0, 1.0], [0.0, 0.0]]]),
        'boxes': tf.constant([[[8.0, 8.0, 40.0, 40.0]]]),
        'classes': tf.constant([[1]]),
    }
    return float(retinanet.RetinaNetTask(config).build_losses(outputs, labels, aux)[0])


@pytest.mark.parametrize(
    'name',
    [
        field.name
        for field in dataclasses.fields(retinanet_cfg.ExportConfig())
        if field.name not in ('default_params', 'restrictions')
    ],
)
def test_d3_a_field_changes_the_export(name: str) -> None:
    model = _build(_make_config('resnet', **{'detection_generator.pre_nms_score_threshold': 0.001}))
    described = []
    for change in ({}, {name: True}):
        config = retinanet_cfg.RetinaNetTask(model=_make_config('resnet'))
        config.export_config.override(change)
        params = cfg.ExperimentConfig(task=config)
        module = detection.DetectionModule(
            params, batch_size=1, input_image_size=[64, 64], model=model
        )
        outputs = module.inference_for_tflite(tf.zeros([1, 64, 64, 3]))
        described.append({k: (v.dtype, float(tf.reduce_max(v))) for k, v in outputs.items()})
    assert described[0] != described[1]


@pytest.mark.parametrize(
    ('overrides', 'text'),
    [
        ({'decode_boxes': False}, 'decode_boxes: .*true, because apply_nms is'),
        ({'soft_nms_sigma': 0.5}, 'soft_nms_sigma: .*null with nms_version=v2'),
        ({'nms_v3_refinements': 1}, 'nms_v3_refinements: .*null with nms_version=v2'),
        (
            {'nms_version': 'tflite', 'use_class_agnostic_nms': True},
            'use_class_agnostic_nms: .*false with nms_version=tflite.*use_regular_nms=false',
        ),
        (
            {'nms_version': 'tflite', 'tflite_post_processing': {'y_scale': 10.0}},
            'tflite_post_processing: .*those of box_coder_weights',
        ),
        (
            {'tflite_post_processing': {'max_detections': 7}},
            'tflite_post_processing: .*the defaults',
        ),
    ],
)
def test_d3_detection_fields_without_effect_are_refused(
    overrides: dict[str, Any], text: str
) -> None:
    config = _make_config('resnet', detection_generator=overrides)
    with pytest.raises(hyperparams.ConfigError, match=text):
        config.validate()


# Activations.


def test_d3_mobilenet_says_which_activations_are_its_own() -> None:
    config = _make_config('mobilenet', **{'norm_activation.activation': 'swish'})
    with pytest.warns(UserWarning, match="activation='swish' .*MobileNetV2 has its own"):
        _build(config)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        _build(_make_config('mobilenet'))


# Losses.


@pytest.mark.parametrize('name', list(_leaves(retinanet_cfg.Losses())))
def test_d3_a_field_changes_the_loss(name: str) -> None:
    def compute(losses: retinanet_cfg.Losses) -> float:
        config = retinanet_cfg.RetinaNetTask(model=_make_config('resnet'), losses=losses)
        decay = losses.l2_weight_decay
        kernel = tf.ones([2, 2])
        aux = [keras.regularizers.L2(decay / 2)(kernel)] if decay else [tf.constant(1.0)]
        return _compute_total_loss(config, aux)

    if name == 'l2_weight_decay':
        config = retinanet_cfg.RetinaNetTask(model=_make_config('resnet'))
        model = retinanet.RetinaNetTask(config.replace(losses={name: 0.1})).build_model()
        assert model.losses
        assert not retinanet.RetinaNetTask(config).build_model().losses
        return
    default = retinanet_cfg.Losses()
    changed = default.replace(**{name: getattr(default, name) * 0.5})
    assert compute(changed) != pytest.approx(compute(default), rel=1e-4)


def test_d7_freezing_the_backbone_by_pattern_equals_freeze_backbone() -> None:
    config = retinanet_cfg.RetinaNetTask(model=_make_config('resnet'))
    expected = retinanet.RetinaNetTask(config.replace(freeze_backbone=True)).build_model()
    model = retinanet.RetinaNetTask(config).build_model()
    freezing.freeze(model, variable_keys.variable_keys(model.checkpoint_items), ['backbone'])

    def trained(model: Any) -> list[str]:
        identities = {variable_keys.identity(v) for v in model.trainable_variables}
        keys = variable_keys.variable_keys(model.checkpoint_items)
        return [key for key, v in keys.items() if variable_keys.identity(v) in identities]

    assert trained(model) == trained(expected)
    images = tf.random.stateless_normal([1, 64, 64, 3], [1, 2])
    before = [np.array(v) for v in model.backbone.non_trainable_variables]
    model(images, training=True)
    for value, wanted in zip(model.backbone.non_trainable_variables, before, strict=True):
        np.testing.assert_array_equal(value, wanted)
