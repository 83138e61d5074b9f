"""Model Garden's numbers, in float32: outputs, losses, gradients, and steps of training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from official_lite.modeling import optimization, variable_keys
from official_lite.vision.ops import image_normalization
from tests.vision import garden_detector

pytestmark = pytest.mark.garden

SMALL = {
    'num_classes': 5,
    'max_level': 5,
    'backbone': {'type': 'resnet', 'resnet': {'model_id': 10, 'depth_multiplier': 0.5}},
    'decoder': {'type': 'fpn', 'fpn': {'num_filters': 32}},
    'head': {'num_convs': 2, 'num_filters': 32},
    'norm_activation': {'use_sync_bn': False, 'norm_momentum': 0.9},
    'detection_generator': {'box_coder_weights': [10.0, 10.0, 5.0, 5.0]},
}
MODELS: dict[str, dict[str, Any]] = {
    'small': SMALL,
    'separable, levels apart': {
        **SMALL,
        'decoder': {'type': 'fpn', 'fpn': {'num_filters': 24, 'use_separable_conv': True}},
        'head': {
            'num_convs': 1,
            'num_filters': 24,
            'use_separable_conv': True,
            'share_level_convs': False,
        },
    },
    'r50': {'num_classes': 91, 'norm_activation': {'use_sync_bn': False}},
}
LOSSES: dict[str, dict[str, Any]] = {
    name: {'l2_weight_decay': 1e-4} for name in MODELS if not name.startswith('separable')
}  # which has no decay in Model Garden (B18)
NUM_STEPS = 5
OPTIMIZER = {
    'optimizer': {'type': 'sgd', 'sgd': {'momentum': 0.9}},
    'learning_rate': {'type': 'constant', 'constant': {'learning_rate': 0.01}},
}


@pytest.fixture(scope='module', params=list(MODELS))
def pair(request: pytest.FixtureRequest) -> Iterator[garden_detector.DetectorPair]:
    """Weights of a detector at work; none of the tests may change them."""
    yield garden_detector.DetectorPair(MODELS[request.param], LOSSES.get(request.param))
    garden_detector.clear()


def test_images_are_normalised_alike() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 40, 50, 3), np.uint8)
    got = image_normalization.normalize_images(tf.constant(images))
    np.testing.assert_allclose(got, garden_detector.normalize(images), atol=1e-6)


def _compute(model: Any, task: Any, inputs: Any, variables: Any, *, is_frozen: bool) -> tuple:
    """Outputs, losses and gradients; batch normalisation in inference mode if frozen."""

    @tf.function(autograph=False)
    def compute() -> tuple:
        images, labels = inputs
        with tf.GradientTape() as tape:
            if is_frozen:
                outputs = _predict_frozen(model, images)
            else:
                outputs = model(images, training=True)
            losses = task.build_losses(outputs=outputs, labels=labels, aux_losses=model.losses)
        return outputs, losses, tape.gradient(losses[0], variables)

    return compute()


def _predict_frozen(model: Any, images: tf.Tensor) -> dict[str, Any]:
    features = model.backbone(images, training=False)
    if model.decoder is not None:
        features = model.decoder(features, training=False)
    scores, boxes, _ = model.head(features, training=False)
    return {'cls_outputs': scores, 'box_outputs': boxes}


def _compute_both(pair: garden_detector.DetectorPair, *, is_frozen: bool) -> tuple[tuple, tuple]:
    trained = pair.get_trained()
    theirs = _compute(
        pair.theirs,
        pair.their_task,
        pair.their_inputs,
        [v for _, v, _ in trained],
        is_frozen=is_frozen,
    )
    ours = _compute(
        pair.ours,
        pair.our_task,
        pair.our_inputs,
        [v.value for _, _, v in trained],
        is_frozen=is_frozen,
    )
    return theirs, ours


def _assert_outputs_agree(got: dict[str, Any], expected: dict[str, Any], limit: float) -> None:
    for key in ('cls_outputs', 'box_outputs'):
        for level, value in expected[key].items():
            largest = max(1.0, float(tf.reduce_max(tf.abs(value))))
            error = float(tf.reduce_max(tf.abs(got[key][level] - value))) / largest
            assert error < limit, (key, level, error)


def test_frozen_outputs_losses_and_gradients(pair: garden_detector.DetectorPair) -> None:
    theirs, ours = _compute_both(pair, is_frozen=True)
    _assert_outputs_agree(ours[0], theirs[0], 1e-4)
    np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-5)
    whole = np.sqrt(sum(float(tf.reduce_sum(g**2)) for g in theirs[2]))
    for (_, variable, _), got, wanted in zip(pair.get_trained(), ours[2], theirs[2], strict=True):
        error, size = float(tf.norm(got - wanted)), float(tf.norm(wanted))
        assert error <= 1e-2 * size + 1e-4 * whole, (variable.name, error, size, whole)


def test_losses_and_moving_statistics_in_training(pair: garden_detector.DetectorPair) -> None:
    theirs, ours = _compute_both(pair, is_frozen=False)
    np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-5)
    for _, wanted, got in pair.pairs:
        if 'moving_' in wanted.name:
            np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4, err_msg=wanted.name)


@pytest.mark.parametrize(
    'name', [pytest.param(n, marks=pytest.mark.slow if n == 'r50' else ()) for n in MODELS]
)
def test_five_steps_of_training(name: str) -> None:
    """The tasks' own train_step with frozen batch normalisation: equal losses and weights."""
    pair = garden_detector.DetectorPair(MODELS[name], LOSSES.get(name), keep_head=True)
    pair.freeze_norms()
    expected, got = _train_theirs(pair), _train_ours(pair)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    assert expected[-1] < expected[0]
    for _, wanted, value in pair.pairs:
        wanted = wanted.numpy()
        scale = max(1.0, np.abs(wanted).max())
        error = np.abs(np.asarray(value) - wanted).max() / scale
        assert error < 1e-5, (value.path, error)
    garden_detector.clear()


def _train_theirs(pair: garden_detector.DetectorPair) -> list[float]:
    from official.modeling import optimization as garden_optimization

    config = garden_optimization.OptimizationConfig(OPTIMIZER)
    optimizer = pair.their_task.create_optimizer(config)
    return _train(pair.their_task, pair.theirs, optimizer, pair.their_inputs)


def _train_ours(pair: garden_detector.DetectorPair) -> list[float]:
    optimizer = pair.our_task.create_optimizer(optimization.OptimizationConfig(OPTIMIZER))
    optimizer.set_variable_keys(variable_keys.variable_keys(pair.ours.checkpoint_items))
    optimizer.build(pair.ours.trainable_variables)
    return _train(pair.our_task, pair.ours, optimizer, pair.our_inputs)


def _train(task: Any, model: Any, optimizer: Any, inputs: Any) -> list[float]:
    step = tf.function(lambda inputs: task.train_step(inputs, model, optimizer), autograph=False)
    return [float(step(inputs)[task.loss]) for _ in range(NUM_STEPS)]
