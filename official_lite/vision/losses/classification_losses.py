"""Losses of image classification: one number for each image."""

from __future__ import annotations

import tensorflow as tf

__all__ = [
    'binary_cross_entropy',
    'harden_labels',
    'mean_of_valid',
    'multilabel_cross_entropy',
    'smooth_labels',
    'softmax_cross_entropy',
    'sparse_cross_entropy',
]


def smooth_labels(labels: tf.Tensor, label_smoothing: float) -> tf.Tensor:
    """Spreads a share of each label vector over all classes (1512.00567, section 7).

    Args:
        labels: float32 [batch, num_classes].
        label_smoothing: The share, 0 to 1.
    """
    if not label_smoothing:
        return labels
    return labels * (1.0 - label_smoothing) + label_smoothing / labels.shape[-1]


def softmax_cross_entropy(
    labels: tf.Tensor, logits: tf.Tensor, label_smoothing: float = 0.0
) -> tf.Tensor:
    """Cross entropy of one class out of many.

    Args:
        labels: float32 [batch, num_classes], a distribution for each image.
        logits: float32 [batch, num_classes].
        label_smoothing: See `smooth_labels`.

    Returns:
        float32 [batch].
    """
    labels = smooth_labels(labels, label_smoothing)
    return tf.nn.softmax_cross_entropy_with_logits(labels=labels, logits=logits)


def sparse_cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """`softmax_cross_entropy` of labels that are numbers, int [batch]."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)


def binary_cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Mean over the classes of a sigmoid's cross entropy (2110.00476).

    Args:
        labels: float32 [batch, num_classes], 0 to 1.
        logits: float32 [batch, num_classes].

    Returns:
        float32 [batch].
    """
    losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)
    return tf.reduce_mean(losses, axis=-1)


def multilabel_cross_entropy(
    labels: tf.Tensor, logits: tf.Tensor, label_smoothing: float = 0.0
) -> tf.Tensor:
    """Sum over the classes of a sigmoid's cross entropy.

    Args:
        labels: [batch, num_classes], 1 for the classes of an image, else 0.
        logits: float32 [batch, num_classes].
        label_smoothing: Labels move towards a half by this share.

    Returns:
        float32 [batch].
    """
    labels = tf.cast(labels, logits.dtype)
    labels = labels * (1.0 - label_smoothing) + 0.5 * label_smoothing
    losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)
    return tf.reduce_sum(losses, axis=-1)


def harden_labels(labels: tf.Tensor, off_value: float) -> tf.Tensor:
    """1 for every class that has a part in a mixed image, else 0 (2110.00476).

    Args:
        labels: float32 [batch, num_classes] of Mixup or CutMix.
        off_value: Value of a class that has no part: the smoothing's share of it.
    """
    return tf.cast(labels > off_value + 1e-6, labels.dtype)


def mean_of_valid(losses: tf.Tensor, is_valid: tf.Tensor | None = None) -> tf.Tensor:
    """Mean over images; 0 if there are none.

    Args:
        losses: float32 [batch].
        is_valid: bool [batch]; the others only fill the batch. None: all are.
    """
    if is_valid is None:
        is_valid = tf.ones_like(losses, tf.bool)
    weights = tf.cast(is_valid, losses.dtype)
    return tf.math.divide_no_nan(tf.reduce_sum(losses * weights), tf.reduce_sum(weights))
