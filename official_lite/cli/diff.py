"""`official-lite diff A B`: what differs between two runs, and what came of it."""

from __future__ import annotations

import json
from typing import Any

from absl import flags

from official_lite import errors
from official_lite.cli import arguments, reporting, tables
from official_lite.core import run_records
from official_lite.core.hyperparameters import format_value

__all__ = ['main']

_DESCRIPTION = (
    'Shows the hyperparameters in which two runs differ, and the metrics of the best evaluation of '
    'each. A and B are folders of runs, checkpoints, exports, SavedModels, .keras files or configs.'
)
_ABSENT = run_records.ABSENT
# What evaluations add to their own metrics: the best value of all of them.
_BEST_SO_FAR = 'eval/best_'


@reporting.command
def main(argv: list[str]) -> None:
    """Compares two runs.

    Args:
        argv: Program name, two paths and flags.
    """
    values, rest = arguments.parse_flags(argv, _define, _DESCRIPTION, positional='A B')
    if len(rest) != 2:
        raise errors.UsageError(
            'two runs are compared', expected='diff A B', received=f'{len(rest)} paths'
        )
    runs = [run_records.load_run(path) for path in rest]
    if values.json:
        print(json.dumps(_to_dict(runs), indent=2, default=str))
    else:
        print(_format(runs))


def _define(values: flags.FlagValues) -> None:
    flags.DEFINE_boolean('json', False, 'Print JSON, not tables.', flag_values=values)


def _find_changes(runs: list[run_records.RunRecord]) -> dict[str, list[Any]]:
    paths = run_records.find_varying(runs)
    return {path: [run.hyperparameters.get(path, _ABSENT) for run in runs] for path in paths}


def _find_metrics(runs: list[run_records.RunRecord]) -> dict[str, list[float | None]]:
    names = dict.fromkeys(name for run in runs for name in (run.metric, *run.best) if name)
    found = {
        name: [run.best.get(name) for run in runs]
        for name in names
        if not name.startswith(_BEST_SO_FAR)
    }
    return {name: pair for name, pair in found.items() if pair != [None, None]}


def _to_dict(runs: list[run_records.RunRecord]) -> dict[str, Any]:
    heads = [
        {name: value for name, value in run.to_dict().items() if name != 'hyperparameters'}
        for run in runs
    ]
    return {'runs': heads, 'hyperparameters': _find_changes(runs), 'best': _find_metrics(runs)}


def _format(runs: list[run_records.RunRecord]) -> str:
    heads = [
        [letter, run.path, run.hyperparameters.experiment, _describe_steps(run), run.started]
        for letter, run in zip('AB', runs)
    ]
    lines = [tables.format_table(heads), '']
    changes = [[path, *map(format_value, pair)] for path, pair in _find_changes(runs).items()]
    if changes:
        lines.append(tables.format_table(changes, ('hyperparameter', 'A', 'B')))
    else:
        lines.append('all hyperparameters are the same')
    metrics = _find_metrics(runs)
    if metrics:
        rows = [[name, *_format_pair(a, b)] for name, (a, b) in metrics.items()]
        lines += ['', tables.format_table(rows, ('best evaluation', 'A', 'B', 'B - A'))]
    return '\n'.join(lines)


def _describe_steps(run: run_records.RunRecord) -> str:
    parts = [] if run.step is None else [f'step {run.step}']
    parts += [] if run.best_step is None else [f'best at {run.best_step}']
    return ', '.join(parts)


def _format_pair(a: float | None, b: float | None) -> list[str]:
    both = [_ABSENT if value is None else f'{value:.6g}' for value in (a, b)]
    return [*both, '' if a is None or b is None else f'{b - a:+.4g}']
