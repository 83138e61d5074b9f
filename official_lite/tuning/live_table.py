"""The table of a study while it runs: rewritten on a terminal, one line per event elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TextIO

from rich import console as rich_console
from rich import live, table

from official_lite.tuning import records
from official_lite.tuning.domains import Stored
from official_lite.tuning.search_space import SearchSpace, shorten_paths
from official_lite.tuning.study_config import Objective

__all__ = ['LiveTable', 'build_table', 'format_params', 'format_stored']

_MOST_ROWS = 15
_STYLES = {'complete': 'green', 'pruned': 'yellow', 'failed': 'red', 'running': 'cyan'}


class LiveTable:
    """Shows the trials of a study. Use it as a context.

    Args:
        space: What is searched.
        objectives: What is optimised.
        title: What stands above the table.
        stream: Where to print, standard output by default.
    """

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        *,
        title: str,
        stream: TextIO | None = None,
    ) -> None:
        self._names = shorten_paths(p.path for p in space.searched)
        self._objectives = tuple(objectives)
        self._title = title
        self._console = rich_console.Console(file=stream or sys.stdout, soft_wrap=True)
        self._live: live.Live | None = None
        self._shown: dict[int, str] = {}

    def __enter__(self) -> LiveTable:
        if self._console.is_terminal:
            self._live = live.Live(console=self._console, refresh_per_second=2, transient=False)
            self._live.start()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def update(self, trials: Sequence[records.TrialRecord]) -> None:
        """Shows the trials as they are now."""
        if self._live is not None:
            self._live.update(
                build_table(trials, self._names, self._objectives, self._title, _MOST_ROWS)
            )
            return
        for record in trials:
            if self._shown.get(record.number) != record.state:
                self._shown[record.number] = record.state
                self._console.print(self._describe(record), markup=False, highlight=False)

    def _describe(self, record: records.TrialRecord) -> str:
        text = f'trial {record.number} {record.state}'
        if record.state == 'running':
            return f'{text}: {format_params(record.params, self._names)}'
        shown = [f'{o.metric} {v:.4g}' for o, v in _iterate_values(record, self._objectives)]
        reason = [] if record.is_complete else [record.exit_reason]
        return f'{text}: {", ".join([*shown, *reason, f"{record.wall_secs:.0f} s"])}'


def build_table(
    trials: Sequence[records.TrialRecord],
    names: Mapping[str, str],
    objectives: Sequence[Objective],
    title: str,
    most_rows: int | None = None,
) -> table.Table:
    """A table of trials: the best and the running ones if there are too many for it.

    Args:
        trials: The trials.
        names: Searched paths, with their short names.
        objectives: What is optimised.
        title: What stands above it.
        most_rows: How many rows it may have; None for any number.
    """
    best = {record.number for record in records.find_best(trials, objectives)}
    states = [record.state for record in trials]
    counts = ', '.join(f'{states.count(s)} {s}' for s in (*_STYLES, 'waiting') if s in states)
    shown = table.Table(title=f'{title}: {counts or "no trials"}')
    for heading in ('trial', 'state', *(o.metric for o in objectives), 'step', 'time'):
        shown.add_column(heading, justify='right' if heading != 'state' else 'left')
    for name in names.values():
        shown.add_column(name)
    for record in _choose_rows(trials, objectives, most_rows):
        values = dict(_iterate_values(record, objectives))
        cells = [
            f'{record.number}{"*" if record.number in best else ""}',
            record.state,
            *(f'{values[o]:.4g}' if o in values else '' for o in objectives),
            '' if record.step is None else str(record.step),
            f'{record.wall_secs:.0f} s',
            *(format_stored(record.params[p]) if p in record.params else '' for p in names),
        ]
        style = 'bold green' if record.number in best else _STYLES.get(record.state)
        shown.add_row(*cells, style=style)
    return shown


def _choose_rows(
    trials: Sequence[records.TrialRecord],
    objectives: Sequence[Objective],
    most_rows: int | None,
) -> list[records.TrialRecord]:
    if most_rows is None or len(trials) <= most_rows:
        return list(trials)
    running = [record for record in trials if record.state == 'running']
    first, sign = objectives[0], -1.0 if objectives[0].direction == 'maximize' else 1.0
    others = [record for record in trials if record.state != 'running']
    others.sort(key=lambda r: sign * dict(_iterate_values(r, objectives)).get(first, -sign * 1e30))
    return [*others[: max(most_rows - len(running), 0)], *running]


def _iterate_values(
    record: records.TrialRecord, objectives: Sequence[Objective]
) -> list[tuple[Objective, float]]:
    """Objectives with their values: the results, or those of the newest evaluation."""
    if record.values is not None:
        return list(zip(objectives, record.values))
    return [(o, record.metrics[o.metric]) for o in objectives if o.metric in record.metrics]


def format_params(params: Mapping[str, Stored], names: Mapping[str, str]) -> str:
    """Values as `lr=0.001, batch=8`."""
    return ', '.join(f'{names.get(p, p)}={format_stored(v)}' for p, v in params.items())


def format_stored(value: Stored) -> str:
    """A value in few characters."""
    return f'{value:.4g}' if isinstance(value, float) else str(value)
