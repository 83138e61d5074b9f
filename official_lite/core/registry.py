"""Named things: experiments, tasks, backbones, decoders, heads, data sources.

`Registry` knows what has been registered and, from a table of names, which module to import for a
built-in name that has not. `register` and `lookup` are Model Garden's functions over plain dicts.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from official_lite import errors
from official_lite.core import plugins

__all__ = ['DuplicateNameError', 'Registry', 'UnknownNameError', 'lookup', 'register']

Key = str | type | Callable[..., Any]
Thing = TypeVar('Thing')
AnyThing = TypeVar('AnyThing')


class UnknownNameError(errors.UsageError, LookupError):
    """Nothing is registered under this name."""


class DuplicateNameError(errors.UsageError, KeyError):
    """Something else is registered under this name."""


class Registry(Generic[Thing]):
    """Things of one kind, by name or by class.

    Args:
        kind: What the things are, for messages: 'experiment', 'backbone'.
        find_modules: Returns the table of built-in names: name -> module whose import registers it.
            A class is listed as 'module.Class'.
    """

    def __init__(self, kind: str, find_modules: Callable[[], Mapping[str, str]] = dict) -> None:
        self.kind = kind
        self._find_modules = find_modules
        self._things: dict[Key, Thing] = {}
        self._origins: dict[Key, object] = {}

    def register(self, key: Key) -> Callable[[AnyThing], AnyThing]:
        """Returns a decorator that registers what it decorates under `key`.

        Raises:
            DuplicateNameError: If something else has this key. Importing a module a second time is
                not something else.
        """

        def decorate(thing: AnyThing) -> AnyThing:
            self.add(key, thing)  # type: ignore[arg-type]
            return thing

        return decorate

    def add(self, key: Key, thing: Thing) -> None:
        """Registers `thing` under `key`; see `register`."""
        if key in self._things and not self._is_same(key, thing):
            raise DuplicateNameError(
                f'{self.kind} {_name_of(key)!r} is registered already, by '
                f'{_place_of(self._things[key])}; {_place_of(thing)} needs another name'
            )
        self._things[key] = thing
        self._origins[key] = _import_of(thing)

    def remove(self, key: Key) -> None:
        """Forgets `key`, for tests."""
        self._things.pop(key, None)
        self._origins.pop(key, None)

    def lookup(self, key: Key) -> Thing:
        """Returns what is registered under `key`, importing the built-in module that has it.

        Raises:
            UnknownNameError: If nothing is; lists what there is, and the nearest name.
        """
        if key not in self._things:
            self._import_builtin(key)
        if key not in self._things:
            plugins.load_entry_points()
        if key not in self._things:
            raise UnknownNameError(self._explain_unknown(key))
        return self._things[key]

    def __contains__(self, key: Key) -> bool:
        return key in self._things or _name_of(key) in self._find_modules()

    def names(self) -> list[str]:
        """All names, built-in ones that were not imported among them; classes as their names."""
        builtin = set(self._find_modules())
        return sorted(builtin | {_name_of(key) for key in self._things})

    def _is_same(self, key: Key, thing: Any) -> bool:
        old = self._things[key]
        if old is thing:
            return True
        if _place_of(old) != _place_of(thing):
            return False
        # The same definition in a module that was imported anew, which gave it another spec.
        return _import_of(thing) is not None and _import_of(thing) is not self._origins[key]

    def _import_builtin(self, key: Key) -> None:
        module = self._find_modules().get(_name_of(key))
        if module is not None:
            importlib.import_module(module)

    def _explain_unknown(self, key: Key) -> str:
        names, wanted = self.names(), _name_of(key)
        text = f'{self.kind} {wanted!r} is not registered'
        near = difflib.get_close_matches(wanted, names, n=1, cutoff=0.5)
        if near:
            text += f'; did you mean {near[0]!r}?'
        text += (
            f' Known: {", ".join(names) or "none"}.'
            if near
            else f'; known: {", ".join(names) or "none"}.'
        )
        return f'{text} {plugins.describe()}'


def register(registered_collection: dict[Any, Any], reg_key: Any) -> Callable[[Any], Any]:
    """Returns a decorator that puts what it decorates into a dict; 'a/b' into the dict under 'a'.

    Raises:
        KeyError: If the key is taken, or a part of its path is not a dict.
    """

    def decorate(thing: Any) -> Any:
        collection, parts = registered_collection, _split(reg_key)
        for index, part in enumerate(parts[:-1]):
            collection = collection.setdefault(part, {})
            if not isinstance(collection, dict):
                raise DuplicateNameError(
                    f'{"/".join(parts[: index + 1])!r} is registered already, so that nothing can '
                    f'be registered as {reg_key!r}'
                )
        if collection.get(parts[-1], thing) is not thing:
            raise DuplicateNameError(f'{_name_of(reg_key)!r} is registered already')
        collection[parts[-1]] = thing
        return thing

    return decorate


def lookup(registered_collection: dict[Any, Any], reg_key: Any) -> Any:
    """Returns what `register` put into a dict.

    Raises:
        LookupError: If nothing is there; lists what is, and the nearest name.
    """
    thing: Any = registered_collection
    parts = _split(reg_key)
    for index, part in enumerate(parts):
        if not isinstance(thing, dict) or part not in thing:
            names = sorted(map(_name_of, thing)) if isinstance(thing, dict) else []
            near = difflib.get_close_matches(_name_of(part), names, n=1, cutoff=0.5)
            wanted = '/'.join(map(_name_of, parts[: index + 1]))
            hint = f'; did you mean {near[0]!r}?' if near else ';'
            raise UnknownNameError(
                f'{wanted!r} is not registered{hint} known: {", ".join(names) or "none"}. '
                f'{plugins.describe()}'
            )
        thing = thing[part]
    return thing


def _split(key: Any) -> list[Any]:
    return key.split('/') if isinstance(key, str) else [key]


def _name_of(key: Any) -> str:
    """A key as text: itself, or 'module.Class'."""
    return key if isinstance(key, str) else _place_of(key)


def _place_of(thing: Any) -> str:
    """'module.name' of a function or class."""
    name = getattr(thing, '__qualname__', None)
    return f'{thing.__module__}.{name}' if name else repr(thing)


def _import_of(thing: Any) -> object:
    """What stands for one import of the module that defines `thing`: its spec."""
    module = sys.modules.get(getattr(thing, '__module__', ''))
    return getattr(module, '__spec__', None)
