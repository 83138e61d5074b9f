"""Intersection over union of each class, of labels and of masks that may overlap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from official_lite.vision.evaluation import segmentation_metrics

__all__ = ['PerClassIoU', 'PerClassIoUV2']


@keras.saving.register_keras_serializable(package='official_lite')
class PerClassIoU(keras.metrics.MeanIoU):
    """IoU of each class from weighted pairs of labels; 0 for one that does not occur.

    The result is float32 [num_classes].

    Args:
        num_classes: Number of classes.
        name: Name of the metric.
        dtype: Of the sums of weights; Keras' default of integers would cut weights off.
        **kwargs: Arguments of `keras.metrics.MeanIoU`.
    """

    def __init__(
        self, num_classes: int, name: str | None = None, dtype: Any = 'float32', **kwargs: Any
    ) -> None:
        super().__init__(num_classes, name=name, dtype=dtype, **kwargs)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds numbers of classes, of any and the same shape, and weights of that shape."""
        truth, found = (tf.reshape(tf.cast(v, tf.int64), [-1]) for v in (y_true, y_pred))
        if sample_weight is not None:
            sample_weight = tf.reshape(tf.cast(sample_weight, self.dtype), [-1])
        counts = tf.math.confusion_matrix(
            truth, found, self.num_classes, weights=sample_weight, dtype=self.dtype
        )
        self.total_cm.assign_add(counts)

    def result(self) -> tf.Tensor:
        return segmentation_metrics.compute_iou(tf.convert_to_tensor(self.total_cm))


@keras.saving.register_keras_serializable(package='official_lite')
class PerClassIoUV2(keras.metrics.Metric):
    """IoU of each class from masks of zeros and ones, which may overlap; 0 for an empty class.

    Args:
        num_classes: Number of classes.
        name: Name of the metric.
        dtype: Of the counts.
        shape: Shape of the result, whose first number is that of the classes: dimensions after the
            classes' are kept. None means [num_classes].
        sparse_y_true: Whether the truth holds numbers of classes and not masks.
        sparse_y_pred: The same of predictions.
        axis: Where the classes are in masks.
    """

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: Any = None,
        shape: Sequence[int] | None = None,
        sparse_y_true: bool = False,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.num_classes = num_classes
        self.shape = tuple(shape) if shape else (num_classes,)
        self.sparse_y_true = sparse_y_true
        self.sparse_y_pred = sparse_y_pred
        self.axis = axis
        self.intersection_per_class = self._add_counts('intersection_per_class')
        self.union_per_class = self._add_counts('union_per_class')

    def _add_counts(self, name: str) -> keras.Variable:
        return self.add_variable(
            self.shape, keras.initializers.Zeros(), dtype=self.dtype, name=name
        )

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: None = None) -> None:
        """Adds a batch; examples have no weights."""
        del sample_weight
        truth = self._to_masks(y_true, self.sparse_y_true)
        found = self._to_masks(y_pred, self.sparse_y_pred)
        axis = self.axis % truth.shape.rank
        kept = range(axis, axis + len(self.shape))
        others = [dimension for dimension in range(truth.shape.rank) if dimension not in kept]
        both = tf.reduce_sum(truth * found, others)
        self.intersection_per_class.assign_add(both)
        self.union_per_class.assign_add(tf.reduce_sum(truth + found, others) - both)

    def _to_masks(self, values: Any, is_sparse: bool) -> tf.Tensor:
        values = tf.convert_to_tensor(values)
        if is_sparse:
            values = tf.one_hot(tf.cast(values, tf.int32), self.num_classes, axis=self.axis)
        return tf.cast(values, self.dtype)

    def result(self) -> tf.Tensor:
        """IoU in the shape of the constructor."""
        return tf.math.divide_no_nan(
            tf.convert_to_tensor(self.intersection_per_class),
            tf.convert_to_tensor(self.union_per_class),
        )

    def get_config(self) -> dict[str, Any]:
        names = ('num_classes', 'shape', 'sparse_y_true', 'sparse_y_pred', 'axis')
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
