"""The conftest.py of the temporary directory: records what each test did, as JSON lines.

The file is copied there, so it may import nothing from the tests.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import pathlib
import socket
import sys
import types

import pytest

ROOT = pathlib.Path(__file__).parent


def _write(**record: str) -> None:
    with open(os.environ['GARDEN_SUITE_RECORDS'], 'a', encoding='utf-8') as file:
        file.write(json.dumps(record) + '\n')


def _error_text(longrepr: object) -> str:
    crash = getattr(longrepr, 'reprcrash', None)
    text = crash.message if crash is not None else str(longrepr)
    lines = [line for line in text.strip().splitlines() if line.strip()]
    if crash is None:
        lines = lines[-1:]
    return ' '.join(lines)[:400]


def _make_port_picker() -> types.ModuleType:
    """Returns a stand-in for the package `portpicker`, which a test of Model Garden imports."""

    def pick_unused_port() -> int:
        with socket.socket() as opened:
            opened.bind(('localhost', 0))
            return opened.getsockname()[1]

    module = types.ModuleType('portpicker')
    module.pick_unused_port = pick_unused_port  # type: ignore[attr-defined]
    return module


def pytest_configure(config: pytest.Config) -> None:
    """Marks absl's flags as parsed and makes Model Garden's test helpers importable."""
    del config
    from absl import flags

    flags.FLAGS([sys.argv[0]], known_only=True)
    if importlib.util.find_spec('portpicker') is None:
        sys.modules['portpicker'] = _make_port_picker()
    for package in filter(None, os.environ.get('GARDEN_SUITE_SUPPORT', '').split(',')):
        module = __import__(package, fromlist=['__path__'])
        module.__path__.append(str(ROOT / 'support' / package.replace('.', '/')))


@pytest.fixture(autouse=True)
def _restart_layer_names() -> None:
    """Numbers automatic layer names from the start, as `tf.test.TestCase` does for Keras 2."""
    if 'keras' in sys.modules:
        sys.modules['keras'].backend.clear_session()


class _ListableShape(tuple):
    """A shape as Keras 3 has it, with the method of TensorFlow's that Model Garden's tests call."""

    def as_list(self) -> list[int | None]:
        return list(self)


@pytest.fixture(autouse=True)
def _give_symbolic_shapes_as_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets `keras.Input(...).shape.as_list()` work as `tf_keras`' does."""
    if 'keras' in sys.modules:
        shape = property(lambda tensor: _ListableShape(tensor._shape))
        monkeypatch.setattr(sys.modules['keras'].KerasTensor, 'shape', shape)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Notes the tests. From here on garbage is collected between tests alone (`clear_session`), and
    what was imported is not searched for it: a third of the time otherwise."""
    gc.collect()
    gc.freeze()
    gc.disable()
    for item in session.items:
        _write(kind='collected', id=item.nodeid)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        _write(kind='uncollectable', id=report.nodeid, error=_error_text(report.longrepr))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == 'call' or report.outcome != 'passed':
        error = '' if report.passed else _error_text(report.longrepr)
        _write(kind=report.outcome, id=report.nodeid, error=error)
