"""The evaluation loop: from validation data to one set of logs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from official_lite import errors
from official_lite.core import (
    base_task,
    garbage,
    graph_code,
    input_pipelines,
    replicas,
    step_logs,
    task_results,
)

__all__ = ['EvaluationLoop']

Logs = dict[str, Any]


class EvaluationLoop:
    """Calls a step of evaluation batch after batch, and gathers what the task makes of all of them."""

    def __init__(
        self,
        config: Any,
        task: base_task.Task,
        eval_step: Callable[[Any], Logs],
        *,
        metrics: Sequence[keras.metrics.Metric],
        loss: keras.metrics.Mean,
        dataset: Any = None,
        autograph: bool = False,
    ) -> None:
        """Wraps the step as the config says. Call it in the strategy's scope.

        Args:
            config: The `ExperimentConfig`.
            task: The task: its data, and `aggregate_logs` and `reduce_aggregated_logs`.
            eval_step: Takes the inputs of one step from an iterator and returns its logs.
            metrics: Metrics that the steps update; reset before each evaluation.
            loss: Mean loss of the examples, likewise.
            dataset: Distributed dataset to use instead of the task's.
            autograph: Whether AutoGraph converts the step.
        """
        self._strategy = tf.distribute.get_strategy()
        self._config = config
        self._task = task
        self._eval_step = eval_step
        self._metrics = metrics
        self._loss = loss
        self._dataset = dataset
        self._step: Callable[[Any], Logs] = self._step_on_host
        if config.trainer.eval_tf_function:
            self._step = tf.function(self._step_on_host, autograph=autograph)
        self._graph_loop = tf.function(self._repeat_step, autograph=autograph)

    def run(self, num_steps: int, global_step: tf.Variable) -> Logs:
        """Evaluates on `num_steps` batches of every replica, or on all data.

        Args:
            num_steps: Batches; -1 for all.
            global_step: Steps trained so far, for `reduce_aggregated_logs`.

        Returns:
            Metrics, `validation_loss` if the steps return losses, and what `reduce_aggregated_logs` returns.

        Raises:
            DataError: there is no validation data.
        """
        for metric in [*self._metrics, self._loss]:
            metric.reset_state()
        state = self._run_steps(num_steps)
        logs = step_logs.get_all_results(self._metrics)
        if float(tf.convert_to_tensor(self._loss.count)) > 0:
            logs[self._loss.name] = float(self._loss.result())
        if state is not None:
            found = self._task.reduce_aggregated_logs(state, global_step=global_step) or {}
            task_results.check_logs(found, self._task, 'reduce_aggregated_logs')
            logs.update(found)
        return logs

    def _run_steps(self, num_steps: int) -> Any:
        """Does all steps; returns what the task aggregated, None in a loop on the device."""
        iterator = iter(self._make_dataset())
        if self._config.trainer.eval_tf_while_loop and num_steps > 0:
            self._graph_loop(iterator, tf.constant(num_steps, tf.int32))
            garbage.settle()
            return None
        state, done = None, 0
        while done != num_steps:
            try:
                logs = self._step(iterator)
            except (tf.errors.OutOfRangeError, StopIteration):
                break
            logs = replicas.gather_from_workers(self._strategy, logs)
            state = self._task.aggregate_logs(state, logs)
            done += 1
            garbage.settle()
        if not done:
            raise errors.DataError('the validation data is empty', where='task.validation_data')
        return state

    def _step_on_host(self, iterator: Any) -> Logs:
        return replicas.local_results(self._strategy, self._eval_step(iterator))

    def _repeat_step(self, iterator: Any, num_steps: tf.Tensor) -> None:
        graph_code.repeat(lambda i: self._eval_step(iterator), num_steps)

    def _make_dataset(self) -> Any:
        if self._dataset is not None:
            return self._dataset
        data = self._config.task.validation_data
        return input_pipelines.distribute(
            self._strategy,
            lambda context: base_task.call_build_inputs(self._task, data, context),
            self._config.runtime,
            is_finite=True,
        )
