"""Intersection over union of semantic segmentation, from the confusion matrix of all pixels.

The mean over classes has two definitions, and they have two names. `mean_iou` is the mean over the
classes that occur, in the ground truth or among the predictions; `mean_iou_all_classes` is the mean
over all, and a class that does not occur counts as 0. Where every class occurs they are equal. (Model
Garden calls the first `mean_iou` in training and the second `mean_iou` in validation.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from official_lite.vision.ops import spatial_transform_ops

__all__ = [
    'MeanIoU',
    'MeanIoUV2',
    'PerClassIoU',
    'PerClassIoUV2',
    'SegmentationScores',
    'compute_iou',
    'compute_mean_iou',
    'compute_mean_iou_all_classes',
    'preprocess_inputs',
    'rescale_to_original',
]


def compute_iou(confusion: tf.Tensor) -> tf.Tensor:
    """IoU of each class, 0 for one that does not occur.

    Args:
        confusion: [num_classes, num_classes], pixels by true class (rows) and predicted class.

    Returns:
        [num_classes] of the same dtype.
    """
    correct = tf.linalg.diag_part(confusion)
    return tf.math.divide_no_nan(correct, _compute_union(confusion))


def compute_mean_iou(confusion: tf.Tensor) -> tf.Tensor:
    """Mean IoU of the classes that occur; 0 if none does. See `compute_iou`."""
    occurs = tf.cast(_compute_union(confusion) > 0, confusion.dtype)
    return tf.math.divide_no_nan(tf.reduce_sum(compute_iou(confusion)), tf.reduce_sum(occurs))


def compute_mean_iou_all_classes(confusion: tf.Tensor) -> tf.Tensor:
    """Mean IoU of all classes; those that do not occur count as 0. See `compute_iou`."""
    return tf.reduce_mean(compute_iou(confusion))


def _compute_union(confusion: tf.Tensor) -> tf.Tensor:
    rows, columns = tf.reduce_sum(confusion, 1), tf.reduce_sum(confusion, 0)
    return rows + columns - tf.linalg.diag_part(confusion)


class PerClassIoU(keras.metrics.Metric):
    """IoU of each class.

    Args:
        num_classes: Number of classes.
        rescale_predictions: Whether predictions are compared with the ground truth at the size of
            the original images, which `y_true['image_info']` tells. If not, they are resized to
            the ground truth.
        name: Name.
        dtype: Number format of the result.
    """

    def __init__(
        self,
        num_classes: int,
        rescale_predictions: bool = False,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.num_classes = num_classes
        self.rescale_predictions = rescale_predictions
        # float32 no longer counts single pixels beyond 2^24, of which 64 images of 512x512 have more.
        self.confusion = self.add_variable(
            [num_classes, num_classes], initializer='zeros', dtype='float64', name='confusion'
        )

    def update_state(
        self, y_true: Mapping[str, Any], y_pred: Any, sample_weight: Any = None
    ) -> None:
        """Adds the pixels of a batch.

        Args:
            y_true: 'masks' [batch, height, width, layers], class ids, of which the first layer
                counts; 'valid_masks' bool, of the same shape: a pixel counts where any layer is
                valid; 'image_info' float32 [batch, 4, 2]; optionally 'is_valid' bool [batch], False
                for images that only fill the batch. Labels outside of 0 to num_classes - 1 do
                not count.
            y_pred: Logits [batch, height_p, width_p, num_classes], of any size.
            sample_weight: Not used.
        """
        del sample_weight
        logits, masks, valid = preprocess_inputs(y_true, y_pred, self.rescale_predictions)
        labels = tf.cast(masks[..., 0], tf.int32)  # [batch, height, width]
        is_counted = valid[..., 0] & (labels >= 0) & (labels < self.num_classes)
        if 'is_valid' in y_true:
            is_counted &= tf.cast(y_true['is_valid'], tf.bool)[:, None, None]
        predicted = tf.argmax(logits, axis=-1, output_type=tf.int32)
        self.confusion.assign_add(_count_pairs(labels, predicted, is_counted, self.num_classes))

    def result(self) -> Any:
        """[num_classes]; 0 for a class that does not occur."""
        return self._cast(compute_iou(self._get_confusion()))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            'num_classes': self.num_classes,
            'rescale_predictions': self.rescale_predictions,
        }

    def _get_confusion(self) -> tf.Tensor:
        return tf.convert_to_tensor(self.confusion)

    def _cast(self, value: tf.Tensor) -> tf.Tensor:
        return tf.cast(value, self.dtype)


class MeanIoU(PerClassIoU):
    """Mean IoU of the classes that occur: what Model Garden reports while it trains."""

    def result(self) -> Any:
        """Scalar."""
        return self._cast(compute_mean_iou(self._get_confusion()))


class PerClassIoUV2(PerClassIoU):
    """`PerClassIoU` under Model Garden's second name, which it counts in another way."""

    def __init__(
        self,
        num_classes: int,
        rescale_predictions: bool = False,
        name: str | None = None,
        dtype: Any = 'float32',
    ) -> None:
        super().__init__(num_classes, rescale_predictions, name, dtype)


class MeanIoUV2(PerClassIoUV2):
    """Mean IoU of all classes, or of some; those that do not occur count as 0.

    Args:
        target_class_ids: Classes whose mean it is. None or empty means all.
        **kwargs: Of `PerClassIoUV2`.
    """

    def __init__(self, target_class_ids: Sequence[int] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.target_class_ids = tuple(target_class_ids or ())

    def result(self) -> Any:
        """Scalar."""
        confusion = self._get_confusion()
        if not self.target_class_ids:
            return self._cast(compute_mean_iou_all_classes(confusion))
        chosen = sorted(set(self.target_class_ids))
        return self._cast(tf.reduce_mean(tf.gather(compute_iou(confusion), chosen)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'target_class_ids': self.target_class_ids}


class SegmentationScores(PerClassIoU):
    """All figures of an evaluation at once.

    Args:
        num_classes: Number of classes.
        rescale_predictions: See `PerClassIoU`.
        has_per_class_iou: Whether the figure of each class is among them.
        name: Name.
    """

    def __init__(
        self,
        num_classes: int,
        rescale_predictions: bool = False,
        has_per_class_iou: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(num_classes, rescale_predictions, name, 'float32')
        self.has_per_class_iou = has_per_class_iou

    def result(self) -> dict[str, Any]:
        """'mean_iou', 'mean_iou_all_classes', and 'iou/K' of class K."""
        confusion = self._get_confusion()
        results = {
            'mean_iou': self._cast(compute_mean_iou(confusion)),
            'mean_iou_all_classes': self._cast(compute_mean_iou_all_classes(confusion)),
        }
        if self.has_per_class_iou:
            ious = tf.unstack(self._cast(compute_iou(confusion)))
            results |= {f'iou/{label}': iou for label, iou in enumerate(ious)}
        return results

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), 'has_per_class_iou': self.has_per_class_iou}
        config.pop('dtype', None)
        return config


def preprocess_inputs(
    y_true: Mapping[str, Any], y_pred: Any, rescale_predictions: bool
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Logits of the ground truth's size, the ground truth, and where it counts.

    Args:
        y_true: See `PerClassIoU.update_state`; where `y_pred` is a list, lists of these too.
        y_pred: Logits, or a list of them, whose batches are joined.
        rescale_predictions: Whether logits go back to the size of the original images.

    Returns:
        float32 [batch, height, width, num_classes], masks [batch, height, width, layers], and bool
        [batch, height, width, 1].
    """
    logits, masks = y_pred, y_true['masks']
    valid_masks, image_info = y_true['valid_masks'], y_true['image_info']
    if isinstance(logits, (list, tuple)):
        logits, masks, valid_masks, image_info = (
            tf.concat(parts, axis=0) for parts in (logits, masks, valid_masks, image_info)
        )
    is_counted = tf.reduce_any(tf.cast(valid_masks, tf.bool), axis=-1)  # [batch, height, width]
    size = tf.shape(masks)[1:3]
    if rescale_predictions:
        logits, is_image = rescale_to_original(logits, image_info, size)
        is_counted &= is_image
    else:
        logits = tf.image.resize(logits, size)
    return logits, masks, is_counted[..., None]


def rescale_to_original(
    logits: tf.Tensor, image_info: tf.Tensor, output_size: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Logits at the size of the original images, each in the upper left corner of a common size.

    Args:
        logits: [batch, height, width, num_classes], of the whole input of the network.
        image_info: float32 [batch, 4, 2]: original size, input size, scale and offset; each (y, x).
        output_size: int32 [2], at least the largest original size.

    Returns:
        float32 [batch, *output_size, num_classes], 0 outside of the images, and bool [batch,
        *output_size], True inside.
    """
    original_size = tf.cast(image_info[:, 0], tf.int32)
    input_size_originally = tf.cast(tf.math.ceil(image_info[:, 1] / image_info[:, 2]), tf.int32)
    rescaled = spatial_transform_ops.bilinear_resize_with_crop_and_pad(
        logits,
        input_size_originally,
        crop_offset=tf.cast(image_info[:, 3], tf.int32),
        crop_size=original_size,
        output_size=output_size,
    )
    rows, columns = tf.range(output_size[0]), tf.range(output_size[1])
    is_row = rows[None] < original_size[:, 0, None]  # [batch, height]
    is_column = columns[None] < original_size[:, 1, None]  # [batch, width]
    return rescaled, is_row[:, :, None] & is_column[:, None, :]


def _count_pairs(
    labels: tf.Tensor, predicted: tf.Tensor, is_counted: tf.Tensor, num_classes: int
) -> tf.Tensor:
    """float64 [num_classes, num_classes] of int32 [batch, ...]; counted image by image in float32."""
    batch = tf.shape(labels)[0]
    pairs = tf.where(is_counted, labels * num_classes + predicted, 0)
    first = tf.range(batch) * num_classes**2
    pairs = tf.reshape(pairs, [batch, -1]) + first[:, None]  # [batch, pixels]
    weights = tf.reshape(tf.cast(is_counted, tf.float32), [batch, -1])
    counts = tf.math.unsorted_segment_sum(weights, pairs, batch * num_classes**2)
    counts = tf.reshape(counts, [batch, num_classes, num_classes])
    return tf.reduce_sum(tf.cast(counts, tf.float64), axis=0)
