"""The type of one hyperparameter of `HParams`, which is that of its default."""

from __future__ import annotations

import dataclasses
import numbers
import re
from typing import Any, NoReturn, Self

from official_lite.modeling.hyperparams import scalars
from official_lite.modeling.hyperparams.checkers import is_numpy_bool
from official_lite.modeling.hyperparams.sources import Plain
from official_lite.modeling.hyperparams.values import to_python

_INDEXED = re.compile(r'(.*)\[([0-9]+)\]')
_NONE = type(None)


def split_index(key: str) -> tuple[str, int | None]:
    """Returns name and index of `'layers[0]'`; the index is None if there is none."""
    indexed = _INDEXED.fullmatch(key)
    return (indexed[1], int(indexed[2])) if indexed else (key, None)


@dataclasses.dataclass(frozen=True)
class HParamType:
    """What a hyperparameter can be. All methods raise ValueError for a value that does not fit.

    Attributes:
        kind: Python type of the value, or of the elements of a list.
        is_list: Whether the value is a list.
    """

    kind: type
    is_list: bool

    @classmethod
    def of(cls, default: Any) -> Self:
        """The type of a default; of a list, that of its first element counts."""
        is_list = isinstance(default, (list, tuple))
        return cls(type(default[0] if is_list else default), is_list)

    def __str__(self) -> str:
        return f'list[{self.kind.__name__}]' if self.is_list else self.kind.__name__

    def cast(self, value: Any) -> Any:
        """Returns a Python value in this type."""
        given_list = isinstance(value, (list, tuple))
        if self.is_list:
            if not given_list:
                _fail(f'Must pass a list for multi-valued parameter, received {value!r}')
            return [self._cast_one(item) for item in value]
        if given_list and self.kind is not _NONE:
            _fail(f'Must not pass a list for single-valued parameter, received {value!r}')
        return self._cast_one(value)

    def read(self, value: Any) -> Any:
        """Returns parsed text in this type: `Plain` text, text that was quoted, or a list of them."""
        if not isinstance(value, (list, dict)):
            if self.is_list:
                _fail(f'Must pass a list for multi-valued parameter, received {str(value)!r}')
            return self._read_one(value)
        if self.kind is _NONE and not self.is_list:
            return to_python(value)
        if isinstance(value, dict):
            self._reject(to_python(value))
        if not self.is_list:
            _fail(f'Must not pass a list for single-valued parameter, received {list(value)!r}')
        return [self._read_one(item) for item in _split_words(value)]

    def replace_element(self, old: Any, index: int, value: Any) -> list[Any]:
        """Returns a list with one element replaced by parsed text, or appended."""
        if not self.is_list:
            _fail('Must not pass an index for single-valued parameter')
        if isinstance(value, (list, dict)):
            _fail('Assignment of a list to a list index')
        if index > len(old):
            _fail(f'there is no element {index}; an index up to {len(old)}, which appends, is one')
        new = list(old)
        new[index : index + 1] = [self._read_one(value)]
        return new

    def _cast_one(self, value: Any) -> Any:
        """Casts where nothing is lost: no float becomes an int, no number a truth value or text."""
        kind = self.kind
        if kind is _NONE:
            return value
        if issubclass(kind, (str, bytes)):
            fits = isinstance(value, (str, bytes))
        elif issubclass(kind, bool) or isinstance(value, bool):
            fits = issubclass(kind, bool) and (isinstance(value, bool) or is_numpy_bool(value))
        elif issubclass(kind, numbers.Integral):
            fits = isinstance(value, numbers.Integral)
        else:
            fits = not issubclass(kind, numbers.Number) or isinstance(value, numbers.Number)
        if not fits:
            self._reject(value)
        try:
            return value if isinstance(value, kind) else kind(value)
        except (TypeError, ValueError):
            self._reject(value)

    def _read_one(self, text: Any) -> Any:
        """Reads one value; text without quotes means what the type makes of it."""
        if isinstance(text, (list, dict)):
            self._reject(to_python(text))
        if not isinstance(text, Plain):
            return self._cast_one(text)
        value: Any = None
        if self.kind is _NONE:
            return scalars.parse_free(text)
        if issubclass(self.kind, str):
            value = str(text)
        elif issubclass(self.kind, bool):
            value = scalars.parse_bool(text)
            number = scalars.parse_int(text) if value is None else None
            value = value if number is None else bool(number)
        elif issubclass(self.kind, numbers.Integral):
            value = scalars.parse_int(text)
        elif issubclass(self.kind, numbers.Real):
            value = scalars.parse_float(text)
        if value is None:
            self._reject(str(text))
        return self._cast_one(value)

    def _reject(self, value: Any) -> NoReturn:
        _fail(f'Could not cast hparam of type {self} from value {value!r}')


def _split_words(items: list[Any]) -> list[Any]:
    """Elements of a list; contrib's class takes spaces for commas."""
    words: list[Any] = []
    for item in items:
        words += [Plain(word) for word in item.split()] if isinstance(item, Plain) else [item]
    return words


def _fail(message: str) -> NoReturn:
    raise ValueError(message)
