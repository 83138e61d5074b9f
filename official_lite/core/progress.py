"""The line that tells how far training is.

On a terminal it is one line that is rewritten; elsewhere there are plain lines, seldom.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

_PLAIN_INTERVAL_SECS = 30.0
_RATE_WINDOW_SECS = 20.0


class Progress:
    """Prints step, loss, learning rate, images per second and time left."""

    def __init__(
        self,
        total_steps: int,
        *,
        batch_size: int = 0,
        stream: TextIO | None = None,
        is_enabled: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prints nothing yet.

        Args:
            total_steps: The step at which training ends.
            batch_size: Examples of one step, over all replicas; 0 leaves the rate in steps.
            stream: Where to print, standard error by default.
            is_enabled: False prints nothing (on workers other than the chief).
            clock: Seconds.
        """
        self._total_steps = total_steps
        self._batch_size = batch_size
        self._stream = stream or sys.stderr
        self._is_enabled = is_enabled
        self._clock = clock
        self._is_terminal = bool(getattr(self._stream, 'isatty', lambda: False)())
        self._marks: list[tuple[float, int]] = []
        self._is_warm = False
        self._width = 0
        self._last_plain = clock()

    def update(self, step: int, logs: Mapping[str, Any], *, is_logged: bool = False) -> None:
        """Shows where training is.

        Args:
            step: The step just done.
            logs: Has `training_loss` and `learning_rate`, floats.
            is_logged: Whether metrics were logged at this step; gives a line without a terminal.
        """
        now = self._clock()
        if not self._is_warm:
            # The first call compiles the step; its time says nothing about the rate.
            self._is_warm, self._marks = True, []
        recent = [mark for mark in self._marks if mark[0] >= now - _RATE_WINDOW_SECS]
        self._marks = recent or self._marks[-1:]
        self._marks.append((now, step))
        if not self._is_enabled:
            return
        text = self.describe(step, logs)
        if self._is_terminal:
            self._stream.write('\r' + text.ljust(self._width))
            self._width = len(text)
            self._stream.flush()
        elif is_logged or now - self._last_plain >= _PLAIN_INTERVAL_SECS:
            self._last_plain = now
            self._stream.write(text + '\n')
            self._stream.flush()

    def pause(self, step: int) -> None:
        """Leaves the line and forgets the time until the next `resume` (during an evaluation)."""
        if self._is_enabled and self._is_terminal and self._width:
            self._stream.write('\n')
            self._stream.flush()
        self._width = 0
        self.resume(step)

    def resume(self, step: int) -> None:
        """Starts to measure the rate anew."""
        self._marks = [(self._clock(), step)]

    def message(self, text: str) -> None:
        """Prints a line of its own."""
        if self._is_enabled:
            lead = '\n' if self._is_terminal and self._width else ''
            self._width = 0
            self._stream.write(f'{lead}{text}\n')
            self._stream.flush()

    @property
    def steps_per_sec(self) -> float:
        """Steps per second of the last while; 0 when not known yet."""
        if len(self._marks) < 2:
            return 0.0
        (begin, first), (end, last) = self._marks[0], self._marks[-1]
        return (last - first) / (end - begin) if end > begin else 0.0

    def describe(self, step: int, logs: Mapping[str, Any]) -> str:
        """The line: `step 120/3000  loss 1.234  lr 8.00e-03  31.2 images/s  1:32 left`."""
        parts = [f'step {step}/{self._total_steps}']
        if 'training_loss' in logs:
            parts.append(f'loss {float(logs["training_loss"]):.4g}')
        if 'learning_rate' in logs:
            parts.append(f'lr {float(logs["learning_rate"]):.2e}')
        rate = self.steps_per_sec
        if rate > 0:
            has_batch = self._batch_size > 0
            parts.append(
                f'{rate * self._batch_size:.1f} images/s' if has_batch else f'{rate:.2f} steps/s'
            )
            parts.append(f'{format_secs((self._total_steps - step) / rate)} left')
        return '  '.join(parts)


def format_secs(secs: float) -> str:
    """Seconds as `m:ss`, or `h:mm:ss` from an hour on."""
    minutes, seconds = divmod(round(max(secs, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02d}:{seconds:02d}' if hours else f'{minutes}:{seconds:02d}'
