"""A lock ends with the process that holds it, and what is made once is made once."""

from __future__ import annotations

import pathlib
import subprocess
import sys

from official_lite.core import file_lock
from tests import commands

HOLD = """
import pathlib, sys, time
from official_lite.core import file_lock
lock = file_lock.FileLock(pathlib.Path(sys.argv[1]))
print(lock.try_acquire(), flush=True)
time.sleep(600)
"""
MAKE = """
import os, pathlib, sys, time
from official_lite.vision.dataloaders import data_cache
path = pathlib.Path(sys.argv[1])
with data_cache.make_once(path) as is_missing:
    if is_missing:
        time.sleep(0.5)
        path.write_text(str(os.getpid()))
print(is_missing)
"""


def start(code: str, path: pathlib.Path) -> subprocess.Popen[str]:
    """A process that runs the code."""
    return subprocess.Popen(
        [sys.executable, '-c', code, str(path)],
        cwd=commands.REPO,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_lock_is_exclusive_and_ends_with_its_process(tmp_path: pathlib.Path) -> None:
    path = tmp_path / 'deep' / 'lock'
    holder = start(HOLD, path)
    assert holder.stdout is not None
    assert holder.stdout.readline().strip() == 'True'
    lock = file_lock.FileLock(path)
    assert not lock.try_acquire()
    assert not lock.acquire(0.2)
    holder.kill()
    holder.communicate()
    assert lock.acquire(30.0)
    assert lock.try_acquire()  # it has it already
    assert not file_lock.FileLock(path).try_acquire()
    lock.release()
    with file_lock.FileLock(path) as other:
        assert other.path.exists()


def test_of_several_processes_one_makes_a_file(tmp_path: pathlib.Path) -> None:
    processes = [start(MAKE, tmp_path / 'data') for _ in range(3)]
    said = sorted(process.communicate(timeout=300)[0].strip() for process in processes)
    assert said == ['False', 'False', 'True']
