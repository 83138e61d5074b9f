"""From an error inside tf.data to a clear one that names file and position."""

from __future__ import annotations

import collections
import contextlib
import re
from collections.abc import Iterator
from typing import Protocol

import tensorflow as tf

from official_lite import errors

__all__ = ['Source', 'clear_errors', 'remember_source', 'translate_data_error']

# What tf.data raises when a file cannot be read, always the data's fault.
_FILE_ERRORS = (
    tf.errors.DataLossError,
    tf.errors.NotFoundError,
    tf.errors.PermissionDeniedError,
)
# And what when an image cannot be decoded: an error of any wrong argument, told by its text.
_IMAGE_ERRORS = (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError, UnicodeDecodeError)
_IMAGE_WORDS = re.compile(
    r'decode|jpe?g|png|gif|bmp|image (file|format|size)|parse.*example', re.IGNORECASE
)


class Source(Protocol):
    """A source of examples that can say what is wrong with it."""

    def find_error(self) -> errors.DataError | None:
        """Reads the examples until one cannot be read; None if all can."""


# Training and validation data, and those of another run in the same process.
_sources: collections.deque[Source] = collections.deque(maxlen=4)


def remember_source(source: Source) -> None:
    """Makes `translate_data_error` look into `source`, first of all."""
    with contextlib.suppress(ValueError):
        _sources.remove(source)
    _sources.append(source)


def translate_data_error(error: BaseException) -> errors.DataError | None:
    """The clear error for one that came out of the input pipeline.

    tf.data does not say which example it failed on. So this reads the examples of the sources in use
    until it finds one that cannot be read.

    Args:
        error: What was raised.

    Returns:
        An error that names file and position, or None if the data is not to blame.
    """
    if isinstance(error, errors.DataError):
        return error
    if not _may_be_data_error(error):
        return None
    found = (source.find_error() for source in reversed(_sources))
    return next((clear for clear in found if clear is not None), None)


@contextlib.contextmanager
def clear_errors() -> Iterator[None]:
    """Raises, in place of an error that the data is to blame for, the clear one."""
    try:
        yield
    except (tf.errors.OpError, UnicodeDecodeError) as error:
        clear = translate_data_error(error)
        if clear is None:
            raise
        raise clear from error


def _may_be_data_error(error: BaseException) -> bool:
    if isinstance(error, _FILE_ERRORS):
        return True
    return isinstance(error, _IMAGE_ERRORS) and bool(_IMAGE_WORDS.search(str(error)))
