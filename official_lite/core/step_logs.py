"""From metrics, losses and optimizers to the numbers that are logged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from official_lite.core import base_task

__all__ = ['get_all_results', 'get_compiled_metrics', 'get_learning_rate', 'update_mean']


def get_compiled_metrics(model: keras.Model) -> list[keras.metrics.Metric]:
    """Metrics given to `model.compile`, without Keras' own mean of the loss."""
    if not base_task.has_compiled_loss(model):
        return []
    return [m for m in model.metrics if m is not getattr(model, '_loss_tracker', None)]


def get_all_results(metrics: Iterable[keras.metrics.Metric]) -> dict[str, Any]:
    """Results of metrics by name; a metric that returns a dict brings its own names."""
    return {name: value for metric in metrics for name, value in _get_results(metric).items()}


def update_mean(mean: keras.metrics.Mean, loss: tf.Tensor, inputs: Any) -> None:
    """Adds the mean loss of a batch with the number of its examples as weight, which may be 0."""
    weight = tf.cast(_count_examples(inputs), tf.float32)
    loss = tf.where(weight > 0.0, tf.cast(loss, tf.float32), 0.0)
    mean.update_state(loss, sample_weight=weight)


def _get_results(metric: keras.metrics.Metric) -> dict[str, Any]:
    result = metric.result()
    if isinstance(result, Mapping):
        return {k: np.asarray(v) for k, v in result.items()}
    return {metric.name: np.asarray(result)}


def _count_examples(inputs: Any) -> tf.Tensor:
    """Examples in a batch; of a padded one those that its labels call `is_valid`."""
    _, labels = base_task.split_inputs(inputs)
    if isinstance(labels, Mapping) and 'is_valid' in labels:
        return tf.math.count_nonzero(labels['is_valid'])
    first = tf.nest.flatten(inputs)[0]
    return tf.shape(first)[0] if first.shape.rank else tf.constant(1)


def get_learning_rate(optimizer: keras.optimizers.Optimizer) -> float:
    """The learning rate of the optimizer's next step."""
    rate = optimizer.learning_rate
    rate = rate(optimizer.iterations) if callable(rate) else rate
    return float(tf.convert_to_tensor(rate))
