"""Runs `train.py` in a process of its own, as a user would, and measures it."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import subprocess
import sys

REPO = pathlib.Path(__file__).resolve().parent.parent


@dataclasses.dataclass(frozen=True)
class Result:
    """What a command did.

    Attributes:
        exit_code: Its exit code; negative for a signal.
        stdout: What it printed.
        stderr: What it complained of.
        cpu_secs: User and system time of the process and its children.
    """

    exit_code: int
    stdout: str
    stderr: str
    cpu_secs: float


def run_train(
    *args: str,
    python_args: tuple[str, ...] = (),
    cwd: pathlib.Path = REPO,
    timeout_secs: float | None = 300,
) -> Result:
    """Runs `train.py` with these arguments.

    Args:
        *args: Flags, as on the command line.
        python_args: Flags of the interpreter.
        cwd: The folder to run in.
        timeout_secs: How long it may take. None means as long as it likes.
    """
    command = [sys.executable, *python_args, str(REPO / 'train.py'), *args]
    environment = {**os.environ, 'TF_CPP_MIN_LOG_LEVEL': '3', 'COLUMNS': '200'}
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=environment,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    before = os.times()
    stdout, stderr = process.communicate(timeout=timeout_secs)
    after = os.times()
    cpu_secs = (after.children_user - before.children_user) + (
        after.children_system - before.children_system
    )
    return Result(process.returncode, stdout, stderr, cpu_secs)
