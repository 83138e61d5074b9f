"""A task that trains in a second: linear regression on generated points, with what real tasks have."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from official_lite.core import base_task
from official_lite.core import config_definitions as cfg

NUM_FEATURES = 4
TRUE_WEIGHTS = np.array([[1.0], [-2.0], [0.5], [3.0]], np.float32)


@dataclasses.dataclass
class TinyConfig(cfg.TaskConfig):
    """The tiny task.

    Attributes:
        num_examples: Size of the training data.
        num_validation_examples: Size of the validation data.
        dropout: Rate of a dropout layer.
        use_batch_norm: Whether there is a BatchNorm layer.
        blow_up_at: Number of the batch at which the labels are not finite; -1 for none.
        learning_from: Module to load from `init_checkpoint`.
        init_checkpoint_modules: As in the vision tasks.
    """

    num_examples: int = 64
    num_validation_examples: int = 10
    dropout: float = 0.0
    use_batch_norm: bool = False
    blow_up_at: int = -1
    init_checkpoint_modules: str = 'all'


def make_config(**overrides: Any) -> cfg.ExperimentConfig:
    """A config that trains six steps of SGD with momentum on batches of 8; dotted keys become nested ones."""
    config = cfg.ExperimentConfig(task=TinyConfig())
    config.override(
        {
            'runtime': {'distribution_strategy': 'off', 'seed': 7},
            'task': {
                'train_data': {'global_batch_size': 8, 'is_training': True},
                'validation_data': {'global_batch_size': 4, 'is_training': False},
            },
            'trainer': {
                'train_steps': 6,
                'steps_per_loop': 2,
                'summary_interval': 2,
                'checkpoint_interval': 3,
                'validation_interval': 3,
                'optimizer_config': {
                    'optimizer': {'type': 'sgd', 'sgd': {'momentum': 0.9}},
                    'learning_rate': {'type': 'constant', 'constant': {'learning_rate': 0.05}},
                },
            },
        }
    )
    for path, value in overrides.items():
        nested: Any = value
        for name in reversed(path.split('__')):
            nested = {name: nested}
        config.override(nested)
    return config


class TinyModel(keras.Model):
    """Two dense layers with optional dropout and BatchNorm, and equal names inside two modules."""

    def __init__(self, dropout: float = 0.0, use_batch_norm: bool = False) -> None:
        super().__init__()
        layers = [keras.layers.Dense(8, name='stem')]
        if use_batch_norm:
            layers.append(keras.layers.BatchNormalization(momentum=0.5))
        if dropout:
            layers.append(keras.layers.Dropout(dropout))
        self.backbone = keras.Sequential(layers)
        self.head = keras.Sequential([keras.layers.Dense(1, name='stem', dtype='float32')])
        self(tf.zeros([1, NUM_FEATURES]))

    @property
    def checkpoint_items(self) -> dict[str, keras.Model]:
        return {'backbone': self.backbone, 'head': self.head}

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return self.head(self.backbone(inputs, training=training), training=training)


class TinyTask(base_task.Task):
    """Regression with the mean squared error."""

    def build_model(self) -> TinyModel:
        return TinyModel(self.task_config.dropout, self.task_config.use_batch_norm)

    def build_inputs(
        self, params: Any, input_context: tf.distribute.InputContext | None = None
    ) -> tf.data.Dataset:
        context = input_context or tf.distribute.InputContext()
        batch_size = context.get_per_replica_batch_size(params.global_batch_size)
        size = (
            self.task_config.num_examples
            if params.is_training
            else self.task_config.num_validation_examples
        )
        positions = tf.data.Dataset.range(np.iinfo(np.int64).max if params.is_training else size)
        positions = positions.shard(context.num_input_pipelines, context.input_pipeline_id)
        blow_up = self.task_config.blow_up_at * params.global_batch_size

        def make_example(position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            seed = tf.stack([position % size, tf.constant(1, tf.int64)])
            x = tf.random.stateless_normal([NUM_FEATURES], seed)
            y = tf.linalg.matvec(TRUE_WEIGHTS, x, transpose_a=True)
            is_bad = params.is_training and blow_up >= 0 and tf.equal(position, blow_up)
            return x, tf.where(is_bad, float('nan'), y)

        return positions.map(make_example).batch(batch_size, drop_remainder=params.is_training)

    def build_losses(self, labels: Any, model_outputs: Any, aux_losses: Any = None) -> tf.Tensor:
        loss = tf.reduce_mean(tf.square(model_outputs - labels))
        return loss + tf.add_n(aux_losses) if aux_losses else loss

    def build_metrics(self, training: bool = True) -> list[keras.metrics.Metric]:
        return [keras.metrics.MeanAbsoluteError(name='error')]

    def validation_step(self, inputs: Any, model: Any, metrics: Any = None) -> dict[str, Any]:
        logs = super().validation_step(inputs, model, metrics)
        return {**logs, 'first_feature': inputs[0][:, 0]}

    def aggregate_logs(self, state: Any = None, step_outputs: Any = None) -> Any:
        return [*(state or []), *(np.asarray(v) for v in step_outputs['first_feature'])]

    def reduce_aggregated_logs(
        self, aggregated_logs: Any, global_step: Any = None
    ) -> dict[str, Any]:
        values = np.concatenate(aggregated_logs)
        return {'num_seen': float(values.size), 'sum_seen': float(values.sum())}


class OverriddenTask(TinyTask):
    """Its own `train_step`, as Model Garden's tasks have it."""

    def train_step(self, inputs: Any, model: Any, optimizer: Any, metrics: Any = None) -> Any:
        features, labels = inputs
        with tf.GradientTape() as tape:
            outputs = model(features, training=True)
            loss = self.build_losses(labels=labels, model_outputs=outputs, aux_losses=model.losses)
            scaled_loss = loss / tf.distribute.get_strategy().num_replicas_in_sync
            scaled_loss = optimizer.get_scaled_loss(scaled_loss)
        variables = model.trainable_variables
        gradients = tape.gradient(scaled_loss, variables)
        gradients = optimizer.get_unscaled_gradients(gradients)
        optimizer.apply_gradients(list(zip(gradients, variables)))
        if metrics:
            self.process_metrics(metrics, labels, outputs)
        return {self.loss: loss}
