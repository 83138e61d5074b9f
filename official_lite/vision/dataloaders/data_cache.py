"""Files that are made once and kept: generated data sets, and counts of data sets."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from official_lite import errors
from official_lite.core import file_lock

__all__ = [
    'dump_error',
    'get_cache_dir',
    'get_cached_arrays',
    'get_cached_reasons',
    'load_error',
    'make_once',
    'open_atomically',
]

Found = tuple[dict[str, np.ndarray], dict[str, Any]]

_CACHE_VARIABLE = 'OFFICIAL_LITE_CACHE'


def get_cache_dir() -> Path:
    """$OFFICIAL_LITE_CACHE, or `official_lite` in $XDG_CACHE_HOME or ~/.cache."""
    own = os.environ.get(_CACHE_VARIABLE)
    if own:
        return Path(own).expanduser()
    base = os.environ.get('XDG_CACHE_HOME')
    return (Path(base) if base else Path.home() / '.cache') / 'official_lite'


@contextlib.contextmanager
def open_atomically(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`, which takes its place when the block ends well.

    Several processes may write the same path at once: each writes its own file, the last one stays.

    Raises:
        DataError: The folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f'.{path.name}.', dir=path.parent)
    except OSError as error:
        raise errors.DataError(
            f'{path.parent}: the cache folder cannot be written ({error.strerror}); '
            f'set {_CACHE_VARIABLE} to a folder that can'
        ) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def make_once(path: Path) -> Iterator[bool]:
    """Yields whether `path` has to be made; other processes that want it wait until the block ends.

    Where there can be no lock, each process makes its own.
    """
    lock = file_lock.FileLock(path.with_name(f'.{path.name}.lock'))
    try:
        lock.acquire(math.inf)
    except OSError:
        yield not path.exists()
        return
    try:
        yield not path.exists()
    finally:
        lock.release()


def get_cached_reasons(description: Any, find: Callable[[], dict[int, str]]) -> dict[int, str]:
    """What is wrong with which example: found once for each description of a data set, then kept.

    Args:
        description: Whatever tells this data from other data, as JSON.
        find: Reads the data and says what is wrong, by the example's number.
    """
    digest = hashlib.sha256(json.dumps(description).encode()).hexdigest()[:32]
    path = get_cache_dir() / 'checked' / f'{digest}.json'
    with contextlib.suppress(OSError, ValueError):
        return {int(index): reason for index, reason in json.loads(path.read_text()).items()}
    reasons = find()
    with open_atomically(path) as temporary:
        temporary.write_text(json.dumps(reasons))
    return reasons


def get_cached_arrays(kind: str, description: Any, find: Callable[[], Found]) -> Found:
    """Arrays and facts about a data set: found once for each description of it, then kept.

    Args:
        kind: Folder of the cache folder that keeps them.
        description: Whatever tells this data from other data, as JSON.
        find: Returns arrays by name, and facts as JSON.

    Returns:
        What `find` returned, now or earlier.
    """
    digest = hashlib.sha256(json.dumps(description).encode()).hexdigest()[:32]
    path = get_cache_dir() / kind / f'{digest}.npz'
    with contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        with np.load(path) as kept:
            arrays = dict(kept)
        return arrays, json.loads(arrays.pop('facts').tobytes())
    arrays, facts = find()
    with open_atomically(path) as temporary, temporary.open('wb') as file:
        everything: Any = {**arrays, 'facts': np.frombuffer(json.dumps(facts).encode(), np.uint8)}
        np.savez(file, **everything)
    return arrays, facts


_ERROR_FIELDS = ('where', 'expected', 'received', 'hint')


def dump_error(error: errors.DataError) -> dict[str, str]:
    """An error as JSON."""
    return {'message': error.message, **{name: getattr(error, name) for name in _ERROR_FIELDS}}


def load_error(fields: dict[str, str]) -> errors.DataError:
    """The inverse of `dump_error`."""
    return errors.DataError(fields['message'], **{name: fields[name] for name in _ERROR_FIELDS})
