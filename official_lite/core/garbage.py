"""Python's garbage collector while a run starts.

Importing, building and tracing make millions of objects that stay, and the collector walks through
them again and again: a fifth of the time to the first step (benchmarks/README.md). So a process that
runs one experiment starts without it, and afterwards it looks only at what came later.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

_is_starting = False


@contextlib.contextmanager
def run() -> Iterator[None]:
    """A context for the whole of a run: without the collector until `settle`, and as before after it."""
    start()
    try:
        yield
    finally:
        settle()
        gc.unfreeze()


def start() -> None:
    """Turns the collector off until `settle`; for what exists to the end of a run."""
    global _is_starting
    if gc.isenabled():
        gc.disable()
        _is_starting = True


def settle() -> None:
    """Ends what `start` began: what exists by now is never looked at again, and the collector is on.

    Without a `start` nothing happens: in a notebook, models that are dropped later must be found.
    """
    global _is_starting
    if _is_starting:
        gc.freeze()
        gc.enable()
        _is_starting = False


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """A context without the collector, for what traces a large graph."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
