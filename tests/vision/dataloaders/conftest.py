"""A cache folder of their own for tests of data."""

from __future__ import annotations

import pathlib

import pytest


@pytest.fixture(autouse=True)
def cache_dir(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> pathlib.Path:
    """The cache folder, shared by the tests of a session; never the user's."""
    folder = tmp_path_factory.getbasetemp() / 'cache'
    monkeypatch.setenv('OFFICIAL_LITE_CACHE', str(folder))
    return folder
