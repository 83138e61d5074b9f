"""What configs say evaluations report is what they do report."""

from __future__ import annotations

from typing import Any

import pytest

from official_lite.core import exp_factory, metric_names, metric_paths, step_logs, task_factory
from official_lite.vision.evaluation import coco_metrics

_DATASET: dict[str, Any] = {
    'images': [{'id': 1, 'height': 8, 'width': 8}],
    'categories': [{'id': 1, 'name': 'dog'}, {'id': 2, 'name': 'cat'}],
    'annotations': [],
}


def make_config(experiment: str, changes: dict[str, Any]) -> Any:
    config = exp_factory.get_exp_config(experiment)
    config.task.model.num_classes = 3
    config.override(changes)
    return config


def find_reported(config: Any) -> set[str]:
    """Names of the metrics of the task itself, of its evaluator, and the trainer's."""
    task = task_factory.get_task(config.task)
    metrics = task.build_metrics(training=False)
    names = set(step_logs.get_all_results(metrics))
    for prefix in _list_prefixes(config.task):
        limit = config.task.max_num_eval_detections
        tables = coco_metrics.compute_coco_metrics(_DATASET, [], [1], max_num_detections=limit)
        names |= set(tables.metrics(prefix))
        if config.task.per_category_metrics:
            labels = {each['id']: each['name'] for each in _DATASET['categories']}
            names |= set(tables.category_metrics(labels, prefix.replace('_', ' ')))
    return {*names, metric_paths.VALIDATION_LOSS}


def _list_prefixes(task: Any) -> list[str]:
    if not getattr(task, 'use_coco_metrics', False):
        return []
    return ['', 'mask_'] if getattr(task.model, 'include_mask', False) else ['']


_ATTRIBUTE = {'name': 'depth', 'type': 'regression', 'size': 1}
_CASES = [
    ('retinanet', {}),
    ('retinanet', {'task.per_category_metrics': True, 'task.max_num_eval_detections': 50}),
    (
        'retinanet',
        {'task.use_coco_metrics': False, 'task.model.head.attribute_heads': [_ATTRIBUTE]},
    ),
    ('maskrcnn_resnetfpn_coco', {'task.per_category_metrics': True}),
    ('maskrcnn_resnetfpn_coco', {'task.model.mask_scoring_head': {}}),
    ('fasterrcnn_resnetfpn_coco', {}),
    ('fasterrcnn_resnetfpn_coco', {'task.use_coco_metrics': False}),
    ('semantic_segmentation', {}),
    (
        'semantic_segmentation',
        {'task.evaluation.report_per_class_iou': False, 'task.model.mask_scoring_head': {}},
    ),
    ('image_classification', {}),
    (
        'image_classification',
        {
            'task.evaluation.top_k': 2,
            'task.evaluation.precision_and_recall_thresholds': [0.5, 0.75],
            'task.evaluation.report_per_class_precision_and_recall': True,
        },
    ),
    ('image_classification', {'task.train_data.is_multilabel': True}),
]


@pytest.mark.parametrize(('experiment', 'changes'), _CASES)
def test_what_is_listed_is_what_is_reported(experiment: str, changes: dict[str, Any]) -> None:
    config = make_config(experiment, changes)
    for data in (config.task.train_data, config.task.validation_data):
        data.override({'input_path': '', 'tfds_name': ''})
    if 'annotation_file' in config.task:
        config.task.annotation_file = None
    config.trainer.best_checkpoint_export_subdir = ''
    listed = metric_names.list_metrics(config)
    assert listed is not None
    reported = find_reported(config)
    assert [name for name in reported if not metric_names.is_listed(name, listed)] == []
    unused = [
        each
        for each in listed
        if not any(metric_names.is_listed(name, [each]) for name in reported)
    ]
    assert unused == []
