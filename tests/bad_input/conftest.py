"""Tiny data and a way to run on it."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import pytest

from tests import runs_on_data


@pytest.fixture
def run(
    own_cache: None, capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path
) -> Callable[..., runs_on_data.Outcome]:
    """Runs `train.py` in this process: overrides and flags in, `Outcome` out."""
    return runs_on_data.make_runner(capsys, tmp_path)


@pytest.fixture
def data(tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder with four images, as COCO and as TFRecords."""
    return runs_on_data.make_data(tmp_path / 'data')
