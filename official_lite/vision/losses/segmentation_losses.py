"""Losses of semantic segmentation: cross-entropy of pixels, and the error of predicted mask scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from official_lite.vision.losses import loss_utils

__all__ = ['EPSILON', 'MaskScoringLoss', 'SegmentationLoss', 'get_actual_mask_scores']

# Added to what sums are divided by; Model Garden's.
EPSILON = 1e-5
# A matting value above this is foreground, where a class is needed.
_MATTING_THRESHOLD = 0.5


class SegmentationLoss:
    """Cross-entropy of all pixels that are not ignored, divided by their number.

    The number is that of all replicas, so that the mean of the replicas' losses is the loss of the
    whole batch, however the ignored pixels are spread. Class weights do not enter the number. The
    constructor's and the methods' arguments are Model Garden's.

    Args:
        label_smoothing: Share of the target that is spread over all classes, 0 to 1.
        class_weights: Weight of each class. Empty means 1 for each.
        ignore_label: Pixels with this label do not count.
        use_groundtruth_dimension: Whether logits are resized (bilinear) to the ground truth. If not,
            the ground truth is resized (nearest neighbour) to the logits.
        use_binary_cross_entropy: Whether classes are independent (sigmoid); if so, a pixel may have
            several, in as many layers of the ground truth. If not, softmax.
        top_k_percent_pixels: Share of pixels, those of the largest loss, that count. It is taken of
            all pixels of a replica, ignored ones included; of every class's with binary
            cross-entropy (https://arxiv.org/abs/1604.03540).
        gt_is_matting_map: Whether the ground truth is the opacity of class 1, 0 to 1, of two
            classes.
    """

    def __init__(
        self,
        label_smoothing: float,
        class_weights: Sequence[float] | None,
        ignore_label: int,
        use_groundtruth_dimension: bool,
        use_binary_cross_entropy: bool = False,
        top_k_percent_pixels: float = 1.0,
        gt_is_matting_map: bool = False,
    ) -> None:
        self._label_smoothing = label_smoothing
        self._class_weights = list(class_weights or ())
        self._ignore_label = ignore_label
        self._use_groundtruth_dimension = use_groundtruth_dimension
        self._use_binary_cross_entropy = use_binary_cross_entropy
        self._top_k_percent_pixels = top_k_percent_pixels
        self._gt_is_matting_map = gt_is_matting_map

    def __call__(self, logits: tf.Tensor, labels: tf.Tensor, **kwargs: Any) -> tf.Tensor:
        """The loss of a replica's part of the batch.

        Args:
            logits: Float [batch, height, width, num_classes].
            labels: Class ids, or opacities, of any number type, [batch, height_l, width_l, layers].
            **kwargs: Passed on to `get_labels_with_prob`.

        Returns:
            Scalar of the logits' dtype.

        Raises:
            ValueError: The number of layers, of classes or of class weights does not fit.
        """
        num_classes = logits.shape[-1]
        self._check_shapes(num_classes, labels.shape[-1])
        class_weights = tf.constant(self._class_weights or [1.0] * num_classes, logits.dtype)
        logits, labels = self._match_sizes(logits, labels)
        valid_layers = tf.not_equal(tf.cast(labels, tf.int32), self._ignore_label)
        is_valid = tf.cast(tf.reduce_any(valid_layers, axis=-1), logits.dtype)  # [batch, h, w]
        num_valid = tf.reduce_sum(is_valid)
        if self._use_binary_cross_entropy:
            targets = self.get_labels_with_prob(logits, labels, valid_layers, **kwargs)
            losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=logits)
            losses *= class_weights * is_valid[..., None]  # [batch, h, w, num_classes]
            num_valid *= num_classes
        else:
            if self._has_plain_targets:
                losses = _compute_sparse_losses(logits, labels[..., 0])
            else:
                targets = self.get_labels_with_prob(logits, labels, valid_layers, **kwargs)
                losses = tf.nn.softmax_cross_entropy_with_logits(labels=targets, logits=logits)
            losses *= self._get_pixel_weights(labels, class_weights) * is_valid  # [batch, h, w]
        if self._top_k_percent_pixels < 1.0:
            return self.aggregate_loss_top_k(losses, num_valid)
        return _divide(tf.reduce_sum(losses), num_valid)

    @property
    def _has_plain_targets(self) -> bool:
        """Whether the target is one class: then no tensor of probabilities is made, the largest."""
        is_overridden = type(self).get_labels_with_prob is not SegmentationLoss.get_labels_with_prob
        return not (self._label_smoothing or self._gt_is_matting_map or is_overridden)

    def get_labels_with_prob(
        self, logits: tf.Tensor, labels: tf.Tensor, valid_mask: tf.Tensor, **unused_kwargs: Any
    ) -> tf.Tensor:
        """The target probability of each class; a subclass may have its own.

        Args:
            logits: Float [batch, height, width, num_classes].
            labels: Class ids or opacities, [batch, height, width, layers].
            valid_mask: bool [batch, height, width, layers], False where a label is ignored.
            **unused_kwargs: What the caller of the loss gave besides.

        Returns:
            [batch, height, width, num_classes] of the logits' dtype; before smoothing 0 for all
            classes where the label is ignored or none of them.
        """
        num_classes = logits.shape[-1]
        if self._gt_is_matting_map:
            opacity = tf.cast(labels, logits.dtype)
            targets = tf.concat([1 - opacity, opacity], axis=-1)
        else:
            labels = tf.where(valid_mask, tf.cast(labels, tf.int32), -1)
            if self._use_binary_cross_entropy:
                one_hot = tf.one_hot(labels, num_classes, True, False, dtype=tf.bool)
                targets = tf.cast(tf.reduce_any(one_hot, axis=-2), logits.dtype)
            else:
                targets = tf.one_hot(labels[..., 0], num_classes, dtype=logits.dtype)
        if not self._label_smoothing:
            return targets
        return targets * (1 - self._label_smoothing) + self._label_smoothing / num_classes

    def aggregate_loss_top_k(
        self, pixelwise_loss: tf.Tensor, num_valid_pixels: tf.Tensor | None = None
    ) -> tf.Tensor:
        """The mean of the largest losses.

        Args:
            pixelwise_loss: Losses of any shape, 0 where they are ignored.
            num_valid_pixels: How many are not ignored. None means all.

        Returns:
            Scalar: the sum of the largest, divided by their number or that of the valid ones,
            whichever is less.
        """
        flat = tf.reshape(pixelwise_loss, [-1])
        count = tf.cast(self._top_k_percent_pixels * tf.cast(tf.size(flat), tf.float32), tf.int32)
        largest = tf.math.top_k(flat, k=count, sorted=False).values
        number = tf.cast(count, flat.dtype)
        if num_valid_pixels is not None:
            number = tf.minimum(number, tf.cast(num_valid_pixels, flat.dtype))
        return _divide(tf.reduce_sum(largest), number)

    def _check_shapes(self, num_classes: int, num_layers: int) -> None:
        if num_layers != 1 and (self._gt_is_matting_map or not self._use_binary_cross_entropy):
            what = 'a matting map' if self._gt_is_matting_map else 'categorical cross-entropy'
            raise ValueError(f'Expected 1 layer of labels with {what}. Received: {num_layers}')
        if self._gt_is_matting_map and num_classes != 2:
            raise ValueError(f'Expected 2 classes with a matting map. Received: {num_classes}')
        if self._class_weights and len(self._class_weights) != num_classes:
            raise ValueError(
                f'Expected class_weights for each of {num_classes} classes. '
                f'Received: {len(self._class_weights)}'
            )

    def _match_sizes(self, logits: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Logits and labels of one height and width."""
        if not self._gt_is_matting_map:
            labels = tf.cast(labels, tf.int32)
        if self._use_groundtruth_dimension:
            dtype = logits.dtype
            resized = tf.image.resize(logits, tf.shape(labels)[1:3])
            return tf.cast(resized, dtype), labels
        return logits, tf.image.resize(labels, tf.shape(logits)[1:3], method='nearest')

    def _get_pixel_weights(self, labels: tf.Tensor, class_weights: tf.Tensor) -> tf.Tensor:
        """The weight of each pixel's class, [batch, height, width]; 0 where it is none of them."""
        label = labels[..., 0]
        if self._gt_is_matting_map:
            label = label > _MATTING_THRESHOLD
        label = tf.cast(label, tf.int32)
        is_class = (label >= 0) & (label < class_weights.shape[0])
        weights = tf.gather(class_weights, tf.where(is_class, label, 0))
        return tf.where(is_class, weights, tf.zeros_like(weights))


def get_actual_mask_scores(logits: tf.Tensor, labels: tf.Tensor, ignore_label: int) -> tf.Tensor:
    """The IoU of each class in each image, which mask scores predict.

    Args:
        logits: [batch, height, width, num_classes]; no gradient goes through them.
        labels: Class ids [batch, height_l, width_l, 1]; resized to the logits.
        ignore_label: Pixels with this label do not count.

    Returns:
        float32 [batch, num_classes]; 0 for a class that is neither there nor predicted.
    """
    num_classes = logits.shape[-1]
    batch = tf.shape(logits)[0]
    predicted = tf.argmax(tf.stop_gradient(logits), axis=-1, output_type=tf.int32)
    labels = tf.image.resize(labels, tf.shape(logits)[1:3], method='nearest')
    labels = tf.cast(tf.reshape(labels, [batch, -1]), tf.int32)  # [batch, pixels]
    is_valid = tf.not_equal(labels, ignore_label)[..., None]
    is_predicted = tf.one_hot(tf.reshape(predicted, [batch, -1]), num_classes, True, False)
    is_true = tf.one_hot(labels, num_classes, True, False)  # [batch, pixels, num_classes]
    overlap = tf.math.count_nonzero(is_predicted & is_true & is_valid, axis=1, dtype=tf.float32)
    union = tf.math.count_nonzero((is_predicted | is_true) & is_valid, axis=1, dtype=tf.float32)
    return overlap / tf.maximum(union, EPSILON)


class MaskScoringLoss:
    """Mean squared error of predicted IoUs (Mask Scoring R-CNN, https://arxiv.org/abs/1903.00241).

    Args:
        ignore_label: Pixels with this label do not count.
    """

    def __init__(self, ignore_label: int) -> None:
        self._ignore_label = ignore_label

    def __call__(
        self,
        predicted_scores: tf.Tensor,
        logits: tf.Tensor,
        labels: tf.Tensor,
        is_valid: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """The loss of a replica's part of the batch.

        Args:
            predicted_scores: [batch, num_classes].
            logits: [batch, height, width, num_classes].
            labels: Class ids [batch, height_l, width_l, 1].
            is_valid: bool [batch], False for images that only fill the batch. None means all count.

        Returns:
            float32 scalar.
        """
        actual = get_actual_mask_scores(logits, labels, self._ignore_label)
        errors = tf.square(actual - tf.cast(predicted_scores, tf.float32))
        per_image = tf.reduce_mean(errors, axis=-1)  # [batch]
        weights = tf.ones_like(per_image) if is_valid is None else tf.cast(is_valid, tf.float32)
        total = loss_utils.sum_over_replicas(tf.reduce_sum(weights))
        return tf.math.divide_no_nan(
            tf.reduce_sum(per_image * weights) * loss_utils.get_num_replicas(), total
        )


def _compute_sparse_losses(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of pixels [batch, height, width]; of a label that is no class, that of 0."""
    is_class = (labels >= 0) & (labels < logits.shape[-1])
    return tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=tf.where(is_class, labels, 0), logits=logits
    )


def _divide(total: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
    """A replica's sum by the mean over replicas of what it is to be divided by."""
    number = loss_utils.sum_over_replicas(number)
    return total * loss_utils.get_num_replicas() / (number + EPSILON)
