"""Runs an experiment: trains, evaluates, or both, and keeps the folder of the run.

`run_experiment` is the way in; `Trainer.fit` is the next step on the way to the loss.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from official_lite import errors
from official_lite.core import (
    actions,
    base_task,
    base_trainer,
    best_checkpoint,
    checkpoint_metadata,
    data_errors,
    epochs,
    experiment_runner,
    replicas,
    run_folder,
    runtime,
    task_results,
)
from official_lite.core import config_definitions as cfg

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
    is_chief = replicas.is_chief(strategy)
    if 'train' in mode and is_chief:
        run_folder.open_for_training(params, model_dir, run_folder.describe_data(info))
    with strategy.scope():
        trainer = trainer or make_trainer(
            params,
            task,
            train='train' in mode,
            evaluate=experiment_runner.needs_evaluation(mode, run_post_eval),
            checkpoint_exporter=maybe_create_best_ckpt_exporter(
                params, model_dir, is_chief=is_chief
            ),
            num_train_examples=_count_examples(params, info),
        )
        runner = experiment_runner.ExperimentRunner(
            strategy,
            trainer,
            mode,
            params,
            model_dir,
            run_post_eval=run_post_eval,
            save_summary=save_summary,
            train_actions=train_actions or (),
            eval_actions=eval_actions or (),
            use_async=enable_async_checkpointing,
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
    task_results.check_data_info(info, task_cls)
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
    optimizer = task.create_optimizer(params.trainer.optimizer_config, params.runtime, **extra)
    task_results.check_optimizer(optimizer, task)
    return optimizer


def _count_examples(params: Any, info: Any) -> int | None:
    """Number of training examples: what the config says, else what the data says."""
    given = getattr(getattr(params.task, 'train_data', None), 'num_examples', None)
    if given and given != cfg.NUM_EXAMPLES_UNKNOWN:
        return given
    return None if info is None else info.num_examples
