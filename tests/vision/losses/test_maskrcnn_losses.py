"""Losses of two-stage detectors, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from official_lite.vision.losses import maskrcnn_losses

# Softplus(0): the cross-entropy of a logit of 0.
LN2 = float(np.log(2.0))


def _softplus(x: float) -> float:
    return float(np.log1p(np.exp(x)))


def test_rpn_score() -> None:
    """Anchors that are not drawn do not count; levels are one sum."""
    outputs = {'2': tf.constant([[[[0.0, 3.0]]], [[[1.0, 0.0]]]]), '3': tf.zeros([2, 1, 1, 1])}
    labels = {'2': tf.constant([[[[1, -1]]], [[[0, 2]]]]), '3': tf.constant([[[[0]]], [[[1]]]])}
    got = maskrcnn_losses.RpnScoreLoss(4)(outputs, labels)
    np.testing.assert_allclose(got, (LN2 + _softplus(1.0) + 2 * LN2) / (2 * 4), rtol=1e-6)


def test_b9_rpn_score_is_divided_by_the_anchors_drawn_not_by_the_regions() -> None:
    """Model Garden's task passes the number of sampled regions, twice as many."""
    outputs, labels = {'2': tf.zeros([1, 16, 16, 1])}, {'2': tf.ones([1, 16, 16, 1])}
    np.testing.assert_allclose(maskrcnn_losses.RpnScoreLoss(256)(outputs, labels), LN2, rtol=1e-6)


def test_rpn_box() -> None:
    """Each level is divided by the number of values of its positive anchors."""
    outputs = {'2': tf.zeros([1, 1, 2, 4]), '3': tf.zeros([1, 1, 1, 4])}
    labels = {
        '2': tf.constant([[[[0.05, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]]]]),
        '3': tf.constant([[[[2.0, 0.0, 0.0, 0.0]]]]),
    }
    delta = 0.1
    first = (0.05**2 / 2 + delta * (1.0 - delta / 2)) / 4.01
    second = delta * (2.0 - delta / 2) / 4.01
    loss = maskrcnn_losses.RpnBoxLoss(delta)
    np.testing.assert_allclose(loss(outputs, labels), first + second, rtol=1e-6)


def test_an_anchor_that_equals_its_box_counts_where_it_is_said_to_be_positive() -> None:
    """Its target is 0, by which Model Garden takes it for background."""
    outputs = {'2': tf.fill([1, 1, 2, 4], 0.2)}
    labels = {'2': tf.zeros([1, 1, 2, 4])}
    loss = maskrcnn_losses.RpnBoxLoss(1.0)
    assert float(loss(outputs, labels)) == 0.0
    got = loss(outputs, labels, {'2': tf.constant([[[[1.0], [0.0]]]])})
    np.testing.assert_allclose(got, 4 * 0.02 / 4.01, rtol=1e-5)


def test_class_loss_at_the_start_is_the_entropy_of_all_classes() -> None:
    got = maskrcnn_losses.FastrcnnClassLoss()(tf.zeros([2, 3, 91]), tf.ones([2, 3], tf.int32))
    np.testing.assert_allclose(got, np.log(91.0), rtol=1e-6)


def test_class_loss_weights_and_share() -> None:
    logits = tf.constant([[[0.0, 0.0], [0.0, 2.0], [0.0, -2.0]]])
    targets = tf.constant([[0, 1, 1]])
    weights = [0.5, 3.0]
    losses = [0.5 * LN2, 3.0 * _softplus(-2.0), 3.0 * _softplus(2.0)]
    got = maskrcnn_losses.FastrcnnClassLoss()(logits, targets, weights)
    np.testing.assert_allclose(got, np.mean(losses), rtol=1e-6)
    got = maskrcnn_losses.FastrcnnClassLoss(top_k_percent=0.7)(logits, targets, weights)
    np.testing.assert_allclose(got, (losses[2] + losses[1]) / (2 + 1e-5), rtol=1e-6)
    binary = maskrcnn_losses.FastrcnnClassLoss(use_binary_cross_entropy=True)
    expected = [
        [0.5 * LN2, 3.0 * LN2],
        [0.5 * LN2, 3.0 * _softplus(-2.0)],
        [0.5 * LN2, 3.0 * _softplus(2.0)],
    ]
    np.testing.assert_allclose(binary(logits, targets, weights), np.mean(expected), rtol=1e-6)


def test_class_weights_of_another_number_are_refused() -> None:
    with pytest.raises(ValueError, match=r'Length of class_weights should be 2\. Received: 3'):
        maskrcnn_losses.FastrcnnClassLoss()(
            tf.zeros([1, 1, 2]), tf.zeros([1, 1]), class_weights=[1.0, 1.0, 1.0]
        )


def test_box_loss_reads_the_values_of_the_class() -> None:
    outputs = np.zeros((1, 3, 3, 4), np.float32)
    outputs[0, 0, 2] = [1.0, 0, 0, 0]  # the class of the first
    outputs[0, 1, 1] = 9.0  # not the class of the second
    outputs[0, 2] = 9.0  # background
    targets = np.zeros((1, 3, 4), np.float32)
    targets[0, 0] = [1.5, 0, 0, 3.0]
    classes = tf.constant([[2.0, 2.0, 0.0]])
    got = maskrcnn_losses.FastrcnnBoxLoss(1.0)(outputs.reshape(1, 3, 12), classes, targets)
    np.testing.assert_allclose(got, (0.125 + 2.5) / 8.01, rtol=1e-6)
    agnostic = maskrcnn_losses.FastrcnnBoxLoss(1.0, class_agnostic_bbox_pred=True)
    np.testing.assert_allclose(
        agnostic(tf.constant(outputs[:, :, 2]), classes, targets), (0.125 + 2.5) / 8.01, rtol=1e-6
    )


def test_mask_loss_is_that_of_objects_pixels() -> None:
    outputs = tf.constant(np.array([[np.zeros((2, 3)), np.full((2, 3), 50.0)]], np.float32))
    targets = tf.zeros([1, 2, 2, 3])
    got = maskrcnn_losses.MaskrcnnLoss()(outputs, targets, tf.constant([[4, 0]]))
    np.testing.assert_allclose(got, 6 * LN2 / 6.01, rtol=1e-6)


def test_nothing_to_learn_is_0() -> None:
    assert float(maskrcnn_losses.RpnBoxLoss(1.0)(*[{'2': tf.zeros([1, 2, 2, 4])}] * 2)) == 0.0
    zeros = tf.zeros([1, 2], tf.int32)
    assert (
        float(maskrcnn_losses.FastrcnnBoxLoss(1.0)(tf.ones([1, 2, 8]), zeros, tf.zeros([1, 2, 4])))
        == 0.0
    )
    assert float(maskrcnn_losses.MaskrcnnLoss()(*[tf.ones([1, 2, 3, 3])] * 2, zeros)) == 0.0


def test_losses_are_float32_whatever_the_outputs() -> None:
    outputs = tf.ones([1, 2, 8], tf.bfloat16)
    classes = tf.constant([[1, 0]])
    assert maskrcnn_losses.FastrcnnClassLoss()(outputs, classes).dtype == tf.float32
    box = maskrcnn_losses.FastrcnnBoxLoss(1.0)(outputs, classes, tf.zeros([1, 2, 4]))
    assert box.dtype == tf.float32
    scores = {'2': tf.ones([1, 2, 2, 1], tf.bfloat16)}
    assert maskrcnn_losses.RpnScoreLoss(8)(scores, {'2': tf.ones([1, 2, 2, 1])}).dtype == tf.float32
