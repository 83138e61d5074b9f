"""Losses of RetinaNet over all levels, normalised by the number of positives of all replicas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from official_lite.vision.losses import loss_utils

Levels = Mapping[str, tf.Tensor]


class DetectionLosses(NamedTuple):
    """float32 scalars: a replica's part. The mean over replicas is the loss of the whole batch."""

    cls_loss: tf.Tensor
    box_loss: tf.Tensor


def compute_huber(errors: tf.Tensor, delta: float) -> tf.Tensor:
    """Huber's loss: e^2 / 2 up to |e| = delta, then delta (|e| - delta / 2); float32."""
    size = tf.abs(tf.cast(errors, tf.float32))
    quadratic = tf.minimum(size, delta)
    return quadratic * (size - 0.5 * quadratic)


def compute_class_loss_sum(
    cls_outputs: Levels, cls_targets: Levels, cls_weights: tf.Tensor, *, alpha: float, gamma: float
) -> tf.Tensor:
    """Sum of the focal losses of all anchors and classes.

    Args:
        cls_outputs: Logits by level [batch, height_l, width_l, anchors * num_classes].
        cls_targets: Class by level, int [batch, height_l, width_l, anchors]; what is below 0 is of
            no class.
        cls_weights: Weights of anchors, [batch, num_anchors].
        alpha: Weight of positives.
        gamma: Exponent.

    Returns:
        float32 scalar.
    """
    total = tf.zeros([])
    start = 0
    for level, logits in cls_outputs.items():
        targets = cls_targets[level]
        labels = tf.reshape(targets, [tf.shape(targets)[0], -1])  # [batch, anchors of the level]
        count = _num_anchors(targets)
        num_classes = logits.shape[-1] // targets.shape[-1]
        total += _sum_focal_loss(
            tf.reshape(logits, [tf.shape(logits)[0], -1, num_classes]),
            tf.cast(labels, tf.int32),
            cls_weights[:, start : start + count],
            float(alpha),
            float(gamma),
        )
        start += count
    return total


def _num_anchors(targets: tf.Tensor) -> tf.Tensor:
    """Number of anchors of a level, from class targets [batch, height_l, width_l, anchors]."""
    static = targets.shape[1:].num_elements()
    return tf.reduce_prod(tf.shape(targets)[1:]) if static is None else static


def _sum_focal_loss(
    logits: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor, alpha: float, gamma: float
) -> tf.Tensor:
    """Weighted sum of `focal_loss.compute_focal_loss` over [batch, anchors, num_classes].

    The gradient comes from the intermediate results of the loss, in a third of the operations that
    automatic differentiation takes for this largest of all tensors: with z the logit, negated for
    negatives, p = sigmoid(z) and q = 1 - p, it is -alpha_t q^gamma (q - gamma p ln(p)).
    """
    dtype = logits.dtype

    @tf.custom_gradient
    def compute(logits: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        x = tf.cast(logits, tf.float32)
        is_positive = tf.equal(labels[..., None], tf.range(logits.shape[-1]))
        z = tf.where(is_positive, x, -x)
        minus_log_p = tf.math.softplus(-z)
        minus_log_q = minus_log_p + z
        modulator = tf.exp(-gamma * minus_log_q)
        weight = tf.cast(weights, tf.float32)[..., None] * tf.where(is_positive, alpha, 1.0 - alpha)
        scaled = weight * modulator
        total = tf.reduce_sum(scaled * minus_log_p)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            q = tf.exp(-minus_log_q)
            slope = scaled * (q + gamma * (1.0 - q) * minus_log_p)
            return tf.cast(upstream * tf.where(is_positive, -slope, slope), dtype)

        return total, gradient

    return compute(logits)


def compute_box_loss_sum(
    box_outputs: Levels, box_targets: Levels, box_weights: tf.Tensor, *, delta: float
) -> tf.Tensor:
    """Sum over anchors of Huber's loss, which is a mean over the four coordinates.

    Args:
        box_outputs: Deltas by level [batch, height_l, width_l, anchors * 4].
        box_targets: Targets by level, of the same shapes.
        box_weights: Weights of anchors, [batch, num_anchors].
        delta: Where the loss turns linear.

    Returns:
        float32 scalar.
    """
    outputs = loss_utils.multi_level_flatten(box_outputs, last_dim=4)
    targets = loss_utils.multi_level_flatten(
        {level: box_targets[level] for level in box_outputs}, last_dim=4
    )
    errors = tf.cast(outputs, tf.float32) - tf.cast(targets, tf.float32)
    losses = tf.reduce_mean(compute_huber(errors, delta), axis=-1)  # [batch, num_anchors]
    return tf.reduce_sum(losses * tf.cast(box_weights, tf.float32))


def compute_retinanet_losses(
    outputs: Mapping[str, Levels],
    labels: Mapping[str, Any],
    *,
    alpha: float,
    gamma: float,
    huber_delta: float,
) -> DetectionLosses:
    """Class and box loss, each a sum over anchors divided by (positives of all replicas + 1) /
    replicas.

    Args:
        outputs: `cls_outputs` and `box_outputs` of `RetinaNetModel`.
        labels: `cls_targets`, `box_targets`, `cls_weights` and `box_weights`, such as
            `anchor.label_anchors_batch` returns.
        alpha: Focal loss's weight of positives.
        gamma: Focal loss's exponent.
        huber_delta: Where the box loss turns linear.

    Returns:
        The two losses.
    """
    normalizer = loss_utils.compute_normalizer(labels['box_weights'])
    cls_sum = compute_class_loss_sum(
        outputs['cls_outputs'],
        labels['cls_targets'],
        labels['cls_weights'],
        alpha=alpha,
        gamma=gamma,
    )
    box_sum = compute_box_loss_sum(
        outputs['box_outputs'], labels['box_targets'], labels['box_weights'], delta=huber_delta
    )
    return DetectionLosses(cls_sum / normalizer, box_sum / normalizer)
