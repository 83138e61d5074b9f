"""What happens beside training: callables on the logs of a training loop or an evaluation."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from official_lite import errors
from official_lite.core import best_checkpoint, checkpoint_manager, replicas

Action = Callable[[Mapping[str, Any]], None]
EMA_SUBDIR = 'ema_checkpoints'
EMA_CHECKPOINT_NAME = 'average_weights'


class LossError(errors.OfficialLiteError, RuntimeError):
    """The loss is not a number, or above its bound, more often than the config allows."""


class StopTraining(Exception):
    """Raised by an action to end training early; a checkpoint is saved, and a last evaluation made."""


class RecoveryCondition:
    """Whether the loss blew up: not finite, or above a bound."""

    def __init__(
        self,
        global_step: tf.Variable,
        loss_upper_bound: float,
        recovery_begin_steps: int = 0,
        recovery_max_trials: int = 3,
    ) -> None:
        """Starts to count.

        Args:
            global_step: The trainer's step.
            loss_upper_bound: A mean loss above this is a blow-up.
            recovery_begin_steps: Before this step only a loss that is not finite is one.
            recovery_max_trials: How many blow-ups are answered with a restore.
        """
        self.recover_counter = 0
        self.recovery_begin_steps = recovery_begin_steps
        self.recovery_max_trials = recovery_max_trials
        self.loss_upper_bound = loss_upper_bound
        self.global_step = global_step

    def __call__(self, outputs: Mapping[str, Any]) -> bool:
        """Looks at `outputs['training_loss']`.

        Returns:
            Whether training is to go back to the last checkpoint.

        Raises:
            LossError: there were more blow-ups than `recovery_max_trials`.
        """
        loss = float(np.asarray(outputs['training_loss']).reshape(()))
        step = replicas.to_int(self.global_step)
        is_high = step >= self.recovery_begin_steps and loss > self.loss_upper_bound
        if math.isfinite(loss) and not is_high:
            return False
        self.recover_counter += 1
        if self.recover_counter > self.recovery_max_trials:
            raise LossError(
                f'the loss is {loss:g}',
                where=f'step {step}',
                expected=f'a number of at most {self.loss_upper_bound:g} (trainer.loss_upper_bound)',
                received=f'{self.recover_counter} such losses, {self.recovery_max_trials} are allowed '
                '(trainer.recovery_max_trials)',
                hint='a lower learning rate, a longer warm-up or gradient clipping may help',
            )
        return True


class RecoveryAction:
    """Goes back to the last checkpoint; the data goes on where it is, so that it is not the same again."""

    def __init__(self, restore: Callable[[], str | None]) -> None:
        """Keeps `restore`, which sets everything but the position in the data from the last checkpoint."""
        self._restore = restore

    def __call__(self, outputs: Mapping[str, Any]) -> None:
        """Restores."""
        path = self._restore()
        if path is None:
            raise LossError('the loss blew up before the first checkpoint')
        print(f'The loss is {float(outputs["training_loss"]):g}; going back to {path}.')


class EMACheckpointing:
    """Evaluation action that saves the averaged weights as `ema_checkpoints/average_weights-<step>`."""

    def __init__(
        self,
        export_dir: str,
        optimizer: keras.optimizers.Optimizer,
        checkpoint: best_checkpoint.Writable,
        max_to_keep: int = 1,
        *,
        is_chief: bool = True,
    ) -> None:
        """Finds what is there already.

        Args:
            export_dir: Folder of the run.
            optimizer: One with moving averages (`swap_weights`).
            checkpoint: What is saved while the weights are swapped.
            max_to_keep: How many are kept.
            is_chief: Whether this process writes.

        Raises:
            ValueError: the optimizer has no moving averages.
        """
        if not has_averages(optimizer):
            raise ValueError(
                'Optimizer has to be instance of optimization.ExponentialMovingAverage '
                'for EMACheckpointing action'
            )
        self._optimizer = optimizer
        self._manager = checkpoint_manager.CheckpointManager(
            checkpoint,  # type: ignore[arg-type]
            os.path.join(str(export_dir), EMA_SUBDIR),
            max_to_keep=max_to_keep,
            is_chief=is_chief,
            name=EMA_CHECKPOINT_NAME,
        )

    def __call__(self, output: Mapping[str, Any]) -> None:
        """Swaps, saves, swaps back."""
        self._optimizer.swap_weights()
        try:
            self._manager.save(replicas.to_int(self._optimizer.iterations))
        finally:
            self._optimizer.swap_weights()


class EarlyStopping:
    """Evaluation action that ends training when a metric has not improved for some evaluations."""

    def __init__(self, metric_name: str, patience: int, metric_comp: str = 'higher') -> None:
        """Starts to watch.

        Args:
            metric_name: Name of the metric in the evaluation's logs.
            patience: Evaluations in a row without improvement after which training ends.
            metric_comp: 'higher' or 'lower': which values are better.
        """
        self._metric_name = metric_name
        self._patience = patience
        self._sign = 1.0 if metric_comp == 'higher' else -1.0
        self._best = -math.inf
        self._num_worse = 0

    def __call__(self, output: Mapping[str, Any]) -> None:
        """Looks at the metric; raises `StopTraining` when patience is over."""
        value = self._sign * float(np.asarray(output[self._metric_name]).reshape(()))
        if value > self._best:
            self._best, self._num_worse = value, 0
            return
        self._num_worse += 1
        if self._num_worse >= self._patience:
            raise StopTraining(
                f'{self._metric_name} has not improved for {self._num_worse} evaluations'
            )


class TimeLimit:
    """Training action that ends training after some time."""

    def __init__(self, max_secs: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Starts the clock."""
        self._max_secs = max_secs
        self._clock = clock
        self._begin = clock()

    def __call__(self, output: Mapping[str, Any]) -> None:
        """Raises `StopTraining` when the time is over."""
        if self._clock() - self._begin >= self._max_secs:
            raise StopTraining(f'the time limit of {self._max_secs:g} s is reached')


def make_train_actions(params: Any) -> list[Action]:
    """The actions on the logs of training that the config asks for."""
    max_secs = params.trainer.max_train_secs
    return [] if max_secs is None else [TimeLimit(max_secs)]


def make_eval_actions(params: Any) -> list[Action]:
    """The actions on the logs of evaluations that the config asks for."""
    trainer = params.trainer
    if trainer.early_stopping_patience is None:
        return []
    return [
        EarlyStopping(
            trainer.best_checkpoint_eval_metric,
            trainer.early_stopping_patience,
            trainer.best_checkpoint_metric_comp,
        )
    ]


def has_averages(optimizer: Any) -> bool:
    """Whether `optimizer` keeps moving averages of the weights."""
    return hasattr(optimizer, 'swap_weights')
