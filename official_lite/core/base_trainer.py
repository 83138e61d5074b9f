"""`Trainer`: one step of training and one of evaluation, on all replicas, and what is done with many of them.

The loops (`training_loop`, `evaluation_loop`) are our own, never `Model.fit`, which fails under
MultiWorkerMirroredStrategy (keras#20585). `Trainer.train_step` is the only place where a training step is
handed to the replicas. What a step changes and a checkpoint holds is in `training_state`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from official_lite.core import (
    actions,
    base_task,
    checkpoint_manager,
    evaluation_loop,
    graph_code,
    model_hyperparameters,
    pace,
    replicas,
    step_logs,
    task_results,
    training_loop,
    training_state,
)
from official_lite.core import hyperparameters as hyperparameters_lib
from official_lite.core import layer_control as layer_control_lib

Logs = dict[str, Any]


class Trainer:
    """Trains and evaluates one task.

    Attributes:
        checkpoint: Everything that a resumed run needs, as a `FlatCheckpoint`.
        export_checkpoint: The model and the step: what is exported as the best.
    """

    def __init__(
        self,
        config: Any,
        task: base_task.Task,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer | None,
        train: bool = True,
        evaluate: bool = True,
        train_dataset: Any = None,
        validation_dataset: Any = None,
        checkpoint_exporter: Any = None,
        *,
        metadata: str = '',
        num_train_examples: int | None = None,
    ) -> None:
        """Builds the optimizer's state, metrics and the checkpoint. Call it in the strategy's scope.

        Args:
            config: The `ExperimentConfig`.
            task: The task.
            model: The model, built in the same scope.
            optimizer: The optimizer; None for a trainer that only evaluates.
            train: Whether this trainer will train.
            evaluate: Whether this trainer will evaluate.
            train_dataset: Distributed dataset to use instead of `task.build_inputs`.
            validation_dataset: Likewise, for evaluation.
            checkpoint_exporter: Keeps the best checkpoint (`BestCheckpointExporter`).
            metadata: JSON text that goes into the checkpoints.
            num_train_examples: Size of the training data, with which checkpoints tell the epoch.
        """
        _check_config(
            config, train and train_dataset is None, evaluate and validation_dataset is None
        )
        task_results.check_model(model, task)
        self._strategy = tf.distribute.get_strategy()
        self._config = config
        self._task = task
        self._model = model
        model_hyperparameters.attach(model, config)
        self._optimizer = optimizer
        self._checkpoint_exporter = checkpoint_exporter
        self._num_train_examples = num_train_examples
        self._pace = pace.Pace(replicas.is_multi_worker(self._strategy))
        self._layer_control = layer_control_lib.LayerControl(model, config)
        self._state = training_state.TrainingState(
            model, optimizer, self._layer_control, metadata=metadata
        )
        self.checkpoint = self._state.checkpoint
        self.export_checkpoint = self._state.export_checkpoint
        self._train_loss = keras.metrics.Mean('training_loss', dtype='float32')
        self._train_metrics = self._build_metrics(training=True) if train else []
        self._validation_loss = keras.metrics.Mean('validation_loss', dtype='float32')
        self._validation_metrics = self._build_metrics(training=False) if evaluate else []
        autograph = graph_code.has_foreign_code(self, task)
        self._apply_xla_options(autograph)
        self._build_loops(train_dataset, validation_dataset, autograph=autograph)

    def _build_metrics(self, training: bool) -> list[keras.metrics.Metric]:
        compiled = step_logs.get_compiled_metrics(self._model)
        return [*task_results.get_metrics(self._task, training), *compiled]

    def _apply_xla_options(self, autograph: bool) -> None:
        runtime = self._config.runtime
        self._task_train_step: Callable[..., Logs] = self._task.train_step
        # On CPUs XLA's convolutions take several times as long as TensorFlow's.
        if runtime.enable_xla and graph_code.has_accelerator():
            self._task_train_step = tf.function(
                self._task.train_step, autograph=autograph, jit_compile=True
            )
        padder = runtime.tpu_enable_xla_dynamic_padder
        xla_options = {} if padder is None else {'enable_xla_dynamic_padder': padder}
        self._run_options = tf.distribute.RunOptions(
            experimental_xla_options=tf.tpu.XLAOptions(**xla_options)
        )

    def _build_loops(self, train_dataset: Any, validation_dataset: Any, *, autograph: bool) -> None:
        self._training = training_loop.TrainingLoop(
            self._config,
            self._task,
            self.train_step,
            self._state,
            dataset=train_dataset,
            norm_is_noted=getattr(self._optimizer, 'norm_is_noted', None),
            autograph=autograph,
        )
        self._evaluation = evaluation_loop.EvaluationLoop(
            self._config,
            self._task,
            self.eval_step,
            metrics=self._validation_metrics,
            loss=self._validation_loss,
            dataset=validation_dataset,
            autograph=autograph,
        )

    # Properties, with Model Garden's names.

    @property
    def strategy(self) -> tf.distribute.Strategy:
        return self._strategy

    @property
    def config(self) -> Any:
        return self._config

    @property
    def task(self) -> base_task.Task:
        return self._task

    @property
    def model(self) -> keras.Model:
        return self._model

    @property
    def layer_control(self) -> layer_control_lib.LayerControl:
        """What the config says of single layers."""
        return self._layer_control

    @property
    def optimizer(self) -> keras.optimizers.Optimizer | None:
        return self._optimizer

    @property
    def global_step(self) -> tf.Variable:
        """Steps done, int64."""
        return self._state.global_step

    @property
    def num_batches(self) -> tf.Variable:
        """Global batches consumed, int64; more than the steps after a recovery."""
        return self._state.num_batches

    @property
    def train_loss(self) -> keras.metrics.Metric:
        return self._train_loss

    @property
    def validation_loss(self) -> keras.metrics.Metric:
        return self._validation_loss

    @property
    def train_metrics(self) -> list[keras.metrics.Metric]:
        return self._train_metrics

    @property
    def validation_metrics(self) -> list[keras.metrics.Metric]:
        return self._validation_metrics

    @property
    def checkpoint_exporter(self) -> Any:
        return self._checkpoint_exporter

    @property
    def epoch(self) -> float | None:
        """Passes over the training data so far, a fraction; None if its size is not known."""
        if not self._num_train_examples:
            return None
        seen = replicas.to_int(self._state.num_batches) * self._batch_size
        return seen / self._num_train_examples

    @property
    def hyperparameters(self) -> hyperparameters_lib.Hyperparameters:
        """All settings, with what they are right now: `learning_rate`, `step`, `epoch`, `batch_size`."""
        return hyperparameters_lib.Hyperparameters.of(self._config, self.get_live_hyperparameters())

    def get_live_hyperparameters(self) -> dict[str, Any]:
        """Returns learning rate of the next step, step, epoch and batch size, None for what has none."""
        optimizer = self._optimizer
        return {
            'learning_rate': None if optimizer is None else step_logs.get_learning_rate(optimizer),
            'step': replicas.to_int(self._state.global_step),
            'epoch': self.epoch,
            'batch_size': self._batch_size,
        }

    @property
    def _batch_size(self) -> int:
        return getattr(self._config.task.train_data, 'global_batch_size', 0) or 0

    # Training.

    def initialize(self) -> None:
        """Starts from `task.init_checkpoint`, for a run that has no checkpoint of its own."""
        self._task.initialize(self._model)
        self._layer_control.reinitialize()

    def fit(
        self,
        train_steps: int,
        *,
        events: Sequence[pace.Event] = (),
        after_chunk: Callable[[int, Logs], bool] = lambda step, logs: True,
    ) -> None:
        """Trains until `train_steps` steps are done in all.

        Args:
            train_steps: The step at which training ends.
            events: What happens at which steps, in this order where several are due.
            after_chunk: Called every half second or so with the step and `training_loss` and
                `learning_rate`, before events; what it raises ends training. False means that the state was
                set back and no event is due.

        Raises:
            DataError: the training data came to its end.
        """
        while (step := replicas.to_int(self._state.global_step)) < train_steps:
            until = min([e.next_step(step, train_steps) for e in events], default=train_steps)
            num_steps = self._pace.choose(until - step)
            with self._pace.measure(num_steps):
                self._training.run(num_steps)
                logs = self.get_current_logs()
            if not after_chunk(step + num_steps, logs):
                continue
            for event in events:
                if event.is_due(step + num_steps, train_steps):
                    event.run(step + num_steps)

    def train(self, num_steps: Any) -> Logs:
        """Trains `num_steps` more steps and returns the logs of these."""
        self._training.run(int(num_steps))
        return self.train_loop_end()

    def train_step(self, iterator: Any) -> None:
        """One step on all replicas: the only `strategy.run` of training."""

        def step_fn(inputs: Any) -> None:
            logs = self._task_train_step(
                inputs, model=self.model, optimizer=self.optimizer, metrics=self.train_metrics
            )
            self._train_loss.update_state(task_results.get_loss(logs, self.task, 'train_step'))

        inputs = self.next_train_inputs(iterator)
        self._strategy.run(step_fn, args=(inputs,), options=self._run_options)
        self._state.global_step.assign_add(1)
        self._state.num_batches.assign_add(1)

    def next_train_inputs(self, iterator: Any) -> Any:
        """Takes the inputs of one step; to be overridden where they come from elsewhere."""
        return next(iterator)

    def get_current_logs(self) -> Logs:
        """Mean loss since the last logs, and the learning rate of the next step."""
        return {
            self._train_loss.name: float(self._train_loss.result()),
            'learning_rate': step_logs.get_learning_rate(self._optimizer),
        }

    def train_loop_end(self) -> Logs:
        """Training metrics since the last call, which are reset, and the last update's gradient norm."""
        logs = step_logs.get_all_results(self._train_metrics)
        logs.update(self.get_current_logs())
        norm = getattr(self._optimizer, 'gradient_norm', None)
        if norm is not None:
            logs['gradient_norm'] = float(tf.convert_to_tensor(norm))
        self._reset_train_metrics()
        return logs

    # Evaluation.

    def evaluate(self, num_steps: Any = -1) -> Logs:
        """Evaluates on `num_steps` batches, or on all of the validation data.

        Statistics are averaged over the replicas before; with moving averages of the weights, these are
        evaluated (and exported, if they are the best so far).

        Args:
            num_steps: Batches on every replica; -1 for all.

        Returns:
            Metrics, `validation_loss` if the task returns losses, what `reduce_aggregated_logs` returns, and
            `best_<metric>` where the best checkpoint is kept.
        """
        self.synchronize_statistics()
        with self.evaluation_weights():
            logs = self._evaluation.run(int(num_steps), self.global_step)
            if self._checkpoint_exporter is not None:
                self._export_best(logs)
        return logs

    def eval_step(self, iterator: Any) -> Logs:
        """One step of evaluation on all replicas."""

        def step_fn(inputs: Any) -> Logs:
            # What counts steps must wait for the inputs: at the end of the data there are none.
            arrived = [value for value in tf.nest.flatten(inputs) if isinstance(value, tf.Tensor)]
            with tf.control_dependencies(arrived):
                logs = self.task.validation_step(
                    inputs, model=self.model, metrics=self.validation_metrics
                )
                task_results.check_logs(logs, self.task, 'validation_step')
                if self.task.loss in logs:
                    step_logs.update_mean(self._validation_loss, logs[self.task.loss], inputs)
            return logs

        inputs, passthrough_logs = self.next_eval_inputs(iterator)
        logs = self._strategy.run(step_fn, args=(inputs,))
        return {**passthrough_logs, **logs}

    def next_eval_inputs(self, iterator: Any) -> tuple[Any, Logs]:
        """Takes the inputs of one step, and logs that go around the devices to `aggregate_logs`."""
        return next(iterator), {}

    @contextlib.contextmanager
    def evaluation_weights(self) -> Iterator[None]:
        """A context in which the model has the moving averages of its weights, if these are kept."""
        optimizer: Any = self._optimizer
        if not actions.has_averages(optimizer):
            yield
            return
        optimizer.swap_weights()
        try:
            yield
        finally:
            optimizer.swap_weights()

    def synchronize_statistics(self) -> None:
        """Averages BatchNorm's statistics over the replicas; called by all workers together."""
        replicas.average_statistics(self._strategy, self._model)

    def _export_best(self, logs: Logs) -> None:
        exporter = self._checkpoint_exporter
        exporter.maybe_export_checkpoint(
            self.export_checkpoint, logs, replicas.to_int(self._state.global_step)
        )
        if exporter.best_value is not None:
            name = self._config.trainer.best_checkpoint_eval_metric
            logs[f'best_{name}'] = exporter.best_value

    # Checkpoints.

    def save(self, manager: checkpoint_manager.CheckpointManager) -> str:
        """Saves through `manager`, with statistics that all replicas agree on; returns the prefix."""
        self.synchronize_statistics()
        self._state.epoch.assign(int(self.epoch or 0))
        return manager.save(replicas.to_int(self._state.global_step))

    def restore(self, path: str) -> None:
        """Sets everything from a checkpoint of such a run; the data goes on from where it was."""
        self._state.restore(path)
        self._training.forget_data()

    def restore_model(self, path: str) -> None:
        """Sets the model and the step from any checkpoint, for evaluation: averages where these are kept."""
        has_averages = getattr(self._config.trainer.optimizer_config, 'has_averages', False)
        self._state.restore_model(path, use_averages=has_averages)

    def restore_weights(self, path: str) -> None:
        """Sets everything but the position in the data, to go around what made the loss blow up."""
        self._state.restore_but_position(path)
        self._reset_train_metrics()

    def _reset_train_metrics(self) -> None:
        for metric in [*self._train_metrics, self._train_loss]:
            metric.reset_state()


def _check_config(config: Any, needs_train_data: bool, needs_validation_data: bool) -> None:
    for name in ('trainer', 'task', 'runtime'):
        if not hasattr(config, name):
            raise AttributeError(f'The trainer requires a config with the attribute `{name}`.')
    for name, is_needed in (
        ('train_data', needs_train_data),
        ('validation_data', needs_validation_data),
    ):
        if is_needed and not hasattr(config.task, name):
            raise AttributeError(f'The trainer requires a config with the attribute `task.{name}`.')
