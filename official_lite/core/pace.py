"""How many steps are done in one go, and what is done between them."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator

__all__ = ['Event', 'Pace']

# One call of the compiled loop should last about this long, so that Ctrl-C and the progress line do not wait.
_CHUNK_SECS = 0.5
# All workers must agree on how many steps they do in one go, so these are fixed there.
_MULTI_WORKER_CHUNK = 20


@dataclasses.dataclass(frozen=True)
class Event:
    """Something done when the step reaches a multiple of `interval`, and at the last step.

    Attributes:
        interval: Steps between two times.
        run: Gets the step.
    """

    interval: int
    run: Callable[[int], object]

    def next_step(self, step: int, last_step: int) -> int:
        """The first step after `step` at which it is due."""
        return min((step // self.interval + 1) * self.interval, last_step)

    def is_due(self, step: int, last_step: int) -> bool:
        """Whether it is due at `step`."""
        return step % self.interval == 0 or step >= last_step


class Pace:
    """How many steps one call of the compiled loop does."""

    def __init__(self, is_fixed: bool) -> None:
        self._is_fixed = is_fixed
        self._secs_per_step: float | None = None
        self._is_first = True

    def choose(self, at_most: int) -> int:
        """Steps of the next call: one at first (it compiles), then half a second's worth."""
        if self._is_first:
            return 1
        if self._is_fixed:
            return min(at_most, _MULTI_WORKER_CHUNK)
        if self._secs_per_step is None:
            return 1
        return max(1, min(at_most, int(_CHUNK_SECS / self._secs_per_step)))

    @contextlib.contextmanager
    def measure(self, num_steps: int) -> Iterator[None]:
        """Takes the time of `num_steps` steps."""
        begin = time.monotonic()
        yield
        if not self._is_first:
            self._secs_per_step = max((time.monotonic() - begin) / num_steps, 1e-6)
        self._is_first = False
