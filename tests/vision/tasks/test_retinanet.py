"""The RetinaNet task: what the data decides, losses, evaluation of every example, a whole run."""

from __future__ import annotations

import json
import math
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from official_lite.core import task_factory, train_lib
from official_lite.vision.evaluation import self_check
from official_lite.vision.tasks import retinanet
from tests.vision.tasks import tiny_detection


def _make_task(annotation_file: str | None, **overrides):
    params = tiny_detection.make_params(annotation_file, **overrides)
    train_lib.resolve(params, retinanet.RetinaNetTask)
    return params, task_factory.get_task(params.task)


@pytest.fixture(scope='module')
def task(tiny_coco):
    return _make_task(tiny_coco)[1]


@pytest.fixture(scope='module')
def model(task):
    return task.build_model()


@pytest.fixture(scope='module')
def batches(task):
    return list(task.build_inputs(task.task_config.validation_data))


def test_ground_truth_as_predictions_gives_ap_1(tiny_coco):
    """Network pixels, labels 1..K, padding; images that are not square, category ids 3, 17, 90."""
    params = tiny_detection.make_params(tiny_coco)
    result = self_check.check_evaluation(params)
    assert result.metrics['AP'] == pytest.approx(1, abs=1e-12)
    assert (result.num_images, result.num_boxes, result.findings) == (5, 12, ())
    assert params.task.class_names == []  # the caller's config stays as it was


def test_ground_truth_as_predictions_gives_ap_1_against_the_annotation_file(tiny_coco):
    params = tiny_detection.make_params(tiny_coco, task__annotation_file=tiny_coco)
    result = self_check.check_evaluation(params)
    assert result.metrics['AP'] == pytest.approx(1, abs=1e-12)
    assert result.findings == ()


def test_ground_truth_as_predictions_gives_ap_1_on_embedded_data():
    result = self_check.check_evaluation(tiny_detection.make_params(None))
    assert result.metrics['AP'] == pytest.approx(1, abs=1e-12)
    assert (result.num_images, result.findings) == (7, ())


def test_self_check_finds_wrong_category_ids(tiny_coco):
    params = tiny_detection.make_params(tiny_coco, task__annotation_file=tiny_coco)
    train_lib.resolve(params, retinanet.RetinaNetTask)
    evaluator = task_factory.get_task(params.task.replace(category_ids=[1, 2, 3])).build_evaluator()
    task = task_factory.get_task(params.task)
    labels = [
        labels for _, labels in task.build_inputs(params.task.validation_data).as_numpy_iterator()
    ]
    result = self_check.check_labels(labels, evaluator)
    assert not result.is_ok
    assert any('detections of categories [1, 2] do not count' in f for f in result.findings)


def test_padded_examples_have_no_part_in_losses(task, model, batches):
    images, labels = batches[-1]
    assert labels['is_valid'].numpy().tolist() == [True, False]
    outputs = model(images, training=False)
    losses = task.build_losses(outputs, labels)
    alone = {key: labels[key][:1] for key in ('boxes', 'classes', 'image_info')}
    expected = task.build_losses(model(images[:1], training=False), alone)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


def test_every_example_is_evaluated_once(task, model, batches):
    assert len(batches) == 3
    task.build_metrics(training=False)
    state = None
    for batch in batches:
        logs = task.validation_step(batch, model, metrics=None)
        state = task.aggregate_logs(state, logs)
    assert state.num_images == 5
    assert set(task.reduce_aggregated_logs(state)) >= {'AP', 'AP50', 'ARmax100', 'ARl'}


def test_metrics_weigh_batches_by_their_valid_examples(task, model, batches):
    metrics = task.build_metrics(training=False)
    assert [m.name for m in metrics] == ['total_loss', 'cls_loss', 'box_loss', 'model_loss']
    totals = []
    for batch in batches:
        logs = task.validation_step(batch, model, metrics=metrics)
        totals.append(float(logs['loss']))
    expected = (2 * totals[0] + 2 * totals[1] + totals[2]) / 5
    assert float(metrics[0].result()) == pytest.approx(expected, rel=1e-6)


def test_parts_of_the_loss(task, model, batches):
    outputs = model(batches[0][0], training=False)
    total, cls_loss, box_loss, model_loss = task.build_losses(
        outputs, batches[0][1], aux_losses=[tf.constant(0.25), tf.constant(0.5)]
    )
    assert float(model_loss) == pytest.approx(float(cls_loss + 50 * box_loss), rel=1e-6)
    assert float(total) == pytest.approx(float(model_loss) + 0.75, rel=1e-6)


def test_first_class_loss_has_its_closed_form(task, model, batches):
    """Every score is the prior, so the focal loss follows from the counts of anchors alone."""
    images, labels = batches[0]
    outputs = model(images, training=False)
    targets = task.label_anchors(outputs, labels)
    num_positives = float(tf.reduce_sum(targets['box_weights']))
    num_values = float(tf.reduce_sum(targets['cls_weights'])) * task.task_config.model.num_classes
    prior, alpha, gamma = 0.01, 0.25, 1.5
    positive = alpha * (1 - prior) ** gamma * -math.log(prior)
    negative = (1 - alpha) * prior**gamma * -math.log(1 - prior)
    expected = num_positives * positive + (num_values - num_positives) * negative
    _, cls_loss, _, _ = task.build_losses(outputs, labels)
    assert num_positives > 0
    assert float(cls_loss) == pytest.approx(expected / (num_positives + 1), rel=1e-3)


def test_labels_with_targets_are_used_as_they_are(task, model, batches):
    images, labels = batches[0]
    outputs = model(images, training=False)
    targets = dict(task.label_anchors(outputs, labels))
    expected = task.build_losses(outputs, labels)
    del targets['boxes'], targets['classes']
    np.testing.assert_allclose(task.build_losses(outputs, targets), expected, rtol=1e-6)


def test_training_on_one_batch_lowers_the_loss(tiny_coco):
    params, task = _make_task(tiny_coco)
    tf.keras.utils.set_random_seed(0)
    model = task.build_model()
    optimizer = train_lib.make_optimizer(task, params)
    optimizer.build(model.trainable_variables)
    batch = next(iter(task.build_inputs(params.task.train_data)))
    step = tf.function(lambda: task.train_step(batch, model, optimizer)['loss'])
    losses = [float(step()) for _ in range(10)]
    assert losses[-1] < 0.7 * losses[0]


def test_frozen_backbone_stays(tiny_coco):
    params, task = _make_task(tiny_coco, task__freeze_backbone=True)
    model = task.build_model()
    optimizer = train_lib.make_optimizer(task, params)
    optimizer.build(model.trainable_variables)
    before = [v.numpy() for v in model.backbone.variables]
    head = [v.numpy() for v in model.head.trainable_variables]
    batch = next(iter(task.build_inputs(params.task.train_data)))
    for _ in range(3):
        task.train_step(batch, model, optimizer)
    assert model.backbone.trainable_variables == []
    for value, variable in zip(before, model.backbone.variables):
        np.testing.assert_array_equal(value, variable.numpy())
    assert any(
        not np.array_equal(v, w.numpy()) for v, w in zip(head, model.head.trainable_variables)
    )


def test_inputs_go_on_from_a_later_batch(tiny_coco):
    params, task = _make_task(tiny_coco)
    data = params.task.train_data
    later = next(iter(task.build_inputs_at(data, None, 4)))
    expected = list(task.build_inputs(data).take(5))[4]
    tf.nest.map_structure(np.testing.assert_array_equal, later, expected)


def test_whole_run(tiny_coco, tmp_path):
    """Ten steps, evaluation, checkpoint, picture; the logs have Model Garden's names."""
    params, task = _make_task(tiny_coco, task__per_category_metrics=True)
    _model, logs = train_lib.run_experiment(None, task, 'train_and_eval', params, str(tmp_path))
    assert int(task.task_config.model.num_classes) == 4
    assert {'total_loss', 'cls_loss', 'box_loss', 'AP', 'ARmax100', 'validation_loss'} <= set(logs)
    assert 'Precision mAP ByCategory/green' in logs
    lines = [json.loads(line) for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()]
    assert {'loss', 'loss/cls', 'loss/box', 'loss/total'} <= set(lines[0])
    assert {'eval/AP', 'eval/loss/cls'} <= set(lines[-1])
    pictures = list(pathlib.Path(tmp_path).rglob('detections.png'))
    assert len(pictures) == 1
    assert np.asarray(Image.open(pictures[0])).std() > 5
    again = task_factory.get_task(params.task)
    _, evaluated = train_lib.run_experiment(None, again, 'eval', params, str(tmp_path))
    assert evaluated['AP'] == pytest.approx(logs['AP'], abs=1e-6)
    assert evaluated['total_loss'] == pytest.approx(logs['total_loss'], rel=1e-4)
