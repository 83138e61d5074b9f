"""Every field of the classification task changes the model, the loss or the metrics, or is listed."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite.core import checkpoints
from official_lite.modeling import hyperparams
from official_lite.vision.configs import image_classification as exp_cfg
from official_lite.vision.tasks import image_classification

BASE: dict[str, Any] = {
    'model': {
        'num_classes': 4,
        'input_size': [32, 32, 3],
        'backbone': {'type': 'resnet', 'resnet': {'model_id': 10, 'depth_multiplier': 0.125}},
    }
}
# Field -> its value, and what else must be set for it to count.
MODEL: dict[str, tuple[Any, dict[str, Any]]] = {
    'model.num_classes': (5, {}),
    'model.input_size': ([32, 64, 3], {}),
    'model.backbone': ({'type': 'mobilenet'}, {}),
    'model.dropout_rate': (0.5, {}),
    'model.norm_activation.activation': ('swish', {}),
    'model.norm_activation.use_sync_bn': (True, {}),
    'model.norm_activation.norm_momentum': (0.5, {}),
    'model.norm_activation.norm_epsilon': (0.5, {}),
    'model.add_head_batch_norm': (True, {}),
    'model.kernel_initializer': ('zeros', {}),
    'losses.l2_weight_decay': (0.1, {}),
    'freeze_backbone': (True, {}),
}
LOSS: dict[str, tuple[Any, dict[str, Any]]] = {
    'losses.loss_weight': (2.0, {}),
    'losses.label_smoothing': (0.2, {}),
    'losses.use_binary_cross_entropy': (True, {}),
}
METRICS: dict[str, tuple[Any, dict[str, Any]]] = {
    'evaluation.top_k': (2, {}),
    'evaluation.precision_and_recall_thresholds': ([0.5], {}),
    'evaluation.report_per_class_precision_and_recall': (
        True,
        {'evaluation.precision_and_recall_thresholds': [0.5]},
    ),
    'model.output_softmax': (
        True,
        {
            'losses.use_binary_cross_entropy': True,
            'evaluation.precision_and_recall_thresholds': [0.5],
        },
    ),
}
ELSEWHERE = {
    'losses.one_hot': 'the same numbers as with classes: tests/vision/tasks/test_image_classification',
    'losses.soft_labels': 'likewise: labels that are vectors already',
    'class_names': 'tests/vision/tasks/test_class_facts',
    'train_data': 'tests/vision/dataloaders/test_classification_fields_alive',
    'validation_data': 'tests/vision/dataloaders/test_classification_fields_alive',
    'init_checkpoint': 'of every task: tests/core',
    'init_checkpoint_modules': 'of every task: tests/core',
    'init_checkpoint_averages': 'of every task: tests/core',
    'name': 'of every task: tests/core',
    'differential_privacy_config': 'of every task: tests/core',
    'freeze': 'of every task: tests/core',
    'layer_overrides': 'of every task: tests/core/test_layer_control',
}
WITHOUT_EFFECT = {
    'allow_image_summary': 'there are no image summaries',
    'train_input_partition_dims': 'spatial partitioning of TPUs',
    'eval_input_partition_dims': 'spatial partitioning of TPUs',
    'model_output_keys': 'in Model Garden too',
}


def make_task(**overrides: Any) -> image_classification.ImageClassificationTask:
    config = exp_cfg.ImageClassificationTask()
    config.override(BASE)
    for path, value in overrides.items():
        config.override({path: value})
    return image_classification.ImageClassificationTask(config)


def list_fields(config: hyperparams.Config, prefix: str = '') -> Iterator[str]:
    """Paths of fields; data and backbone as a whole, for they have tests of their own."""
    for field in dataclasses.fields(config):
        path, value = f'{prefix}{field.name}', getattr(config, field.name)
        if field.name in ('train_data', 'validation_data', 'backbone') or not isinstance(
            value, hyperparams.Config
        ):
            yield path
        else:
            yield from list_fields(value, f'{path}.')


def test_every_field_is_accounted_for() -> None:
    fields = list(list_fields(exp_cfg.ImageClassificationTask()))
    listed = [*MODEL, *LOSS, *METRICS, *ELSEWHERE, *WITHOUT_EFFECT]
    assert sorted(fields) == sorted(listed)


def describe_model(task: Any) -> Any:
    keras.utils.clear_session()
    model = task.build_model()
    keys = {key: tuple(v.shape) for key, v in checkpoints.model_variables(model).items()}
    leaves = [
        (type(layer).__name__, layer.trainable, str(layer.get_config()))
        for layer in model._flatten_layers(include_self=False)
        if not list(layer._flatten_layers(include_self=False))
    ]
    return keys, leaves, bool(model.losses), [tuple(t.shape) for t in model.backbone.inputs]


@functools.cache
def describe_base() -> Any:
    return describe_model(make_task())


@pytest.mark.parametrize('path', MODEL)
def test_d3_a_field_changes_the_model(path: str) -> None:
    value, _ = MODEL[path]
    assert describe_model(make_task(**{path: value})) != describe_base()


LOGITS = tf.constant(np.random.default_rng(2).normal(size=[8, 4]), tf.float32)
LABELS = tf.constant([0, 1, 2, 3, 0, 1, 2, 3])


@pytest.mark.parametrize('path', LOSS)
def test_d3_a_field_changes_the_loss(path: str) -> None:
    value, context = LOSS[path]
    first, second = (
        float(make_task(**{**context, **change}).build_losses(LABELS, LOGITS))
        for change in ({}, {path: value})
    )
    assert first != pytest.approx(second, rel=1e-4)


def compute_metrics(task: Any) -> dict[str, float]:
    metrics = task.build_metrics(True)
    task.process_metrics(metrics, LABELS, LOGITS)
    results: dict[str, float] = {}
    for metric in metrics:
        result = metric.result()
        result = result if isinstance(result, dict) else {metric.name: result}
        results |= {name: float(value) for name, value in result.items()}
    return results


@pytest.mark.parametrize('path', METRICS)
def test_d3_a_field_changes_the_metrics(path: str) -> None:
    value, context = METRICS[path]
    first = compute_metrics(make_task(**context))
    assert compute_metrics(make_task(**{**context, path: value})) != first
