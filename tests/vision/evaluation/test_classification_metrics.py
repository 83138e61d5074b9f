"""Accuracy, precision and recall of classification, beside Keras, scikit-learn and by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite.vision.evaluation import classification_metrics as metrics

RANDOM = np.random.default_rng(0)
SCORES = tf.nn.softmax(RANDOM.normal(size=[40, 6], scale=2.0)).numpy().astype(np.float32)
LABELS = RANDOM.integers(0, 5, [40])  # class 5 never occurs
IS_VALID = RANDOM.random([40]) < 0.7


@pytest.mark.parametrize('k', [1, 2, 5, 9])
def test_top_k_equals_keras(k: int):
    ours = metrics.TopKAccuracy(k, name='top')
    ours.update_state(LABELS[:20], SCORES[:20])
    ours.update_state(LABELS[20:], SCORES[20:])
    theirs = keras.metrics.SparseTopKCategoricalAccuracy(min(k, 6))
    theirs.update_state(LABELS, SCORES)
    assert float(ours.result()) == pytest.approx(float(theirs.result()))


def test_top_k_of_equal_scores_and_of_masked_images():
    metric = metrics.TopKAccuracy(1, name='accuracy')
    metric.update_state([0, 1], tf.zeros([2, 3]))  # nothing learned: a third is not all
    assert float(metric.result()) == 0.5
    metric.reset_state()
    metric.update_state(LABELS, SCORES, sample_weight=IS_VALID.astype(np.float32))
    expected = (SCORES.argmax(-1) == LABELS)[IS_VALID].mean()
    assert float(metric.result()) == pytest.approx(expected)


def compute(**options: bool) -> dict[str, float]:
    metric = metrics.PrecisionAndRecall([0.3, 0.8], 6, **options)
    for part in (slice(0, 25), slice(25, 40)):
        metric.update_state(LABELS[part], SCORES[part], IS_VALID[part].astype(np.float32))
    return {name: float(value) for name, value in metric.result().items()}


def test_precision_and_recall_by_hand():
    found = compute()
    best, score = SCORES.argmax(-1), SCORES.max(-1)
    for threshold in (0.3, 0.8):
        is_found = (score > threshold) & IS_VALID
        right = (is_found & (best == LABELS)).sum()
        assert found[f'precision_at_threshold_{threshold}'] == pytest.approx(right / is_found.sum())
        assert found[f'recall_at_threshold_{threshold}'] == pytest.approx(right / IS_VALID.sum())
    assert len(found) == 4


def test_precision_and_recall_of_each_class_equal_keras():
    found = compute(per_class=True)
    assert len(found) == 4 * 7
    vectors = tf.one_hot(LABELS, 6)
    weights = IS_VALID.astype(np.float32)
    for label in range(6):
        for threshold in (0.3, 0.8):
            for kind in (keras.metrics.Precision, keras.metrics.Recall):
                metric = kind(thresholds=threshold, class_id=label, top_k=1)
                metric.update_state(vectors, SCORES, sample_weight=weights)
                name = f'{kind.__name__.lower()}_at_threshold_{threshold}/{label}'
                assert found[name] == pytest.approx(float(metric.result()), abs=1e-6), name


def test_a_new_evaluation_starts_from_nothing():
    metric = metrics.PrecisionAndRecall([0.5], 3)
    metric.update_state([0, 1], tf.constant([[0.9, 0.1, 0.0], [0.9, 0.1, 0.0]]))
    assert float(metric.result()['precision_at_threshold_0.5']) == 0.5
    metric.reset_state()
    assert {float(value) for value in metric.result().values()} == {0.0}
