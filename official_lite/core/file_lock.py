"""A lock on a file that ends with the process that holds it, however that ends."""

from __future__ import annotations

import contextlib
import os
import pathlib
import time
from types import TracebackType
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ['FileLock']

_POLL_SECS = 0.1


class FileLock:
    """An exclusive lock.

    Args:
        path: The file; it is made, and stays.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self._file: IO[Any] | None = None

    def try_acquire(self) -> bool:
        """Takes the lock if nobody else has it; returns whether it did.

        Raises:
            OSError: The file cannot be made, or its file system has no locks.
        """
        if self._file is not None:
            return True
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = open(self.path, 'a+')  # noqa: SIM115 - as long as the lock is held
        try:
            _lock(file)
        except (BlockingIOError, PermissionError):
            file.close()
            return False
        except OSError:
            file.close()
            raise
        self._file = file
        return True

    def acquire(self, timeout_secs: float) -> bool:
        """Waits for the lock; returns whether it came in time."""
        end = time.monotonic() + timeout_secs
        while not self.try_acquire():
            if time.monotonic() >= end:
                return False
            time.sleep(_POLL_SECS)
        return True

    def release(self) -> None:
        """Gives the lock back."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> FileLock:
        self.acquire(float('inf'))
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


def _lock(file: IO[Any]) -> None:
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    import msvcrt

    with contextlib.suppress(OSError):
        os.lseek(file.fileno(), 0, os.SEEK_SET)
    msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
