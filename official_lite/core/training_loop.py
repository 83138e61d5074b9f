"""The training loop: many steps in one go, on data that goes on where it was."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from official_lite import errors
from official_lite.core import (
    base_task,
    garbage,
    graph_code,
    input_pipelines,
    replicas,
    training_state,
)

__all__ = ['TrainingLoop']


class TrainingLoop:
    """Calls a step of training again and again: compiled as one loop, step by step, or eagerly."""

    def __init__(
        self,
        config: Any,
        task: base_task.Task,
        train_step: Callable[[Any], None],
        state: training_state.TrainingState,
        *,
        dataset: Any = None,
        norm_is_noted: tf.Variable | None = None,
        autograph: bool = False,
    ) -> None:
        """Wraps the step as the config says. Call it in the strategy's scope.

        Args:
            config: The `ExperimentConfig`.
            task: The task, for its data.
            train_step: Does one step with the inputs that it takes from an iterator.
            state: What the steps change, with the position in the data.
            dataset: Distributed dataset to use instead of the task's.
            norm_is_noted: The optimizer's switch that notes a gradient's norm; on for the last step only.
            autograph: Whether AutoGraph converts the step.
        """
        self._strategy = tf.distribute.get_strategy()
        self._config = config
        self._task = task
        self._train_step = train_step
        self._state = state
        self._dataset = dataset
        self._norm_is_noted = norm_is_noted
        self._iterator: Any = None
        self._loop: Callable[[Any, tf.Tensor], None] = self._python_loop
        trainer = config.trainer
        if trainer.train_tf_function and trainer.train_tf_while_loop:
            self._loop = tf.function(self._graph_loop, autograph=autograph)
        elif trainer.train_tf_function:
            self._train_step = tf.function(train_step, autograph=autograph)

    def run(self, num_steps: int) -> None:
        """Does `num_steps` more steps.

        Raises:
            DataError: the training data came to its end.
        """
        collection: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        if self._iterator is None:
            self._iterator = iter(self._make_dataset())
            collection = garbage.paused()
        before = replicas.to_int(self._state.num_batches)
        try:
            with collection, graph_code.fast_start():
                self._loop(self._iterator, tf.constant(num_steps, tf.int32))
            garbage.settle()
        except (tf.errors.OutOfRangeError, StopIteration) as error:
            done = replicas.to_int(self._state.num_batches) - before
            raise errors.DataError(
                f'the training data ended after {done} more steps',
                where=f'step {replicas.to_int(self._state.global_step)}',
                expected='data without end (is_training=true repeats it)',
            ) from error

    def forget_data(self) -> None:
        """Lets the next step open the data anew, at the position that the state then has."""
        self._iterator = None

    def _graph_loop(self, iterator: Any, num_steps: tf.Tensor) -> None:
        def do_step(i: tf.Tensor) -> None:
            if self._norm_is_noted is not None:
                self._norm_is_noted.assign(tf.equal(i, num_steps - 1))
            # Without it, tags of summaries would begin with `while/`.
            with tf.name_scope(''):
                self._train_step(iterator)

        graph_code.repeat(do_step, num_steps)

    def _python_loop(self, iterator: Any, num_steps: tf.Tensor) -> None:
        for _ in range(int(num_steps)):
            self._train_step(iterator)

    def _make_dataset(self) -> Any:
        seen = replicas.to_int(self._state.num_batches)
        if self._dataset is not None:
            return input_pipelines.skip_batches(self._dataset, seen)
        return input_pipelines.distribute(
            self._strategy,
            lambda context: self._task.build_inputs_at(self._config.task.train_data, context, seen),
            self._config.runtime,
        )
