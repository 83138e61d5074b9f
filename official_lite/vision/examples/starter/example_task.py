"""The example's task: joins model, data, loss and metrics. How a step is done, the base class knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from official_lite.core import base_task, task_factory
from official_lite.core import data_info as data_infos
from official_lite.core.classification_info import ClassificationInfo, check_labels
from official_lite.modeling import regularizers
from official_lite.vision.evaluation import classification_metrics
from official_lite.vision.examples.starter import example_config as exp_cfg
from official_lite.vision.examples.starter import example_input, example_model
from official_lite.vision.losses import classification_losses


@task_factory.register_task_cls(exp_cfg.ExampleTask)
class ExampleTask(base_task.Task):
    """Classification of images."""

    @classmethod
    def get_data_info(
        cls, task_config: exp_cfg.ExampleTask, is_training: bool
    ) -> data_infos.DataInfo:
        """Counts and classes, so that lengths may be given in epochs and classes left out."""
        name = 'train_data' if is_training else 'validation_data'
        return example_input.build_source(getattr(task_config, name), where=f'task.{name}').info

    @classmethod
    def resolve(cls, config: Any, data_info: data_infos.DataInfo | None) -> None:
        """Takes the number of classes from the data, or checks it."""
        if not isinstance(data_info, ClassificationInfo):
            return
        model = config.task.model
        if not model.num_classes:
            model.num_classes = data_info.max_label + 1
        check_labels(data_info, model.num_classes)

    def build_model(self) -> keras.Model:
        """Builds the network."""
        config, decay = self.task_config.model, self.task_config.losses.l2_weight_decay
        return example_model.build_example_model(
            keras.layers.InputSpec(shape=[None, *config.input_size]),
            config,
            # Half, because Keras' L2 is the sum of squares.
            regularizers.L2(decay / 2) if decay else None,
        )

    def build_inputs(
        self,
        params: exp_cfg.ExampleDataConfig,
        input_context: tf.distribute.InputContext | None = None,
    ) -> tf.data.Dataset:
        """Batches of images and {'label': int32 [batch]}; in evaluation also 'is_valid'."""
        return example_input.build_reader(
            params,
            output_size=self.task_config.model.input_size[:2],
            where='task.train_data' if params.is_training else 'task.validation_data',
        ).read(input_context)

    def build_losses(
        self, labels: Any, model_outputs: Any, aux_losses: Sequence[tf.Tensor] | None = None
    ) -> tf.Tensor:
        """Mean cross-entropy of a replica's examples, and regularisation."""
        label, is_valid = example_input.split_labels(labels)
        losses = classification_losses.sparse_cross_entropy(label, model_outputs)
        total = classification_losses.mean_of_valid(losses, is_valid)
        return tf.add_n([total, *(aux_losses or ())])

    def build_metrics(self, training: bool = True) -> list[keras.metrics.Metric]:
        """Accuracy and top-k accuracy."""
        top_k = self.task_config.evaluation.top_k
        return [
            classification_metrics.TopKAccuracy(1, name='accuracy'),
            classification_metrics.TopKAccuracy(top_k, name=f'top_{top_k}_accuracy'),
        ]

    def process_metrics(
        self,
        metrics: Sequence[keras.metrics.Metric],
        labels: Any,
        model_outputs: Any,
        **kwargs: Any,
    ) -> None:
        """Adds a batch."""
        label, is_valid = example_input.split_labels(labels)
        weights = None if is_valid is None else tf.cast(is_valid, tf.float32)
        for metric in metrics:
            metric.update_state(label, model_outputs, sample_weight=weights)
