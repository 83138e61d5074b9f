"""What the data decides of a detection config: number of classes, their names and ids."""

from __future__ import annotations

from typing import Any

from official_lite.core import data_info as data_infos
from official_lite.modeling import hyperparams
from official_lite.vision.tasks.chosen_fields import get_field, is_chosen, shorten

_NUM_CLASSES = 'task.model.num_classes'
_NAMES = 'task.class_names'
_IDS = 'task.category_ids'


def resolve_classes(config: Any, info: data_infos.DataInfo) -> None:
    """Fills `task.model.num_classes`, `task.class_names` and `task.category_ids` from the data.

    A field that somebody set stays; the default of a class or of an experiment gives way. Data that
    does not list its classes (TFRecords) says only which labels occur: there, a number of classes
    above them stays in any case, and names and ids that somebody set are believed.

    Args:
        config: The `ExperimentConfig`; changed in place. Calling it again changes nothing.
        info: Facts of the training data.

    Raises:
        ConfigError: Fields that were set contradict the data; all of them at once.
    """
    facts = _listed_facts(info) if info.declares_classes else _occurring_facts(config, info)
    problems = [
        problem
        for path, fact in facts.items()
        if (problem := _find_contradiction(config, path, fact, info)) is not None
    ]
    if problems:
        raise hyperparams.ConfigError(problems)
    for path, fact in facts.items():
        if not is_chosen(config, path) and get_field(config, path) != fact:
            config.set_from(path, fact, source=f'data: {info.origin}')


def check_same_classes(task_config: Any, info: data_infos.DataInfo) -> None:
    """Checks that labels mean in the validation data what they mean to the model.

    Args:
        task_config: The task's config, resolved.
        info: Facts of the validation data.

    Raises:
        ConfigError: Name or id of some label differs.
        DataError: Data that does not list its classes has a label above those of the model.
    """
    if not info.declares_classes:
        data_infos.check_classes(info, task_config.model.num_classes)
        return
    for what, expected, received in (
        ('class_names', list(task_config.class_names), list(info.class_names)),
        ('category_ids', list(task_config.category_ids), list(info.category_ids)),
    ):
        if expected and expected != received:
            first = next(
                (i for i, (a, b) in enumerate(zip(expected, received)) if a != b),
                min(len(expected), len(received)),
            )
            problem = hyperparams.Problem(
                path='task.validation_data',
                message=f'its classes are not those of task.{what}: they differ from label '
                f'{first + 1} on',
                expected=shorten(expected[first:]),
                received=f'{shorten(received[first:])} in {info.origin}',
                hint='give training and validation data the same categories with the same ids',
            )
            raise hyperparams.ConfigError([problem])


def _listed_facts(info: data_infos.DataInfo) -> dict[str, Any]:
    return {
        _NUM_CLASSES: info.num_classes,
        _NAMES: list(info.class_names),
        _IDS: list(info.category_ids),
    }


def _occurring_facts(config: Any, info: data_infos.DataInfo) -> dict[str, Any]:
    """What the config becomes where data shows only labels: their largest is a lower bound."""
    names = get_field(config, _NAMES) if is_chosen(config, _NAMES) else []
    num_classes = max(info.num_classes, get_field(config, _NUM_CLASSES))
    if names and not is_chosen(config, _NUM_CLASSES):
        num_classes = max(info.num_classes, len(names) + 1)
    if is_chosen(config, _NUM_CLASSES) and info.max_label < get_field(config, _NUM_CLASSES):
        num_classes = get_field(config, _NUM_CLASSES)
    known = dict(enumerate(info.class_names, start=1))
    names = names or [known.get(k, f'class_{k}') for k in range(1, num_classes)]
    ids = get_field(config, _IDS) if is_chosen(config, _IDS) else list(range(1, num_classes))
    return {_NUM_CLASSES: num_classes, _NAMES: names, _IDS: ids}


def _find_contradiction(
    config: Any, path: str, fact: Any, info: data_infos.DataInfo
) -> hyperparams.Problem | None:
    value = get_field(config, path)
    if not is_chosen(config, path) or value == fact:
        return None
    expected = f'{shorten(fact)}, as in {info.origin}'
    if path == _NUM_CLASSES:
        what = 'classes' if info.declares_classes else 'labels'
        expected = f'{fact}, because {info.origin} has {fact - 1} {what}, and background counts'
    return hyperparams.Problem(
        path=path,
        expected=expected,
        received=shorten(value),
        source=config.source_of(path),
        hint='leave it out to take it from the data',
    )
