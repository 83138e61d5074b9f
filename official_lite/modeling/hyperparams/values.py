"""Between parsed text, configs and plain Python values."""

from __future__ import annotations

from typing import Any

from official_lite.modeling.hyperparams import scalars
from official_lite.modeling.hyperparams.sources import Elements, Plain

_IMMUTABLE = (str, int, float, bool, type(None))


def to_python(value: Any) -> Any:
    """Returns parsed text as the plain values that it means without a declared type."""
    if isinstance(value, Plain):
        return scalars.parse_free(value)
    if isinstance(value, Elements):
        return [to_python(value[index]) for index in sorted(value)]
    if isinstance(value, dict):
        return {to_key(key): to_python(item) for key, item in value.items()}
    if isinstance(value, list):
        return [to_python(item) for item in value]
    if isinstance(value, tuple):
        return tuple(to_python(item) for item in value)
    return value


def to_key(key: Any) -> Any:
    """Returns a mapping's key; names stay text even if they look like numbers."""
    return str(key) if isinstance(key, str) else key


def export(value: Any) -> Any:
    """Returns a value with configs as dicts and containers as plain copies."""
    if isinstance(value, _IMMUTABLE):
        return value
    if isinstance(value, tuple):
        return tuple(export(item) for item in value)
    if isinstance(value, list):
        return [export(item) for item in value]
    if isinstance(value, dict):
        return {key: export(item) for key, item in value.items()}
    if hasattr(value, 'as_dict'):
        return value.as_dict()
    return value


def comparable(value: Any) -> Any:
    """Returns a value in a form in which equal configs are equal.

    Configs become their class and the keys that make up their value; tuples and lists count as
    the same, since files have only one of them; NaN equals NaN.
    """
    if isinstance(value, float) and value != value:
        return _NAN
    if isinstance(value, _IMMUTABLE):
        return value
    if isinstance(value, (list, tuple)):
        return [comparable(item) for item in value]
    if isinstance(value, dict):
        return {key: comparable(item) for key, item in value.items()}
    if hasattr(value, '_shown_keys'):
        inside = {key: comparable(getattr(value, key)) for key in value._shown_keys()}
        return type(value), inside
    return value


_NAN = ('nan',)
