"""Walks over a config: leaves, who set them, differences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from official_lite.modeling.hyperparams.overrides import split_path
from official_lite.modeling.hyperparams.places import MISSING
from official_lite.modeling.hyperparams.sources import DEFAULT, Source


def leaves(
    config: Any, path: str = '', inherited: Source = DEFAULT
) -> Iterator[tuple[str, Any, Source]]:
    """Yields dotted path, value and source of every leaf.

    Lists of configs are walked into; other lists and dicts are leaves.
    """
    base = config.__dict__['_sources'].get('', inherited)
    for key in config._shown_keys():
        value = getattr(config, key)
        here = f'{path}.{key}' if path else key
        source = config.__dict__['_sources'].get(key)
        yield from _leaves_of(value, here, source or base, base)


def _leaves_of(
    value: Any, path: str, source: Source, base: Source
) -> Iterator[tuple[str, Any, Source]]:
    if is_config(value):
        yield from leaves(value, path, base)
    elif isinstance(value, (list, tuple)) and any(is_config(item) for item in value):
        for index, item in enumerate(value):
            yield from _leaves_of(item, f'{path}[{index}]', source, base)
    else:
        yield path, value, source


def is_config(value: Any) -> bool:
    """Whether `value` is a typed or free-form Config."""
    return hasattr(value, '_shown_keys')


def source_of(config: Any, path: str) -> Source | None:
    """Returns who set the value at a dotted path, None if there is no such path."""
    source = DEFAULT
    value = config
    for step in split_path(path):
        if is_config(value):
            sources = value.__dict__['_sources']
            source = sources.get(step) or sources.get(
                '', source if source.kind == 'factory' else DEFAULT
            )
        value = _step(value, step)
        if value is MISSING:
            return None
    if is_config(value):
        return value.__dict__['_sources'].get('', source)
    return source


def _step(value: Any, step: str | int) -> Any:
    if isinstance(step, int):
        if isinstance(value, (list, tuple)) and step < len(value):
            return value[step]
        return MISSING
    if isinstance(value, dict):
        return value.get(step, MISSING)
    return getattr(value, step) if is_config(value) and step in value else MISSING


def reset_sources(config: Any, source: Source | None) -> None:
    """Forgets all sources below a config and names one for everything in it."""
    for node in nodes(config):
        node.__dict__['_sources'] = {}
    if source is not None:
        config.__dict__['_sources'][''] = source


def nodes(value: Any) -> Iterator[Any]:
    """Yields every config at or below a value, branches that are not chosen included."""
    if is_config(value):
        yield value
        for key in value._keys():
            yield from nodes(value.__dict__[key]) if key in value.__dict__ else ()
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from nodes(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from nodes(item)


def diff(left: Any, right: Any) -> list[tuple[str, Any, Any]]:
    """Returns dotted path and both values of every leaf that differs.

    A leaf that only one of them has is MISSING, which prints as `(absent)`, in the other.
    """
    from official_lite.modeling.hyperparams.values import comparable

    a = {path: value for path, value, _ in leaves(left)}
    b = {path: value for path, value, _ in leaves(right)}
    paths = list(dict.fromkeys([*a, *b]))
    pairs = [(path, a.get(path, MISSING), b.get(path, MISSING)) for path in paths]
    return [(p, x, y) for p, x, y in pairs if comparable(x) != comparable(y)]


def value_at(config: Any, path: str) -> Any:
    """Returns the value at a dotted path, MISSING if there is none."""
    value = config
    for step in split_path(path) if path else []:
        value = _step(value, step)
    return value


def is_inside(path: str, other: str) -> bool:
    """Whether a dotted path is `other`, or leads to something in the value that is there."""
    return path.startswith(other) and path[len(other) : len(other) + 1] in ('', '.', '[')
