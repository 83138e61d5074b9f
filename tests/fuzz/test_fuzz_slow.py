"""The same properties with a hundred times as many inputs, and new ones on each run."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_more_inputs() -> None:
    script = pathlib.Path(__file__).with_name('test_fuzz.py')
    result = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', '--timeout=3000', str(script)],
        env={**os.environ, 'OFFICIAL_LITE_FUZZ': 'slow'},
        cwd=script.parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
