"""Fixtures and skips that all tests share."""

from __future__ import annotations

import ctypes
import gc
import importlib.util
import os
import pathlib
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')

REPO = pathlib.Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds `--backbone`, which tests/vision/modeling/test_every_backbone.py reads."""
    parser.addoption(
        '--backbone', action='append', default=[], help="a registered backbone, 'module:name'"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what compares with tf-models-official where it is not installed."""
    if importlib.util.find_spec('official') is not None:
        return
    skip = pytest.mark.skip(reason='tf-models-official is not installed (the extra `garden`)')
    for item in items:
        if 'garden' in item.keywords:
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def _restore_process_settings() -> Iterator[None]:
    """Takes back what a run sets for the whole process: the number format and the seed."""
    yield
    if 'keras' in sys.modules:
        sys.modules['keras'].config.set_dtype_policy('float32')
    if 'tf_keras' in sys.modules:
        sys.modules['tf_keras'].mixed_precision.set_global_policy('float32')
    if 'official_lite.core.randomness' in sys.modules:
        sys.modules['official_lite.core.randomness'].set_run_seed(0)


@pytest.fixture(scope='module', autouse=True)
def _free_memory() -> Iterator[None]:
    """Gives back the models of a file's tests; a process of the whole set grows by gigabytes else."""
    yield
    if 'keras' in sys.modules:
        sys.modules['keras'].utils.clear_session(free_memory=False)
        gc.collect()
    if sys.platform == 'linux':
        ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails a test that asks for another machine, as by a download that it did not mean."""
    resolve = socket.getaddrinfo
    local = {None, '', 'localhost', '127.0.0.1', '::1', '0.0.0.0', socket.gethostname()}

    def resolve_local(host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name not in local:
            pytest.fail(f'tests must not use the network; this one asked for {name!r}')
        return resolve(host, *args, **kwargs)

    monkeypatch.setattr(socket, 'getaddrinfo', resolve_local)


@pytest.fixture
def own_cache(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run keeps of its data goes into the test's folder."""
    monkeypatch.setenv('OFFICIAL_LITE_CACHE', str(tmp_path / 'cache'))


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
