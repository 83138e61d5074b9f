"""`Trainer`: the training loop and the evaluation loop, for any task and any strategy.

Both loops are our own (`strategy.run` inside one `tf.function`), never `Model.fit`, which fails under
MultiWorkerMirroredStrategy (keras#20585). `Trainer.train_step` is the only place where a training step is
handed to the replicas.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from official_lite import errors
from official_lite.core import (
    actions,
    base_task,
    checkpoint_manager,
    checkpoints,
    garbage,
    graph_code,
    input_pipelines,
    pace,
    replicas,
    step_logs,
    task_results,
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
        hyperparameters_lib.attach(model, config)
        self._optimizer = optimizer
        self._checkpoint_exporter = checkpoint_exporter
        self._datasets = {'train': train_dataset, 'validation': validation_dataset}
        self._num_train_examples = num_train_examples
        self._train_iterator: Any = None
        self._pace = pace.Pace(replicas.is_multi_worker(self._strategy))
        self._build_variables(metadata)
        self._build_metrics(train, evaluate)
        self._build_functions()

    def _build_variables(self, metadata: str) -> None:
        self._global_step = _make_counter('global_step')
        self._num_batches = _make_counter('num_batches')
        self._epoch = _make_counter('epoch')
        self._random_states = {'random/global': replicas.get_global_seed_state()}
        self._layer_control = layer_control_lib.LayerControl(self._model, self._config)
        self._model_keys = checkpoints.model_variables(self._model)
        exported = {**self._model_keys, checkpoints.STEP_KEY: self._global_step}
        self.export_checkpoint = checkpoints.FlatCheckpoint(exported, metadata)
        self.checkpoint = checkpoints.FlatCheckpoint(
            {
                **exported,
                **self._build_optimizer(),
                **self._random_states,
                checkpoints.NUM_BATCHES_KEY: self._num_batches,
                checkpoints.EPOCH_KEY: self._epoch,
            },
            metadata,
            slots_like_weights=getattr(self._optimizer, 'slots_like_weights', ()),
        )
        self._seed_replicas()

    def _build_optimizer(self) -> dict[str, tf.Variable]:
        """Creates the optimizer's state; returns it by key."""
        optimizer = self._optimizer
        if optimizer is None:
            return {}
        if hasattr(optimizer, 'set_variable_keys') and not optimizer.built:
            optimizer.set_variable_keys(self._model_keys)
        if hasattr(optimizer, 'shadow_copy') and not optimizer.has_shadow_copy:
            optimizer.shadow_copy(self._model)
        self._layer_control.configure_optimizer(optimizer)
        optimizer.build(self._model.trainable_variables)
        self._layer_control.check_optimizer(optimizer)
        return checkpoints.optimizer_variables(optimizer, self._model_keys)

    def _build_metrics(self, train: bool, evaluate: bool) -> None:
        compiled = step_logs.get_compiled_metrics(self._model)
        self._train_loss = keras.metrics.Mean('training_loss', dtype='float32')
        self._validation_loss = keras.metrics.Mean('validation_loss', dtype='float32')
        self._train_metrics = (
            list(self._task.build_metrics(training=True)) + compiled if train else []
        )
        self._validation_metrics = (
            list(self._task.build_metrics(training=False)) + compiled if evaluate else []
        )

    def _build_functions(self) -> None:
        trainer = self._config.trainer
        autograph = graph_code.has_foreign_code(self, self._task)
        self._task_train_step: Callable[..., Logs] = self._task.train_step
        # On CPUs XLA's convolutions take several times as long as TensorFlow's.
        if self._config.runtime.enable_xla and graph_code.has_accelerator():
            self._task_train_step = tf.function(
                self._task.train_step, autograph=autograph, jit_compile=True
            )
        self._loop: Callable[..., None] = self._python_loop
        if trainer.train_tf_function and trainer.train_tf_while_loop:
            self._loop = tf.function(self._graph_loop, autograph=autograph)
        elif trainer.train_tf_function:
            self._one_step = tf.function(self.train_step, autograph=autograph)
        else:
            self._one_step = self.train_step
        evaluate = self._eval_step_on_host_logs
        self._eval_function = evaluate
        if trainer.eval_tf_function:
            self._eval_function = tf.function(evaluate, autograph=autograph)
        self._eval_loop = tf.function(self._graph_eval_loop, autograph=autograph)
        padder = self._config.runtime.tpu_enable_xla_dynamic_padder
        xla_options = {} if padder is None else {'enable_xla_dynamic_padder': padder}
        self._run_options = tf.distribute.RunOptions(
            experimental_xla_options=tf.tpu.XLAOptions(**xla_options)
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
        return self._global_step

    @property
    def num_batches(self) -> tf.Variable:
        """Global batches consumed, int64; more than the steps after a recovery."""
        return self._num_batches

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
        examples = self._num_train_examples
        return (
            replicas.to_int(self._num_batches) * self._batch_size / examples if examples else None
        )

    @property
    def hyperparameters(self) -> hyperparameters_lib.Hyperparameters:
        """All settings, with what they are right now: `learning_rate`, `step`, `epoch`, `batch_size`."""
        return hyperparameters_lib.Hyperparameters.of(self._config, self.get_live_hyperparameters())

    def get_live_hyperparameters(self) -> dict[str, Any]:
        """Returns learning rate of the next step, step, epoch and batch size, None for what has none."""
        optimizer = self._optimizer
        return {
            'learning_rate': None if optimizer is None else step_logs.get_learning_rate(optimizer),
            'step': replicas.to_int(self._global_step),
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
        while (step := replicas.to_int(self._global_step)) < train_steps:
            until = min([e.next_step(step, train_steps) for e in events], default=train_steps)
            num_steps = self._pace.choose(until - step)
            with self._pace.measure(num_steps):
                self._run_steps(num_steps)
                logs = self.get_current_logs()
            if not after_chunk(step + num_steps, logs):
                continue
            for event in events:
                if event.is_due(step + num_steps, train_steps):
                    event.run(step + num_steps)

    def train(self, num_steps: Any) -> Logs:
        """Trains `num_steps` more steps and returns the logs of these."""
        self._run_steps(int(num_steps))
        return self.train_loop_end()

    def train_step(self, iterator: Any) -> None:
        """One step on all replicas: the only `strategy.run` of training."""

        def step_fn(inputs: Any) -> None:
            logs = self._task_train_step(
                inputs, model=self.model, optimizer=self.optimizer, metrics=self.train_metrics
            )
            self._train_loss.update_state(logs[self.task.loss])

        inputs = self.next_train_inputs(iterator)
        self._strategy.run(step_fn, args=(inputs,), options=self._run_options)
        self._global_step.assign_add(1)
        self._num_batches.assign_add(1)

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
        logs = {k: v for m in self._train_metrics for k, v in step_logs.get_results(m).items()}
        logs.update(self.get_current_logs())
        norm = getattr(self._optimizer, 'gradient_norm', None)
        if norm is not None:
            logs['gradient_norm'] = float(tf.convert_to_tensor(norm))
        for metric in [*self._train_metrics, self._train_loss]:
            metric.reset_state()
        return logs

    def _run_steps(self, num_steps: int) -> None:
        collection: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        if self._train_iterator is None:
            self._train_iterator = iter(self._make_train_dataset())
            collection = garbage.paused()
        before = replicas.to_int(self._num_batches)
        try:
            with collection, graph_code.fast_start():
                self._loop(self._train_iterator, tf.constant(num_steps, tf.int32))
            garbage.settle()
        except (tf.errors.OutOfRangeError, StopIteration) as error:
            raise errors.DataError(
                f'the training data ended after {replicas.to_int(self._num_batches) - before} more steps',
                where=f'step {replicas.to_int(self._global_step)}',
                expected='data without end (is_training=true repeats it)',
            ) from error

    def _graph_loop(self, iterator: Any, num_steps: tf.Tensor) -> None:
        # Logged is the norm of the last update.
        norm_is_noted = getattr(self._optimizer, 'norm_is_noted', None)

        def do_step(i: tf.Tensor) -> None:
            if norm_is_noted is not None:
                norm_is_noted.assign(tf.equal(i, num_steps - 1))
            # Without it, tags of summaries would begin with `while/`.
            with tf.name_scope(''):
                self.train_step(iterator)

        graph_code.repeat(do_step, num_steps)

    def _python_loop(self, iterator: Any, num_steps: tf.Tensor) -> None:
        for _ in range(int(num_steps)):
            self._one_step(iterator)

    def _make_train_dataset(self) -> Any:
        seen = replicas.to_int(self._num_batches)
        if self._datasets['train'] is not None:
            return input_pipelines.skip_batches(self._datasets['train'], seen)
        return input_pipelines.distribute(
            self._strategy,
            lambda context: self._task.build_inputs_at(self._config.task.train_data, context, seen),
            self._config.runtime,
        )

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
            logs = self._evaluate(int(num_steps))
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

    def _evaluate(self, num_steps: int) -> Logs:
        for metric in [*self._validation_metrics, self._validation_loss]:
            metric.reset_state()
        state = self._run_evaluation(num_steps)
        logs = {k: v for m in self._validation_metrics for k, v in step_logs.get_results(m).items()}
        if float(tf.convert_to_tensor(self._validation_loss.count)) > 0:
            logs[self._validation_loss.name] = float(self._validation_loss.result())
        if state is not None:
            logs.update(
                self._task.reduce_aggregated_logs(state, global_step=self._global_step) or {}
            )
        return logs

    def _run_evaluation(self, num_steps: int) -> Any:
        iterator = iter(self._make_validation_dataset())
        if self._config.trainer.eval_tf_while_loop and num_steps > 0:
            self._eval_loop(iterator, tf.constant(num_steps, tf.int32))
            garbage.settle()
            return None
        state, done = None, 0
        while done != num_steps:
            try:
                logs = self._eval_function(iterator)
            except (tf.errors.OutOfRangeError, StopIteration):
                break
            logs = replicas.gather_from_workers(self._strategy, logs)
            state = self._task.aggregate_logs(state, logs)
            done += 1
            garbage.settle()
        if not done:
            raise errors.DataError('the validation data is empty', where='task.validation_data')
        return state

    def _eval_step_on_host_logs(self, iterator: Any) -> Logs:
        return replicas.local_results(self._strategy, self.eval_step(iterator))

    def _graph_eval_loop(self, iterator: Any, num_steps: tf.Tensor) -> None:
        graph_code.repeat(lambda i: self.eval_step(iterator), num_steps)

    def _make_validation_dataset(self) -> Any:
        if self._datasets['validation'] is not None:
            return self._datasets['validation']
        data = self._config.task.validation_data
        return input_pipelines.distribute(
            self._strategy,
            lambda context: base_task.call_build_inputs(self._task, data, context),
            self._config.runtime,
            is_finite=True,
        )

    def _export_best(self, logs: Logs) -> None:
        exporter = self._checkpoint_exporter
        exporter.maybe_export_checkpoint(
            self.export_checkpoint, logs, replicas.to_int(self._global_step)
        )
        if exporter.best_value is not None:
            name = self._config.trainer.best_checkpoint_eval_metric
            logs[f'best_{name}'] = exporter.best_value

    # Checkpoints.

    def save(self, manager: checkpoint_manager.CheckpointManager) -> str:
        """Saves through `manager`, with statistics that all replicas agree on; returns the prefix."""
        self.synchronize_statistics()
        self._epoch.assign(int(self.epoch or 0))
        return manager.save(replicas.to_int(self._global_step))

    def restore(self, path: str) -> None:
        """Sets everything from a checkpoint of such a run; the data goes on from where it was."""
        self.checkpoint.read(path)
        self._seed_replicas()
        self._train_iterator = None

    def restore_model(self, path: str) -> None:
        """Sets the model and the step from any checkpoint, for evaluation: averages where these are kept."""
        has_averages = getattr(self._config.trainer.optimizer_config, 'has_averages', False)
        step = checkpoints.read_model(self._model_keys, path, use_averages=has_averages)
        self._global_step.assign(step)

    def restore_weights(self, path: str) -> None:
        """Sets everything but the position in the data, to go around what made the loss blow up."""
        seen = replicas.to_int(self._num_batches)
        self.checkpoint.read(path)
        self._num_batches.assign(seen)
        self._seed_replicas()
        for metric in [*self._train_metrics, self._train_loss]:
            metric.reset_state()

    def _seed_replicas(self) -> None:
        states = [*self._model.variables, *self._random_states.values()]
        replicas.seed_replicas(self._strategy, states)


def _make_counter(name: str) -> tf.Variable:
    return tf.Variable(
        0,
        dtype=tf.int64,
        name=name,
        trainable=False,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )


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
