"""`official-lite runs DIR`: the runs in a folder, as a table."""

from __future__ import annotations

import json
import math
import os
import sys
from typing import Any

from absl import flags

from official_lite import errors
from official_lite.cli import arguments, reporting, tables
from official_lite.core import run_records
from official_lite.core.hyperparameters import format_value
from official_lite.modeling.hyperparams import errors as config_errors

__all__ = ['main']

_DESCRIPTION = (
    'Lists the runs in a folder and below it: experiment, steps, the best evaluation, and the '
    'hyperparameters in which they differ.'
)
_ORDERS = ('run', 'started', 'best')
_MOST_COLUMNS = 6


@reporting.command
def main(argv: list[str]) -> None:
    """Lists runs.

    Args:
        argv: Program name, the folder and flags.
    """
    values, rest = arguments.parse_flags(argv, _define, _DESCRIPTION, positional='FOLDER')
    root = rest[0] if rest else '.'
    runs, problems = run_records.find_runs(root)
    for problem in problems:
        print(f'skipped: {problem}', file=sys.stderr)
    if not runs:
        raise errors.UsageError('there are no runs', where=root, hint='name the folder of runs')
    runs.sort(key=lambda run: _rank(run, values.sort))
    if values.json:
        print(json.dumps([run.to_dict() for run in runs], indent=2, default=str))
        return
    print(_format(runs, root, _choose_columns(runs, values.columns)))
    num_hidden = 0 if values.columns else len(run_records.find_varying(runs)) - _MOST_COLUMNS
    if num_hidden > 0:
        print(f'{num_hidden} more hyperparameters differ: --columns chooses, diff A B shows them')


def _define(values: flags.FlagValues) -> None:
    flags.DEFINE_boolean('json', False, 'Print JSON with all hyperparameters.', flag_values=values)
    flags.DEFINE_enum(
        'sort', 'run', _ORDERS, 'By path, by start, or the best run first.', flag_values=values
    )
    flags.DEFINE_list(
        'columns',
        [],
        'Hyperparameters to show: paths, or their unique endings, joined by commas. By default the '
        f'first {_MOST_COLUMNS} in which the runs differ.',
        flag_values=values,
    )


def _rank(run: run_records.RunRecord, order: str) -> tuple[Any, str]:
    if order == 'started':
        return run.started, run.path
    if order == 'best':
        value = run.best_value
        sign = 1.0 if run.is_lower_better else -1.0
        return math.inf if value is None else sign * value, run.path
    return '', run.path


def _choose_columns(runs: list[run_records.RunRecord], names: list[str]) -> list[str]:
    """Returns the paths of the hyperparameters that get a column."""
    if not names:
        return run_records.find_varying(runs)[:_MOST_COLUMNS]
    paths = list(dict.fromkeys(path for run in runs for path in run.hyperparameters))
    return [_find_path(name, paths) for name in names]


def _find_path(name: str, paths: list[str]) -> str:
    found = [name] if name in paths else [path for path in paths if path.endswith(f'.{name}')]
    if len(found) == 1:
        return found[0]
    near = config_errors.find_nearest(name, [*paths, *(path.rpartition('.')[2] for path in paths)])
    raise errors.UsageError(
        'several hyperparameters end in this' if found else 'no run has this hyperparameter',
        where=f'--columns={name}',
        expected=f'one of {", ".join(found)}' if found else '',
        hint=f'did you mean {near!r}?' if near and not found else '',
    )


def _format(runs: list[run_records.RunRecord], root: str, columns: list[str]) -> str:
    header = ['run', 'experiment', 'started', 'step', 'metric', 'best', 'at step']
    rows = []
    for run in runs:
        value = run.best_value
        rows.append(
            [
                os.path.relpath(run.path, root),
                run.hyperparameters.experiment or '-',
                run.started[:16].replace('T', ' ') or '-',
                '-' if run.step is None else str(run.step),
                run.metric.removeprefix('eval/') or '-',
                '-' if value is None else f'{value:.5g}',
                '-' if run.best_step is None else str(run.best_step),
                *(format_value(run.hyperparameters.get(path, '-')) for path in columns),
            ]
        )
    return tables.format_table(rows, [*header, *_shorten(columns)])


def _shorten(paths: list[str]) -> list[str]:
    """Returns the shortest endings by which the paths can be told apart."""
    names = []
    for path in paths:
        parts = path.split('.')
        for length in range(1, len(parts) + 1):
            name = '.'.join(parts[-length:])
            if sum(other == name or other.endswith(f'.{name}') for other in paths) == 1:
                break
        names.append(name)
    return names
