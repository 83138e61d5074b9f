"""Losses of Faster, Mask and Cascade R-CNN (arXiv:1506.01497, 1703.06870, 1712.00726).

Each is a sum divided by a number that is the same on all replicas, so that the mean of a loss over
replicas, which a train step takes, is the loss of the whole batch. All are float32 scalars, for
outputs of any dtype.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Optional, Union

import tensorflow as tf

from official_lite.vision.losses import loss_utils, retinanet_losses

__all__ = [
    'FastrcnnBoxLoss',
    'FastrcnnClassLoss',
    'MaskScoreLoss',
    'MaskrcnnLoss',
    'RpnBoxLoss',
    'RpnScoreLoss',
]

Levels = Mapping[str, tf.Tensor]

# Added to counts, so that nothing is divided by 0.
_COUNT_OFFSET = 0.01
# Added to the number of losses that `top_k_percent` keeps.
_TOP_K_OFFSET = 1e-5
# A target with a value beyond this is one of a positive anchor.
_POSITIVE_TARGET = 1e-6


class RpnScoreLoss:
    """Binary cross-entropy of whether an anchor holds an object, over those that are drawn.

    Args:
        rpn_batch_size_per_im: Number of anchors of an image that are drawn. The sum is divided by
            it and by the number of images.
    """

    def __init__(self, rpn_batch_size_per_im: Union[int, tf.Tensor]) -> None:
        self._num_drawn = rpn_batch_size_per_im

    def __call__(self, score_outputs: Levels, labels: Levels) -> tf.Tensor:
        """Computes the loss.

        Args:
            score_outputs: Logits by level [batch, height_l, width_l, anchors].
            labels: By level, of the same shapes: 1 for an object, 0 for none, else not drawn.

        Returns:
            float32 scalar.
        """
        outputs = loss_utils.multi_level_flatten(score_outputs)
        targets = loss_utils.multi_level_flatten({level: labels[level] for level in score_outputs})
        targets = tf.cast(targets, tf.float32)
        losses = _compute_cross_entropy(outputs, tf.maximum(targets, 0.0))
        is_drawn = (targets == 0.0) | (targets == 1.0)
        num_anchors = tf.cast(tf.shape(outputs)[0] * self._num_drawn, tf.float32)
        return tf.reduce_sum(tf.where(is_drawn, losses, 0.0)) / num_anchors


class RpnBoxLoss:
    """Huber's loss of the boxes of positive anchors; each level is divided by its number of values.

    Args:
        huber_loss_delta: Where the loss turns linear.
    """

    def __init__(self, huber_loss_delta: float) -> None:
        self._delta = huber_loss_delta

    def __call__(
        self, box_outputs: Levels, labels: Levels, box_weights: Optional[Levels] = None
    ) -> tf.Tensor:
        """Computes the loss.

        Args:
            box_outputs: Box codes by level [batch, height_l, width_l, anchors * 4].
            labels: Their targets, of the same shapes.
            box_weights: By level [batch, height_l, width_l, anchors], 1 for positive anchors, else
                0. None: anchors whose target is not 0 are positive, which leaves out those that
                equal their box exactly.

        Returns:
            float32 scalar, the sum over levels.
        """
        losses = []
        for level, outputs in box_outputs.items():
            # [values / 4, 4]
            targets = tf.reshape(tf.cast(labels[level], tf.float32), [-1, 4])
            if box_weights is None:
                is_positive = tf.reduce_any(tf.abs(targets) > _POSITIVE_TARGET, axis=-1)
            else:
                is_positive = tf.reshape(box_weights[level], [-1]) > 0
            outputs = tf.reshape(outputs, [-1, 4])
            losses.append(_compute_box_loss(outputs, targets, is_positive, self._delta))
        return tf.add_n(losses)


class FastrcnnClassLoss:
    """Cross-entropy of the classes of proposals, the mean over all of them.

    Args:
        use_binary_cross_entropy: Whether each class is one of two by itself, instead of one of all.
        top_k_percent: Share of the losses that counts, the largest of the batch.
    """

    def __init__(self, use_binary_cross_entropy: bool = False, top_k_percent: float = 1.0) -> None:
        self._use_binary_cross_entropy = use_binary_cross_entropy
        self._top_k_percent = top_k_percent

    def __call__(
        self,
        class_outputs: tf.Tensor,
        class_targets: tf.Tensor,
        class_weights: Optional[Sequence[float]] = None,
    ) -> tf.Tensor:
        """Computes the loss.

        Args:
            class_outputs: Logits [batch, rois, num_classes].
            class_targets: Classes [batch, rois].
            class_weights: Weight of each class. None means 1 each.

        Returns:
            float32 scalar.

        Raises:
            ValueError: If there are not as many weights as classes.
        """
        logits = tf.cast(class_outputs, tf.float32)
        num_classes = logits.shape[-1]
        if class_weights is not None and len(class_weights) != num_classes:
            raise ValueError(
                f'Length of class_weights should be {num_classes}. Received: {len(class_weights)}'
            )
        targets = tf.one_hot(tf.cast(class_targets, tf.int32), num_classes)
        weights = tf.constant(list(class_weights or [1.0] * num_classes), tf.float32)
        if self._use_binary_cross_entropy:
            losses = _compute_cross_entropy(logits, targets) * weights
        else:
            losses = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
            losses *= tf.linalg.matvec(targets, weights)
        if self._top_k_percent < 1.0:
            return self.aggregate_loss_top_k(losses)
        return tf.reduce_mean(losses)

    def aggregate_loss_top_k(
        self, loss: tf.Tensor, num_valid_values: Optional[tf.Tensor] = None
    ) -> tf.Tensor:
        """Mean of the largest losses.

        Args:
            loss: Losses of any shape.
            num_valid_values: Number of those that are not 0 by choice. None means all.

        Returns:
            float32 scalar.
        """
        flat = tf.reshape(loss, [-1])
        count = tf.cast(self._top_k_percent * tf.cast(tf.size(flat), tf.float32), tf.int32)
        normalizer = tf.cast(count, flat.dtype)
        if num_valid_values is not None:
            normalizer = tf.minimum(normalizer, tf.cast(num_valid_values, flat.dtype))
        return tf.reduce_sum(tf.math.top_k(flat, count).values) / (normalizer + _TOP_K_OFFSET)


class FastrcnnBoxLoss:
    """Huber's loss of the boxes of proposals that are objects, divided by their number of values.

    Args:
        huber_loss_delta: Where the loss turns linear.
        class_agnostic_bbox_pred: Whether there is one box for all classes.
    """

    def __init__(self, huber_loss_delta: float, class_agnostic_bbox_pred: bool = False) -> None:
        self._delta = huber_loss_delta
        self._is_agnostic = class_agnostic_bbox_pred

    def __call__(
        self, box_outputs: tf.Tensor, class_targets: tf.Tensor, box_targets: tf.Tensor
    ) -> tf.Tensor:
        """Computes the loss.

        Args:
            box_outputs: Box codes [batch, rois, num_classes * 4], or [batch, rois, 4].
            class_targets: Classes [batch, rois], 0 for background.
            box_targets: Targets [batch, rois, 4].

        Returns:
            float32 scalar.
        """
        classes = tf.cast(class_targets, tf.int32)
        if not self._is_agnostic:
            shape = tf.shape(box_outputs)
            by_class = tf.reshape(box_outputs, [shape[0], shape[1], box_outputs.shape[-1] // 4, 4])
            is_class = tf.one_hot(classes, by_class.shape[2], dtype=by_class.dtype)
            box_outputs = tf.einsum('brcv,brc->brv', by_class, is_class)  # [batch, rois, 4]
        return _compute_box_loss(box_outputs, box_targets, classes > 0, self._delta)


class MaskrcnnLoss:
    """Binary cross-entropy of the pixels of objects' masks, divided by their number."""

    def __call__(
        self, mask_outputs: tf.Tensor, mask_targets: tf.Tensor, select_class_targets: tf.Tensor
    ) -> tf.Tensor:
        """Computes the loss.

        Args:
            mask_outputs: Logits of the class of each mask, [batch, masks, height, width].
            mask_targets: Shares of object, of the same shape.
            select_class_targets: Classes [batch, masks]; masks of class 0 do not count.

        Returns:
            float32 scalar.
        """
        losses = _compute_cross_entropy(mask_outputs, tf.cast(mask_targets, tf.float32))
        weights = tf.cast(select_class_targets > 0, tf.float32)  # [batch, masks]
        size = tf.cast(tf.reduce_prod(tf.shape(losses)[2:]), tf.float32)
        total = tf.reduce_sum(tf.reduce_sum(losses, axis=[2, 3]) * weights)
        return total / _compute_count(tf.reduce_sum(weights) * size)


class MaskScoreLoss:
    """Squared error of predicted IoUs of masks, the mean over objects (arXiv:1903.00241)."""

    def __call__(
        self, mask_scores: tf.Tensor, mask_score_targets: tf.Tensor, mask_classes: tf.Tensor
    ) -> tf.Tensor:
        """Computes the loss.

        Args:
            mask_scores: Predicted IoUs [batch, masks].
            mask_score_targets: IoUs, of the same shape.
            mask_classes: Classes [batch, masks]; masks of class 0 do not count.

        Returns:
            float32 scalar.
        """
        errors = tf.cast(mask_scores, tf.float32) - tf.cast(mask_score_targets, tf.float32)
        weights = tf.cast(mask_classes > 0, tf.float32)
        return tf.reduce_sum(errors**2 * weights) / _compute_count(tf.reduce_sum(weights))


def _compute_cross_entropy(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    return tf.nn.sigmoid_cross_entropy_with_logits(targets, tf.cast(logits, tf.float32))


def _compute_box_loss(
    outputs: tf.Tensor, targets: tf.Tensor, is_positive: tf.Tensor, delta: float
) -> tf.Tensor:
    """Huber's loss of box codes [..., 4], summed where positive [...], by the number of values."""
    errors = tf.cast(outputs, tf.float32) - tf.cast(targets, tf.float32)
    weights = tf.cast(is_positive, tf.float32)
    losses = tf.reduce_sum(retinanet_losses.compute_huber(errors, delta), axis=-1)
    return tf.reduce_sum(losses * weights) / _compute_count(4.0 * tf.reduce_sum(weights))


def _compute_count(count: tf.Tensor) -> tf.Tensor:
    """The number on all replicas, away from 0, by the number of replicas."""
    total = loss_utils.sum_over_replicas(count) + _COUNT_OFFSET
    return total / loss_utils.get_num_replicas()
