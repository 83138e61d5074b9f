"""Which layers and variables of a model a pattern means."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras

from official_lite import errors
from official_lite.modeling import model_keys

_WHOLE = f'{model_keys.WHOLE}/'
_MAX_NEAREST = 4


class LayerOverrideError(errors.UsageError, ValueError):
    """An override that fits no layer, or not those that it names, or contradicts another one."""


@dataclasses.dataclass(frozen=True)
class Selection:
    """What one pattern means.

    Attributes:
        pattern: The pattern.
        outermost: Paths of the layers that it names and that are inside of no other such layer.
        keys: Keys of the variables that it names, or that are in layers that it names.
    """

    pattern: str
    outermost: tuple[str, ...]
    keys: tuple[str, ...]


class Layers:
    """The layers and variables of one model, to be chosen from by patterns.

    A pattern names what it matches as a whole, or the beginning of, up to a slash. The `model/` of
    what no checkpoint item holds may be left out.
    """

    def __init__(self, model: keras.Model) -> None:
        found = model_keys.find(model)
        self.owner = found.owner
        self.layers: dict[str, keras.layers.Layer] = found.layers
        self.variables: dict[str, Any] = found.variables

    def select(self, pattern: str, where: str) -> Selection:
        """Finds what a pattern names.

        Raises:
            LayerOverrideError: it is no regular expression, or it names nothing.
        """
        matches = _matcher(pattern, where)
        paths = [path for path in self.layers if matches(path)]
        keys = tuple(key for key in self.variables if matches(key))
        if not paths and not keys:
            raise self._nothing_matched(pattern, where)
        outermost = tuple(p for p in paths if not any(_is_inside(p, other) for other in paths))
        return Selection(pattern, outermost, keys)

    def inside(self, path: str) -> list[str]:
        """Paths of the layers inside of a layer, and its own first."""
        return [path, *(other for other in self.layers if _is_inside(other, path))]

    def nearest(self, path: str, candidates: Iterable[str]) -> str:
        """The candidates most like a path, for errors; '' if there is none."""
        by_short = {candidate.removeprefix(_WHOLE): candidate for candidate in candidates}
        short = path.removeprefix(_WHOLE)
        near = difflib.get_close_matches(short, by_short, n=_MAX_NEAREST, cutoff=0.0)
        return ', '.join(by_short[name] for name in near)

    def _nothing_matched(self, pattern: str, where: str) -> LayerOverrideError:
        places = [*self.layers, *(key for key in self.variables if self.owner(key) in self.layers)]
        return LayerOverrideError(
            f'{pattern!r} matches no layer and no variable',
            where=where,
            expected='a regular expression over layer paths or variable keys, or the beginning of one',
            hint=f'the nearest are {self.nearest(pattern, places)}',
        )


def check_found(
    layers: Layers, path: str, found: Sequence[Any], having: Iterable[str], where: str
) -> None:
    """Raises LayerOverrideError if a setting finds nothing to set in a layer.

    Args:
        layers: The layers.
        path: The layer.
        found: What there is to set.
        having: Paths of all the layers that have the setting.
        where: The setting's place in the config.
    """
    if found:
        return
    name = where.rsplit('.', 1)[-1]
    near = layers.nearest(path, having)
    raise LayerOverrideError(
        f'{path!r} ({type(layers.layers[path]).__name__}) has no {name}, nor has a layer inside it'
        if path in layers.layers
        else f'{path!r} has no {name}',
        where=where,
        expected='a pattern of layers that have it',
        hint=f'the nearest are {near}' if near else 'no layer of this model has it',
    )


def _matcher(pattern: str, where: str) -> Callable[[str], bool]:
    try:
        compiled = re.compile(f'(?:{pattern.removesuffix(":0").rstrip("/")})(?:/.*)?')
    except re.error as error:
        raise LayerOverrideError(
            f'{pattern!r} is not a regular expression ({error})', where=where
        ) from error

    def matches(path: str) -> bool:
        short = path.removeprefix(_WHOLE)
        return bool(compiled.fullmatch(path) or compiled.fullmatch(short))

    return matches


def _is_inside(path: str, other: str) -> bool:
    return path.startswith(f'{other}/')
