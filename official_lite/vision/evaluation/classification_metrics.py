"""Metrics of image classification that Keras does not have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

__all__ = ['PrecisionAndRecall', 'TopKAccuracy']


class TopKAccuracy(keras.metrics.Mean):
    """Share of images whose class is among the k best.

    Args:
        k: How many count; of fewer classes all do.
        name: Name of the metric.
    """

    def __init__(self, k: int, name: str, **kwargs: Any) -> None:
        super().__init__(name=name, **{'dtype': 'float32', **kwargs})
        self._k = k

    def update_state(self, labels: Any, outputs: Any, sample_weight: Any = None) -> None:
        """Adds a batch: labels int [batch], outputs [batch, num_classes], weights [batch]."""
        outputs, labels = tf.convert_to_tensor(outputs), tf.cast(labels, tf.int32)
        own = tf.gather(outputs, labels, axis=1, batch_dims=1)[:, None]
        num_better = tf.reduce_sum(tf.cast(outputs > own, tf.int32), axis=1)
        # Of equal scores the lower class comes first, as in tf.argmax.
        places = tf.range(tf.shape(outputs)[1])[None]
        is_tie = (outputs == own) & (places < labels[:, None])
        rank = num_better + tf.reduce_sum(tf.cast(is_tie, tf.int32), axis=1)
        super().update_state(tf.cast(rank < self._k, tf.float32), sample_weight)


class PrecisionAndRecall(keras.metrics.Metric):
    """Precision and recall of the best class where its score exceeds a threshold.

    Results are named as Model Garden names its metrics: 'precision_at_threshold_<t>',
    'recall_at_threshold_<t>', and '<...>/<class>' for each class. Where nothing is found, or there
    is nothing to find, they are 0.

    Args:
        thresholds: The thresholds.
        num_classes: Number of classes.
        per_class: Whether there are results for each class.
        name: Name of the metric.
    """

    def __init__(
        self,
        thresholds: Sequence[float],
        num_classes: int,
        per_class: bool = False,
        name: str = 'precision_and_recall',
    ) -> None:
        super().__init__(name=name, dtype='float32')
        self._thresholds = tuple(thresholds)
        self._num_classes = num_classes
        self._per_class = per_class
        shape = (len(self._thresholds), num_classes)
        self._num_right = self.add_variable(shape, 'zeros', name='num_right')
        self._num_found = self.add_variable(shape, 'zeros', name='num_found')
        self._num_there = self.add_variable((num_classes,), 'zeros', name='num_there')

    def update_state(self, labels: Any, outputs: Any, sample_weight: Any = None) -> None:
        """Adds a batch: labels int [batch], outputs [batch, num_classes], weights [batch]."""
        outputs = tf.convert_to_tensor(outputs)
        weights = tf.ones_like(outputs[:, 0])
        if sample_weight is not None:
            weights *= tf.cast(sample_weight, weights.dtype)
        truth = tf.one_hot(labels, self._num_classes) * weights[:, None]
        best = tf.argmax(outputs, axis=1)
        thresholds = tf.constant(self._thresholds)[:, None, None]
        is_above = tf.cast(tf.reduce_max(outputs, axis=1)[None, :, None] > thresholds, tf.float32)
        found = tf.one_hot(best, self._num_classes)[None] * is_above  # [thresholds, batch, classes]
        self._num_right.assign_add(tf.reduce_sum(found * truth[None], axis=1))
        self._num_found.assign_add(tf.reduce_sum(found * weights[None, :, None], axis=1))
        self._num_there.assign_add(tf.reduce_sum(truth, axis=0))

    def result(self) -> dict[str, tf.Tensor]:
        """The results by name."""
        right, found = tf.convert_to_tensor(self._num_right), tf.convert_to_tensor(self._num_found)
        there = tf.convert_to_tensor(self._num_there)
        results: dict[str, tf.Tensor] = {}
        for i, threshold in enumerate(self._thresholds):
            for kind, total in (('precision', found[i]), ('recall', there)):
                name = f'{kind}_at_threshold_{threshold}'
                results[name] = tf.math.divide_no_nan(tf.reduce_sum(right[i]), tf.reduce_sum(total))
                if not self._per_class:
                    continue
                shares = tf.math.divide_no_nan(right[i], total)
                for label, share in enumerate(tf.unstack(shares, self._num_classes)):
                    results[f'{name}/{label}'] = share
        return results
