"""From an error of the file system to a clear one that names what was to be written."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from official_lite import errors

__all__ = ['clear_write_errors']


@contextlib.contextmanager
def clear_write_errors(flag: str, path: str) -> Iterator[None]:
    """Raises UsageError where files cannot be written: no permission, no folder, no space.

    Args:
        flag: What names the place: a flag or an argument.
        path: The place.
    """
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, 'strerror', None) or getattr(error, 'message', error)
        raise errors.UsageError(f'cannot be written ({reason})', where=f'{flag}={path}') from error
