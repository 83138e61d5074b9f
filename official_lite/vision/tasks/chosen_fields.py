"""Fields that a person set, as against defaults and what the data of last time said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ['get_field', 'is_chosen', 'shorten']

_NUM_SHOWN = 4


def get_field(config: Any, path: str) -> Any:
    """The value of a field; tuples as lists.

    Args:
        config: A config.
        path: Names of fields, joined by dots.
    """
    for name in path.split('.'):
        config = getattr(config, name)
    return list(config) if isinstance(config, (list, tuple)) else config


def is_chosen(config: Any, path: str) -> bool:
    """Whether a person set the field to something, and not a default or the data of last time."""
    source = config.source_of(path)
    is_from_data = source is not None and source.kind == 'data'
    return config.is_set(path) and not is_from_data and get_field(config, path) not in (0, [], None)


def shorten(value: Any) -> str:
    """A value for a message; of a long list its first items and its length."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        return str(value)
    shown = ', '.join(str(item) for item in value[:_NUM_SHOWN]) or 'none'
    return f'{shown}, ... ({len(value)} in all)' if len(value) > _NUM_SHOWN else shown
