"""Turns lengths given in epochs into steps, once the number of examples is known.

Lengths that were left open and that mean the whole of training become `trainer.train_steps`.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator

from official_lite import errors
from official_lite.core import config_definitions as cfg
from official_lite.modeling import hyperparams
from official_lite.modeling.optimization.configs import epoch_fields

__all__ = ['Length', 'describe_accumulation', 'list_unresolved_lengths', 'resolve_lengths']


@dataclasses.dataclass(frozen=True)
class Length:
    """A length that was given in epochs.

    Attributes:
        path: Dotted path of the field in steps.
        epochs: What was given: a number, or a list of them.
        steps: What it is in steps.
    """

    path: str
    epochs: float | list[float]
    steps: int | list[int]

    def __str__(self) -> str:
        return f'{self.path}={self.steps} ({self.epochs} epochs)'


def list_unresolved_lengths(config: cfg.ExperimentConfig) -> list[str]:
    """Dotted paths of the fields in epochs that decide over the steps beside them."""
    return [f'{path}.{epochs}' for path, _, _, epochs in _iterate_winners(config)]


def resolve_lengths(
    config: cfg.ExperimentConfig, num_examples: int | None, global_batch_size: int | None = None
) -> list[Length]:
    """Sets every `*_steps` whose `*_epochs` decides, in place; may be called again.

    Args:
        config: The experiment, not locked.
        num_examples: Examples of one epoch of training. None if unknown, which is an error if some
            length is in epochs.
        global_batch_size: Examples of one step. None means `task.train_data.global_batch_size`.

    Returns:
        What was given in epochs, for the log. One epoch is `num_examples / global_batch_size`
        steps; lengths are rounded, and at least 1.

    Raises:
        UsageError: If a length is in epochs and the number of examples, or of a batch, is unknown.
    """
    lengths = _resolve_epochs(config, num_examples, global_batch_size)
    _fill_whole_training(config)
    return lengths


def describe_accumulation(config: cfg.ExperimentConfig) -> str:
    """What gradient accumulation makes of the steps, for the log; '' without it."""
    trainer = config.trainer
    optimization = getattr(trainer, 'optimizer_config', None)
    steps = getattr(optimization, 'gradient_accumulation_steps', 1)
    if steps == 1:
        return ''
    updates, rest = divmod(trainer.train_steps, steps)
    text = (
        f'gradient_accumulation_steps={steps}: {trainer.train_steps} train steps make {updates} '
        'updates; warm-up and schedules are in train steps'
    )
    return f'{text}; the last {rest} train steps make none' if rest else text


def _resolve_epochs(
    config: cfg.ExperimentConfig, num_examples: int | None, global_batch_size: int | None
) -> list[Length]:
    winners = list(_iterate_winners(config))
    if not winners:
        return []
    batch = global_batch_size or config.task.train_data.global_batch_size
    first = f'{winners[0][0]}.{winners[0][3]}'
    if not batch:
        raise errors.UsageError(
            'epochs need a batch size', where=first, hint='set task.train_data.global_batch_size'
        )
    if not num_examples:
        raise errors.UsageError(
            'epochs need the number of training examples, which the data does not tell',
            where=first,
            hint='set task.train_data.num_examples, or give the length in steps',
        )
    lengths = []
    for owner, node, steps_field, epochs_field in winners:
        epochs = getattr(node, epochs_field)
        path = f'{owner}.{steps_field}'
        steps = _to_steps(epochs, num_examples / batch)
        config.set_from(path, steps, source=f'{epoch_fields.DERIVED}{owner}.{epochs_field}')
        lengths.append(Length(path, epochs, steps))
    return lengths


def _fill_whole_training(config: cfg.ExperimentConfig) -> None:
    """Sets lengths that nobody gave, and that then mean all of training."""
    trainer = config.trainer
    if not isinstance(trainer, cfg.TrainerConfig) or not trainer.train_steps:
        return
    source = f'{epoch_fields.DERIVED}trainer.train_steps'
    for path, node, name in epoch_fields.iterate_whole_training(config):
        if getattr(node, name) is None or str(node.source_of(name)) == source:
            config.set_from(f'{path}.{name}', trainer.train_steps, source=source)
    _shorten_warmup(config, source)


def _shorten_warmup(config: cfg.ExperimentConfig, source: str) -> None:
    """Cuts an experiment's default warm-up to 5% of a training that would end before it does.

    The schedule starts where the warm-up ends: after the end of training, at a rate of 0.
    """
    train_steps = config.trainer.train_steps
    warmup = getattr(config.trainer.optimizer_config, 'warmup', None)
    if warmup is None or not warmup.type:
        return
    steps = getattr(warmup.get(), 'warmup_steps', None)
    path = f'trainer.optimizer_config.warmup.{warmup.type}.warmup_steps'
    if not steps or steps < train_steps:
        return
    if config.is_set(path):
        warnings.warn(
            f'{path}: the warm-up of {steps} steps does not end before training does '
            f'({train_steps} steps), so that the schedule after it is never reached',
            stacklevel=2,
        )
    else:
        config.set_from(path, max(1, train_steps // 20), source=source)


def _iterate_winners(
    config: cfg.ExperimentConfig,
) -> Iterator[tuple[str, hyperparams.Config, str, str]]:
    for owner, node, steps_field, epochs_field in epoch_fields.iterate_epoch_fields(config):
        if epoch_fields.wins_over_steps(node, steps_field):
            yield owner, node, steps_field, epochs_field


def _to_steps(epochs: float | list[float], steps_per_epoch: float) -> int | list[int]:
    if isinstance(epochs, (list, tuple)):
        return [max(1, round(number * steps_per_epoch)) for number in epochs]
    return max(1, round(epochs * steps_per_epoch))
