"""Checkers of single values: each reads what a caller gave into the declared type, or reports it."""

from __future__ import annotations

import numbers
import os
from typing import Any

from official_lite.modeling.hyperparams import errors, scalars
from official_lite.modeling.hyperparams.places import INVALID, Place
from official_lite.modeling.hyperparams.sources import Plain


class Checker:
    """Reads values for one annotation.

    Attributes:
        expected: The type in words, for messages.
        exact: Types whose values are fine as they are.
    """

    expected: str = ''
    exact: frozenset[type] = frozenset()

    def read(self, value: Any, place: Place, current: Any = None) -> Any:
        """Returns `value` in the declared type; or reports it at `place` and returns INVALID.

        Args:
            value: What was given: Python values, or parsed text (Plain, SourcedDict, SourcedList).
            place: Where, and the pass that collects problems.
            current: The field's present value, which a mapping changes rather than replaces.
        """
        raise NotImplementedError


class IntChecker(Checker):
    """`int`: whole numbers, also written as `1e3`; no truth values, no text."""

    expected = 'int'
    exact = frozenset({int})

    def read(self, value: Any, place: Place, current: Any = None) -> Any:
        number: int | None = None
        if isinstance(value, Plain):
            number = scalars.parse_int(value)
        elif isinstance(value, numbers.Integral) and not isinstance(value, bool):
            number = int(value)
        elif isinstance(value, numbers.Real) and not isinstance(value, bool):
            as_float = float(value)
            number = int(as_float) if as_float.is_integer() else None
        return place.reject(value, self.expected) if number is None else number


class FloatChecker(Checker):
    """`float`: any real number; no truth values, no text."""

    expected = 'float'
    exact = frozenset({float})

    def read(self, value: Any, place: Place, current: Any = None) -> Any:
        number: float | None = None
        if isinstance(value, Plain):
            number = scalars.parse_float(value)
            if number is None:
                whole = scalars.parse_int(value)
                number = None if whole is None else _to_float(whole)
        elif isinstance(value, numbers.Real) and not isinstance(value, bool):
            number = _to_float(value)
        return place.reject(value, self.expected) if number is None else number


def _to_float(number: Any) -> float | None:
    try:
        return float(number)
    except OverflowError:
        return None


class BoolChecker(Checker):
    """`bool`: true and false; as text also `yes`, `no`, `on`, `off`; no numbers."""

    expected = 'bool'
    exact = frozenset({bool})

    def read(self, value: Any, place: Place, current: Any = None) -> Any:
        truth: bool | None = None
        if isinstance(value, Plain):
            truth = scalars.parse_bool(value)
        elif is_numpy_bool(value):
            truth = bool(value)
        hint = 'write true or false' if isinstance(value, (str, int)) else ''
        return place.reject(value, self.expected, hint) if truth is None else truth


def is_numpy_bool(value: object) -> bool:
    """Whether `value` is NumPy's truth value, without importing NumPy."""
    kind = type(value)
    return kind.__module__ == 'numpy' and kind.__name__ in ('bool', 'bool_')


class StrChecker(Checker):
    """`str`: text as it is written (`off`, `012` and `1e-3` too), and paths."""

    expected = 'str'
    exact = frozenset({str})

    def read(self, value: Any, place: Place, current: Any = None) -> Any:
        if isinstance(value, Plain):
            if value and scalars.is_null(value):
                return place.reject(value, self.expected, "quote it if text is meant: 'null'")
            return str(value)
        if isinstance(value, str):
            return str.__str__(value)
        if isinstance(value, os.PathLike):
            path = os.fspath(value)
            if isinstance(path, str):
                return path
        return place.reject(value, self.expected)


class NoneChecker(Checker):
    """`None`: written `null`, `~`, `None` or nothing at all."""

    expected = 'None'
    exact = frozenset({type(None)})

    def read(self, value: Any, place: Place, current: Any = None) -> Any:
        if value is None or (isinstance(value, Plain) and is_none(value)):
            return None
        return place.reject(value, self.expected)


def is_none(text: str) -> bool:
    """Whether unquoted text means None in a field that may be None."""
    return scalars.is_null(text) or text == 'None'


class LiteralChecker(Checker):
    """`Literal[...]`: one of the listed values."""

    def __init__(self, values: tuple[Any, ...]) -> None:
        self.values = values
        self.expected = 'one of ' + ', '.join(repr(value) for value in values)

    def read(self, value: Any, place: Place, current: Any = None) -> Any:
        for candidate in self.values:
            if self._is_same(candidate, value):
                return candidate
        suggestion = ''
        if isinstance(value, str):
            suggestion = errors.find_nearest(value, self.values)
        received = errors.describe(value)
        return place.report(expected=self.expected, received=received, suggestion=suggestion)

    @staticmethod
    def _is_same(candidate: Any, value: Any) -> bool:
        if isinstance(value, Plain):
            return _reads_as(value, candidate)
        if isinstance(candidate, bool) or isinstance(value, bool) or is_numpy_bool(value):
            truths = (bool,) if not is_numpy_bool(value) else (bool, type(value))
            return (
                isinstance(candidate, bool)
                and isinstance(value, truths)
                and candidate == bool(value)
            )
        if isinstance(candidate, str) or isinstance(value, str):
            return isinstance(candidate, str) and isinstance(value, str) and candidate == value
        if candidate is None or value is None:
            return candidate is value
        return isinstance(value, numbers.Real) and bool(candidate == value)


def _reads_as(text: Plain, candidate: Any) -> bool:
    if candidate is None:
        return is_none(text)
    if isinstance(candidate, bool):
        return scalars.parse_bool(text) is candidate
    if isinstance(candidate, int):
        return scalars.parse_int(text) == candidate
    return bool(str(text) == candidate)


class FreeChecker(Checker):
    """A value that no annotation describes: basic types, sequences of them and mappings.

    Args:
        makes_configs: Mappings become free-form `Config` objects, as in Model Garden; otherwise
            (inside a `Dict` field) they stay dicts.
    """

    expected = 'str, int, float, bool, None, a list, a tuple or a mapping'
    exact = frozenset({str, int, float, bool, type(None)})

    def __init__(self, *, makes_configs: bool = True) -> None:
        self.makes_configs = makes_configs

    def read(self, value: Any, place: Place, current: Any = None) -> Any:
        if isinstance(value, Plain):
            return scalars.parse_free(value)
        if type(value) in self.exact:
            return value
        if isinstance(value, (list, tuple)):
            return self._read_sequence(value, place, current)
        from official_lite.modeling.hyperparams import free_form

        if isinstance(value, (dict, free_form.ParamsDict)):
            return free_form.read_mapping(value, place, current, self)
        number = read_foreign_scalar(value)
        if number is not INVALID:
            return number
        return place.report(
            f'Unknown type: {type(value).__module__}.{type(value).__qualname__}',
            expected=self.expected,
            received=errors.describe(value),
            kinds=(TypeError,),
        )

    def _read_sequence(self, value: Any, place: Place, current: Any) -> Any:
        from official_lite.modeling.hyperparams import containers

        return containers.read_elements(
            value, place, [self] * len(value), tuple if isinstance(value, tuple) else list, current
        )


def read_foreign_scalar(value: Any) -> Any:
    """Returns NumPy's scalars and subclasses of the basic types as basic values, else INVALID."""
    if is_numpy_bool(value):
        return bool(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, os.PathLike) and isinstance(os.fspath(value), str):
        return os.fspath(value)
    return INVALID
