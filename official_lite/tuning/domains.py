"""What a searched value may be: ranges, choices and constants, as typed objects.

    {'trainer.optimizer_config.learning_rate.cosine.initial_learning_rate': LogUniform(1e-5, 1e-3),
     'task.train_data.global_batch_size': Choice([8, 16, 32])}

Nothing here imports Optuna.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ['Choice', 'Constant', 'Domain', 'Int', 'LogUniform', 'Stored', 'Uniform']

# What Optuna stores of a value: numbers, and the label of a choice.
Stored = None | bool | int | float | str

# A point of a range that is no whole number, unless all of them are.
_INNER_POINT = 0.381966


class Domain:
    """What a value may be."""

    def find_problems(self) -> Iterator[tuple[str, str]]:
        """Yields (what was expected, what came) for everything that is wrong with the domain itself."""
        return iter(())

    def list_grid(self) -> list[Stored] | None:
        """The values of a grid, in order; None if a grid cannot know them."""
        raise NotImplementedError

    def list_samples(self) -> list[Stored]:
        """Values that stand for all others when the domain is checked against a config."""
        raise NotImplementedError

    def get_value(self, stored: Stored) -> Any:
        """The value for the config that belongs to what Optuna stores."""
        return stored

    def replace_values(self, values: Sequence[Any]) -> Domain:
        """The same with other values in the place of those that it lists; a range stays as it is."""
        return self

    def find_stored(self, value: Any) -> Stored:
        """The inverse of `get_value`.

        Raises:
            ValueError: The value is outside of the domain.
        """
        raise NotImplementedError

    def suggest(self, trial: Any, name: str) -> Any:
        """Asks an Optuna trial for what it stores; a trial that has a value already keeps it."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class _Range(Domain):
    """What all ranges have: two ends, both included."""

    low: float
    high: float

    def find_problems(self) -> Iterator[tuple[str, str]]:
        for name in ('low', 'high'):
            if not math.isfinite(getattr(self, name)):
                yield f'a finite number for {name}', repr(getattr(self, name))
        if not self.low < self.high:
            yield 'a lower end below the upper end', f'[{self.low!r}, {self.high!r}]'

    def find_stored(self, value: Any) -> Stored:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not self.low <= value <= self.high:
            raise ValueError(f'{value!r} is outside of [{self.low!r}, {self.high!r}]')
        return value


@dataclasses.dataclass(frozen=True)
class Uniform(_Range):
    """A real number, evenly distributed.

    Attributes:
        low: Lower end.
        high: Upper end, included.
        step: Distance of the values, counted from `low`. None means any value.
        num_points: How many evenly spaced values a grid takes. None: those of `step`.
    """

    step: float | None = None
    num_points: int | None = None

    def find_problems(self) -> Iterator[tuple[str, str]]:
        yield from super().find_problems()
        if self.step is not None and not 0 < self.step <= self.high - self.low:
            yield 'a step above 0 that fits into the range', repr(self.step)
        yield from _find_problems_of_points(self.num_points)
        if self.step is not None and self.num_points is not None:
            yield 'step or num_points, not both', f'step {self.step}, num_points {self.num_points}'

    def list_grid(self) -> list[Stored] | None:
        if self.step is not None:
            count = math.floor((self.high - self.low) / self.step + 1e-9) + 1
            return [self.low + index * self.step for index in range(count)]
        if self.num_points is None:
            return None
        return list(_space_evenly(self.low, self.high, self.num_points))

    def list_samples(self) -> list[Stored]:
        inner = self.step if self.step else (self.high - self.low) * _INNER_POINT
        return [self.low, self.high if self.step is None else self.low, self.low + inner]

    def suggest(self, trial: Any, name: str) -> Any:
        return trial.suggest_float(name, self.low, self.high, step=self.step)


@dataclasses.dataclass(frozen=True)
class LogUniform(_Range):
    """A real number whose logarithm is evenly distributed.

    Attributes:
        low: Lower end, above 0.
        high: Upper end, included.
        num_points: How many values, evenly spaced in their logarithms, a grid takes.
    """

    num_points: int | None = None

    def find_problems(self) -> Iterator[tuple[str, str]]:
        yield from super().find_problems()
        if not self.low > 0:
            yield 'a lower end above 0, because the scale is logarithmic', repr(self.low)
        yield from _find_problems_of_points(self.num_points)

    def list_grid(self) -> list[Stored] | None:
        if self.num_points is None:
            return None
        ends = math.log(self.low), math.log(self.high)
        inner = [math.exp(x) for x in _space_evenly(*ends, self.num_points)[1:-1]]
        return [self.low, *inner, self.high]

    def list_samples(self) -> list[Stored]:
        return [self.low, self.high, self.low + (self.high - self.low) * _INNER_POINT]

    def suggest(self, trial: Any, name: str) -> Any:
        return trial.suggest_float(name, self.low, self.high, log=True)


@dataclasses.dataclass(frozen=True)
class Int(_Range):
    """A whole number.

    Attributes:
        low: Lower end.
        high: Upper end, included.
        step: Distance of the values, counted from `low`.
        log: Whether the logarithm is evenly distributed.
    """

    low: int
    high: int
    step: int = 1
    log: bool = False

    def find_problems(self) -> Iterator[tuple[str, str]]:
        yield from super().find_problems()
        for name in ('low', 'high', 'step'):
            if not isinstance(getattr(self, name), int) or isinstance(getattr(self, name), bool):
                yield f'a whole number for {name}', repr(getattr(self, name))
        if not 0 < self.step <= max(self.high - self.low, 1):
            yield 'a step above 0 that fits into the range', repr(self.step)
        if self.log and self.low < 1:
            yield 'a lower end of 1 or more, because the scale is logarithmic', repr(self.low)
        if self.log and self.step != 1:
            yield 'no step, because the scale is logarithmic', repr(self.step)

    def list_grid(self) -> list[Stored] | None:
        return list(range(self.low, self.high + 1, self.step))

    def list_samples(self) -> list[Stored]:
        return [self.low, self.low + (self.high - self.low) // self.step * self.step]

    def suggest(self, trial: Any, name: str) -> Any:
        return trial.suggest_int(name, self.low, self.high, step=self.step, log=self.log)


@dataclasses.dataclass(frozen=True)
class Choice(Domain):
    """One of some values: scalars, lists, or mappings such as whole branches.

    Attributes:
        options: The values; or a mapping from names, which stand in tables and plots, to values.
    """

    options: Sequence[Any] | Mapping[str, Any]

    def find_problems(self) -> Iterator[tuple[str, str]]:
        if not self.options:
            yield 'at least one value to choose from', 'none'
        labels = [(type(label).__name__, label) for label in self.labels]
        twice = sorted({repr(label[1]) for label in labels if labels.count(label) > 1})
        if twice:
            yield 'each value once', f'{", ".join(twice)} more than once'

    @property
    def labels(self) -> list[Stored]:
        """What Optuna stores of the options: scalars themselves, of others their name or JSON text."""
        if isinstance(self.options, Mapping):
            return list(self.options)
        return [_make_label(value) for value in self.options]

    @property
    def values(self) -> list[Any]:
        """The values to choose from."""
        is_named = isinstance(self.options, Mapping)
        return list(self.options.values() if is_named else self.options)  # type: ignore[union-attr]

    def list_grid(self) -> list[Stored] | None:
        return self.labels

    def list_samples(self) -> list[Stored]:
        return self.labels

    def get_value(self, stored: Stored) -> Any:
        return self.values[self.labels.index(stored)]

    def replace_values(self, values: Sequence[Any]) -> Choice:
        if isinstance(self.options, Mapping):
            return Choice(dict(zip(self.options, values)))
        return Choice(tuple(values))

    def find_stored(self, value: Any) -> Stored:
        for label, option in zip(self.labels, self.values):
            if option == value and isinstance(option, bool) == isinstance(value, bool):
                return label
        raise ValueError(f'{value!r} is none of {", ".join(map(repr, self.labels))}')

    def suggest(self, trial: Any, name: str) -> Any:
        return trial.suggest_categorical(name, self.labels)


@dataclasses.dataclass(frozen=True)
class Constant(Domain):
    """A value that is set in every trial and not searched.

    Attributes:
        value: The value.
    """

    value: Any

    def list_grid(self) -> list[Stored] | None:
        return [None]

    def list_samples(self) -> list[Stored]:
        return [None]

    def get_value(self, stored: Stored) -> Any:
        return self.value

    def replace_values(self, values: Sequence[Any]) -> Constant:
        return Constant(values[0])

    def find_stored(self, value: Any) -> Stored:
        return None


def _find_problems_of_points(num_points: int | None) -> Iterator[tuple[str, str]]:
    if num_points is not None and num_points < 2:
        yield '2 points or more', repr(num_points)


def _space_evenly(low: float, high: float, count: int) -> list[float]:
    inner = [low + (high - low) * index / (count - 1) for index in range(1, count - 1)]
    return [low, *inner, high]


def _make_label(value: Any) -> Stored:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return json.dumps(value, separators=(', ', ': '), default=str)
