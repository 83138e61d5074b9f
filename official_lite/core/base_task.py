"""`Task`: everything about an experiment that the trainer does not know.

A task makes the model, the data, the losses and the metrics, and says what one step does. The
methods, their order and their arguments are those of Model Garden's `core/base_task.py`; what is new
is `get_data_info` and `resolve` (what the data decides), `build_inputs_at` (input from a given
position, for resuming) and `save_visualization`.
"""

from __future__ import annotations

import abc
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from official_lite.core import initialization, model_hyperparameters, task_results
from official_lite.modeling import optimization, performance
from official_lite.modeling.privacy import ops as privacy_ops

Logs = dict[str, Any]


class Task(tf.Module, metaclass=abc.ABCMeta):
    """What one replica does in training and evaluation.

    Attributes:
        loss: Key of the loss in the logs that `train_step` and `validation_step` return.
    """

    loss = 'loss'

    def __init__(
        self, params: Any = None, logging_dir: str | None = None, name: str | None = None
    ) -> None:
        """Keeps the configuration.

        Args:
            params: The task's config, usually a `TaskConfig`.
            logging_dir: Folder of the run; a task may write files of its own there.
            name: Name of the module.
        """
        super().__init__(name=name)
        self._task_config = params
        self._logging_dir = logging_dir or ''

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if 'build_model' in cls.__dict__:
            cls.build_model = model_hyperparameters.remember_config(cls.build_model)  # type: ignore[method-assign]

    @property
    def task_config(self) -> Any:
        return self._task_config

    @property
    def logging_dir(self) -> str:
        return self._logging_dir

    @classmethod
    def create_optimizer(
        cls, optimizer_config: Any, runtime_config: Any = None, dp_config: Any = None
    ) -> keras.optimizers.Optimizer:
        """Builds the optimizer with its schedule, loss scaling and moving average.

        Args:
            optimizer_config: An `OptimizationConfig`.
            runtime_config: A `RuntimeConfig`; with `mixed_precision_dtype='float16'` the loss is
                scaled by `loss_scale`.
            dp_config: A `DifferentialPrivacyConfig`: gradients are clipped to its norm, and noise
                of `clipping_norm * noise_multiplier` is added.
        """
        transformers = None if dp_config is None else privacy_ops.make_transformers(dp_config)
        factory = optimization.OptimizerFactory(optimizer_config)
        optimizer = factory.build_optimizer(
            factory.build_learning_rate(), gradient_transformers=transformers
        )
        if runtime_config is None:
            return optimizer
        return performance.configure_optimizer(
            optimizer,
            use_float16=runtime_config.mixed_precision_dtype == 'float16',
            loss_scale=runtime_config.loss_scale,
        )

    @classmethod
    def get_data_info(cls, task_config: Any, is_training: bool) -> Any:
        """What the data says about itself, or None.

        Args:
            task_config: The task's config.
            is_training: Whether the training or the validation data is meant.

        Returns:
            A `core.data_info.DataInfo`, or None for a task whose data does not say. Without
            `num_examples` nothing can be given in epochs.
        """
        del task_config, is_training
        return None

    @classmethod
    def resolve(cls, config: Any, data_info: Any) -> None:
        """Fills the fields of `config` that are left to the data, in place.

        Called once for the training data (for the validation data when a run only evaluates),
        before the config is locked. Calling it again must change nothing.

        Args:
            config: The `ExperimentConfig`.
            data_info: What `get_data_info` returned, or None.

        Raises:
            ConfigError: a value that was set contradicts the data.
        """

    def initialize(self, model: keras.Model) -> None:
        """Loads `task_config.init_checkpoint`, when a run starts without a checkpoint of its own.

        `task_config.init_checkpoint_modules` (default 'all') chooses what is loaded: names of
        modules (`backbone`) or patterns over variable keys (`head/cls.*`), those with a `-` before
        them left out; `task_config.init_checkpoint_averages` takes moving averages for weights.

        Raises:
            CheckpointError: nothing matched, or a shape differs.
        """
        path = getattr(self.task_config, 'init_checkpoint', '')
        if path:
            modules = getattr(self.task_config, 'init_checkpoint_modules', None) or 'all'
            averages = getattr(self.task_config, 'init_checkpoint_averages', False)
            report = initialization.load_pretrained(
                model, path, modules=modules, use_averages=averages
            )
            print(report.describe())

    def build_model(self) -> keras.Model:
        """Builds the model; its variables must exist when this returns.

        What an override returns gets the attribute `hyperparameters` (`core.model_hyperparameters`).
        """
        raise NotImplementedError(f'{type(self).__name__}.build_model')

    @abc.abstractmethod
    def build_inputs(
        self, params: Any, input_context: tf.distribute.InputContext | None = None
    ) -> tf.data.Dataset:
        """Makes the dataset of one input pipeline.

        Args:
            params: The `DataConfig`; its `is_training` tells which it is.
            input_context: Which pipeline of how many, and how many replicas there are.

        Returns:
            Batches of the size of one replica. Training data repeats without end; validation data
            ends, and covers every example of this pipeline's share (the last batch is smaller, or
            padded and masked).
        """

    def build_inputs_at(
        self,
        params: Any,
        input_context: tf.distribute.InputContext | None,
        num_batches_seen: int,
    ) -> tf.data.Dataset:
        """Makes the training dataset as it goes on after `num_batches_seen` global batches.

        The default builds the dataset from its beginning and skips, which is right for every
        dataset whose order is a function of its seed. A task that can begin anywhere overrides it.

        Args:
            params: The `DataConfig`.
            input_context: As in `build_inputs`.
            num_batches_seen: Global batches already consumed: each is one batch for every replica.
        """
        dataset = call_build_inputs(self, params, input_context)
        replicas = 1
        if input_context is not None:
            replicas = input_context.num_replicas_in_sync // input_context.num_input_pipelines
        return dataset.skip(num_batches_seen * replicas) if num_batches_seen else dataset

    def build_losses(
        self, labels: Any, model_outputs: Any, aux_losses: Sequence[tf.Tensor] | None = None
    ) -> tf.Tensor:
        """The loss of one replica: the mean over its examples, plus `aux_losses`.

        Args:
            labels: Labels of the batch.
            model_outputs: What the model returned for it.
            aux_losses: `model.losses`, e.g. regularization.

        Returns:
            A float32 scalar. `train_step` divides it by the number of replicas. A
            `keras.losses.Loss` object with a mean reduction does so itself; use the function of the
            same name, or `reduction='none'`, so that it is not done twice.
        """
        del labels, model_outputs
        return tf.add_n(list(aux_losses)) if aux_losses else tf.constant(0.0, tf.float32)

    def build_metrics(self, training: bool = True) -> list[keras.metrics.Metric]:
        """Metrics that accumulate on the devices, for training or for validation."""
        del training
        return []

    def process_metrics(
        self,
        metrics: Sequence[keras.metrics.Metric],
        labels: Any,
        model_outputs: Any,
        **kwargs: Any,
    ) -> None:
        """Updates the metrics that `build_metrics` made with one batch."""
        for metric in metrics:
            metric.update_state(labels, model_outputs)

    def process_compiled_metrics(
        self, compiled_metrics: keras.Model, labels: Any, model_outputs: Any
    ) -> None:
        """Updates the metrics given to `model.compile` (Keras 3 reaches them through the model)."""
        compiled_metrics.compute_metrics(None, labels, model_outputs)

    def train_step(
        self,
        inputs: Any,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        metrics: Sequence[keras.metrics.Metric] | None = None,
    ) -> Logs:
        """One step of training on one replica: forward, backward, update.

        Gradients are summed over the replicas inside `apply_gradients`, so the loss is divided by
        their number. An override may do the same as Model Garden's tasks do: scale with
        `get_scaled_loss` and `get_unscaled_gradients`, then call `apply_gradients` itself.

        Args:
            inputs: `(features, labels)`, or a structure that serves as both.
            model: The model.
            optimizer: The optimizer, built.
            metrics: What `build_metrics(training=True)` returned.

        Returns:
            Logs with at least `loss`, this replica's loss.
        """
        features, labels = split_inputs(inputs)
        with tf.GradientTape() as tape:
            outputs = self.train_outputs(features, labels, model)
            losses = self.compute_losses(model, labels, outputs)
            loss = task_results.get_loss(losses, self, 'compute_losses')
            task_results.check_loss(loss, self, 'compute_losses')
            scaled_loss = loss / tf.cast(num_replicas(), loss.dtype)
            scaled_loss = _get_scaled_loss(optimizer, scaled_loss)
        variables = model.trainable_variables
        gradients = _get_unscaled_gradients(optimizer, tape.gradient(scaled_loss, variables))
        optimizer.apply_gradients(list(zip(gradients, variables)))
        self.update_metrics(model, metrics, labels, outputs, losses)
        return {self.loss: loss}

    def train_outputs(self, features: Any, labels: Any, model: keras.Model) -> Any:
        """What the model puts out in training; a model that samples by its labels gets them here."""
        del labels
        return model(features, training=True)

    def validation_step(
        self,
        inputs: Any,
        model: keras.Model,
        metrics: Sequence[keras.metrics.Metric] | None = None,
    ) -> Logs:
        """One step of evaluation on one replica.

        Args:
            inputs: `(features, labels)`, or a structure that serves as both.
            model: The model.
            metrics: What `build_metrics(training=False)` returned.

        Returns:
            Logs; everything in them reaches `aggregate_logs`.
        """
        features, labels = split_inputs(inputs)
        outputs = self.inference_step(features, model)
        losses = self.compute_losses(model, labels, outputs)
        loss = task_results.get_loss(losses, self, 'compute_losses')
        self.update_metrics(model, metrics, labels, outputs, losses)
        return {self.loss: loss}

    def inference_step(self, inputs: Any, model: keras.Model) -> Any:
        """The forward pass as in use: no dropout, moving statistics."""
        return model(inputs, training=False)

    def aggregate_logs(
        self, state: Any = None, step_outputs: Mapping[str, Any] | None = None
    ) -> Any:
        """Adds one evaluation step to `state`, on the host.

        Args:
            state: None at the first step of an evaluation, then what this method returned.
            step_outputs: The logs of `validation_step`; each tensor is a tuple with one entry per
                replica, over all workers.

        Returns:
            The new state. None if nothing is aggregated on the host.
        """

    def reduce_aggregated_logs(
        self, aggregated_logs: Any, global_step: tf.Variable | None = None
    ) -> Logs:
        """Turns the state of `aggregate_logs` into metrics at the end of an evaluation."""
        del aggregated_logs, global_step
        return {}

    def save_visualization(self, model: keras.Model, output_dir: str) -> str | None:
        """Draws what the model does into `output_dir`; called on the chief at the end of a run.

        Returns:
            Path of the picture, or None for a task that draws nothing.
        """
        del model, output_dir
        return None

    def compute_losses(self, model: keras.Model, labels: Any, outputs: Any) -> dict[str, tf.Tensor]:
        """The losses of one replica by name; `loss` is the one that training minimizes.

        This is `build_losses`, plus the loss given to `model.compile` if there is one. A task whose
        loss has parts returns those too, and its `update_metrics` gets them.
        """
        is_compiled = has_compiled_loss(model)
        aux_losses = None if is_compiled else model.losses
        loss = self.build_losses(labels=labels, model_outputs=outputs, aux_losses=aux_losses)
        task_results.check_loss(loss, self)
        if not is_compiled:
            return {self.loss: loss}
        # Keras divides what it computes here by the number of replicas, and train_step does too.
        compiled = model.compute_loss(None, labels, outputs) * num_replicas()
        return {self.loss: compiled + loss}

    def update_metrics(
        self,
        model: keras.Model,
        metrics: Sequence[keras.metrics.Metric] | None,
        labels: Any,
        outputs: Any,
        losses: Mapping[str, tf.Tensor],
    ) -> None:
        """Updates every kind of metric with one batch; `losses` is what `compute_losses` gave."""
        del losses
        if metrics:
            self.process_metrics(metrics, labels, outputs)
        if has_compiled_loss(model):
            self.process_compiled_metrics(model, labels, outputs)


def split_inputs(inputs: Any) -> tuple[Any, Any]:
    """`(features, labels)` of a batch; one structure serves as both."""
    if isinstance(inputs, tuple) and len(inputs) == 2:
        return inputs
    return inputs, inputs


def num_replicas() -> int:
    """Replicas that train in step under the current strategy."""
    return int(tf.distribute.get_strategy().num_replicas_in_sync)


def has_compiled_loss(model: keras.Model) -> bool:
    """Whether `model.compile` was called with a loss."""
    return bool(getattr(model, 'compiled', False)) and getattr(model, 'loss', None) is not None


def call_build_inputs(
    task: Task, params: Any, input_context: tf.distribute.InputContext | None
) -> tf.data.Dataset:
    """`task.build_inputs`, with the context only if it takes one (as Model Garden allows)."""
    takes_context = 'input_context' in inspect.signature(task.build_inputs).parameters
    context = {'input_context': input_context} if takes_context else {}
    dataset = task.build_inputs(params, **context)
    task_results.check_dataset(dataset, f'{type(task).__name__}.build_inputs')
    return dataset


def _get_scaled_loss(optimizer: keras.optimizers.Optimizer, loss: tf.Tensor) -> tf.Tensor:
    """The loss times the loss scale; a stock Keras optimizer calls this `scale_loss`."""
    scale = getattr(optimizer, 'get_scaled_loss', None) or optimizer.scale_loss
    return scale(loss)


def _get_unscaled_gradients(
    optimizer: keras.optimizers.Optimizer, gradients: Sequence[tf.Tensor]
) -> Sequence[tf.Tensor]:
    """Gradients of the unscaled loss; a stock Keras optimizer unscales in `apply_gradients`."""
    unscale = getattr(optimizer, 'get_unscaled_gradients', None)
    return unscale(gradients) if unscale else gradients
