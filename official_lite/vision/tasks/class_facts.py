"""What the data decides of a classification config: number of classes, and their names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from official_lite.core.classification_info import ClassificationInfo
from official_lite.modeling import hyperparams

__all__ = ['check_same_classes', 'resolve_classes']

_NUM_CLASSES = 'task.model.num_classes'
_NAMES = 'task.class_names'


def resolve_classes(config: Any, info: ClassificationInfo) -> None:
    """Fills `task.model.num_classes` and `task.class_names` from the data.

    A field that somebody set stays, and so does a default number of classes where the data shows
    only labels (TFRecords) that are all below it.

    Args:
        config: The `ExperimentConfig`; changed in place. Calling it again changes nothing.
        info: Facts of the training data.

    Raises:
        ConfigError: Fields that were set contradict the data.
    """
    if not info.declares_classes:
        _resolve_number(config, info)
        return
    facts = {_NUM_CLASSES: info.num_classes, _NAMES: list(info.class_names)}
    problems = [
        hyperparams.Problem(
            path=path,
            expected=f'{_excerpt(fact)}, as in {info.origin}',
            received=_excerpt(_get(config, path)),
            source=config.source_of(path),
            hint='leave it out to take it from the data',
        )
        for path, fact in facts.items()
        if _is_chosen(config, path) and _get(config, path) != fact
    ]
    if problems:
        raise hyperparams.ConfigError(problems)
    for path, fact in facts.items():
        _set(config, path, fact, info)


def _resolve_number(config: Any, info: ClassificationInfo) -> None:
    current = _get(config, _NUM_CLASSES)
    if not current or (current <= info.max_label and not _is_chosen(config, _NUM_CLASSES)):
        _set(config, _NUM_CLASSES, info.max_label + 1, info)


def _set(config: Any, path: str, fact: Any, info: ClassificationInfo) -> None:
    if not _is_chosen(config, path) and _get(config, path) != fact:
        config.set_from(path, fact, source=f'data: {info.origin}')


def check_same_classes(task_config: Any, info: ClassificationInfo) -> None:
    """Checks that labels mean in the validation data what they mean to the model.

    Args:
        task_config: The task's config, resolved.
        info: Facts of the validation data.

    Raises:
        ConfigError: The name of some label differs.
    """
    expected, received = list(task_config.class_names), list(info.class_names)
    if not info.declares_classes or not expected or expected == received:
        return
    first = next(
        (i for i, (a, b) in enumerate(zip(expected, received)) if a != b),
        min(len(expected), len(received)),
    )
    problem = hyperparams.Problem(
        path='task.validation_data',
        message=f'its classes are not task.class_names: they differ from label {first} on',
        expected=_excerpt(expected[first:]),
        received=f'{_excerpt(received[first:])} in {info.origin}',
        hint='leave class_names of its source empty',
    )
    raise hyperparams.ConfigError([problem])


def _is_chosen(config: Any, path: str) -> bool:
    """Whether a person set the field to something, and not a default or the data of last time."""
    source = config.source_of(path)
    is_from_data = source is not None and source.kind == 'data'
    return config.is_set(path) and not is_from_data and _get(config, path) not in (0, [], None)


def _get(config: Any, path: str) -> Any:
    for name in path.split('.'):
        config = getattr(config, name)
    return list(config) if isinstance(config, (list, tuple)) else config


def _excerpt(value: Any) -> str:
    if not isinstance(value, Sequence) or isinstance(value, str):
        return str(value)
    shown = ', '.join(str(item) for item in value[:4]) or 'none'
    return f'{shown}, ... ({len(value)} in all)' if len(value) > 4 else shown
