"""Which experiment a params.yaml is of that does not name it, as Model Garden's do not."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterator
from typing import Any

from official_lite import errors
from official_lite.core import exp_factory, run_files
from official_lite.modeling import hyperparams

# Ours for own data: no file of Model Garden's is of one of them.
_OWN = '_custom'
_HINT = 'name it: --experiment=NAME (train.py --list_experiments lists them)'


@dataclasses.dataclass(frozen=True)
class _Candidate:
    """An experiment that takes all fields of the file.

    Attributes:
        experiment: Its name.
        task: Class of its task.
        num_changes: How many values of the model, and of all, are not the experiment's own.
    """

    experiment: str
    task: type
    num_changes: tuple[int, int]


def infer_experiment(path: str) -> str:
    """The experiment of a config file: what the file names, else the nearest that has all its fields.

    A file as Model Garden's trainer writes it has all values, so that among experiments of one task
    the choice decides over nothing but the name. The nearest is the one with the fewest values of the
    model, then of all, that the file changes.

    Args:
        path: A params.yaml.

    Raises:
        ConfigError: The file cannot be read.
        UsageError: No experiment has all fields, or those of several tasks have.
    """
    params = run_files.load_params(path)
    if params.experiment:
        return params.experiment
    found: list[_Candidate] = []
    refusals: list[tuple[int, str, hyperparams.ConfigError]] = []
    with _no_notices():
        for name in exp_factory.list_experiments():
            if name.endswith(_OWN):
                continue
            try:
                found.append(_make_candidate(name, params.overrides))
            except hyperparams.ConfigError as error:
                refusals.append((len(error.problems), name, error))
    if not found:
        _, nearest, refusal = min(refusals, key=lambda item: item[:2])
        raise errors.UsageError(
            'no experiment has all its fields and takes their values',
            where=path,
            received=f'{refusal.problems[0]} (of {nearest}, the nearest)',
            hint=_HINT,
        ) from refusal
    tasks = sorted({candidate.task.__name__ for candidate in found})
    if len(tasks) > 1:
        raise errors.UsageError(
            'its fields do not tell which task it is of',
            where=path,
            received=f'fields that {", ".join(tasks)} have',
            hint=_HINT,
        )
    return min(
        found, key=lambda candidate: (candidate.num_changes, candidate.experiment)
    ).experiment


def _make_candidate(name: str, overrides: dict[str, Any]) -> _Candidate:
    config = exp_factory.get_exp_config(name)
    before = {path: value for path, value, _ in config.leaves()}
    config.override(overrides)
    changed = [
        path for path, value, _ in config.leaves() if path not in before or before[path] != value
    ]
    in_model = [path for path in changed if path.startswith('task.model.')]
    return _Candidate(name, type(config.task), (len(in_model), len(changed)))


@contextlib.contextmanager
def _no_notices() -> Iterator[None]:
    """Keeps what is said of values to the one time when the file is read for good."""
    logger = logging.getLogger('official_lite')

    def is_wanted(record: logging.LogRecord) -> bool:
        del record
        return False

    logger.addFilter(is_wanted)
    try:
        yield
    finally:
        logger.removeFilter(is_wanted)
