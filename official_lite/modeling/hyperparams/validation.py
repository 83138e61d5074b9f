"""Checks a whole tree again: types, then restrictions and the classes' own checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from official_lite.modeling.hyperparams import errors, restrictions, tree
from official_lite.modeling.hyperparams.places import INVALID, Pass, Place
from official_lite.modeling.hyperparams.sources import Source


def find_problems(config: Any) -> list[errors.Problem]:
    """Returns everything that is wrong with a config and what it holds."""
    return list(_problems_of(config, '', None))


def find_type_problems(config: Any) -> list[errors.Problem]:
    """Returns the values that are not of their declared types."""
    run = Pass(adopts=True)
    for node, path in _nodes_with_paths(config, ''):
        _check_types(node, Place(run, path))
    return run.problems


def _nodes_with_paths(value: Any, path: str) -> Iterator[tuple[Any, str]]:
    if tree.is_config(value):
        yield value, path
        for key in value._shown_keys():
            yield from _nodes_with_paths(getattr(value, key), f'{path}.{key}' if path else key)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _nodes_with_paths(item, f'{path}[{index}]')
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _nodes_with_paths(item, f'{path}.{key}')


def _check_types(config: Any, place: Place) -> None:
    """Reads every value again; what is fine in another form (3.0 for an int) gets the declared one."""
    for key in list(config._shown_keys()):
        value = getattr(config, key)
        spec = config._spec(key)
        checker = config._free_checker if spec is None else spec.checker
        if type(value) in checker.exact and key != 'type':
            continue
        here = place.child(key, config.__dict__['_sources'].get(key))
        new = checker.read(value, here) if spec is None else config._read(spec, value, here, value)
        if new is not INVALID and new is not value and not config.is_locked:
            config.__dict__[key] = new


def _problems_of(value: Any, path: str, source: Source | None) -> Iterator[errors.Problem]:
    if tree.is_config(value):
        yield from _problems_of_config(value, path)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _problems_of(item, f'{path}[{index}]', source)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _problems_of(item, f'{path}.{key}', source)


def _problems_of_config(config: Any, path: str) -> Iterator[errors.Problem]:
    run = Pass(adopts=True)
    _check_types(config, Place(run, path))
    inside = []
    for key in config._shown_keys():
        here = f'{path}.{key}' if path else key
        inside += list(
            _problems_of(getattr(config, key), here, config.__dict__['_sources'].get(key))
        )
    yield from run.problems
    yield from inside
    if not run.problems:
        # A check may rely on the types of what it looks at, not on its ranges.
        yield from restrictions.find_problems(config, config._restrictions, path)
        if not any(issubclass(kind, TypeError) for problem in inside for kind in problem.kinds):
            found: list[errors.Problem] = []
            config._check(_reporter(config, path, found))
            yield from found


def _reporter(config: Any, path: str, found: list[errors.Problem]) -> Callable[..., None]:
    def report(field: str, *, expected: str = '', hint: str = '', message: str = '') -> None:
        value = tree.value_at(config, field)
        problem = errors.Problem(
            path='.'.join(part for part in (path, field) if part),
            message=message,
            expected=expected,
            received=errors.describe(value),
            source=tree.source_of(config, field) if field else None,
            hint=hint,
        )
        found.append(problem)

    return report
