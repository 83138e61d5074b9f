"""What the data decides of a detection config: number of classes, their names and ids."""

from __future__ import annotations

from typing import Any

from official_lite.core import data_info as data_infos
from official_lite.modeling import hyperparams


def resolve_classes(config: Any, info: data_infos.DataInfo) -> None:
    """Fills `task.model.num_classes`, `task.class_names` and `task.category_ids` from the data.

    A field that somebody set stays; the default of a class or of an experiment gives way.

    Args:
        config: The `ExperimentConfig`; changed in place.
        info: Facts of the training data.

    Raises:
        ConfigError: Fields that were set contradict the data; all of them at once.
    """
    facts = {
        'task.model.num_classes': info.num_classes,
        'task.class_names': list(info.class_names),
        'task.category_ids': list(info.category_ids),
    }
    problems = [
        problem
        for path, fact in facts.items()
        if (problem := _contradiction(config, path, fact, info)) is not None
    ]
    if problems:
        raise hyperparams.ConfigError(problems)
    for path, fact in facts.items():
        if not _is_chosen(config, path) and _value(config, path) != fact:
            config.set_from(path, fact, source=f'data: {info.origin}')


def check_same_classes(info: data_infos.DataInfo, other: data_infos.DataInfo) -> None:
    """Checks that labels mean the same in training and validation data.

    Raises:
        ConfigError: Names or ids of some label differ.
    """
    for what, ours, theirs in (
        ('class names', info.class_names, other.class_names),
        ('category ids', info.category_ids, other.category_ids),
    ):
        if ours != theirs:
            index = next(
                (i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b),
                min(len(ours), len(theirs)),
            )
            raise hyperparams.ConfigError(
                [
                    hyperparams.Problem(
                        path='task.validation_data',
                        message=f'training and validation data differ in their {what}, from label '
                        f'{index + 1} on',
                        expected=f'{_excerpt(ours, index)} as in {info.origin}',
                        received=f'{_excerpt(theirs, index)} in {other.origin}',
                    )
                ]
            )


def _contradiction(
    config: Any, path: str, fact: Any, info: data_infos.DataInfo
) -> hyperparams.Problem | None:
    value = _value(config, path)
    if not _is_chosen(config, path) or value == fact or value in (0, [], None):
        return None
    expected = f'{_excerpt(fact)}, as {info.origin} has'
    if path.endswith('num_classes'):
        expected = f'{fact}: {fact - 1} classes in {info.origin} and the background'
    return hyperparams.Problem(
        path=path,
        expected=expected,
        received=_excerpt(value),
        source=config.source_of(path),
        hint='leave it out to take it from the data',
    )


def _is_chosen(config: Any, path: str) -> bool:
    """Whether a person set the field, and not a default or the data of an earlier call."""
    source = config.source_of(path)
    return config.is_set(path) and (source is None or source.kind != 'data')


def _value(config: Any, path: str) -> Any:
    for name in path.split('.'):
        config = getattr(config, name)
    return list(config) if isinstance(config, (list, tuple)) else config


def _excerpt(value: Any, start: int = 0) -> str:
    if not isinstance(value, (list, tuple)):
        return str(value)
    shown = ', '.join(str(item) for item in value[start : start + 4]) or 'none'
    return f'{shown}, ... ({len(value)})' if len(value) - start > 4 else shown
