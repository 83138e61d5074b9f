"""Users' modules: --import, entry points, and what a broken one says."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Iterator

import pytest

from official_lite import errors
from official_lite.core import plugins


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Starts each test as a new process would."""
    monkeypatch.setattr(plugins, '_state', plugins._State())
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith('plug'):
            del sys.modules[name]


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_modules_are_imported_in_order_and_remembered(folder: pathlib.Path) -> None:
    (folder / 'plugin_a.py').write_text('VALUE = 1\n')
    (folder / 'plugin_b.py').write_text('import plugin_a\n')
    plugins.import_modules(['plugin_b', 'plugin_a'])
    plugins.import_modules(['plugin_a'])
    assert plugins.imported() == ['plugin_b', 'plugin_a']
    assert sys.modules['plugin_a'].VALUE == 1


def test_the_current_folder_is_searched(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'plugin_here.py').write_text('')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', [p for p in sys.path if p])
    plugins.import_modules(['plugin_here'])
    assert plugins.imported() == ['plugin_here']


def test_a_module_that_is_not_there() -> None:
    with pytest.raises(
        errors.UsageError,
        match=r"^--import=no_such\.plugin: there is no module 'no_such'; give the dotted name of a "
        r'module, installed or in the current folder$',
    ):
        plugins.import_modules(['no_such.plugin'])


def test_a_module_that_needs_another_one(folder: pathlib.Path) -> None:
    (folder / 'plugin_needy.py').write_text('import no_such_thing_at_all\n')
    with pytest.raises(
        errors.UsageError,
        match=r"^--import=plugin_needy: the module needs 'no_such_thing_at_all', which is not "
        r'installed$',
    ):
        plugins.import_modules(['plugin_needy'])


def test_a_module_that_fails_tells_where(folder: pathlib.Path) -> None:
    (folder / 'plugin_broken.py').write_text('\n1 / 0\n')
    with pytest.raises(
        errors.UsageError,
        match=r'^--import=plugin_broken: the module failed while it was imported: '
        r'ZeroDivisionError: division by zero \(.*plugin_broken\.py:2\)$',
    ):
        plugins.import_modules(['plugin_broken'])


def test_a_module_that_cannot_be_read_tells_where(folder: pathlib.Path) -> None:
    (folder / 'plugin_unreadable.py').write_text('\ndef f(:\n')
    with pytest.raises(
        errors.UsageError, match=r'SyntaxError: invalid syntax \(.*plugin_unreadable\.py:2\)$'
    ):
        plugins.import_modules(['plugin_unreadable'])


def install(folder: pathlib.Path, name: str, target: str, code: str) -> None:
    """Lays down a package with an entry point, as pip would."""
    info = folder / f'{name}-1.0.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n')
    (info / 'entry_points.txt').write_text(f'[{plugins.GROUP}]\n{name} = {target}\n')
    (folder / f'{target.partition(":")[0]}.py').write_text(code)


def test_entry_points_are_modules_or_functions(folder: pathlib.Path) -> None:
    install(folder, 'plug_one', 'plug_one', 'CALLS = []\n')
    install(folder, 'plug_two', 'plug_two:add', 'CALLS = []\ndef add(): CALLS.append(1)\n')
    plugins.load_entry_points()
    plugins.load_entry_points()
    assert 'plug_one' in sys.modules
    assert sys.modules['plug_two'].CALLS == [1]
    assert 'plugins: plug_one = plug_one, plug_two = plug_two:add.' in plugins.describe()


def test_a_broken_entry_point_warns_and_is_named_by_errors(folder: pathlib.Path) -> None:
    install(folder, 'plug_bad', 'plug_bad', 'raise RuntimeError("oh")\n')
    with pytest.warns(UserWarning, match=r'plugin plug_bad = plug_bad failed: RuntimeError: oh'):
        plugins.load_entry_points()
    assert plugins.describe().endswith('plugins that failed: plug_bad = plug_bad.')
