"""Focal loss."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


def compute_focal_loss(
    logits: tf.Tensor, targets: tf.Tensor, alpha: float, gamma: float
) -> tf.Tensor:
    """Sigmoid focal loss: -alpha_t (1 - p_t)^gamma ln(p_t) (https://arxiv.org/abs/1708.02002,
    equation 5).

    p_t and alpha_t are p and alpha where the target is 1, and 1 - p and 1 - alpha elsewhere.
    Computed from logarithms, so that neither value nor gradient overflows at any logit.

    Args:
        logits: Float [...].
        targets: [...], 1 for positives.
        alpha: Weight of positives.
        gamma: Exponent; 0 gives weighted cross-entropy.

    Returns:
        float32 [...].
    """
    logits = tf.cast(logits, tf.float32)
    is_positive = tf.equal(targets, tf.ones([], targets.dtype))
    # ln(p_t) = -softplus(-z) and ln(1 - p_t) = -softplus(z), with z = x for positives, else -x.
    z = tf.where(is_positive, logits, -logits)
    loss = tf.exp(-gamma * tf.math.softplus(z)) * tf.math.softplus(-z)
    return tf.where(is_positive, alpha, 1.0 - alpha) * loss


@keras.saving.register_keras_serializable(package='official_lite')
class FocalLoss(keras.losses.Loss):
    """Focal loss of logits [batch, num_anchors, num_classes] against targets of the same shape; see
    `compute_focal_loss`.

    Args:
        alpha: Weight of positives.
        gamma: Exponent.
        reduction: Keras's reduction: 'sum', 'none', ...
        name: Name of the loss.
    """

    def __init__(
        self,
        alpha: float,
        gamma: float,
        reduction: str = 'sum_over_batch_size',
        name: str = 'focal_loss',
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype='float32')
        self._alpha = alpha
        self._gamma = gamma

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        return compute_focal_loss(y_pred, y_true, self._alpha, self._gamma)

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), 'alpha': self._alpha, 'gamma': self._gamma}
        config.pop('dtype', None)
        return config
