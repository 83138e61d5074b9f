"""Lengths that may be given in epochs: which fields these are, and which of a pair counts.

A config class lists its pairs in `_epoch_fields = {'train_steps': 'train_epochs'}`. Of a pair, the
field that somebody set beats the one that comes from the experiment's defaults; setting both is an
error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from official_lite.modeling import hyperparams

__all__ = [
    'DERIVED',
    'check_epoch_fields',
    'get_epoch_fields',
    'is_derived',
    'iterate_epoch_fields',
    'iterate_whole_training',
    'wins_over_steps',
]

# How the source of a number of steps begins that was worked out from epochs.
DERIVED = 'epochs: '


def get_epoch_fields(config: hyperparams.Config) -> dict[str, str]:
    """Maps each field in steps to the field in epochs beside it."""
    return getattr(type(config), '_epoch_fields', {})


def is_derived(config: hyperparams.Config, steps_field: str) -> bool:
    """Whether this number of steps was worked out from epochs."""
    source = config.source_of(steps_field)
    return source is not None and str(source).startswith(DERIVED)


def wins_over_steps(config: hyperparams.Config, steps_field: str) -> bool:
    """Whether the field in epochs decides, not the field in steps."""
    epochs_field = get_epoch_fields(config)[steps_field]
    if getattr(config, epochs_field) is None:
        return False
    if not has_steps(config, steps_field) or is_derived(config, steps_field):
        return True
    return config.is_set(epochs_field) and not config.is_set(steps_field)


def has_steps(config: hyperparams.Config, steps_field: str) -> bool:
    """Whether the field in steps differs from its class's default."""
    field = type(config).__dataclass_fields__[steps_field]
    return getattr(config, steps_field) != field.default


def check_epoch_fields(config: hyperparams.Config, report: Callable[..., None]) -> None:
    """Reports epochs that are not positive, and pairs of which both are set."""
    for steps_field, epochs_field in get_epoch_fields(config).items():
        value = getattr(config, epochs_field)
        if value is None:
            continue
        if any(number <= 0 for number in (value if isinstance(value, (list, tuple)) else [value])):
            report(epochs_field, expected='more than 0')
        if not has_steps(config, steps_field) or is_derived(config, steps_field):
            continue
        if config.is_set(epochs_field) == config.is_set(steps_field):
            report(
                epochs_field,
                expected=f'null, because {steps_field} is set',
                hint=f'set one of {epochs_field} and {steps_field}',
            )


def iterate_epoch_fields(
    config: hyperparams.Config, prefix: str = ''
) -> Iterator[tuple[str, hyperparams.Config, str, str]]:
    """Yields (path of the owner, owner, field in steps, field in epochs) for a whole tree.

    Of a OneOf only the chosen branch is looked into.
    """
    for steps_field, epochs_field in get_epoch_fields(config).items():
        yield prefix, config, steps_field, epochs_field
    for name, child in iterate_children(config):
        path = f'{prefix}.{name}' if prefix else name
        yield from iterate_epoch_fields(child, path)


def iterate_whole_training(
    config: hyperparams.Config, prefix: str = ''
) -> Iterator[tuple[str, hyperparams.Config, str]]:
    """Yields (path of the owner, owner, field) of lengths for which None means all of training.

    A config class lists them in `_whole_training`.
    """
    for name in getattr(type(config), '_whole_training', ()):
        yield prefix, config, name
    for name, child in iterate_children(config):
        yield from iterate_whole_training(child, f'{prefix}.{name}' if prefix else name)


def iterate_children(config: hyperparams.Config) -> Iterator[tuple[str, hyperparams.Config]]:
    """Yields the sub-configs of a config, also in lists; of a OneOf, the chosen branch."""
    if isinstance(config, hyperparams.OneOfConfig):
        chosen: Any = config.get() if config.type is not None else None
        if isinstance(chosen, hyperparams.Config):
            yield str(config.type), chosen
        return
    for name in type(config).__dataclass_fields__:
        child = getattr(config, name, None)
        if isinstance(child, hyperparams.Config):
            yield name, child
        elif isinstance(child, (list, tuple)):
            for index, item in enumerate(child):
                if isinstance(item, hyperparams.Config):
                    yield f'{name}[{index}]', item
