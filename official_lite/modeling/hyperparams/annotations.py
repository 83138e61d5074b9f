"""From annotations to checkers."""

from __future__ import annotations

import collections.abc
import types
import typing
from typing import Any, Literal, Union

from official_lite.modeling.hyperparams.checkers import (
    BoolChecker,
    Checker,
    FloatChecker,
    FreeChecker,
    IntChecker,
    LiteralChecker,
    NoneChecker,
    StrChecker,
)
from official_lite.modeling.hyperparams.config_checker import ConfigChecker
from official_lite.modeling.hyperparams.containers import (
    DictChecker,
    SequenceChecker,
    TupleChecker,
    UnionChecker,
)

_FREE = FreeChecker()
_FREE_IN_DICT = FreeChecker(makes_configs=False)
_SIMPLE: dict[Any, Checker] = {
    int: IntChecker(),
    float: FloatChecker(),
    bool: BoolChecker(),
    str: StrChecker(),
    None: NoneChecker(),
    type(None): NoneChecker(),
    Any: _FREE,
    object: _FREE,
    list: SequenceChecker(_FREE, list),
    tuple: SequenceChecker(_FREE, tuple),
    dict: DictChecker(_FREE_IN_DICT, _FREE_IN_DICT),
}
_SEQUENCES = (
    collections.abc.Sequence,
    collections.abc.MutableSequence,
    collections.abc.Collection,
    collections.abc.Iterable,
)
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def compile_checker(annotation: Any) -> Checker:
    """Returns the checker of an annotation whose names are resolved.

    Raises:
        TypeError: A config cannot hold such values.
    """
    simple = _SIMPLE.get(annotation) if _is_hashable(annotation) else None
    if simple is not None:
        return simple
    if isinstance(annotation, typing.NewType):
        return compile_checker(annotation.__supertype__)
    if isinstance(annotation, type) and hasattr(annotation, '_merge'):
        return ConfigChecker(annotation)
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Union, types.UnionType):
        return UnionChecker([compile_checker(arg) for arg in args])
    if origin is Literal:
        return LiteralChecker(args)
    if origin in (typing.Annotated, typing.Final):
        return compile_checker(args[0])
    container = _compile_container(origin or annotation, args)
    if container is None:
        raise TypeError(f'a config cannot hold values of type {annotation!r}')
    return container


def _compile_container(origin: Any, args: tuple[Any, ...]) -> Checker | None:
    if origin is list or origin in _SEQUENCES:
        item = compile_checker(args[0]) if args else _FREE
        return SequenceChecker(item, list if origin is list else None)
    if origin is tuple:
        return _compile_tuple(args)
    if origin in _MAPPINGS:
        if not args:
            return _SIMPLE[dict]
        return DictChecker(_compile_in_dict(args[0]), _compile_in_dict(args[1]))
    return None


def _compile_tuple(args: tuple[Any, ...]) -> Checker:
    if len(args) == 2 and args[1] is Ellipsis:
        return SequenceChecker(compile_checker(args[0]), tuple)
    items = [] if args == ((),) else [compile_checker(arg) for arg in args]
    return TupleChecker(items)


def _compile_in_dict(annotation: Any) -> Checker:
    return _FREE_IN_DICT if annotation in (Any, object) else compile_checker(annotation)


def _is_hashable(annotation: Any) -> bool:
    try:
        hash(annotation)
    except TypeError:
        return False
    return True
