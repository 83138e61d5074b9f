"""What a run needs that a config may leave open, asked for before TensorFlow is loaded."""

from __future__ import annotations

from typing import Any

from official_lite.core import config_definitions as cfg
from official_lite.core import hyperparameter_outputs, metric_names
from official_lite.modeling import hyperparams

__all__ = ['check_runnable']


def check_runnable(config: cfg.ExperimentConfig, mode: str) -> None:
    """Refuses a config that lacks something the mode needs, or monitors a metric that is not reported.

    Raises:
        ConfigError: With everything that is missing or wrong.
    """
    missing: list[tuple[str, str]] = []
    if 'train' in mode:
        missing += _find_missing_for_training(config)
    if 'eval' in mode:
        missing += _find_missing_for_data(config, 'validation_data')
    missing += _find_missing_for_model(config)
    if 'train' in mode:
        outputs = config.trainer.log_hyperparameters_to
        hyperparameter_outputs.check_outputs(outputs, 'trainer.log_hyperparameters_to')
    problems = [_describe(config, *item) for item in missing]
    monitored = metric_names.find_monitored_problem(config) if 'eval' in mode else None
    if monitored is not None:
        problems.append(monitored)
    if problems:
        raise hyperparams.ConfigError(problems)


def _find_missing_for_training(config: cfg.ExperimentConfig) -> list[tuple[str, str]]:
    trainer = config.trainer
    missing = _find_missing_for_data(config, 'train_data')
    if not trainer.train_steps and trainer.train_epochs is None:
        missing.append(('trainer.train_steps', '1 or more, or trainer.train_epochs'))
    for name in ('optimizer', 'learning_rate'):
        choice = getattr(trainer.optimizer_config, name)
        if choice.type is None:
            names = ', '.join(type(choice).branches())
            missing.append((f'trainer.optimizer_config.{name}.type', f'one of {names}'))
    return missing


def _find_missing_for_model(config: cfg.ExperimentConfig) -> list[tuple[str, str]]:
    """The input's size, and parts of the model of which none is chosen."""
    model = getattr(config.task, 'model', None)
    missing = []
    if getattr(model, 'input_size', None) == []:
        missing.append(('task.model.input_size', '[height, width, channels]'))
    for name in ('backbone', 'decoder'):
        part = getattr(model, name, None)
        if isinstance(part, hyperparams.OneOfConfig) and part.type is None:
            names = ', '.join(type(part).branches())
            missing.append((f'task.model.{name}.type', f'one of {names}'))
    return missing


def _find_missing_for_data(config: cfg.ExperimentConfig, name: str) -> list[tuple[str, str]]:
    data = getattr(config.task, name)
    missing = []
    if data.global_batch_size < 1:
        missing.append((f'task.{name}.global_batch_size', '1 or more'))
    source = getattr(data, 'source', None)
    if source is not None and source.type is None and not data.input_path and not data.tfds_name:
        names = ', '.join(type(source).branches())
        missing.append((f'task.{name}.source.type', f'one of {names}; or input_path'))
    return missing


def _describe(config: cfg.ExperimentConfig, path: str, expected: str) -> hyperparams.Problem:
    value: Any = config
    for name in path.split('.'):
        value = getattr(value, name)
    return hyperparams.Problem(
        path=path, message='needed here and not set', expected=expected, received=repr(value)
    )
