"""Fixtures and skips that all tests share."""

from __future__ import annotations

import importlib.util
import os
import pathlib

import pytest

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')

REPO = pathlib.Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what compares with tf-models-official where it is not installed."""
    if importlib.util.find_spec('official') is not None:
        return
    skip = pytest.mark.skip(reason='tf-models-official is not installed (the extra `garden`)')
    for item in items:
        if 'garden' in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope='session')
def repo() -> pathlib.Path:
    """The folder that holds `train.py`."""
    return REPO


@pytest.fixture(scope='session')
def data_dir() -> pathlib.Path:
    """The folder of real image sets that OFFICIAL_LITE_DATA names; skips without it."""
    folder = os.environ.get('OFFICIAL_LITE_DATA')
    if not folder or not pathlib.Path(folder).is_dir():
        pytest.skip('OFFICIAL_LITE_DATA does not name a folder of image sets')
    return pathlib.Path(folder)
