"""A table of every layer's learning rate, weight decay, regularizer and trainable state."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from official_lite.modeling import model_keys, variable_keys
from official_lite.modeling.layer_overrides import plan as plan_lib

# How many steps of a schedule are looked at for its highest rate.
_NUM_SAMPLES = 200
_NO_VALUE = '-'
# Settings that the other columns tell.
_IN_COLUMNS = (*plan_lib.RATE_SETTINGS, 'kernel_regularizer', 'bias_regularizer')


Columns = tuple[str, str, str, str]
_EMPTY: Columns = (_NO_VALUE, _NO_VALUE, _NO_VALUE, _NO_VALUE)


@dataclasses.dataclass(frozen=True)
class Row:
    """A layer, or those of its variables that are treated alike.

    Attributes:
        name: Path of the layer; with the names of variables where these differ.
        num_parameters: Numbers in them.
        columns: 'yes' or 'no' for trained ('yes' if some of its variables are), highest learning
            rate of the run, weight decay of the optimizer, and penalty in the loss.
        settings: What overrides set beside these.
    """

    name: str
    num_parameters: int
    columns: Columns
    settings: str = ''


def make_rows(
    model: keras.Model, optimizer: Any, *, num_updates: int, settings: Any = None
) -> list[Row]:
    """One row or more for each layer that has weights or that an override changed.

    Args:
        model: The model.
        optimizer: Its optimizer, built; one of `modeling.optimization`.
        num_updates: Updates of the run, over which the highest rate is looked for.
        settings: The `LayerSettings`, or None.
    """
    keys = model_keys.find(model)
    inner = getattr(optimizer, 'inner_optimizer', optimizer)
    describe = _Describer(model, inner, num_updates)
    own: dict[str, list[str]] = {path: [] for path in keys.layers}
    for key, variable in keys.variables.items():
        if 'float' in str(variable.dtype):
            own.setdefault(keys.owner(key), []).append(key)
    changed = _list_changes(settings)
    rows = []
    for path, names in own.items():
        groups: dict[Columns, list[str]] = {}
        for key in names:
            groups.setdefault(describe.columns(key, keys.variables[key]), []).append(key)
        rows += _rows_of_layer(path, groups, keys.variables, changed.get(path, ''))
    places = {path: i for i, path in enumerate(own)}
    return sorted(rows, key=lambda row: _order(row.name, places))


def format_table(rows: Sequence[Row]) -> str:
    """The rows in columns, with a header; text is flush left, numbers are flush right."""
    header = ('layer', 'parameters', 'trained', 'peak lr', 'decay', 'regularizer', 'overrides')
    cells = [header]
    for row in rows:
        cells.append((row.name, f'{row.num_parameters:,}', *row.columns, row.settings))
    widths = [max(len(line[i]) for line in cells) for i in range(len(header))]
    lines = []
    for line in cells:
        parts = [f'{line[0]:<{widths[0]}}']
        parts += [f'{line[i]:>{widths[i]}}' for i in range(1, 5)]
        parts += [f'{line[i]:<{widths[i]}}' for i in (5, 6)]
        lines.append('  '.join(parts).rstrip())
    return '\n'.join(lines)


class _Describer:
    """Tells what is done to one variable."""

    def __init__(self, model: keras.Model, optimizer: Any, num_updates: int) -> None:
        self._trained = {variable_keys.identity(v) for v in model.trainable_variables}
        self._optimizer = optimizer
        self._num_updates = num_updates
        self._peaks: dict[Any, float] = {}

    def columns(self, key: str, variable: Any) -> Columns:
        """Trained, learning rate, weight decay and regularizer."""
        if variable_keys.identity(variable) not in self._trained:
            return ('no', _NO_VALUE, _NO_VALUE, _NO_VALUE)
        regularizer = _describe_regularizer(getattr(variable, 'regularizer', None))
        if not hasattr(self._optimizer, 'rate_of_key'):
            rate = self._peak(self._optimizer._learning_rate)
            return ('yes', f'{rate:.4g}', _NO_VALUE, regularizer)
        own = self._optimizer.rate_of_key(key)
        schedule = self._optimizer._learning_rate if own.schedule is None else own.schedule
        rate = self._peak(schedule) * own.learning_rate_multiplier
        decay = self._optimizer.variable_weight_decay(variable)
        return ('yes', f'{rate:.4g}', f'{decay:.4g}' if decay else _NO_VALUE, regularizer)

    def _peak(self, schedule: Any) -> float:
        """The highest rate of a schedule, at 200 steps of the run."""
        if id(schedule) not in self._peaks:
            rates = [schedule]
            if callable(schedule):
                steps = np.unique(np.linspace(0, max(self._num_updates - 1, 0), _NUM_SAMPLES))
                rates = [schedule(int(step)) for step in steps]
            numbers = [float(keras.ops.convert_to_numpy(rate)) for rate in rates]
            self._peaks[id(schedule)] = max(numbers)
        return self._peaks[id(schedule)]


def _rows_of_layer(
    path: str, groups: dict[Columns, list[str]], variables: Any, settings: str
) -> list[Row]:
    """One row, unless variables that are trained are treated in different ways."""
    trained = {columns: keys for columns, keys in groups.items() if columns[0] == 'yes'}
    if not groups:
        return [Row(path, 0, _EMPTY, settings)] if settings else []
    if len(trained) <= 1:
        columns = next(iter(trained or groups))
        count = _count([key for keys in groups.values() for key in keys], variables)
        return [Row(path, count, columns, settings)]
    return [
        Row(f'{path}/{_join_names(path, keys)}', _count(keys, variables), columns, settings)
        for columns, keys in groups.items()
    ]


def _join_names(path: str, keys: Sequence[str]) -> str:
    return ','.join(key.removeprefix(f'{path}/') for key in keys)


def _count(keys: Sequence[str], variables: Any) -> int:
    return sum(int(np.prod(variables[key].shape)) for key in keys)


def _list_changes(settings: Any) -> dict[str, str]:
    """Path of a layer to what overrides set on it, beside what has a column."""
    found: dict[str, dict[str, str]] = {}
    for name, targets in ({} if settings is None else settings.plan).items():
        if name in _IN_COLUMNS:
            continue
        for target, assignment in targets.items():
            path = target if name != 'kernel_initializer' else settings.layers.owner(target)
            found.setdefault(path, {})[name] = f'{name}={_shorten(assignment.value)}'
    return {path: ' '.join(texts.values()) for path, texts in found.items()}


def _shorten(value: Any) -> str:
    """An initializer by its name, a penalty by its strengths, anything else as it is."""
    if hasattr(value, 'name'):
        return str(value.name)
    if hasattr(value, 'l1'):
        return _describe_regularizer(value)
    return str(value)


def _describe_regularizer(regularizer: Any) -> str:
    if regularizer is None:
        return _NO_VALUE
    strengths = {name: float(getattr(regularizer, name, 0.0) or 0.0) for name in ('l1', 'l2')}
    if not any(strengths.values()):
        return type(regularizer).__name__
    return ' '.join(f'{name}={value:.4g}' for name, value in strengths.items() if value)


def _order(name: str, places: Mapping[str, int]) -> tuple[int, ...]:
    """Layers stand with the modules that they are in, these as the walk found them."""
    parts = name.split('/')
    prefixes = ['/'.join(parts[: n + 1]) for n in range(len(parts))]
    return tuple(places.get(prefix, -1) for prefix in prefixes)
