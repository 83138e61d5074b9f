"""Files that are made once and kept: generated data sets, and counts of data sets."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from official_lite import errors

__all__ = ['get_cache_dir', 'get_cached_reasons', 'open_atomically']

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
