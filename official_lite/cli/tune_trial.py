"""A trial of a study: `official-lite train`, which also ends when the process that started it does.

    python -m official_lite.cli.tune_trial --config_file=DIR/config.yaml --model_dir=DIR --mode=train_and_eval

Standard input is a pipe of that process; its end is the sign.
"""

from __future__ import annotations

import os
import pathlib
import signal
import sys
import threading
import time
from collections.abc import Sequence

from official_lite.cli import train
from official_lite.core import file_lock

__all__ = ['main']

_LOCK_FILE = 'trial.lock'
_MODEL_DIR_FLAG = '--model_dir='
# How long an earlier process of the same trial may take to save and end.
_WAIT_SECS = 120.0
_GRACE_SECS = 60.0


def main(argv: Sequence[str] | None = None) -> int:
    """Trains, alone in its folder, as long as the parent lives.

    Args:
        argv: Program name and flags of `train`. None means those of this process.
    """
    arguments = list(sys.argv if argv is None else argv)
    threading.Thread(target=_watch_parent, daemon=True).start()
    folder = next(
        argument.removeprefix(_MODEL_DIR_FLAG)
        for argument in arguments
        if argument.startswith(_MODEL_DIR_FLAG)
    )
    lock = file_lock.FileLock(pathlib.Path(folder) / _LOCK_FILE)
    if not lock.acquire(_WAIT_SECS):
        print(f'error: another process has been training in {folder}', file=sys.stderr)
        return 1
    try:
        return train.main(arguments)
    finally:
        lock.release()


def _watch_parent() -> None:
    """Waits for the end of standard input; then asks for an end with a checkpoint, and soon for any."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    print('the process that started this trial has ended', file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_SECS)
    os._exit(1)


if __name__ == '__main__':
    sys.exit(main())
