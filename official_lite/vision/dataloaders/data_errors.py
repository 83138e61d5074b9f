"""From an error inside tf.data to the file and position it comes from."""

from __future__ import annotations

import re
import sys
import weakref
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import tensorflow as tf

from official_lite import errors
from official_lite.vision.dataloaders import source as source_lib

__all__ = [
    'check_image',
    'find_bad_images',
    'make_error',
    'remember_source',
    'report_skipped',
    'translate_data_error',
]

# What tf.data raises when a file cannot be read, always the data's fault.
_FILE_ERRORS = (
    tf.errors.DataLossError,
    tf.errors.NotFoundError,
    tf.errors.OutOfRangeError,
    tf.errors.PermissionDeniedError,
)
# And what when an image cannot be decoded: an error of any wrong argument, told by its text.
_IMAGE_ERRORS = (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError, UnicodeDecodeError)
_IMAGE_WORDS = re.compile(
    r'decode|jpe?g|png|gif|bmp|image (file|format|size)|parse.*example', re.IGNORECASE
)
_NUM_THREADS = 8
_NUM_REPORTED = 10

_live_sources: list[weakref.ref[source_lib.Source]] = []


def remember_source(source: source_lib.Source) -> None:
    """Makes `translate_data_error` look into `source` as long as somebody uses it."""
    others = [ref for ref in _live_sources if ref() is not None and ref() is not source]
    _live_sources[:] = [*others, weakref.ref(source)]


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
    for source in filter(None, [ref() for ref in reversed(_live_sources)]):
        for index, reason in find_bad_images(source, range(source.info.num_examples)):
            return make_error(source, index, reason)
    return None


def _may_be_data_error(error: BaseException) -> bool:
    if isinstance(error, _FILE_ERRORS):
        return True
    return isinstance(error, _IMAGE_ERRORS) and bool(_IMAGE_WORDS.search(str(error)))


def make_error(source: source_lib.Source, index: int, reason: str) -> errors.DataError:
    """The error of one example that cannot be read."""
    return errors.DataError(
        reason,
        where=source.describe(index),
        hint='mend or remove it, or set skip_corrupt=true to leave such examples out',
    )


def find_bad_images(source: source_lib.Source, indices: Iterable[int]) -> Iterator[tuple[int, str]]:
    """(index, reason) of the examples whose image cannot be read, in order."""

    def check(index: int) -> tuple[int, str]:
        try:
            return index, check_image(source.read_image(index))
        except errors.DataError as error:
            return index, error.message
        except tf.errors.DataLossError:
            return index, 'the record is corrupt: its checksum is wrong'
        except (tf.errors.OpError, OSError) as error:
            return index, getattr(error, 'message', str(error))

    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        for index, reason in pool.map(check, indices):
            if reason:
                yield index, reason


def check_image(image_bytes: bytes) -> str:
    """Why an image cannot be decoded; '' if it can."""
    if not image_bytes:
        return 'the image is empty (0 bytes)'
    try:
        source_lib.decode_image(tf.constant(image_bytes))
    except tf.errors.OpError as error:
        detail = error.message.split(' [Op:')[0].split('}} ')[-1]
        return f'the image cannot be decoded ({len(image_bytes)} bytes: {detail})'
    return ''


def report_skipped(lines: Sequence[str]) -> None:
    """Says on stderr what is left out, and why; the first ten in full."""
    if not lines:
        return
    print(f'skipped {len(lines)} that cannot be read:', file=sys.stderr)
    for line in lines[:_NUM_REPORTED]:
        print(f'  {line}', file=sys.stderr)
    if len(lines) > _NUM_REPORTED:
        print(f'  and {len(lines) - _NUM_REPORTED} more', file=sys.stderr)
