"""One run while it works: what happens at which step, and what is kept of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from official_lite import errors
from official_lite.core import (
    actions,
    base_trainer,
    checkpoint_manager,
    checkpoints,
    hyperparameter_logger,
    initialization,
    interruption,
    metrics_log,
    pace,
    progress,
    replicas,
)

Logs = dict[str, Any]
VISUALIZATION_SUBDIR = 'visualization'


class ExperimentRunner:
    """One run: what `run_experiment` keeps while it works. Made and used in the scope of the strategy."""

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        trainer: base_trainer.Trainer,
        mode: str,
        params: Any,
        model_dir: str,
        *,
        run_post_eval: bool = False,
        save_summary: bool = True,
        train_actions: Sequence[actions.Action] = (),
        eval_actions: Sequence[actions.Action] = (),
        use_async: bool = False,
    ) -> None:
        """Prepares checkpoints, logs and actions; for the arguments see `train_lib.run_experiment`."""
        self._strategy = strategy
        self._mode = mode
        self._params = params
        self._model_dir = model_dir
        self._is_chief = replicas.is_chief(strategy)
        self._is_training = 'train' in mode
        self._evaluates_at_end = needs_evaluation(mode, run_post_eval)
        self._trainer = trainer
        self._manager = checkpoint_manager.CheckpointManager(
            self._trainer.checkpoint,
            model_dir,
            max_to_keep=params.trainer.max_to_keep,
            is_chief=self._is_chief,
            use_async=use_async,
        )
        writes_logs = save_summary and self._is_chief
        self._log = metrics_log.MetricsLog(
            model_dir if writes_logs else None, params.trainer.validation_summary_subdir
        )
        self._progress = progress.Progress(
            params.trainer.train_steps,
            batch_size=_batch_size(params),
            is_enabled=self._is_chief,
        )
        self._hyperparameter_log = hyperparameter_logger.make_action(
            params, self._trainer, model_dir, is_chief=writes_logs
        )
        self._train_actions = [*train_actions, *actions.make_train_actions(params)]
        self._eval_actions = [*eval_actions, *self._make_eval_actions()]
        self._logs: Logs = {}
        self._evaluated_step: int | None = None

    def run(self) -> tuple[keras.Model, Logs]:
        """Runs the mode."""
        if self._mode == 'continuous_eval':
            self._evaluate_continuously()
        elif self._mode == 'eval':
            self._restore_for_evaluation()
        else:
            self._train()
        if self._evaluates_at_end:
            if self._evaluated_step != self._step:
                self._evaluate(self._step)
            self._save_visualization()
        replicas.wait_for_workers(self._strategy)
        return self._trainer.model, self._logs

    def close(self) -> None:
        """Waits for the last checkpoint and closes the logs."""
        try:
            self._manager.close()
        finally:
            self._log.close()
            self._hyperparameter_log.end()

    @property
    def _step(self) -> int:
        return replicas.to_int(self._trainer.global_step)

    def _train(self) -> None:
        trainer = self._params.trainer
        if trainer.train_steps <= 0:
            raise errors.UsageError(
                'training needs a length',
                where='trainer.train_steps',
                expected='1 or more, or trainer.train_epochs',
                received=str(trainer.train_steps),
            )
        self._restore_or_initialize()
        self._hyperparameter_log.begin()
        summaries = self._log.in_step_summaries(self._trainer.global_step, trainer.summary_interval)
        with interruption.StopSignals() as stop, summaries:
            try:
                self._trainer.fit(
                    trainer.train_steps,
                    events=self._make_events(),
                    after_chunk=self._make_after_chunk(stop),
                )
            except actions.StopTraining as reason:
                self._progress.message(f'Training ends at step {self._step}: {reason}.')
                self._save()
        self._progress.pause(self._step)

    def _make_events(self) -> list[pace.Event]:
        trainer = self._params.trainer
        events = [
            pace.Event(trainer.steps_per_loop, self._write_train_logs),
            pace.Event(trainer.checkpoint_interval, lambda step: self._save()),
        ]
        if self._mode == 'train_and_eval':
            events.append(pace.Event(trainer.validation_interval, self._evaluate))
        elif self._mode == 'continuous_train_and_eval':
            events.append(pace.Event(trainer.checkpoint_interval, self._evaluate))
        return events

    def _make_after_chunk(self, stop: interruption.StopSignals) -> Callable[[int, Logs], bool]:
        recover = self._make_recovery()

        def after_chunk(step: int, logs: Logs) -> bool:
            if recover(logs):
                return False
            self._progress.update(step, logs)
            if replicas.any_worker(self._strategy, stop.received is not None):
                self._stop(stop.received)
            return True

        return after_chunk

    def _make_recovery(self) -> Callable[[Logs], bool]:
        """A function that says whether the loss blew up and the state was set back."""
        trainer = self._params.trainer
        if trainer.recovery_max_trials < 0:
            return lambda logs: False
        condition = actions.RecoveryCondition(
            self._trainer.global_step,
            trainer.loss_upper_bound,
            trainer.recovery_begin_steps,
            trainer.recovery_max_trials,
        )
        action = actions.RecoveryAction(self._restore_weights)

        def recover(logs: Logs) -> bool:
            is_due = condition(logs)
            if is_due:
                action(logs)
            return is_due

        return recover

    def _make_eval_actions(self) -> list[actions.Action]:
        if not self._is_training:
            return []
        made: list[actions.Action] = []
        if actions.has_averages(self._trainer.optimizer):
            made.append(
                actions.EMACheckpointing(
                    self._model_dir,
                    self._trainer.optimizer,
                    self._trainer.export_checkpoint,
                    self._params.trainer.max_to_keep,
                    is_chief=self._is_chief,
                )
            )
        return [*made, *actions.make_eval_actions(self._params)]

    def _stop(self, signal_number: int | None) -> None:
        """Saves and ends the run. `signal_number` is None when the signal came to another worker."""
        path = self._save() if self._params.trainer.preemption_on_demand_checkpoint else None
        self._manager.wait()
        saved = f'; saved {path}' if path else ''
        message = f'Stopped at step {self._step}{saved}. The same command goes on from here.'
        self._progress.message(message)
        raise interruption.Interrupted(message, signal_number or interruption.SIGTERM)

    def _write_train_logs(self, step: int) -> None:
        logs = self._trainer.train_loop_end()
        rate = self._progress.steps_per_sec
        if rate:
            logs |= {'steps_per_second': rate, 'time/step_ms': 1000.0 / rate}
            logs['time/images_per_sec'] = rate * _batch_size(self._params)
        self._log.write_train(step, logs)
        self._progress.update(step, logs, is_logged=True)
        self._hyperparameter_log.write_train(logs)
        for action in self._train_actions:
            action(logs)

    def _evaluate(self, step: int) -> None:
        self._progress.pause(step)
        self._logs = self._trainer.evaluate(self._params.trainer.validation_steps)
        self._evaluated_step = step
        self._log.write_validation(step, self._logs)
        self._progress.message(f'step {step}  evaluation: {describe(self._logs)}')
        if self._is_training:
            self._hyperparameter_log.write_validation(self._logs)
        for action in self._eval_actions:
            action(self._logs)
        self._progress.resume(step)

    def _evaluate_continuously(self) -> None:
        """Evaluates each new checkpoint until the last step, or until none comes for the timeout."""
        trainer = self._params.trainer
        for path in tf.train.checkpoints_iterator(
            self._model_dir, timeout=trainer.continuous_eval_timeout
        ):
            try:
                self._trainer.restore_model(path)
            except errors.CheckpointError:
                if not tf.io.gfile.exists(path + '.index'):
                    continue  # Deleted while it was being read: a newer one is there.
                raise
            self._evaluate(self._step)
            if self._step >= trainer.train_steps:
                return
        if self._evaluated_step is None:
            raise _no_checkpoint_error(self._model_dir)
        self._progress.message(
            f'No new checkpoint for {trainer.continuous_eval_timeout} s '
            '(trainer.continuous_eval_timeout).'
        )

    def _restore_or_initialize(self) -> None:
        path = self._manager.latest
        if path:
            self._trainer.restore(path)
            self._progress.message(f'Resuming from {path}.')
        else:
            self._trainer.initialize()
            if self._params.trainer.recovery_max_trials > 0:
                self._save()
        self._log.drop_after(self._step)
        self._progress.resume(self._step)

    def _restore_for_evaluation(self) -> None:
        path = self._manager.latest
        if path:
            self._trainer.restore_model(path)
            self._progress.message(f'Evaluating {path}.')
            return
        task_config = self._params.task
        pretrained = getattr(task_config, 'init_checkpoint', '')
        if not pretrained:
            raise _no_checkpoint_error(self._model_dir)
        averages = getattr(task_config, 'init_checkpoint_averages', False)
        report = initialization.load_pretrained(
            self._trainer.model, pretrained, use_averages=averages
        )
        self._progress.message(report.describe())
        if not report.is_complete:
            raise errors.CheckpointError(
                f'{len(report.missing)} variables would be evaluated with random values',
                where=pretrained,
                received=checkpoints.shorten(report.missing),
            )

    def _restore_weights(self) -> str | None:
        self._manager.wait()
        replicas.wait_for_workers(self._strategy)
        path = self._manager.latest
        if path:
            self._trainer.restore_weights(path)
        return path

    def _save(self) -> str:
        return self._trainer.save(self._manager)

    def _save_visualization(self) -> None:
        if self._is_chief:
            with self._trainer.evaluation_weights():
                path = self._trainer.task.save_visualization(
                    self._trainer.model, os.path.join(self._model_dir, VISUALIZATION_SUBDIR)
                )
            if path:
                print(f'Picture of the results: {path}')


def needs_evaluation(mode: str, run_post_eval: bool = False) -> bool:
    """Whether a mode evaluates, at the end at least."""
    return run_post_eval or 'eval' in mode


def describe(logs: Mapping[str, Any]) -> str:
    """The numbers of an evaluation on one line."""
    return '  '.join(f'{k} {v:.4g}' for k, v in metrics_log.scalars(logs).items()) or 'no metrics'


def _batch_size(params: Any) -> int:
    return getattr(getattr(params.task, 'train_data', None), 'global_batch_size', 0) or 0


def _no_checkpoint_error(model_dir: str) -> errors.CheckpointError:
    return errors.CheckpointError(
        'there is no checkpoint to evaluate',
        where=model_dir,
        hint='train first, or name a checkpoint with task.init_checkpoint',
    )
