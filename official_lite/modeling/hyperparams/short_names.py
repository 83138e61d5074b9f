"""Names for fields that are shorter than their paths: `learning_rate=0.001,batch_size=32`.

A name is one that the task's class declares, a dotted path, or the unique ending of one
(`focal_loss_alpha`, `backbone.type`). Of a OneOf only the chosen branch has candidates, so that nothing
is set that has no effect.

A config class declares names of its own with `_short_names = {'name': ShortName(...)}`; subclasses have
them too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from official_lite.modeling.hyperparams import annotations as annotations_lib
from official_lite.modeling.hyperparams import errors, overrides, tree
from official_lite.modeling.hyperparams.places import INVALID, Pass, Place
from official_lite.modeling.hyperparams.sources import Source, as_source

__all__ = [
    'ShortName',
    'alias',
    'declared_names',
    'find_path',
    'find_path_among',
    'is_whole_path',
    'override_by_names',
]


@dataclasses.dataclass(frozen=True)
class ShortName:
    """A typed name for one or several fields.

    Attributes:
        kind: Type of its value: int, float, bool or str.
        expand: Gets the whole config and the value; returns path -> value of what to set.
        about: What it is, in a few words.
        current: Gets the whole config; returns the value that it has, None if it has none.
    """

    kind: type
    expand: Callable[[Any, Any], Mapping[str, Any]]
    about: str = ''
    current: Callable[[Any], Any] | None = None

    def read(self, value: Any, name: str, source: Source | None = None) -> Any:
        """Returns a value in the type of the name.

        Raises:
            ConfigError: It is none of that type.
        """
        run = Pass()
        read = annotations_lib.compile_checker(self.kind).read(value, Place(run, name, source))
        run.finish()
        assert read is not INVALID
        return read


def alias(path: str, kind: type, about: str = '') -> ShortName:
    """Returns a ShortName for the field at `path`."""
    return ShortName(kind, lambda config, value: {path: value}, about)


def declared_names(config: Any) -> dict[str, ShortName]:
    """Returns the names that the class of a config, and that of its task, declare."""
    names: dict[str, ShortName] = {}
    for node in (config, getattr(config, 'task', None) if 'task' in config else None):
        for cls in reversed(type(node).__mro__):
            names.update(cls.__dict__.get('_short_names', {}))
    return names


def override_by_names(
    config: Any, given: str | Mapping[str, Any], source: Source | str | None = None
) -> list[str]:
    """Changes a config by short names, in order: all that is given, or after a problem nothing.

    Args:
        config: The config; unlocked.
        given: `'learning_rate=0.001,layers[0]=3'`, or a mapping of names to values.
        source: Who asks for it, such as `'--hparams_overrides'`.

    Returns:
        The paths that were set.

    Raises:
        ConfigError: With every problem found: names that are unknown (also a KeyError) or ambiguous,
            two that set the same field, values that do not fit.
    """
    origin = as_source(source)
    pairs = (
        list(overrides.iterate_pairs(given, origin)) if isinstance(given, str) else [*given.items()]
    )
    trial = config.replace()
    problems: list[errors.Problem] = []
    changes: list[Mapping[str, Any]] = []
    setters: dict[str, str] = {}
    for name, value in pairs:
        try:
            change = _expand(trial, name, value, origin)
            _check_new(setters, change, name, origin)
            trial.override(change, source=origin)
        except errors.ConfigError as error:
            problems += error.problems
        else:
            changes.append(change)
    errors.raise_problems(problems)
    for change in changes:
        config.override(change, source=origin)
    return list(setters)


def find_path(config: Any, name: str, source: Source | str | None = None) -> str:
    """Returns the path of the field that a path or its unique ending means.

    Raises:
        ConfigError: No field is meant (also a KeyError), or several are.
    """
    return find_path_among([config], name, source)


def find_path_among(configs: Sequence[Any], name: str, source: Source | str | None = None) -> str:
    """As `find_path`, for one config in several states: with other branches chosen.

    Raises:
        ConfigError: No field is meant in any of them (also a KeyError), or several are.
    """
    if is_whole_path(configs[0], name):
        return name  # what is wrong with it, the override itself says best
    found = list(dict.fromkeys(path for each in configs for path in _find_endings(each, name)))
    if len(found) == 1:
        return found[0]
    origin = as_source(source)
    if found:
        raise errors.make_error([_ambiguous(name, found, origin)])
    raise errors.make_error([_unknown(configs[0], name, origin)])


def is_whole_path(config: Any, name: str) -> bool:
    """Whether a name begins at the root of the config."""
    return name.split('.')[0].split('[')[0] in config


def _expand(config: Any, name: str, value: Any, source: Source | None) -> Mapping[str, Any]:
    """Returns path -> value of what a name means."""
    short = declared_names(config).get(name)
    if short is None:
        return {find_path(config, name, source): value}
    try:
        return short.expand(config, short.read(value, name, source))
    except errors.ConfigError as error:
        problems = [dataclasses.replace(p, source=p.source or source) for p in error.problems]
        raise errors.make_error(problems) from error


def _check_new(
    setters: dict[str, str], change: Iterable[str], name: str, source: Source | None
) -> None:
    """Raises if a field is set that another name has set already."""
    twice = [path for path in change if path in setters]
    if twice:
        message = f'it sets {twice[0]}, which {setters[twice[0]]!r} has set already'
        raise errors.make_error([errors.Problem(path=name, message=message, source=source)])
    setters.update(dict.fromkeys(change, name))


def _find_endings(config: Any, name: str) -> list[str]:
    """Returns the whole paths of which `name` is the ending, or reaches into a free-form value."""
    found = []
    for path, value, _ in tree.leaves(config):
        for head, tail in _splits(name):
            is_field = path == head or path.endswith(f'.{head}')
            if is_field and (not tail or tail.startswith('[') or value is None or _is_dict(value)):
                found.append(path + tail)
                break
    return found


def _splits(name: str) -> list[tuple[str, str]]:
    """Returns all (field, what is inside of it) that a name can mean, the longest field first."""
    cuts = [i for i, char in enumerate(name) if char in '.[' and i]
    return [(name, ''), *((name[:cut], name[cut:]) for cut in reversed(cuts))]


def _is_dict(value: Any) -> bool:
    return isinstance(value, Mapping)


def _ambiguous(name: str, paths: list[str], source: Source | None) -> errors.Problem:
    return errors.Problem(
        path=name,
        message=f'several fields end in this: {errors.list_names(paths, most=20)}',
        source=source,
        hint=f'write more of the path, such as {paths[0]}=...',
    )


def _unknown(config: Any, name: str, source: Source | None) -> errors.Problem:
    paths = [path for path, _, _ in tree.leaves(config)]
    names = [*declared_names(config), *(path.rpartition('.')[2] for path in paths), *paths]
    inert = _find_inert(config, name)
    return errors.Problem(
        path=name,
        message='no field has this name, and no path ends in it',
        source=source,
        suggestion='' if inert else errors.find_nearest(name, dict.fromkeys(names)),
        hint=inert,
        kinds=(KeyError,),
    )


def _find_inert(config: Any, name: str) -> str:
    """Returns a hint to branches that are not chosen and have such a field, '' if none has."""
    chosen = dict.fromkeys(
        f'{path}.type={branch}'
        for path, branch, inside in _iterate_unchosen(config, '')
        if any(leaf == name or leaf.endswith(f'.{name}') for leaf in inside)
    )
    if not chosen:
        return ''
    return f'branches that are not chosen have it: {errors.list_names(chosen, most=6)}'


def _iterate_unchosen(config: Any, path: str) -> Iterable[tuple[str, str, list[str]]]:
    """Yields path of a OneOf, branch that is not chosen, and the paths of the leaves inside of that."""
    shown = set(config._shown_keys())
    for key in config._keys():
        value = getattr(config, key)
        if not tree.is_config(value):
            continue
        here = f'{path}.{key}' if path else key
        if key in shown:
            yield from _iterate_unchosen(value, here)
        else:
            yield path, key, [f'{key}.{leaf}' for leaf, _, _ in tree.leaves(value)]
