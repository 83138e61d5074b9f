"""Errors of builders that know their arguments, with the path that the argument has in a config."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from official_lite import errors

__all__ = ['full_paths']


@contextlib.contextmanager
def full_paths(config: Any, where: str) -> Iterator[None]:
    """Puts the config's path before the name of its field in a UsageError from inside."""
    try:
        yield
    except errors.UsageError as error:
        if error.where.isidentifier() and hasattr(config, error.where):
            error.where = f'{where}.{error.where}'
        raise
