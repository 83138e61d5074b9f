"""The task: RetinaNet's, plus how well it counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from digit_counter import configs
from official_lite.core import task_factory
from official_lite.vision.tasks import retinanet


@task_factory.register_task_cls(configs.CountingTask)
class CountingTask(retinanet.RetinaNetTask):
    """Evaluation also reports `count_error`: digits miscounted per image, on average."""

    def build_metrics(self, training: bool = True) -> list[keras.metrics.Metric]:
        """RetinaNet's metrics, and the count error in evaluation."""
        metrics = super().build_metrics(training)
        if not training:
            metrics.append(keras.metrics.Mean('count_error'))
        return metrics

    def update_metrics(
        self,
        model: keras.Model,
        metrics: Sequence[keras.metrics.Metric] | None,
        labels: Mapping[str, Any],
        outputs: Mapping[str, Any],
        losses: Mapping[str, tf.Tensor],
    ) -> None:
        """Updates the count error, and leaves the others to RetinaNet's task."""
        others = [metric for metric in metrics or () if metric.name != 'count_error']
        super().update_metrics(model, others, labels, outputs, losses)
        for metric in metrics or ():
            if metric.name == 'count_error':
                is_counted = outputs['detection_scores'] >= self.task_config.count_threshold
                counted = tf.reduce_sum(tf.cast(is_counted, tf.float32), axis=-1)  # [batch]
                present = tf.reduce_sum(tf.cast(labels['classes'] > 0, tf.float32), axis=-1)
                metric.update_state(
                    tf.abs(counted - present), sample_weight=tf.cast(labels['is_valid'], tf.float32)
                )
