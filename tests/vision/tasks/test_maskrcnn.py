"""The task of R-CNNs: a run, its losses, its evaluation, its export."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from official_lite.core import task_factory, train_lib
from official_lite.modeling import hyperparams
from official_lite.vision.configs import maskrcnn as configs
from official_lite.vision.evaluation import self_check
from official_lite.vision.serving import export_saved_model_lib
from official_lite.vision.tasks import detection_task, maskrcnn
from tests.vision.tasks import tiny_masks


@pytest.fixture(scope='module')
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, dict[str, float], str]:
    """Config, model, metrics and folder of a run of four steps."""
    params = tiny_masks.make_params(task__per_category_metrics=True)
    model_dir = str(tmp_path_factory.mktemp('run'))
    task = task_factory.get_task(params.task)
    model, logs = train_lib.run_experiment(None, task, 'train_and_eval', params, model_dir)
    return params, model, logs, model_dir


def test_a_run_reports_boxes_masks_and_losses(trained: Any) -> None:
    params, _, logs, model_dir = trained
    for name in (
        'AP',
        'AP50',
        'ARmax100',
        'mask_AP',
        'mask_AP50',
        'mask_APs',
        *maskrcnn.LOSS_NAMES,
    ):
        assert np.isfinite(logs[name]), name
    assert 'mask Precision mAP ByCategory/three' in logs
    assert (pathlib.Path(model_dir) / 'visualization' / detection_task.PICTURE_NAME).is_file()
    assert params.task.model.num_classes == 11


def _batch(params: Any, batch_size: int, num_scenes: int) -> tuple[Any, Any]:
    params = params.replace()
    params.task.validation_data.global_batch_size = batch_size
    params.task.validation_data.source.embedded.num_scenes = num_scenes
    task = task_factory.get_task(params.task)
    return task, list(task.build_inputs(params.task.validation_data))


def _compute(task: Any, model: Any, batch: Any) -> dict[str, float]:
    metrics = task.build_metrics(training=False)
    task.validation_step(batch, model, metrics)
    return {metric.name: float(metric.result()) for metric in metrics}


def test_b24_the_validation_loss_is_that_of_training(trained: Any) -> None:
    params, model, _, _ = trained
    task, [(images, labels)] = _batch(params, 3, 3)
    found = _compute(task, model, (images, labels))
    outputs = task.run(images, labels, model, training=False)
    losses = task.build_losses(outputs, labels, model.losses)
    assert set(losses) == set(maskrcnn.LOSS_NAMES)
    for name, loss in losses.items():
        assert found[name] == pytest.approx(float(loss), rel=1e-5), name
    for name in ('rpn_score_loss', 'frcnn_cls_loss'):
        assert found[name] > 0.01, name
    parts = sum(found[name] for name in maskrcnn.LOSS_NAMES[1:-1])
    assert found['model_loss'] == pytest.approx(parts, rel=1e-5)


def test_examples_that_only_fill_a_batch_do_not_count(trained: Any) -> None:
    params, model, _, _ = trained
    task, [whole] = _batch(params, 3, 3)
    expected = _compute(task, model, whole)
    task, [padded] = _batch(params, 5, 3)
    assert padded[1]['is_valid'].numpy().tolist() == [True] * 3 + [False] * 2
    found = _compute(task, model, padded)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-4), name


def test_weights_of_losses() -> None:
    names = ('rpn_score', 'rpn_box', 'frcnn_class', 'frcnn_box', 'mask')
    params = tiny_masks.make_params()
    params.task.model.num_classes = 11
    task = task_factory.get_task(params.task)
    model = task.build_model()
    images, labels = next(iter(task.build_inputs(params.task.train_data)))
    outputs = task.run(images, labels, model, training=True)
    plain = task.build_losses(outputs, labels)
    for factor, name in enumerate(names, start=2):
        setattr(params.task.losses, f'{name}_weight', factor)
    params.task.losses.loss_weight = 0.5
    losses = task_factory.get_task(params.task).build_losses(outputs, labels, [tf.constant(3.0)])
    expected = sum(
        factor * plain[loss] for factor, loss in enumerate(maskrcnn.LOSS_NAMES[1:-1], start=2)
    )
    assert float(losses['model_loss']) == pytest.approx(float(expected), rel=1e-5)
    assert float(losses['total_loss']) == pytest.approx(0.5 * (float(expected) + 3), rel=1e-5)


def test_masks_of_other_classes_are_not_learnt() -> None:
    classes = tf.constant([[0, 3, 5], [5, 1, 3]])
    allowed = maskrcnn.zero_out_disallowed_class_ids(classes, [3, 1])
    np.testing.assert_array_equal(allowed, [[0, 3, 0], [0, 1, 3]])


def test_ground_truth_evaluates_to_1() -> None:
    params = tiny_masks.make_params(task__validation_data__parser__mask_crop_size=56)
    check = self_check.check_evaluation(params)
    assert check.is_ok
    assert check.metrics['mask_AP'] > 0.75  # masks of few pixels, kept as squares
    assert check.num_boxes == check.num_submitted


def test_boxes_only() -> None:
    params = tiny_masks.make_params(task__model__include_mask=False)
    params.task.model.num_classes = 11
    task = task_factory.get_task(params.task)
    images, labels = next(iter(task.build_inputs(params.task.train_data)))
    assert 'gt_masks' not in labels
    outputs = task.run(images, labels, task.build_model(), training=True)
    assert float(task.build_losses(outputs, labels)['mask_loss']) == 0


def test_what_an_export_puts_out(trained: Any, tmp_path: pathlib.Path) -> None:
    params, model, _, model_dir = trained
    directory = export_saved_model_lib.export_inference_graph(
        'image_tensor', 1, params.task.model.input_size[:2], params, model_dir, str(tmp_path)
    )
    image = np.random.default_rng(0).integers(0, 256, [1, 40, 60, 3]).astype(np.uint8)
    signature = tf.saved_model.load(directory).signatures['serving_default']
    found = signature(tf.constant(image))
    module = export_saved_model_lib.build_export_module(
        params, batch_size=1, input_image_size=params.task.model.input_size[:2]
    )
    resized, info = module.preprocess_image(tf.constant(image[0]))
    outputs = model(resized[None], image_shape=info[None, 1], training=False)
    for name in ('detection_boxes', 'detection_scores', 'detection_masks', 'num_detections'):
        np.testing.assert_allclose(found[name], outputs[name], atol=1e-4)
    np.testing.assert_allclose(found['image_info'][0], info)
    assert found['detection_masks'].shape[:2] == (1, 10)


@pytest.mark.parametrize(
    ('fields', 'text'),
    [
        ({'use_wod_metrics': True}, r'task.use_wod_metrics.*expected false'),
        (
            {'use_approx_instance_metrics': True},
            r'task.use_approx_instance_metrics.*expected false',
        ),
        ({'max_num_eval_detections': 0}, r'task.max_num_eval_detections.*expected 1 or more'),
        ({'losses': {'mask_weight': -1.0}}, r'task.losses.mask_weight.*expected 0 or more'),
        ({'losses': {'rpn_huber_loss_delta': 0.0}}, r'rpn_huber_loss_delta.*expected more than 0'),
        (
            {'losses': {'frcnn_class_loss_top_k_percent': 1.5}},
            r'frcnn_class_loss_top_k_percent.*expected more than 0 and at most 1',
        ),
        ({'losses': {'class_weights': [1.0, 2.0]}}, r'class_weights.*expected 91 numbers'),
        ({'allowed_mask_class_ids': [0]}, r'allowed_mask_class_ids.*expected labels of 1 to 90'),
        (
            {
                'model': {'include_mask': False},
                'train_data': {'parser': {'copy_paste': {'prob': 0.5}}},
            },
            r'copy_paste.*expected null, because model.include_mask is false',
        ),
        ({'train_data': {'parser': {'mask_crop_size': 1}}}, r'mask_crop_size.*expected 2 or more'),
        (
            {'train_data': {'parser': {'rpn_unmatched_threshold': 0.8}}},
            r'rpn_unmatched_threshold.*expected at most rpn_match_threshold \(0.7\)',
        ),
    ],
)
def test_configs_that_cannot_be(fields: dict[str, Any], text: str) -> None:
    config = configs.maskrcnn_resnetfpn_coco()
    config.override({'task': fields})
    with pytest.raises(hyperparams.ConfigError, match=f'(?s){text}'):
        config.validate()
