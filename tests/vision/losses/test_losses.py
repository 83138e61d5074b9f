"""Detection losses: closed forms, extremes, several replicas, and Model Garden's numbers."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from official_lite.vision.losses import focal_loss, loss_utils, retinanet_losses

LEVELS = {'3': (4, 6), '4': (2, 3)}
NUM_ANCHORS, NUM_CLASSES, BATCH = 3, 5, 2
TOTAL = sum(h * w for h, w in LEVELS.values()) * NUM_ANCHORS


def _make_case(seed: int = 0, dtype: str = 'float32') -> tuple[dict, dict]:
    generator = np.random.default_rng(seed)

    def make(size: int, scale: float) -> dict:
        return {
            level: tf.constant(generator.normal(0, scale, (BATCH, h, w, NUM_ANCHORS * size)), dtype)
            for level, (h, w) in LEVELS.items()
        }

    outputs = {'cls_outputs': make(NUM_CLASSES, 3.0), 'box_outputs': make(4, 0.3)}
    cls_targets = {
        level: tf.constant(
            generator.choice([-1, -1, -1, 1, 2, 4], (BATCH, h, w, NUM_ANCHORS)), tf.int32
        )
        for level, (h, w) in LEVELS.items()
    }
    flat = tf.concat([tf.reshape(t, [BATCH, -1]) for t in cls_targets.values()], 1)
    labels = {
        'cls_targets': cls_targets,
        'box_targets': {k: tf.cast(v, tf.float32) for k, v in make(4, 0.3).items()},
        'cls_weights': tf.constant(generator.choice([0.0, 1.0, 1.0], (BATCH, TOTAL)), tf.float32),
        'box_weights': tf.cast(flat > 0, tf.float32),
    }
    return outputs, labels


def test_focal_loss_by_hand() -> None:
    p = 1.0 / (1.0 + math.exp(-2.0))
    got = focal_loss.compute_focal_loss(tf.constant([2.0, 2.0]), tf.constant([1, 0]), 0.25, 1.5)
    expected = [-0.25 * (1 - p) ** 1.5 * math.log(p), -0.75 * p**1.5 * math.log(1 - p)]
    np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize('gamma', [0.0, 0.5, 1.5])
def test_focal_loss_and_gradient_are_finite_everywhere(gamma: float) -> None:
    logits = tf.constant([-1e4, -100.0, -20.0, 0.0, 20.0, 100.0, 1e4])
    for target in (0, 1):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = focal_loss.compute_focal_loss(logits, tf.fill([7], target), 0.25, gamma)
        assert np.isfinite(loss).all()
        assert np.isfinite(tape.gradient(loss, logits)).all()


def test_first_loss_equals_its_closed_form() -> None:
    """All logits at the prior: every anchor and class contributes the same, but for positives."""
    prior, alpha, gamma = 0.01, 0.25, 1.5
    outputs, labels = _make_case()
    bias = -math.log((1 - prior) / prior)
    outputs['cls_outputs'] = {k: tf.fill(v.shape, bias) for k, v in outputs['cls_outputs'].items()}
    outputs['box_outputs'] = {k: tf.zeros_like(v) for k, v in outputs['box_outputs'].items()}
    labels['cls_weights'] = tf.ones([BATCH, TOTAL])
    losses = retinanet_losses.compute_retinanet_losses(
        outputs, labels, alpha=alpha, gamma=gamma, huber_delta=0.1
    )
    positives = float(tf.reduce_sum(labels['box_weights']))
    negative_part = (1 - alpha) * prior**gamma * -math.log(1 - prior)
    positive_part = alpha * (1 - prior) ** gamma * -math.log(prior)
    entries = BATCH * TOTAL * NUM_CLASSES
    expected = ((entries - positives) * negative_part + positives * positive_part) / (positives + 1)
    np.testing.assert_allclose(losses.cls_loss, expected, rtol=1e-5)


def test_huber_by_hand() -> None:
    got = retinanet_losses.compute_huber(tf.constant([0.0, 0.05, -0.1, 0.4, -2.0]), 0.1)
    np.testing.assert_allclose(got, [0.0, 0.00125, 0.005, 0.035, 0.195], rtol=1e-5)


def test_ignored_anchors_and_negatives_do_not_count() -> None:
    outputs, labels = _make_case()
    labels['cls_weights'] = tf.zeros([BATCH, TOTAL])
    labels['box_weights'] = tf.zeros([BATCH, TOTAL])
    losses = retinanet_losses.compute_retinanet_losses(
        outputs, labels, alpha=0.25, gamma=1.5, huber_delta=0.1
    )
    assert float(losses.cls_loss) == float(losses.box_loss) == 0.0


def test_multi_level_flatten() -> None:
    levels = {
        '3': tf.reshape(tf.range(12), [1, 1, 2, 6]),
        '4': tf.reshape(tf.range(12, 18), [1, 1, 1, 6]),
    }
    np.testing.assert_array_equal(loss_utils.multi_level_flatten(levels), [np.arange(18)])
    got = loss_utils.multi_level_flatten(levels, last_dim=3)
    np.testing.assert_array_equal(got, np.arange(18).reshape(1, 6, 3))


def test_loss_object_round_trip() -> None:
    loss = focal_loss.FocalLoss(0.25, 1.5, reduction='sum')
    copy = focal_loss.FocalLoss.from_config(loss.get_config())
    assert copy.get_config() == loss.get_config()
    y_true, y_pred = tf.one_hot([[1, 2]], 3), tf.random.normal([1, 2, 3])
    np.testing.assert_allclose(copy(y_true, y_pred), loss(y_true, y_pred))


REPLICAS = """
import numpy as np
import tensorflow as tf
cpu = tf.config.list_physical_devices('CPU')[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from official_lite.vision.losses import retinanet_losses
from official_lite.vision.ops import anchor

generator = np.random.default_rng(0)
anchors = anchor.Anchor(3, 4, 1, [1.0, 2.0], 4.0, (64, 96)).multilevel_boxes
# All boxes are on the first image: a normaliser per replica would weigh them otherwise.
boxes = np.float32([[[5, 5, 40, 40], [20, 30, 60, 90]], [[-1] * 4] * 2])
classes = np.int32([[1, 3], [-1, -1]])
attributes = {'depth': np.float32([[[3, 4], [5, 6]]] * 2), 'kind': np.int32([[[1], [2]]] * 2)}
predictions = [
    {k: generator.normal(size=(2, *v.shape[:2], 2 * n)).astype(np.float32) for k, v in anchors.items()}
    for n in (5, 4, 2, 3)
]

def run(strategy):
    def step(inputs):
        cls_outputs, box_outputs, depth, kind, boxes, classes, attributes = inputs
        labels = anchor.label_anchors_batch(anchors, boxes, classes, attributes=attributes)
        outputs = {
            'cls_outputs': cls_outputs,
            'box_outputs': box_outputs,
            'attribute_outputs': {'depth': depth, 'kind': kind},
        }
        losses = retinanet_losses.compute_retinanet_losses(
            outputs,
            labels._asdict(),
            alpha=0.25,
            gamma=1.5,
            huber_delta=0.1,
            attributes={'depth': ('regression', 2), 'kind': ('classification', 3)},
        )
        context = tf.distribute.get_replica_context()
        return context.all_reduce('MEAN', tf.nest.flatten(losses))

    size = 2 // strategy.num_replicas_in_sync

    def take(array):
        return strategy.experimental_distribute_values_from_function(
            lambda c: tf.constant(array[size * c.replica_id_in_sync_group:][:size])
        )

    inputs = tf.nest.map_structure(take, (*predictions, boxes, classes, attributes))
    results = tf.function(lambda x: strategy.run(step, (x,)))(inputs)
    return [float(strategy.experimental_local_results(r)[0]) for r in results]

one = run(tf.distribute.OneDeviceStrategy('CPU:0'))
two = run(tf.distribute.MirroredStrategy(['CPU:0', 'CPU:1'], tf.distribute.ReductionToOneDevice()))
np.testing.assert_allclose(two, one, rtol=1e-5)
assert min(one) > 0.0
print('agrees')
"""


def test_mean_over_two_replicas_is_the_loss_of_the_whole_batch() -> None:
    """The normaliser is that of the global batch, however unevenly positives are spread."""
    result = subprocess.run(
        [sys.executable, '-c', REPLICAS], capture_output=True, text=True, timeout=300, check=False
    )
    assert 'agrees' in result.stdout, result.stderr[-3000:]


@pytest.mark.garden
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_losses_and_gradients_equal_model_garden(dtype: str) -> None:
    import tf_keras
    from official.vision.losses import focal_loss as garden_focal
    from official.vision.losses import loss_utils as garden_utils

    outputs, labels = _make_case(dtype=dtype)
    flat_outputs = tf.nest.flatten(outputs)
    with tf.GradientTape() as tape:
        tape.watch(flat_outputs)
        normalizer = tf.reduce_sum(labels['box_weights']) + 1.0
        reduction = tf_keras.losses.Reduction.SUM
        cls_loss = garden_focal.FocalLoss(0.25, 1.5, reduction)(
            tf.one_hot(garden_utils.multi_level_flatten(labels['cls_targets']), NUM_CLASSES),
            tf.cast(
                garden_utils.multi_level_flatten(outputs['cls_outputs'], NUM_CLASSES), tf.float32
            ),
            labels['cls_weights'] / normalizer,
        )
        box_loss = tf_keras.losses.Huber(0.1, reduction)(
            garden_utils.multi_level_flatten(labels['box_targets'], 4),
            tf.cast(garden_utils.multi_level_flatten(outputs['box_outputs'], 4), tf.float32),
            labels['box_weights'] / normalizer,
        )
        total = cls_loss + 50.0 * box_loss
    expected = tape.gradient(total, flat_outputs)
    with tf.GradientTape() as tape:
        tape.watch(flat_outputs)
        losses = retinanet_losses.compute_retinanet_losses(
            outputs, labels, alpha=0.25, gamma=1.5, huber_delta=0.1
        )
        total = losses.cls_loss + 50.0 * losses.box_loss
    got = tape.gradient(total, flat_outputs)
    np.testing.assert_allclose(losses.cls_loss, cls_loss, rtol=1e-5)
    np.testing.assert_allclose(losses.box_loss, box_loss, rtol=1e-5)
    tolerance = 1e-5 if dtype == 'float32' else 1e-2
    for ours, theirs in zip(got, expected, strict=True):
        ours, theirs = (np.asarray(tf.cast(g, tf.float32)) for g in (ours, theirs))
        np.testing.assert_allclose(ours, theirs, atol=tolerance * np.abs(theirs).max())
