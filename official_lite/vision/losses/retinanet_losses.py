"""Losses of RetinaNet over all levels, normalised by the number of positives of all replicas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from official_lite.vision.losses import loss_utils

Levels = Mapping[str, tf.Tensor]


# Where the loss of numbers that are attributes turns linear.
ATTRIBUTE_HUBER_DELTA = 1.0


class DetectionLosses(NamedTuple):
    """float32 scalars: a replica's part. The mean over replicas is the loss of the whole batch.

    Attributes:
        cls_loss: Loss of the classes.
        box_loss: Loss of the boxes.
        attribute_losses: Losses of attributes by name.
    """

    cls_loss: tf.Tensor
    box_loss: tf.Tensor
    attribute_losses: dict[str, tf.Tensor]


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
    box_outputs: Levels,
    box_targets: Levels,
    box_weights: tf.Tensor,
    *,
    delta: float,
    size: int = 4,
) -> tf.Tensor:
    """Sum over anchors of Huber's loss, which is a mean over the values of an anchor.

    Args:
        box_outputs: Predictions by level [batch, height_l, width_l, anchors * size].
        box_targets: Targets by level, of the same shapes.
        box_weights: Weights of anchors, [batch, num_anchors].
        delta: Where the loss turns linear.
        size: Number of values of an anchor: the four of a box.

    Returns:
        float32 scalar.
    """
    outputs = loss_utils.multi_level_flatten(box_outputs, last_dim=size)
    targets = loss_utils.multi_level_flatten(
        {level: box_targets[level] for level in box_outputs}, last_dim=size
    )
    errors = tf.cast(outputs, tf.float32) - tf.cast(targets, tf.float32)
    losses = tf.reduce_mean(compute_huber(errors, delta), axis=-1)  # [batch, num_anchors]
    return tf.reduce_sum(losses * tf.cast(box_weights, tf.float32))


def compute_attribute_loss_sum(
    outputs: Levels,
    targets: Levels,
    box_weights: tf.Tensor,
    *,
    kind: str,
    size: int,
    alpha: float,
    gamma: float,
) -> tf.Tensor:
    """Sum over positive anchors of the loss of one attribute.

    Numbers have Huber's loss with a delta of 1, as a mean over the attribute's values; classes the
    focal loss, summed over classes.

    Args:
        outputs: Predictions by level [batch, height_l, width_l, anchors * size].
        targets: By level, of the same shapes; of a class [batch, height_l, width_l, anchors], from
            0.
        box_weights: Weights of anchors, [batch, num_anchors].
        kind: 'regression' or 'classification'.
        size: Number of values, or of classes.
        alpha: Focal loss's weight of positives.
        gamma: Focal loss's exponent.

    Returns:
        float32 scalar.

    Raises:
        ValueError: Another kind.
    """
    if kind == 'regression':
        return compute_box_loss_sum(
            outputs, targets, box_weights, delta=ATTRIBUTE_HUBER_DELTA, size=size
        )
    if kind == 'classification':
        return compute_class_loss_sum(outputs, targets, box_weights, alpha=alpha, gamma=gamma)
    raise ValueError(
        f"Expected an attribute to be of kind 'regression' or 'classification'. Received: {kind!r}"
    )


def compute_retinanet_losses(
    outputs: Mapping[str, Any],
    labels: Mapping[str, Any],
    *,
    alpha: float,
    gamma: float,
    huber_delta: float,
    attributes: Mapping[str, tuple[str, int]] | None = None,
) -> DetectionLosses:
    """Class, box and attribute losses, each a sum over anchors divided by (positives of all
    replicas + 1) / replicas.

    Args:
        outputs: `cls_outputs`, `box_outputs` and, with attributes, `attribute_outputs` of
            `RetinaNetModel`.
        labels: `cls_targets`, `box_targets`, `cls_weights`, `box_weights` and, with attributes,
            `attribute_targets`, such as `anchor.label_anchors_batch` returns.
        alpha: Focal loss's weight of positives.
        gamma: Focal loss's exponent.
        huber_delta: Where the box loss turns linear.
        attributes: Kind and size of attributes by name, see `compute_attribute_loss_sum`.

    Returns:
        The losses.
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
    attribute_losses = {
        name: compute_attribute_loss_sum(
            outputs['attribute_outputs'][name],
            labels['attribute_targets'][name],
            labels['box_weights'],
            kind=kind,
            size=size,
            alpha=alpha,
            gamma=gamma,
        )
        / normalizer
        for name, (kind, size) in (attributes or {}).items()
    }
    return DetectionLosses(cls_sum / normalizer, box_sum / normalizer, attribute_losses)
