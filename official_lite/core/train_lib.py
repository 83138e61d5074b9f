"""Runs an experiment: trains, evaluates, or both, and keeps the folder of the run.

`run_experiment` is the way in; `Trainer.fit` is the next step on the way to the loss.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from official_lite import errors
from official_lite.core import (
    actions,
    base_task,
    base_trainer,
    best_checkpoint,
    checkpoint_manager,
    checkpoint_metadata,
    checkpoints,
    data_errors,
    epochs,
    hyperparameter_logger,
    initialization,
    interruption,
    metrics_log,
    pace,
    progress,
    replicas,
    run_folder,
    runtime,
)

Logs = dict[str, Any]
MODES = (
    'train',
    'eval',
    'train_and_eval',
    'train_and_post_eval',
    'continuous_eval',
    'continuous_train_and_eval',
)
_ALIASES = {'train_and_validate': 'train_and_eval'}
VISUALIZATION_SUBDIR = 'visualization'

# Where Model Garden's users look for it.
maybe_create_best_ckpt_exporter = best_checkpoint.maybe_create_best_ckpt_exporter
make_metadata = checkpoint_metadata.make_metadata


def run_experiment(
    distribution_strategy: tf.distribute.Strategy | None,
    task: base_task.Task,
    mode: str,
    params: Any,
    model_dir: str,
    run_post_eval: bool = False,
    save_summary: bool = True,
    train_actions: Sequence[actions.Action] | None = None,
    eval_actions: Sequence[actions.Action] | None = None,
    trainer: base_trainer.Trainer | None = None,
    *,
    enable_async_checkpointing: bool = False,
) -> tuple[keras.Model, Logs]:
    """Trains and evaluates as `params` says. The same call again goes on where the last one ended.

    Args:
        distribution_strategy: The strategy; None is the current one.
        task: The task.
        mode: 'train'; 'eval' (the newest checkpoint); 'train_and_eval' (also called 'train_and_validate'), which
            evaluates every `validation_interval` steps and at the end; 'train_and_post_eval', at the end;
            'continuous_train_and_eval', at every checkpoint; 'continuous_eval', every checkpoint that another
            process writes, until the last.
        params: The `ExperimentConfig`; resolved in place unless it is locked.
        model_dir: Folder of the run.
        run_post_eval: Whether to evaluate at the end in any mode.
        save_summary: Whether metrics are written to files.
        train_actions: Called with the logs of every `steps_per_loop` steps.
        eval_actions: Called with the logs of every evaluation.
        trainer: A trainer to use, made in the scope of the strategy.
        enable_async_checkpointing: Whether checkpoints are written while training goes on.

    Returns:
        The model, and the logs of the last evaluation ({} without one).

    Raises:
        UsageError: the mode or the settings cannot work.
        CheckpointError: there is nothing to evaluate, or a checkpoint does not fit.
        LossError: the loss blew up more often than allowed.
        Interrupted: SIGINT or SIGTERM came; a checkpoint is saved.
    """
    mode = check_mode(mode)
    strategy = distribution_strategy or tf.distribute.get_strategy()
    info = resolve(params, type(task), is_training='train' in mode)
    runtime.check(params)
    runtime.check_strategy(params, strategy)
    if trainer is None:
        runtime.prepare(params)
    if 'train' in mode and replicas.is_chief(strategy):
        run_folder.open_for_training(params, model_dir, run_folder.describe_data(info))
    with strategy.scope():
        runner = ExperimentRunner(
            strategy,
            task,
            mode,
            params,
            model_dir,
            run_post_eval=run_post_eval,
            save_summary=save_summary,
            train_actions=train_actions or (),
            eval_actions=eval_actions or (),
            trainer=trainer,
            use_async=enable_async_checkpointing,
            num_train_examples=_count_examples(params, info),
        )
        try:
            with data_errors.clear_errors():
                return runner.run()
        finally:
            runner.close()


def check_mode(mode: str) -> str:
    """The mode, by its own name.

    Raises:
        UsageError: there is no such mode.
    """
    mode = _ALIASES.get(mode, mode)
    if mode not in MODES:
        raise errors.UsageError(
            f'there is no mode {mode!r}', where='--mode', expected=f'one of {", ".join(MODES)}'
        )
    return mode


def resolve(params: Any, task_cls: type[base_task.Task], *, is_training: bool = True) -> Any:
    """Fills what is left to the data, in place: the task's fields, then lengths given in epochs.

    Prints what the lengths are in steps. A locked config is resolved already. Calling it again changes nothing.

    Args:
        params: The `ExperimentConfig`.
        task_cls: Class of the task.
        is_training: Whether the run trains; one that only evaluates does not look at the training data.

    Returns:
        What the data says about itself, or None (see `Task.get_data_info`).
    """
    info = task_cls.get_data_info(params.task, is_training)
    if getattr(params, 'is_locked', False):
        return info
    task_cls.resolve(params, info)
    if is_training:
        if hasattr(info, 'describe'):
            print(info.describe('training data'), file=sys.stderr)
        num_examples = _count_examples(params, info)
        for length in epochs.resolve_lengths(params, num_examples):
            print(f'{length} on {num_examples} examples')
        accumulation = epochs.describe_accumulation(params)
        if accumulation:
            print(accumulation)
    return info


class ExperimentRunner:
    """One run: what `run_experiment` keeps while it works. Made and used in the scope of the strategy."""

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        task: base_task.Task,
        mode: str,
        params: Any,
        model_dir: str,
        *,
        run_post_eval: bool = False,
        save_summary: bool = True,
        train_actions: Sequence[actions.Action] = (),
        eval_actions: Sequence[actions.Action] = (),
        trainer: base_trainer.Trainer | None = None,
        use_async: bool = False,
        num_train_examples: int | None = None,
    ) -> None:
        """Builds the trainer, unless there is one; for the arguments see `run_experiment`."""
        self._strategy = strategy
        self._mode = mode
        self._params = params
        self._model_dir = model_dir
        self._is_chief = replicas.is_chief(strategy)
        self._is_training = 'train' in mode
        self._evaluates_at_end = run_post_eval or 'eval' in mode
        self._trainer = trainer or make_trainer(
            params,
            task,
            train=self._is_training,
            evaluate=self._evaluates_at_end,
            checkpoint_exporter=maybe_create_best_ckpt_exporter(
                params, model_dir, is_chief=self._is_chief
            ),
            num_train_examples=num_train_examples,
        )
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


def make_trainer(
    params: Any,
    task: base_task.Task,
    *,
    train: bool = True,
    evaluate: bool = True,
    checkpoint_exporter: Any = None,
    trainer_cls: type[base_trainer.Trainer] = base_trainer.Trainer,
    num_train_examples: int | None = None,
) -> base_trainer.Trainer:
    """Builds model, optimizer and trainer, in the current scope. Evaluation alone needs no optimizer."""
    model = task.build_model()
    return trainer_cls(
        params,
        task,
        model=model,
        optimizer=make_optimizer(task, params) if train else None,
        train=train,
        evaluate=evaluate,
        checkpoint_exporter=checkpoint_exporter,
        metadata=make_metadata(params),
        num_train_examples=num_train_examples if train else None,
    )


def make_optimizer(task: base_task.Task, params: Any) -> keras.optimizers.Optimizer:
    """Builds the optimizer of `params` with `task.create_optimizer`."""
    privacy = getattr(params.task, 'differential_privacy_config', None)
    extra = {} if privacy is None else {'dp_config': privacy}
    return task.create_optimizer(params.trainer.optimizer_config, params.runtime, **extra)


def describe(logs: Mapping[str, Any]) -> str:
    """The numbers of an evaluation on one line."""
    return '  '.join(f'{k} {v:.4g}' for k, v in metrics_log.scalars(logs).items()) or 'no metrics'


def _count_examples(params: Any, info: Any) -> int | None:
    """Number of training examples: what the config says, else what the data says."""
    given = getattr(getattr(params.task, 'train_data', None), 'num_examples', None)
    return given or (None if info is None else info.num_examples)


def _batch_size(params: Any) -> int:
    return getattr(getattr(params.task, 'train_data', None), 'global_batch_size', 0) or 0


def _no_checkpoint_error(model_dir: str) -> errors.CheckpointError:
    return errors.CheckpointError(
        'there is no checkpoint to evaluate',
        where=model_dir,
        hint='train first, or name a checkpoint with task.init_checkpoint',
    )
