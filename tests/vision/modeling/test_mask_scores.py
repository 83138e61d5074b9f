"""Mask scoring: what is predicted, what is learnt, and that nothing else changes by it."""

from __future__ import annotations

import pathlib
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite.core import task_factory
from official_lite.modeling import hyperparams, variable_keys
from official_lite.vision.configs import maskrcnn as configs
from official_lite.vision.modeling import mask_scores
from official_lite.vision.modeling.heads import instance_heads, mask_scoring
from official_lite.vision.modeling.layers import mask_sampler
from official_lite.vision.tasks import detection_task, maskrcnn
from tests import garden_weights
from tests.vision.tasks import tiny_masks

HEAD = {'num_convs': 1, 'num_filters': 8, 'fc_dims': 16, 'fc_input_size': [3, 3]}


def _make_task(**fields: Any) -> maskrcnn.MaskRCNNTask:
    params = tiny_masks.make_params()
    params.task.override({'model': {'num_classes': 11, **fields}})
    return task_factory.get_task(params.task)


@pytest.fixture(scope='module')
def scoring() -> tuple[Any, Any, Any]:
    """A task with mask scoring, its model, and a batch."""
    task = _make_task(mask_scoring_head=HEAD)
    model = task.build_model()
    garden_weights.randomize_weights(model)
    return task, model, next(iter(task.build_inputs(task.task_config.train_data)))


def test_ious_are_those_of_whole_masks() -> None:
    """The oracle counts pixels on a canvas that holds the region and the whole object."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=[2, 3, 28, 28]).astype(np.float32)
    canvas = rng.random([2, 3, 40, 40]) < 0.5  # the objects; regions are the first 28 pixels
    canvas[1, 2] = False
    logits[1, 2] = -1.0
    inside = canvas[:, :, :28, :28]
    expected = np.zeros([2, 3])
    for place in np.ndindex(2, 3):
        predicted = np.zeros([40, 40], bool)
        predicted[:28, :28] = logits[place] > 0
        union = np.sum(predicted | canvas[place])
        expected[place] = np.sum(predicted & canvas[place]) / union if union else 0.0
    targets = tf.where(inside, 0.9, 0.2)
    pixels = tf.constant(canvas.sum((2, 3)), tf.float32)
    found = mask_scores.compute_mask_ious(tf.constant(logits), targets, pixels)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found[1, 2] == 0.0


def test_the_size_of_an_object_is_in_pixels_of_its_region() -> None:
    """Half of a box of 28 by 56 px is filled; a region of 14 by 14 px has 28 by 28 pixels."""
    sampler = mask_sampler.MaskSampler(mask_target_size=28, num_sampled_masks=2)
    masks = tf.concat([tf.ones([1, 1, 8, 4]), tf.zeros([1, 1, 8, 4])], axis=-1)
    found = sampler.sample(
        tf.constant([[[0.0, 0, 14, 14], [0, 0, 28, 56]]]),
        tf.constant([[[0.0, 0, 28, 56]] * 2]),
        tf.constant([[3, 3]]),
        tf.constant([[0, 0]]),
        masks,
    )
    half = 0.5 * 28 * 56
    expected = [[half / (14 * 14) * 28 * 28, half / (28 * 56) * 28 * 28]]
    np.testing.assert_allclose(found.object_pixels, expected, rtol=1e-5)


def test_a_head_reads_features_and_the_largest_chances() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=[2, 3, 4, 4, 5]).astype(np.float32)
    logits = rng.normal(size=[2, 3, 8, 8]).astype(np.float32)
    classes = np.array([[1, 0, 2], [2, 2, 1]])

    def head(inputs: tf.Tensor, training: bool) -> tf.Tensor:
        assert not training
        return tf.reduce_sum(inputs, axis=[1, 2])[:, 3:]  # two features' sums, and the masks'

    found = mask_scores.predict_mask_ious(
        head, tf.constant(features), tf.constant(logits), tf.constant(classes), False
    )
    chances = (1 / (1 + np.exp(-logits))).reshape(2, 3, 4, 2, 4, 2).max((3, 5))
    sums = [*np.moveaxis(features.sum((2, 3)), -1, 0)[3:], chances.sum((2, 3))]
    np.testing.assert_allclose(found, np.choose(classes, sums), rtol=1e-5)


def test_scores_of_masks_are_scores_of_classes_times_ious(scoring: Any) -> None:
    task, model, (images, labels) = scoring
    head = model.mask_scoring_head
    kernel, bias = (np.asarray(w) for w in head.classifier.weights)
    ious = np.linspace(-0.2, 1.3, 11).astype(np.float32)
    try:
        head.classifier.kernel.assign(np.zeros_like(kernel))
        head.classifier.bias.assign(ious)
        outputs = task.run(images, labels, model, training=False)
    finally:
        head.classifier.kernel.assign(kernel)
        head.classifier.bias.assign(bias)
    assert int(tf.reduce_min(outputs['num_detections'])) > 0
    factors = np.clip(ious, 0.0, 1.0)[outputs['detection_classes']]
    expected = np.asarray(outputs['detection_scores']) * factors
    np.testing.assert_allclose(outputs['detection_mask_scores'], expected, rtol=1e-5)
    assert outputs['detection_mask_scores'].shape == (2, 10)


def test_everything_else_is_as_without_it(scoring: Any) -> None:
    _, model, (images, labels) = scoring
    task = _make_task()
    plain = task.build_model()
    keys = variable_keys.variable_keys(model.checkpoint_items)
    for key, variable in variable_keys.variable_keys(plain.checkpoint_items).items():
        variable.assign(keys[key])
    with_head = task.run(images, labels, model, training=False)
    without = task.run(images, labels, plain, training=False)
    assert set(with_head) - set(without) == {
        'detection_mask_scores',
        'mask_scores',
        'mask_score_targets',
    }
    for name in without:
        if not isinstance(without[name], dict):
            np.testing.assert_array_equal(with_head[name], without[name], name)


def test_the_loss_teaches_the_head_alone(scoring: Any) -> None:
    task, model, (images, labels) = scoring
    with tf.GradientTape() as tape:
        outputs = task.run(images, labels, model, training=True)
        losses = task.build_losses(outputs, labels)
        loss = losses[maskrcnn.SCORING_LOSS_NAME]
    variables = model.trainable_variables
    gradients = tape.gradient(loss, [variable.value for variable in variables])
    of_head = {variable.path for variable in model.mask_scoring_head.trainable_variables}
    for variable, gradient in zip(variables, gradients, strict=True):
        assert (gradient is not None) == (variable.path in of_head), variable.path
    is_object = np.asarray(outputs['mask_class_targets']) > 0
    errors = np.asarray(outputs['mask_scores'] - outputs['mask_score_targets'])[is_object]
    assert float(loss) == pytest.approx(np.sum(errors**2) / (is_object.sum() + 0.01), rel=1e-5)
    parts = [float(losses[name]) for name in maskrcnn.LOSS_NAMES[1:-1]]
    assert float(losses['model_loss']) == pytest.approx(sum(parts) + float(loss), rel=1e-5)


def test_it_learns(scoring: Any) -> None:
    """The IoUs of a few regions are learnt by heart."""
    _, model, _ = scoring
    optimizer = keras.optimizers.Adam(0.01)
    variables = model.mask_scoring_head.trainable_variables

    features = tf.random.stateless_normal([2, 4, 14, 14, 8], [0, 0])
    logits = tf.random.stateless_normal([2, 4, 28, 28], [0, 1])
    classes, targets = tf.constant([[1, 2, 3, 4]] * 2), tf.constant([[0.1, 0.9, 0.4, 0.7]] * 2)

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            scores = mask_scores.predict_mask_ious(
                model.mask_scoring_head, features, logits, classes, True
            )
            loss = tf.reduce_mean((scores - targets) ** 2)
        values = [variable.value for variable in variables]
        optimizer.apply_gradients(zip(tape.gradient(loss, values), variables, strict=True))
        return loss

    losses = [float(step()) for _ in range(40)]
    assert losses[-1] < 0.05 * losses[0]


def test_it_is_saved_and_loaded(scoring: Any, tmp_path: pathlib.Path) -> None:
    task, model, (images, labels) = scoring
    model.save(tmp_path / 'model.keras')
    copy = keras.saving.load_model(tmp_path / 'model.keras')
    expected = task.run(images, labels, model, training=False)
    found = task.run(images, labels, copy, training=False)
    np.testing.assert_array_equal(found['detection_mask_scores'], expected['detection_mask_scores'])
    assert 'mask_scoring_head' in model.checkpoint_items


def test_a_step_and_an_evaluation(scoring: Any) -> None:
    task, model, _ = scoring
    batch = next(iter(task.build_inputs(task.task_config.validation_data)))
    metrics = task.build_metrics(training=False)
    logs = task.validation_step(batch, model, metrics)
    names = [metric.name for metric in metrics]
    assert maskrcnn.SCORING_LOSS_NAME in names
    assert np.isfinite(float(metrics[names.index(maskrcnn.SCORING_LOSS_NAME)].result()))
    _, predictions = logs[detection_task.COCO]
    assert 'detection_mask_scores' in predictions


def test_fields_change_the_head() -> None:
    def describe(**fields: Any) -> list[tuple[int, ...]]:
        options = configs.MaskScoringHead(**{**HEAD, **fields}).as_dict()
        head = mask_scoring.MaskScoring(num_classes=4, **options)
        head.build((None, 6, 6, 3))
        return [tuple(weight.shape) for weight in head.weights]

    plain = describe()
    values: dict[str, Any] = {
        'num_convs': 2,
        'num_filters': 4,
        'fc_input_size': [2, 3],
        'num_fcs': 1,
        'fc_dims': 8,
        'use_depthwise_convolution': True,
    }
    for name, value in values.items():
        assert describe(**{name: value}) != plain, name


def test_refusals() -> None:
    for fields, message in (
        ({'include_mask': False}, 'mask_scoring_head: expected null, because include_mask is'),
        ({'mask_scoring_head': {'fc_input_size': [7]}}, r'fc_input_size: expected \[height, width'),
    ):
        config = configs.MaskRCNN(mask_scoring_head=configs.MaskScoringHead())
        config.override(fields)
        with pytest.raises(hyperparams.ConfigError, match=message):
            config.validate()
    config = configs.MaskRCNN(mask_scoring_head=configs.MaskScoringHead())
    assert config.mask_scoring_head is not None
    assert config.mask_scoring_head.fc_input_size == [7, 7]


def test_regions_keep_their_order() -> None:
    values = tf.reshape(tf.range(12.0), [6, 2])
    split = instance_heads.split_regions(values, tf.zeros([2, 3, 4, 4, 1]))
    np.testing.assert_array_equal(split, np.arange(12.0).reshape(2, 3, 2))
