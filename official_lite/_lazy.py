"""Packages whose submodules and names are imported on first use (PEP 562).

So `official_lite.core.exp_factory` stays free of TensorFlow although `official_lite.core.train_lib`,
which needs it, is reachable from the same package.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

__all__ = ['attach']


def attach(
    package: str,
    submodules: Iterable[str] = (),
    attributes: Mapping[str, str] | None = None,
    absent: Mapping[str, str] | None = None,
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Returns `__getattr__` and `__dir__` for a package's `__init__`.

    Args:
        package: The package's `__name__`.
        submodules: Names of modules directly inside the package.
        attributes: Maps a name to where it lives: 'pkg.mod' for a module under another name,
            'pkg.mod:name' for something inside one.
        absent: Maps a name of Model Garden's that is not there to what to use instead. Importing it
            is an ImportError that says so.
    """
    children = frozenset(submodules)
    elsewhere = dict(attributes or {})

    def __getattr__(name: str) -> Any:
        if name in children:
            return importlib.import_module(f'{package}.{name}')
        if name in elsewhere:
            module_name, _, attribute = elsewhere[name].partition(':')
            module = importlib.import_module(module_name)
            return getattr(module, attribute) if attribute else module
        if absent and name in absent:
            raise ImportError(f'{package}.{name} of Model Garden is not there: {absent[name]}')
        raise AttributeError(
            f'module {package!r} has no attribute {name!r}{_find_near(name, __dir__())}'
        )

    def __dir__() -> list[str]:
        return sorted(children | set(elsewhere))

    return __getattr__, __dir__


def _find_near(name: str, known: list[str]) -> str:
    if name.startswith('_'):  # asked for by programs, which read no hints
        return ''
    import difflib  # only where something is wrong

    near = difflib.get_close_matches(name, known, n=1)
    return f'; did you mean {near[0]!r}?' if near else ''
