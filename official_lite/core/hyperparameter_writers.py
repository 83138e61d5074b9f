"""Writers of hyperparameters: the log, JSON lines, CSV, TensorBoard.

A writer is told the hyperparameters once, then numbers by step, then that it is over.
"""

from __future__ import annotations

import csv
import datetime
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from official_lite.core.hyperparameters import Hyperparameters, format_value

__all__ = [
    'CsvWriter',
    'JsonLinesWriter',
    'LogWriter',
    'TensorBoardWriter',
    'Writer',
    'numbers',
]

JSONL_NAME = 'hyperparameters.jsonl'
CSV_NAME = 'hyperparameters.csv'
Values = Mapping[str, Any]


class Writer(Protocol):
    """Writes hyperparameters and what came of them."""

    def begin(self, hyperparameters: Hyperparameters) -> None:
        """Writes all hyperparameters; called once, before anything else."""

    def write(self, step: int, values: Values) -> None:
        """Writes single values (learning rate, losses, metrics) at a step."""

    def end(self, best: Values) -> None:
        """Writes the best values of metrics, and closes."""


class LogWriter:
    """Prints: what was set as a table, then one line for each step."""

    def __init__(self, emit: Callable[[str], None] = print) -> None:
        """Keeps `emit`, which gets every text."""
        self._emit = emit

    def begin(self, hyperparameters: Hyperparameters) -> None:
        shown = hyperparameters.changed()
        head = f'hyperparameters: {len(hyperparameters)}'
        if len(shown) < len(hyperparameters):
            head += f', of which {len(shown)} were set or change'
        body = hyperparameters.table(only_changed=True)
        self._emit('\n'.join([f'{head}:', *(f'  {line}' for line in body.splitlines())]))

    def write(self, step: int, values: Values) -> None:
        self._emit(f'step {step}  {_on_one_line(values)}')

    def end(self, best: Values) -> None:
        if best:
            self._emit(f'best  {_on_one_line(best)}')


class JsonLinesWriter:
    """Appends to a file: a line with all hyperparameters, then one for each step.

    `{"event": "begin", "time": ..., "hyperparameters": {...}}`, `{"event": "step", "step": ..., ...}`
    and `{"event": "end", "best": {...}}`. Numbers that are not finite are null.
    """

    def __init__(self, path: str) -> None:
        """Keeps the path; the file appears with its first line."""
        self._path = path

    def begin(self, hyperparameters: Hyperparameters) -> None:
        self._append('begin', time=_now(), hyperparameters=_finite(hyperparameters.flat()))

    def write(self, step: int, values: Values) -> None:
        self._append('step', step=step, **_finite(values))

    def end(self, best: Values) -> None:
        self._append('end', time=_now(), best=_finite(best))

    def _append(self, event: str, **content: Any) -> None:
        _append(self._path, json.dumps({'event': event, **content}, default=str) + '\n')


class CsvWriter:
    """Appends to a table `step,name,value`: the hyperparameters, then what changes.

    One row for each value, so that the columns are always the same. Lists are JSON.
    """

    _COLUMNS = ('step', 'name', 'value')

    def __init__(self, path: str) -> None:
        """Keeps the path; the file appears with its first rows."""
        self._path = path
        self._step = 0

    def begin(self, hyperparameters: Hyperparameters) -> None:
        self._step = int(hyperparameters.live.get('step') or 0)
        is_new = not os.path.exists(self._path)
        self._append(hyperparameters.flat(), [self._COLUMNS] if is_new else [])

    def write(self, step: int, values: Values) -> None:
        self._step = step
        self._append(values)

    def end(self, best: Values) -> None:
        self._append({f'best/{name}': value for name, value in best.items()})

    def _append(self, values: Values, head: Sequence[Sequence[str]] = ()) -> None:
        rows = [(self._step, name, _to_cell(value)) for name, value in values.items()]
        folder = os.path.dirname(self._path)
        if folder:
            os.makedirs(folder, exist_ok=True)
        with open(self._path, 'a', encoding='utf-8', newline='') as file:
            csv.writer(file).writerows([*head, *rows])


class TensorBoardWriter:
    """Writes for the HParams dashboard: one session, the folder.

    The table gets a column for each value that somebody set, not for all: TensorBoard shows few
    columns well. Numbers are scalars in the same folder, the best ones as `best/NAME`.
    """

    def __init__(self, folder: str) -> None:
        """Keeps the folder of the events; the file appears with the hyperparameters."""
        self._folder = folder
        self._writer: Any = None

    def begin(self, hyperparameters: Hyperparameters) -> None:
        import tensorflow as tf
        from tensorboard.plugins.hparams import api

        self._writer = tf.summary.create_file_writer(self._folder)
        shown = {
            path: _to_hparam(value)
            for path, value in hyperparameters.changed().items()
            if path not in ('step', 'epoch')
        }
        # No summary of an experiment: TensorBoard would take one run's for the columns of all.
        # The folder is the group, so that a run that goes on stays one row of the table.
        group = os.path.basename(os.path.abspath(self._folder))
        self._write_pb(api.hparams_pb(shown, trial_id=group, start_time_secs=time.time()))

    def write(self, step: int, values: Values) -> None:
        import tensorflow as tf

        with self._writer.as_default():
            for name, value in numbers(values).items():
                tf.summary.scalar(name, value, step=step)
        self._writer.flush()

    def end(self, best: Values) -> None:
        from tensorboard.plugins.hparams import api_pb2, summary

        if self._writer is None:
            return
        self.write(0, {f'best/{name}': value for name, value in best.items()})
        self._write_pb(summary.session_end_pb(api_pb2.STATUS_SUCCESS))
        self._writer.close()

    def _write_pb(self, proto: Any) -> None:
        import tensorflow as tf

        with self._writer.as_default():
            tf.summary.experimental.write_raw_pb(proto.SerializeToString(), step=0)


def numbers(values: Values) -> dict[str, float]:
    """Those of the values that are numbers, as floats; truth values are none."""
    return {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }


def _finite(values: Values) -> dict[str, Any]:
    """The values with None for numbers that JSON has no words for."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }


def _on_one_line(values: Values) -> str:
    return '  '.join(
        f'{name} {value:.6g}' if isinstance(value, float) else f'{name} {format_value(value)}'
        for name, value in values.items()
    )


def _to_cell(value: Any) -> str:
    is_nested = isinstance(value, (list, tuple, dict))
    return json.dumps(value, default=str) if is_nested else '' if value is None else str(value)


def _to_hparam(value: Any) -> Any:
    """A value that TensorBoard's table can hold: a truth value, a number or text."""
    if isinstance(value, (bool, int, float, str)):
        return value
    return json.dumps(value, default=str)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds')


def _append(path: str, text: str) -> None:
    folder = os.path.dirname(path)
    if folder:
        os.makedirs(folder, exist_ok=True)
    with open(path, 'a', encoding='utf-8') as file:
        file.write(text)
