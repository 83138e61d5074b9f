"""Names: registration, lookup, and what a failed lookup says."""

from __future__ import annotations

import importlib
import pathlib
import sys

import pytest

from official_lite import errors
from official_lite.core import plugins, registry


@pytest.fixture
def things() -> registry.Registry[object]:
    return registry.Registry('fruit')


def test_what_is_registered_is_found(things: registry.Registry[object]) -> None:
    @things.register('apple')
    def apple() -> None: ...

    assert things.lookup('apple') is apple
    assert 'apple' in things
    assert things.names() == ['apple']


def test_a_class_can_be_the_key(things: registry.Registry[object]) -> None:
    class Key: ...

    things.add(Key, 1)
    assert things.lookup(Key) == 1
    assert things.names() == [f'{__name__}.test_a_class_can_be_the_key.<locals>.Key']


def test_a_name_is_given_once(things: registry.Registry[object]) -> None:
    @things.register('apple')
    def apple() -> None: ...

    with pytest.raises(
        registry.DuplicateNameError,
        match=r"^fruit 'apple' is registered already, by .*\.apple; .*\.pear needs another name$",
    ) as caught:

        @things.register('apple')
        def pear() -> None: ...

    assert isinstance(caught.value, KeyError)
    assert isinstance(caught.value, errors.UsageError)
    assert things.lookup('apple') is apple


def test_the_same_function_twice_in_one_module_is_a_duplicate(
    things: registry.Registry[object],
) -> None:
    def define() -> None:
        @things.register('apple')
        def apple() -> None: ...

    define()
    with pytest.raises(registry.DuplicateNameError):
        define()


def test_the_same_object_may_register_again(things: registry.Registry[object]) -> None:
    thing = object()
    things.add('apple', thing)
    things.add('apple', thing)
    assert things.lookup('apple') is thing


def test_a_reloaded_module_replaces_what_it_registered(
    things: registry.Registry[object], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'reloaded_fruit.py').write_text('def apple(): ...\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module('reloaded_fruit')
    things.add('apple', module.apple)
    module = importlib.reload(module)
    things.add('apple', module.apple)
    assert things.lookup('apple') is module.apple
    del sys.modules['reloaded_fruit']


def test_d21_a_failed_lookup_lists_names_the_nearest_one_and_imports() -> None:
    things: registry.Registry[object] = registry.Registry('fruit', lambda: {'pear': 'no.module'})
    things.add('apple', 1)
    with pytest.raises(
        registry.UnknownNameError,
        match=r"^fruit 'aple' is not registered; did you mean 'apple'\? Known: apple, pear\. "
        r'Imported modules: .*\(--import=my_pkg\.my_module\)',
    ) as caught:
        things.lookup('aple')
    assert isinstance(caught.value, LookupError)
    assert caught.value.exit_code == 2
    with pytest.raises(
        LookupError, match=r"'zzz' is not registered; known: apple, pear\. Imported"
    ):
        things.lookup('zzz')


def test_d21_built_in_names_need_no_import(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    things: registry.Registry[object] = registry.Registry('fruit', lambda: {'plum': 'plum_module'})
    (tmp_path / 'plum_module.py').write_text(
        'from tests.core import registry_things as r\nr.things.add("plum", 7)\n'
    )
    helper = type(sys)('tests.core.registry_things')
    helper.things = things
    monkeypatch.setitem(sys.modules, 'tests.core.registry_things', helper)
    monkeypatch.setattr(sys.modules['tests.core'], 'registry_things', helper, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert things.names() == ['plum']
    assert 'plum_module' not in sys.modules
    assert things.lookup('plum') == 7
    sys.modules.pop('plum_module')


def test_a_failed_lookup_tells_which_modules_were_imported(
    things: registry.Registry[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugins, '_state', plugins._State())
    plugins.import_modules(['json'])
    with pytest.raises(LookupError, match=r'Imported modules: json \('):
        things.lookup('apple')


class TestDicts:
    """Model Garden's two functions over plain dicts."""

    def test_a_slash_goes_one_dict_down(self) -> None:
        collection: dict[str, object] = {}

        @registry.register(collection, 'functions/f')
        def f() -> None: ...

        assert collection == {'functions': {'f': f}}
        assert registry.lookup(collection, 'functions/f') is f

    def test_a_key_is_given_once(self) -> None:
        collection: dict[str, object] = {}
        registry.register(collection, 'f')(1)
        with pytest.raises(KeyError, match=r"^'f' is registered already$"):
            registry.register(collection, 'f')(2)

    def test_a_thing_is_no_folder(self) -> None:
        collection: dict[str, object] = {}
        registry.register(collection, 'a/f')(1)
        with pytest.raises(KeyError, match=r"^'a/f' is registered already, so .* as 'a/f/g'$"):
            registry.register(collection, 'a/f/g')(2)

    def test_a_failed_lookup_lists_names(self) -> None:
        collection: dict[str, object] = {}
        registry.register(collection, 'a/first')(1)
        with pytest.raises(LookupError, match=r"^'a/frst' is not .*did you mean 'first'\?.*first"):
            registry.lookup(collection, 'a/frst')
