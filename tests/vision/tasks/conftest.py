"""Fixtures of the detection task's tests."""

from __future__ import annotations

import pathlib

import pytest

from tests.vision.tasks import tiny_detection


@pytest.fixture(scope='session')
def tiny_coco(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Path of the JSON of a tiny data set."""
    directory: pathlib.Path = tmp_path_factory.mktemp('tiny_coco')
    return tiny_detection.make_dataset(directory)
