"""An independent judge of typed configs: what a value may be, and what an input should lead to.

It reads annotations with the standard library alone and shares no code with the package. A config
node is any object whose class is a dataclass; a choice (OneOf) is one of the classes handed over
by name.

Two questions are answered:

* `find_problems(node)`: does every value of a tree have its declared type?
* `judge(raw, annotation)`: should this input be accepted? `Verdict.EITHER` where the answer is a
  matter of taste, such as the text '3' for a number.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import functools
import math
import types
import typing
from collections.abc import Iterator
from typing import Any

PATH_CHARACTERS = frozenset('.[]')


class Verdict(enum.IntEnum):
    """What should happen to an input."""

    REFUSE = 0
    EITHER = 1
    ACCEPT = 2


class OneOf:
    """Stands for the class whose subclasses are choices; found by name, not by import."""

    NAME = 'OneOfConfig'

    @classmethod
    def includes(cls, config_class: type) -> bool:
        """True if `config_class` derives from a class of that name."""
        return any(base.__name__ == cls.NAME for base in config_class.__mro__)


def is_config_class(annotation: Any) -> bool:
    """True for a class that is a config node."""
    return isinstance(annotation, type) and dataclasses.is_dataclass(annotation)


def is_free_form(config_class: type) -> bool:
    """True for a config class without fields of its own: it takes any keys."""
    return is_config_class(config_class) and not hints(config_class)


@functools.cache
def hints(config_class: type) -> dict[str, Any]:
    """Returns field name -> resolved annotation."""
    resolved = typing.get_type_hints(config_class)
    return {field.name: resolved[field.name] for field in dataclasses.fields(config_class)}


def branches(config_class: type) -> dict[str, Any]:
    """Returns the branches that a choice declares, without those added by registration."""
    return {name: hint for name, hint in hints(config_class).items() if name != 'type'}


# What a tree holds


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_scalar(value: Any) -> bool:
    return value is None or type(value) in (bool, int, float, str)


def _conforms_scalar(value: Any, annotation: type) -> bool:
    return _is_number(value) if annotation is float else type(value) is annotation


def _conforms_free(value: Any) -> bool:
    """True for what a free-form field may hold: scalars, and sequences and mappings of them."""
    if _is_scalar(value):
        return True
    if isinstance(value, list | tuple):
        return all(map(_conforms_free, value))
    if isinstance(value, collections.abc.Mapping):
        return all(_is_scalar(k) and _conforms_free(v) for k, v in value.items())
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _element_annotations(annotation: Any, count: int) -> list[Any] | None:
    """Returns one annotation per element of a sequence; None if the arity is wrong."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is not tuple:
        return [args[0] if args else Any] * count
    if args == ((),) or (not args and annotation == tuple[()]):
        return [] if count == 0 else None
    if len(args) == 2 and args[1] is Ellipsis:
        return [args[0]] * count
    return list(args) if len(args) == count else None


def _sequence_classes(annotation: Any) -> tuple[type, ...]:
    """Returns the classes that a value of this annotation may have; () for no sequence."""
    origin = typing.get_origin(annotation) or annotation
    if origin is list or origin is tuple:
        return (origin,)
    is_sequence = origin in (collections.abc.Sequence, collections.abc.Iterable)
    return (list, tuple) if is_sequence else ()


def _is_mapping(annotation: Any) -> bool:
    origin = typing.get_origin(annotation) or annotation
    return origin in (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def conforms(value: Any, annotation: Any) -> bool:
    """True if `value`, as found in a tree, has the type `annotation`."""
    if annotation is Any:
        return True
    if annotation is None or annotation is type(None):
        return value is None
    if _is_union(annotation):
        return any(conforms(value, arm) for arm in typing.get_args(annotation))
    if typing.get_origin(annotation) is typing.Literal:
        return any(type(value) is type(x) and value == x for x in typing.get_args(annotation))
    if annotation in (bool, int, float, str):
        return _conforms_scalar(value, annotation)
    if classes := _sequence_classes(annotation):
        return _conforms_sequence(value, annotation, classes)
    if _is_mapping(annotation):
        return _conforms_mapping(value, annotation)
    if is_config_class(annotation):
        return isinstance(value, annotation)  # what is in it, find_problems asks of itself
    raise NotImplementedError(f'the oracle does not know the annotation {annotation!r}')


def _conforms_sequence(value: Any, annotation: Any, classes: tuple[type, ...]) -> bool:
    if not isinstance(value, classes):
        return False
    if annotation in (list, tuple):
        return all(map(_conforms_free, value))
    annotations = _element_annotations(annotation, len(value))
    return annotations is not None and all(map(conforms, value, annotations))


def _conforms_mapping(value: Any, annotation: Any) -> bool:
    if not isinstance(value, collections.abc.Mapping):
        return False
    args = typing.get_args(annotation)
    if not args:
        return _conforms_free(value)
    return all(conforms(k, args[0]) and conforms(v, args[1]) for k, v in value.items())


def _nodes_in(value: Any) -> Iterator[tuple[str, Any]]:
    """Yields the configs that a value is or holds, with the rest of their path."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield '', value
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from ((f'[{index}]{path}', node) for path, node in _nodes_in(item))
    elif isinstance(value, collections.abc.Mapping):
        for key, item in value.items():
            yield from ((f'.{key}{path}', node) for path, node in _nodes_in(item))


def find_problems(node: Any, path: str = '') -> Iterator[str]:
    """Yields a line for each value of a config tree that is not of its declared type."""
    config_class = type(node)
    for name, annotation in hints(config_class).items():
        value, where = getattr(node, name), f'{path}.{name}'.lstrip('.')
        for rest, inner in _nodes_in(value):
            yield from find_problems(inner, where + rest)
        if not conforms(value, annotation):
            yield f'{where}: {value!r} ({type(value).__name__}) is not {annotation}'
    if OneOf.includes(config_class) and node.type is not None:
        value = getattr(node, node.type, None)
        annotation = branches(config_class).get(node.type, Any)
        if value is None or not conforms(value, annotation):
            yield f'{path}.type: {node.type!r} names no branch'


# What an input should lead to


def _all(verdicts: Iterator[Verdict]) -> Verdict:
    return min(verdicts, default=Verdict.ACCEPT)


def _is_whole(value: Any) -> bool:
    return type(value) is float and math.isfinite(value) and value == int(value)


def _reads_as_number(text: str) -> bool:
    try:
        float(text.replace('_', ''))
    except ValueError:
        return text.lower().lstrip('+-')[:2] in ('0x', '0o', '0b', '.i', '.n')
    return True


def _judge_text(raw: str, annotation: type) -> Verdict:
    """A text for a field that is no text: never the text itself, but it may be read."""
    if annotation is bool:
        words = ('true', 'false', 'yes', 'no', 'on', 'off', 'y', 'n', '1', '0')
        return Verdict.EITHER if raw.strip().lower() in words else Verdict.REFUSE
    return Verdict.EITHER if _reads_as_number(raw.strip()) else Verdict.REFUSE


def _judge_scalar(raw: Any, annotation: type) -> Verdict:
    if type(raw) is annotation:
        return Verdict.ACCEPT
    if type(raw) is str:
        return _judge_text(raw, annotation)
    if annotation is float and type(raw) is int:
        return Verdict.ACCEPT if abs(raw) < 2**53 else Verdict.EITHER
    if annotation is int and _is_whole(raw):
        return Verdict.ACCEPT if abs(raw) < 2**53 else Verdict.EITHER
    return Verdict.REFUSE


def _judge_none(raw: Any) -> Verdict:
    if raw is None:
        return Verdict.ACCEPT
    is_word = isinstance(raw, str) and raw.strip().lower() in ('', '~', 'null', 'none')
    return Verdict.EITHER if is_word else Verdict.REFUSE


def _judge_free(raw: Any, depth: int = 0) -> Verdict:
    if _is_scalar(raw):
        return Verdict.ACCEPT
    if isinstance(raw, list | tuple):
        # Sets of rules differ in what a sequence of mappings turns into.
        return min(
            Verdict.EITHER if depth else Verdict.ACCEPT, _all(_judge_free(x, 1) for x in raw)
        )
    if isinstance(raw, dict):
        keys = _all(_judge_key(key) for key in raw)
        return min(Verdict.EITHER, keys, _all(_judge_free(x, depth + 1) for x in raw.values()))
    return Verdict.REFUSE


def _judge_key(key: Any) -> Verdict:
    """A key of a free-form mapping: a plain name is fine, other texts and numbers may be."""
    if type(key) is str:
        plain = key.isidentifier() and not key.startswith('_')
        return Verdict.ACCEPT if plain else Verdict.EITHER
    return Verdict.EITHER if key is None or type(key) in (bool, int, float) else Verdict.REFUSE


def _judge_sequence(raw: Any, annotation: Any) -> Verdict:
    args = typing.get_args(annotation)
    if isinstance(raw, str):
        takes_text = bool(args) and judge(raw, args[0]) is Verdict.ACCEPT
        return Verdict.EITHER if takes_text or not args else Verdict.REFUSE
    if not isinstance(raw, list | tuple):
        return Verdict.REFUSE
    if annotation in (list, tuple):
        return _judge_free(raw)
    annotations = _element_annotations(annotation, len(raw))
    if annotations is None:
        return Verdict.REFUSE
    return _all(map(judge, raw, annotations))


def _judge_mapping(raw: Any, annotation: Any) -> Verdict:
    if not isinstance(raw, dict):
        return Verdict.REFUSE
    args = typing.get_args(annotation) or (str, Any)
    keys = _all(_judge_key(key) for key in raw)
    values = _all(_judge_free(v) if args[1] is Any else judge(v, args[1]) for v in raw.values())
    return min(keys, values)


def judge(raw: Any, annotation: Any, current: Any = None) -> Verdict:
    """Decides what should happen when `raw` is given for a field of type `annotation`.

    Args:
        raw: Python data as it comes from a dict or from YAML.
        annotation: The declared type.
        current: The value that the field has now; a config there decides by its own class.
    """
    if annotation is Any:
        return _judge_free(raw)
    if annotation is None or annotation is type(None):
        return _judge_none(raw)
    if _is_union(annotation):
        return max(judge(raw, arm, current) for arm in typing.get_args(annotation))
    if typing.get_origin(annotation) is typing.Literal:
        return max(_judge_literal(raw, choice) for choice in typing.get_args(annotation))
    if annotation in (bool, int, float, str):
        return _judge_scalar(raw, annotation)
    if _sequence_classes(annotation):
        return _judge_sequence(raw, annotation)
    if _is_mapping(annotation):
        return _judge_mapping(raw, annotation)
    if is_config_class(annotation):
        return _judge_config(raw, annotation, current)
    raise NotImplementedError(f'the oracle does not know the annotation {annotation!r}')


def _judge_literal(raw: Any, choice: Any) -> Verdict:
    if type(raw) is type(choice) and raw == choice:
        return Verdict.ACCEPT
    return Verdict.EITHER if str(raw) == str(choice) or raw == choice else Verdict.REFUSE


def _judge_config(raw: Any, annotation: type, current: Any) -> Verdict:
    config_class = type(current) if isinstance(current, annotation) else annotation
    if isinstance(raw, annotation):
        return Verdict.ACCEPT
    if not isinstance(raw, dict):
        return Verdict.REFUSE
    if is_free_form(config_class):
        return min(Verdict.EITHER, _judge_free(raw))
    node = current if isinstance(current, annotation) else None
    verdict = judge_tree(raw, config_class, node)
    # A class with subclasses may have been meant: which one is for the package to say.
    return verdict


def judge_tree(raw: dict[Any, Any], config_class: type, node: Any = None) -> Verdict:
    """Decides what should happen when the mapping `raw` overrides a config, strictly."""
    fields = hints(config_class)
    verdicts = []
    for key, value in raw.items():
        if key in fields:
            verdicts.append(judge(value, fields[key], getattr(node, key, None)))
        elif isinstance(key, str) and PATH_CHARACTERS & set(key):
            verdicts.append(Verdict.EITHER)
        else:
            verdicts.append(Verdict.REFUSE)
    if OneOf.includes(config_class):
        verdicts.append(_judge_choice(raw, config_class, node))
    return _all(iter(verdicts))


def _judge_choice(raw: dict[Any, Any], config_class: type, node: Any) -> Verdict:
    names = branches(config_class)
    chosen = raw.get('type', getattr(node, 'type', None))
    if chosen is not None and (not isinstance(chosen, str) or chosen not in names):
        is_word = isinstance(chosen, str) and _judge_none(chosen) is not Verdict.REFUSE
        return Verdict.EITHER if is_word else Verdict.REFUSE
    # Values for a branch that is not chosen may be kept or refused, but not mistyped.
    others = [key for key in raw if key in names and key != chosen]
    return Verdict.EITHER if others else Verdict.ACCEPT


# What an accepted input leaves behind


def find_differences(raw: Any, stored: Any, path: str = '') -> Iterator[str]:
    """Yields a line for each value of `raw`, accepted without doubt, that `stored` does not hold."""
    if isinstance(raw, dict):
        for key, value in raw.items():
            is_mapping = isinstance(stored, collections.abc.Mapping)
            inner = stored.get(key, ...) if is_mapping else getattr(stored, key, ...)
            yield from find_differences(value, inner, f'{path}.{key}'.lstrip('.'))
    elif isinstance(raw, list | tuple):
        if not isinstance(stored, list | tuple) or len(stored) != len(raw):
            yield f'{path}: {raw!r} became {stored!r}'
            return
        for index, (value, inner) in enumerate(zip(raw, stored, strict=True)):
            yield from find_differences(value, inner, f'{path}[{index}]')
    elif not _is_same(raw, stored):
        yield f'{path}: {raw!r} became {stored!r}'


def _is_same(raw: Any, stored: Any) -> bool:
    if _is_number(raw) and _is_number(stored):
        return raw == stored or (math.isnan(raw) and math.isnan(stored))
    return type(raw) is type(stored) and raw == stored


def flatten(node: Any, path: str = '') -> dict[str, Any]:
    """Returns dotted path -> repr of the leaf, for everything below a config, list or mapping."""
    if dataclasses.is_dataclass(node) and hints(type(node)):
        items = [(f'.{name}', getattr(node, name)) for name in hints(type(node))]
    elif isinstance(node, collections.abc.Mapping) and node:
        items = [(f'.{key}', value) for key, value in node.items()]
    elif isinstance(node, list | tuple) and node:
        items = [(f'[{index}]', value) for index, value in enumerate(node)]
    else:
        return {path.lstrip('.'): repr(node)}
    result: dict[str, Any] = {}
    for key, value in items:
        result.update(flatten(value, path + key))
    return result


def changed_outside(
    raw: dict[str, Any], before: dict[str, Any], after: dict[str, Any]
) -> list[str]:
    """Returns the paths that changed although `raw` has nothing to do with them.

    Setting the `type` of a choice may reset its branches, and naming a field of a node that was
    not there makes the whole node.
    """
    named = set(_paths(raw))
    switched = {name.removesuffix('type').rstrip('.') for name in named if name.endswith('type')}
    leaves = before.keys() ^ after.keys()
    made = {p for p in leaves if any(_starts(name, p) and name != p for name in named)}
    allowed = named | switched | made
    changed = [p for p in before.keys() | after.keys() if before.get(p) != after.get(p)]
    return [p for p in sorted(changed) if not any(_starts(p, name) for name in allowed)]


def _paths(raw: dict[str, Any], path: str = '') -> Iterator[str]:
    for key, value in raw.items():
        inner = f'{path}.{key}'.lstrip('.')
        if isinstance(value, dict) and value:
            yield from _paths(value, inner)
        else:
            yield inner


def _starts(path: str, prefix: str) -> bool:
    return not prefix or path == prefix or path.startswith((f'{prefix}.', f'{prefix}['))
