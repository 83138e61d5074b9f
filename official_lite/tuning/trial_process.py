"""One trial as a process of its own: the same command line as a run by hand, watched from outside."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import IO, Any

from official_lite.tuning import trial_files

__all__ = ['MakeCommand', 'Outcome', 'TrialProcess', 'make_train_command']

# Returns the command line of a trial, given its folder.
MakeCommand = Callable[[pathlib.Path], list[str]]

_PACKAGE_PARENT = pathlib.Path(__file__).resolve().parent.parent.parent
_ENTRY = 'official_lite.cli.tune_trial'


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a process ended.

    Attributes:
        exit_code: Its exit code; negative for a signal.
        reason: In words.
    """

    exit_code: int
    reason: str

    @property
    def is_success(self) -> bool:
        """Whether it went through."""
        return self.exit_code == 0


def make_train_command(trial_dir: pathlib.Path) -> list[str]:
    """The command that trains a trial: `train`, which also ends when its parent does."""
    config = trial_dir / trial_files.CONFIG_FILE
    return [
        *(sys.executable, '-m', _ENTRY, '--mode=train_and_eval'),
        *(f'--config_file={config}', f'--model_dir={trial_dir}'),
    ]


class TrialProcess:
    """A running trial.

    Args:
        trial_dir: Its folder, which has its config.
        make_command: Makes its command line.
        environment: Variables beside those of this process.
        grace_secs: How long it may take to save and end when it is told to stop.

    Attributes:
        stop_reason: Why it was told to stop; '' if it was not.
    """

    def __init__(
        self,
        trial_dir: pathlib.Path,
        *,
        make_command: MakeCommand = make_train_command,
        environment: Mapping[str, str] | None = None,
        grace_secs: float = 60.0,
    ) -> None:
        self.trial_dir = trial_dir
        self.stop_reason = ''
        self._grace_secs = grace_secs
        self._kill_at: float | None = None
        self._begin = time.monotonic()
        self._log: IO[Any] = (trial_dir / trial_files.LOG_FILE).open('ab')
        path = os.pathsep.join(filter(None, [str(_PACKAGE_PARENT), os.environ.get('PYTHONPATH')]))
        # A session of its own: Ctrl-C in the terminal reaches this process alone, which then stops
        # the trial. Standard input is a pipe that closes when this process ends, however it ends.
        self._process = subprocess.Popen(
            make_command(trial_dir),
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**os.environ, 'PYTHONPATH': path, **(environment or {})},
            start_new_session=True,
        )

    @property
    def wall_secs(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self._begin

    def stop(self, reason: str) -> None:
        """Asks it to save and end; a second call changes nothing."""
        if not self.stop_reason:
            self.stop_reason = reason
            self._kill_at = time.monotonic() + self._grace_secs
            self._process.terminate()

    def poll(self) -> Outcome | None:
        """How it ended, None while it runs."""
        code = self._process.poll()
        if code is None:
            if self._kill_at is not None and time.monotonic() > self._kill_at:
                self._process.kill()
            return None
        self.close()
        return Outcome(code, self._describe(code))

    def close(self) -> None:
        """Closes what belongs to this process."""
        self._log.close()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def _describe(self, code: int) -> str:
        if self.stop_reason and code != 0:
            return self.stop_reason
        if code == 0:
            return 'complete'
        if code < 0:
            name = signal.Signals(-code).name
            hint = ', maybe out of memory' if -code == signal.SIGKILL else ''
            return f'killed by {name}{hint}'
        words = trial_files.find_last_words(self.trial_dir)
        return f'exit code {code}: {words}' if words else f'exit code {code}'
