"""Who set a value: parsed text that remembers where it stood."""

from __future__ import annotations

import dataclasses
import os
import sys
from typing import Any

_PACKAGE = __name__.rpartition('.')[0]


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a value came from.

    Attributes:
        kind: One of `default` (the class), `factory` (the experiment), `file`, `flag`, `data`, `code`.
        text: What to show: `path.yaml:12`, `--params_override`, `data: PATH`, `train.py:30`.
    """

    kind: str
    text: str

    def __str__(self) -> str:
        return self.text

    @property
    def is_given(self) -> bool:
        """Whether somebody chose the value, rather than a class or an experiment's factory."""
        return self.kind not in ('default', 'factory')


DEFAULT = Source('default', 'default')
CODE = Source('code', 'code')


def as_source(source: Source | str | None) -> Source | None:
    """Returns a Source for the words a caller gives: `--flag`, `data: PATH`, `factory: NAME`."""
    if source is None or isinstance(source, Source):
        return source
    if source.startswith('-'):
        return Source('flag', source)
    head = source.partition(':')[0]
    if head in ('data', 'factory', 'default', 'file', 'code'):
        return Source(head, source)
    stem, _, line = source.rpartition(':')
    if stem and line.isdigit():
        return Source('file', source)
    return Source('code', source)


def find_caller() -> Source:
    """Returns the line of code outside this package that is at work."""
    frame = sys._getframe(1)
    while frame is not None and _is_ours(frame.f_globals.get('__name__', '')):
        frame = frame.f_back  # type: ignore[assignment]
    if frame is None:
        return CODE
    return Source('code', f'{_shorten(frame.f_code.co_filename)}:{frame.f_lineno}')


def _is_ours(module: str) -> bool:
    return module.startswith(_PACKAGE) or module in ('dataclasses', 'dataclasses_json.api', 'copy')


def _shorten(path: str) -> str:
    here = os.getcwd() + os.sep
    return path[len(here) :] if path.startswith(here) else path


class Plain(str):
    """Text of a scalar without quotes: the field that receives it says what it means."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return Plain, (str(self),)


class SourcedDict(dict[Any, Any]):
    """A parsed mapping; `sources` tells where each key stood."""

    __slots__ = ('sources',)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sources: dict[Any, Source] = {}

    def put(self, key: Any, value: Any, source: Source | None) -> None:
        """Sets a key and remembers where it stood."""
        self[key] = value
        if source is not None:
            self.sources[key] = source


class SourcedList(list[Any]):
    """A parsed sequence; `sources` tells where each element stood."""

    __slots__ = ('sources',)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.sources: list[Source | None] = []


class Elements(SourcedDict):
    """Elements of a list to replace, by index: what `field[2]=x` means."""

    __slots__ = ()


def source_in(container: object, key: Any) -> Source | None:
    """Returns where `container[key]` stood, None if the container does not know."""
    if isinstance(container, SourcedDict):
        return container.sources.get(key)
    if isinstance(container, SourcedList) and key < len(container.sources):
        return container.sources[key]
    return None
