"""Losses of image classification, beside NumPy and tf-models-official."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from official_lite.vision.losses import classification_losses as losses

LOGITS = np.array([[2.0, -1.0, 0.5], [0.0, 0.0, 3.0]], np.float32)
LABELS = np.array([0, 1])
ONE_HOT = np.eye(3, dtype=np.float32)[LABELS]


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


@pytest.mark.parametrize('smoothing', [0.0, 0.1, 0.5])
def test_softmax(smoothing: float):
    labels = ONE_HOT * (1 - smoothing) + smoothing / 3
    expected = -(labels * log_softmax(LOGITS)).sum(-1)
    found = losses.softmax_cross_entropy(tf.constant(ONE_HOT), tf.constant(LOGITS), smoothing)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_labels_as_numbers_equal_vectors():
    sparse = losses.sparse_cross_entropy(tf.constant(LABELS), tf.constant(LOGITS))
    vectors = losses.softmax_cross_entropy(tf.constant(ONE_HOT), tf.constant(LOGITS))
    np.testing.assert_allclose(sparse, vectors, rtol=1e-6)


def binary(labels: np.ndarray) -> np.ndarray:
    shares = 1 / (1 + np.exp(-LOGITS))
    return -(labels * np.log(shares) + (1 - labels) * np.log(1 - shares))


def test_binary_is_a_mean_and_multilabel_a_sum():
    labels = tf.constant([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    expected = binary(labels.numpy())
    found = losses.binary_cross_entropy(labels, tf.constant(LOGITS))
    np.testing.assert_allclose(found, expected.mean(-1), rtol=1e-5)
    found = losses.multilabel_cross_entropy(tf.cast(labels, tf.int32), tf.constant(LOGITS))
    np.testing.assert_allclose(found, expected.sum(-1), rtol=1e-5)
    found = losses.multilabel_cross_entropy(labels, tf.constant(LOGITS), 0.2)
    np.testing.assert_allclose(found, binary(labels.numpy() * 0.8 + 0.1).sum(-1), rtol=1e-5)


def test_mixed_labels_become_zeros_and_ones():
    off = 0.1 / 3
    labels = tf.constant([[off, 0.4 + off, 0.5 + off], [off, off, 0.9 + off]])
    assert losses.harden_labels(labels, off).numpy().tolist() == [[0, 1, 1], [0, 0, 1]]
    assert losses.harden_labels(tf.constant([[0.0, 1e-3]]), 0.0).numpy().tolist() == [[0, 1]]


def test_what_fills_a_batch_does_not_count():
    values = tf.constant([1.0, 5.0, 9.0])
    assert float(losses.mean_of_valid(values)) == 5.0
    assert float(losses.mean_of_valid(values, tf.constant([True, False, True]))) == 5.0
    assert float(losses.mean_of_valid(values, tf.constant([True, True, False]))) == 3.0
    assert float(losses.mean_of_valid(values, tf.constant([False] * 3))) == 0.0
