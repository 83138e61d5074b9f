"""Losses of pixels: values by hand and in NumPy, gradients, several replicas, Model Garden's numbers."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from official_lite.vision.losses import segmentation_losses
from official_lite.vision.losses.segmentation_losses import (
    MaskScoringLoss,
    SegmentationLoss,
    get_actual_mask_scores,
)

BATCH, SIZE, LABEL_SIZE, NUM_CLASSES, IGNORE = 3, (5, 7), (10, 9), 4, 255


def _make_case(seed: int = 0, num_layers: int = 1) -> tuple[tf.Tensor, tf.Tensor]:
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 3, (BATCH, *SIZE, NUM_CLASSES)).astype(np.float32)
    classes = [*range(NUM_CLASSES), IGNORE]
    labels = generator.choice(classes, (BATCH, *LABEL_SIZE, num_layers)).astype(np.float32)
    return tf.constant(logits), tf.constant(labels)


def _make_loss(**changes: Any) -> SegmentationLoss:
    arguments = {
        'label_smoothing': 0.0,
        'class_weights': [],
        'ignore_label': IGNORE,
        'use_groundtruth_dimension': True,
    }
    return SegmentationLoss(**{**arguments, **changes})


def test_two_pixels_by_hand() -> None:
    """Class 1 at logits (0, ln 3): p = 3/4; one pixel is ignored, so the divisor is 1."""
    logits = tf.constant([[[[0.0, math.log(3)], [5.0, -5.0]]]])
    labels = tf.constant([[[[1.0], [255.0]]]])
    np.testing.assert_allclose(_make_loss()(logits, labels), math.log(4 / 3), rtol=2e-5)


def test_weights_do_not_enter_the_divisor() -> None:
    logits = tf.zeros([1, 1, 2, 2])
    labels = tf.constant([[[[0.0], [1.0]]]])
    loss = _make_loss(class_weights=[1.0, 3.0])(logits, labels)
    np.testing.assert_allclose(loss, (1 + 3) * math.log(2) / 2, rtol=2e-5)


def test_uniform_logits_give_the_logarithm_of_the_number_of_classes() -> None:
    logits, labels = _make_case()
    np.testing.assert_allclose(
        _make_loss()(tf.zeros_like(logits), labels), math.log(NUM_CLASSES), rtol=1e-5
    )
    binary = _make_loss(use_binary_cross_entropy=True)(tf.zeros_like(logits), labels)
    np.testing.assert_allclose(binary, math.log(2), rtol=1e-5)


def test_softmax_in_numpy() -> None:
    """Ground truth of the logits' size: no resizing; smoothing and weights."""
    logits, labels = _make_case(1)
    labels = labels[:, : SIZE[0], : SIZE[1]]
    weights, smoothing = [0.5, 1.0, 2.0, 4.0], 0.1
    loss = _make_loss(class_weights=weights, label_smoothing=smoothing)(logits, labels)
    x, y = logits.numpy().astype(np.float64), labels.numpy()[..., 0].astype(int)
    log_p = x - np.log(np.exp(x).sum(-1, keepdims=True))
    valid = y != IGNORE
    y = np.where(valid, y, 0)
    target = np.eye(NUM_CLASSES)[y] * (1 - smoothing) + smoothing / NUM_CLASSES
    losses = -(target * log_p).sum(-1) * np.array(weights)[y] * valid
    np.testing.assert_allclose(loss, losses.sum() / valid.sum(), rtol=1e-5)


def test_several_layers_are_several_classes_of_a_pixel() -> None:
    logits = tf.constant([[[[2.0, -1.0, 0.5]]]])
    labels = tf.constant([[[[0.0, 2.0]]]])
    loss = _make_loss(use_binary_cross_entropy=True)(logits, labels)
    terms = [math.log1p(math.exp(-2.0)), math.log1p(math.exp(-1.0)), math.log1p(math.exp(-0.5))]
    np.testing.assert_allclose(loss, sum(terms) / 3, rtol=2e-5)


def test_matting_is_a_soft_target() -> None:
    logits = tf.constant([[[[0.0, math.log(3)]]]])
    loss = _make_loss(gt_is_matting_map=True)(logits, tf.constant([[[[0.25]]]]))
    np.testing.assert_allclose(loss, 0.75 * math.log(4) + 0.25 * math.log(4 / 3), rtol=2e-5)


def test_top_k_takes_the_largest() -> None:
    """Of 4 pixels half count, and one of the two largest that are not ignored."""
    loss = _make_loss(top_k_percent_pixels=0.5)
    values = tf.constant([[[4.0, 1.0], [3.0, 2.0]]])
    np.testing.assert_allclose(loss.aggregate_loss_top_k(values, tf.constant(4.0)), 3.5, rtol=1e-4)
    np.testing.assert_allclose(loss.aggregate_loss_top_k(values, tf.constant(1.0)), 7.0, rtol=1e-4)
    np.testing.assert_allclose(loss.aggregate_loss_top_k(values), 3.5, rtol=1e-4)


@pytest.mark.parametrize('ignore_label', [IGNORE, -1, 0])
def test_nothing_but_ignored_pixels_is_a_loss_of_nothing(ignore_label: int) -> None:
    logits, _ = _make_case()
    labels = tf.fill([BATCH, *LABEL_SIZE, 1], float(ignore_label))
    for extra in ({}, {'use_binary_cross_entropy': True}, {'top_k_percent_pixels': 0.3}):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = _make_loss(ignore_label=ignore_label, **extra)(logits, labels)
        assert float(loss) == 0.0
        np.testing.assert_array_equal(tape.gradient(loss, logits), 0.0)


def test_a_subclass_may_change_the_targets() -> None:
    class Swapped(SegmentationLoss):
        def get_labels_with_prob(
            self, logits: tf.Tensor, labels: tf.Tensor, valid_mask: tf.Tensor, **kwargs: Any
        ) -> tf.Tensor:
            targets = super().get_labels_with_prob(logits, labels, valid_mask)
            return targets[..., ::-1] if kwargs['swap'] else targets

    logits, labels = _make_case()
    arguments = (0.0, [], IGNORE, True)
    plain = SegmentationLoss(*arguments)(logits, labels)
    np.testing.assert_allclose(Swapped(*arguments)(logits, labels, swap=False), plain, rtol=1e-6)
    mirrored = SegmentationLoss(*arguments)(logits[..., ::-1], labels)
    np.testing.assert_allclose(Swapped(*arguments)(logits, labels, swap=True), mirrored, rtol=1e-6)


@pytest.mark.parametrize(
    ('changes', 'num_layers', 'text'),
    [
        ({}, 2, r'Expected 1 layer of labels with categorical cross-entropy. Received: 2'),
        ({'gt_is_matting_map': True}, 1, r'Expected 2 classes with a matting map. Received: 4'),
        (
            {'gt_is_matting_map': True, 'use_binary_cross_entropy': True},
            2,
            r'Expected 1 layer of labels with a matting map. Received: 2',
        ),
        (
            {'class_weights': [1.0, 2.0]},
            1,
            r'Expected class_weights for each of 4 classes. Received: 2',
        ),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict, num_layers: int, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        _make_loss(**changes)(*_make_case(num_layers=num_layers))


def test_actual_mask_scores_by_hand() -> None:
    """Predicted 0 0 1 1, true 0 1 1 ignored: IoU 1/2 of both classes, 0 of the third."""
    logits = tf.one_hot([[[0, 0, 1, 1]]], 3)
    labels = tf.constant([[[[0.0], [1.0], [1.0], [255.0]]]])
    np.testing.assert_allclose(get_actual_mask_scores(logits, labels, IGNORE), [[0.5, 0.5, 0.0]])
    loss = MaskScoringLoss(IGNORE)(tf.constant([[0.5, 0.0, 1.0]]), logits, labels)
    np.testing.assert_allclose(loss, (0.25 + 1.0) / 3, rtol=1e-6)


def test_mask_scoring_leaves_out_images_that_fill_the_batch() -> None:
    logits, labels = _make_case()
    scores = tf.random.stateless_uniform([BATCH, NUM_CLASSES], [1, 2])
    loss = MaskScoringLoss(IGNORE)
    masked = loss(scores, logits, labels, is_valid=tf.constant([True, True, False]))
    np.testing.assert_allclose(masked, loss(scores[:2], logits[:2], labels[:2]), rtol=1e-6)


def test_no_gradient_through_the_actual_mask_scores() -> None:
    logits, labels = _make_case()
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = MaskScoringLoss(IGNORE)(tf.zeros([BATCH, NUM_CLASSES]), logits, labels)
    assert tape.gradient(loss, logits) is None


_TWO_REPLICAS = """
import numpy as np, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices('CPU')[0], [tf.config.LogicalDeviceConfiguration()] * 2)
from official_lite.vision.losses.segmentation_losses import SegmentationLoss
generator = np.random.default_rng(0)
logits = tf.constant(generator.normal(size=(2, 4, 4, 3)), tf.float32)
labels = generator.integers(0, 3, (2, 4, 4, 1)).astype('float32')
labels[0, :3] = 255
labels = tf.constant(labels)
strategy = tf.distribute.MirroredStrategy(['cpu:0', 'cpu:1'])
for binary in (False, True):
    loss = SegmentationLoss(0.1, [1.0, 2.0, 3.0], 255, True, binary)
    whole = loss(logits, labels)
    parts = [strategy.experimental_distribute_values_from_function(
        lambda c, t=t: t[c.replica_id_in_sync_group:][:1]) for t in (logits, labels)]
    losses = strategy.run(tf.function(loss.__call__), args=parts)
    mean = strategy.reduce('MEAN', losses, axis=None)
    np.testing.assert_allclose(mean, whole, rtol=1e-5)
"""


def test_the_mean_over_replicas_is_the_loss_of_the_batch() -> None:
    """Also where one replica has a quarter of the other's valid pixels."""
    subprocess.run([sys.executable, '-c', _TWO_REPLICAS], check=True, timeout=120)


_GARDEN_CASES = [
    {},
    {'label_smoothing': 0.1},
    {'class_weights': [0.5, 1.0, 2.0, 0.0]},
    {'use_groundtruth_dimension': False},
    {'use_binary_cross_entropy': True, 'class_weights': [0.5, 1.0, 2.0, 3.0]},
    {'use_binary_cross_entropy': True, 'label_smoothing': 0.2, 'top_k_percent_pixels': 0.3},
    {'top_k_percent_pixels': 0.25, 'class_weights': [0.5, 1.0, 2.0, 3.0]},
    {'top_k_percent_pixels': 0.95},
    {'ignore_label': 2},
    {'ignore_label': -1},
]


@pytest.mark.garden
@pytest.mark.parametrize('changes', _GARDEN_CASES, ids=lambda c: '-'.join(c) or 'plain')
def test_values_and_gradients_are_model_gardens(changes: dict) -> None:
    from official.vision.losses import segmentation_losses as garden

    arguments = {
        'label_smoothing': 0.0,
        'class_weights': [],
        'ignore_label': IGNORE,
        'use_groundtruth_dimension': True,
        **changes,
    }
    layers = (1, 2) if changes.get('use_binary_cross_entropy') else (1,)
    for seed, num_layers in itertools.product((0, 1), layers):
        logits, labels = _make_case(seed, num_layers)
        _compare(
            SegmentationLoss(**arguments), garden.SegmentationLoss(**arguments), logits, labels
        )


@pytest.mark.garden
@pytest.mark.parametrize('use_groundtruth_dimension', [True, False])
def test_matting_is_model_gardens(use_groundtruth_dimension: bool) -> None:
    from official.vision.losses import segmentation_losses as garden

    generator = np.random.default_rng(3)
    logits = tf.constant(generator.normal(0, 2, (2, 4, 5, 2)), tf.float32)
    labels = generator.uniform(0, 1, (2, 8, 10, 1)).astype(np.float32)
    labels[:, 5:] = IGNORE
    arguments = {
        'label_smoothing': 0.1,
        'class_weights': [1.0, 2.5],
        'ignore_label': IGNORE,
        'use_groundtruth_dimension': use_groundtruth_dimension,
        'gt_is_matting_map': True,
    }
    labels = tf.constant(labels)
    _compare(SegmentationLoss(**arguments), garden.SegmentationLoss(**arguments), logits, labels)


@pytest.mark.garden
def test_mask_scoring_is_model_gardens() -> None:
    from official.vision.losses import segmentation_losses as garden

    logits, labels = _make_case(5)
    scores = tf.random.stateless_uniform([BATCH, NUM_CLASSES], [1, 2])
    np.testing.assert_allclose(
        get_actual_mask_scores(logits, labels, IGNORE),
        garden.get_actual_mask_scores(logits, labels, IGNORE),
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        MaskScoringLoss(IGNORE)(scores, logits, labels),
        garden.MaskScoringLoss(IGNORE)(scores, logits, labels),
        rtol=1e-6,
    )
    assert segmentation_losses.EPSILON == garden.EPSILON


def _compare(ours: Any, theirs: Any, logits: tf.Tensor, labels: tf.Tensor) -> None:
    results = []
    for loss in (ours, theirs):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = loss(logits, labels)
        results.append((value, tape.gradient(value, logits)))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=2e-6)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=2e-5, atol=1e-8)
