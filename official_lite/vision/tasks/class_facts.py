"""What the data decides of a classification config: number of classes, and their names."""

from __future__ import annotations

from typing import Any

from official_lite.core.classification_info import ClassificationInfo
from official_lite.modeling import hyperparams
from official_lite.vision.tasks.chosen_fields import get_field, is_chosen, shorten

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
            expected=f'{shorten(fact)}, as in {info.origin}',
            received=shorten(get_field(config, path)),
            source=config.source_of(path),
            hint='leave it out to take it from the data',
        )
        for path, fact in facts.items()
        if is_chosen(config, path) and get_field(config, path) != fact
    ]
    if problems:
        raise hyperparams.ConfigError(problems)
    for path, fact in facts.items():
        _set(config, path, fact, info)


def _resolve_number(config: Any, info: ClassificationInfo) -> None:
    current = get_field(config, _NUM_CLASSES)
    if not current or (current <= info.max_label and not is_chosen(config, _NUM_CLASSES)):
        _set(config, _NUM_CLASSES, info.max_label + 1, info)


def _set(config: Any, path: str, fact: Any, info: ClassificationInfo) -> None:
    if not is_chosen(config, path) and get_field(config, path) != fact:
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
        expected=shorten(expected[first:]),
        received=f'{shorten(received[first:])} in {info.origin}',
        hint='leave class_names of its source empty',
    )
    raise hyperparams.ConfigError([problem])
