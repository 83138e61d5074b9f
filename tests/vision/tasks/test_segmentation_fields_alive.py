"""Every field of segmentation's task and model changes what is built, or is listed here."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite.modeling import hyperparams, variable_keys
from official_lite.vision.configs import semantic_segmentation as exp_cfg
from official_lite.vision.tasks import semantic_segmentation

# ---- losses -------------------------------------------------------------------------------------

LOSSES: dict[str, Any] = {
    'loss_weight': 2.0,
    'label_smoothing': 0.1,
    'ignore_label': 2,
    'class_weights': [1.0, 2.0, 3.0],
    'use_groundtruth_dimension': False,
    'use_binary_cross_entropy': True,
    'top_k_percent_pixels': 0.5,
    'mask_scoring_weight': 2.0,
}
LOSSES_ELSEWHERE = {
    'gt_is_matting_map': 'test_semantic_segmentation, for it needs two classes',
    'l2_weight_decay': 'below',
}
TASK_ELSEWHERE = {
    'model': 'below',
    'train_data': 'test_segmentation_fields_alive of dataloaders',
    'validation_data': 'test_segmentation_fields_alive of dataloaders',
    'losses': 'here',
    'evaluation': 'test_semantic_segmentation',
    'init_checkpoint': 'core/test_initialization',
    'init_checkpoint_modules': 'core/test_initialization',
    'init_checkpoint_averages': 'core/test_initialization',
    'allow_image_summary': 'below',
    'class_names': 'test_semantic_segmentation',
    'export_config': 'serving/test_whole_images',
    'name': 'core/test_config_definitions',
    'freeze': 'vision/test_config_fields_alive',
    'layer_overrides': 'core/test_layer_control',
    'differential_privacy_config': 'core/test_config_definitions',
}
TASK_WITHOUT_EFFECT = {
    'train_input_partition_dims': 'spatial partitioning on TPUs is not there',
    'eval_input_partition_dims': 'likewise',
}


def _make_task(**fields: Any) -> semantic_segmentation.SemanticSegmentationTask:
    config = exp_cfg.SemanticSegmentationTask()
    config.override({'model.num_classes': 3, **fields})
    config.validate()
    return semantic_segmentation.SemanticSegmentationTask(config)


def _compute_loss(**fields: Any) -> float:
    rng = np.random.default_rng(0)
    outputs = {
        'logits': tf.constant(rng.normal(size=(2, 4, 4, 3)), tf.float32),
        'mask_scores': tf.constant(rng.uniform(size=(2, 3)), tf.float32),
    }
    masks = tf.constant(rng.choice([0, 1, 2, 255], (2, 8, 8, 1)), tf.float32)
    return float(_make_task(**fields).build_losses({'masks': masks}, outputs))


@pytest.mark.parametrize('name', LOSSES)
def test_a_field_of_the_losses_counts(name: str) -> None:
    assert _compute_loss() != _compute_loss(**{f'losses.{name}': LOSSES[name]})


def test_all_fields_of_losses_and_task_are_accounted_for() -> None:
    losses = {field.name for field in dataclasses.fields(exp_cfg.Losses)}
    assert losses - _inherited() == {*LOSSES, *LOSSES_ELSEWHERE}
    task = {field.name for field in dataclasses.fields(exp_cfg.SemanticSegmentationTask)}
    assert task - _inherited() == {*TASK_ELSEWHERE, *TASK_WITHOUT_EFFECT}


def _inherited() -> set[str]:
    return {field.name for field in dataclasses.fields(hyperparams.Config)}


def test_a_picture_is_made_only_if_it_is_wanted() -> None:
    task = _make_task(allow_image_summary=False)
    assert task.save_visualization(None, '') is None  # type: ignore[arg-type]


# ---- model --------------------------------------------------------------------------------------

_BASE: dict[str, Any] = {
    'num_classes': 3,
    'input_size': [64, 64, 3],
    'min_level': 3,
    'max_level': 5,
    'backbone': {'type': 'resnet', 'resnet': {'model_id': 10, 'depth_multiplier': 0.125}},
    'decoder': {'type': 'fpn', 'fpn': {'num_filters': 8}},
    'head': {'num_convs': 1, 'num_filters': 8},
    'mask_scoring_head': {
        'num_convs': 1,
        'num_filters': 8,
        'fc_input_size': [4, 4],
        'num_fcs': 1,
        'fc_dims': 8,
    },
    'norm_activation': {'use_sync_bn': False},
}
# What a field becomes, where no rule of `_perturb` fits.
_VALUES: dict[str, Any] = {
    'input_size': [64, 128, 3],
    'min_level': 2,
    'max_level': 6,
    'head.level': 4,
    'head.prediction_kernel_size': 3,
    'head.logit_activation': 'sigmoid',
    'head.feature_fusion': 'deeplabv3plus',
    'head.low_level': 3,
    'head.decoder_min_level': 4,
    'head.decoder_max_level': 4,
    'mask_scoring_head.fc_input_size': [2, 2],
    'norm_activation.activation': 'swish',
    'norm_activation.norm_momentum': 0.5,
}
_LOW = {'head.feature_fusion': 'deeplabv3plus'}
_PANOPTIC = {'head.feature_fusion': 'panoptic_fpn_fusion', 'head.num_filters': 32}
# What else must be set for a field to mean something.
_CONTEXT: dict[str, dict[str, Any]] = {
    'head.low_level': _LOW,
    'head.low_level_num_filters': _LOW,
    'head.decoder_min_level': _PANOPTIC,
    'head.decoder_max_level': _PANOPTIC,
}
# Parts that have tests of their own.
_PARTS = ('backbone.', 'decoder.')


def _make_model_config(**fields: Any) -> exp_cfg.SemanticSegmentationModel:
    config = exp_cfg.SemanticSegmentationModel()
    config.override(_BASE)
    for path, value in fields.items():
        config.override({path: value})
    return config


def _leaves(config: hyperparams.Config, prefix: str = '') -> Iterator[str]:
    names = [field.name for field in dataclasses.fields(config)]
    for name in names:
        if name in ('default_params', 'restrictions'):
            continue
        child, path = getattr(config, name), f'{prefix}{name}'
        if f'{path}.' in _PARTS:
            continue
        if isinstance(child, hyperparams.Config):
            yield from _leaves(child, f'{path}.')
        else:
            yield path


def _perturb(path: str, value: Any) -> Any:
    if path in _VALUES:
        return _VALUES[path]
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else value * 0.5


def _describe(config: exp_cfg.SemanticSegmentationModel) -> str:
    keras.utils.clear_session()
    task = exp_cfg.SemanticSegmentationTask()
    task.override({'model': config.as_dict()})
    model = semantic_segmentation.SemanticSegmentationTask(task).build_model()
    shapes = {
        key: tuple(v.shape)
        for key, v in variable_keys.variable_keys(model.checkpoint_items).items()
    }
    settings = [
        (layer.name, layer.get_config())
        for layer in model._flatten_layers(include_self=False)
        if not list(layer._flatten_layers(include_self=False))
    ]
    outputs = model(tf.zeros([1, *config.input_size], tf.uint8), training=False)
    sizes = {name: tuple(value.shape) for name, value in outputs.items()}
    head = {k: v for k, v in model.head.get_config().items() if k in ('logit_activation', 'level')}
    return json.dumps([shapes, settings, sizes, head], default=str, sort_keys=True)


@pytest.mark.slow
@pytest.mark.parametrize('path', list(_leaves(_make_model_config())))
def test_a_field_of_the_model_counts(path: str) -> None:
    context = _CONTEXT.get(path, {})
    config = _make_model_config(**context)
    value: Any = config
    for name in path.split('.'):
        value = getattr(value, name)
    changed = _make_model_config(**{**context, path: _perturb(path, value)})
    assert _describe(config) != _describe(changed)


def test_without_a_mask_scoring_head_there_are_no_scores() -> None:
    config = _make_model_config(mask_scoring_head=None)
    assert 'mask_scores' not in _describe(config)
    assert 'mask_scores' in _describe(_make_model_config())


def test_l2_of_kernels() -> None:
    """Half of the decay times the sum of squares."""
    model = _make_task(**{'losses.l2_weight_decay': 0.1, 'model': _BASE}).build_model()
    assert len(model.losses) > 5
    kernel = model.head.classifier.kernel
    expected = 0.05 * float(tf.reduce_sum(tf.square(tf.convert_to_tensor(kernel))))
    assert any(abs(float(loss) - expected) < 1e-6 * expected + 1e-12 for loss in model.losses)
