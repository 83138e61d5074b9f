"""One error that carries every problem of a config."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable
from typing import Any

from official_lite import errors
from official_lite.modeling.hyperparams.sources import Plain, Source

_LONGEST_RECEIVED = 120
_NAMES_OF_PARSED = {'SourcedDict': 'dict', 'SourcedList': 'list', 'Elements': 'elements by index'}


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a config, and where it came from.

    Attributes:
        path: Dotted path of the field, such as `task.model.num_classes`; '' is the config itself.
        message: What is wrong, where expected and received do not say it.
        expected: What would have been right.
        received: What came instead, as Python would write it.
        source: Who wrote it: a file and line, a flag, or code; None is unknown.
        suggestion: The nearest valid name, '' if none is near.
        hint: What to do next.
        kinds: Builtin exceptions that the error is an instance of as well.
    """

    path: str = ''
    message: str = ''
    expected: str = ''
    received: str = ''
    source: Source | None = None
    suggestion: str = ''
    hint: str = ''
    kinds: tuple[type[Exception], ...] = (ValueError,)

    def __str__(self) -> str:
        parts = [self.message] if self.message else []
        if self.expected:
            parts.append(f'expected {self.expected}')
        if self.received:
            parts.append(f'received {self.received}')
        text = ', '.join(parts)
        if self.source is not None:
            text = f'{text} (from {self.source})'
        if self.suggestion:
            text = f'{text}; did you mean {self.suggestion!r}?'
        if self.hint:
            text = f'{text}; {self.hint}'
        return f'{self.path}: {text}' if self.path else text


class ConfigError(errors.UsageError):
    """A config is wrong. `problems` lists all that was found, not only the first.

    Instances are also of the builtin types that the problems name (KeyError for an unknown key,
    TypeError for a wrong type, ...), so that code which catches those goes on working.
    """

    def __init__(self, problems: Iterable[Problem] | str = ()) -> None:
        if isinstance(problems, str):
            problems = [Problem(message=problems)]
        self.problems: list[Problem] = list(problems)
        super().__init__(_text_of(self.problems))

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return make_error, (self.problems,)


def _text_of(problems: list[Problem]) -> str:
    if len(problems) == 1:
        return str(problems[0])
    lines = [f'  {problem}' for problem in problems]
    return '\n'.join([f'{len(problems)} problems in the config:', *lines])


_ERROR_CLASSES: dict[tuple[type[Exception], ...], type[ConfigError]] = {}


def make_error(problems: Iterable[Problem]) -> ConfigError:
    """Returns a ConfigError that is also of every builtin type which its problems name."""
    problems = list(problems)
    kinds = tuple(sorted({k for p in problems for k in p.kinds}, key=lambda kind: kind.__name__))
    if kinds not in _ERROR_CLASSES:
        bases: tuple[type, ...] = (ConfigError, *kinds)
        members = {'__module__': ConfigError.__module__, '__doc__': ConfigError.__doc__}
        _ERROR_CLASSES[kinds] = type('ConfigError', bases, members)
    return _ERROR_CLASSES[kinds](problems)


def raise_problems(problems: Iterable[Problem]) -> None:
    """Raises one error with all `problems`; returns if there are none."""
    problems = list(problems)
    if problems:
        raise make_error(problems)


def find_nearest(name: object, valid: Iterable[str]) -> str:
    """Returns the valid name that looks most like `name`, '' if none does.

    A name of which `name` is the beginning counts as near (`typ` for `type`).
    """
    text = str(name)
    names = [n for n in valid if isinstance(n, str)]
    folded = text.replace('-', '_').lower()
    for candidate in names:
        if candidate.lower() == folded:
            return candidate
    by_folded = {n.lower(): n for n in reversed(names)}
    near = difflib.get_close_matches(folded, list(reversed(by_folded)), n=1, cutoff=0.6)
    if near:
        return by_folded[near[0]]
    if len(folded) >= 3:
        starts = sorted((n for n in names if n.lower().startswith(folded)), key=len)
        if starts:
            return starts[0]
    return ''


def list_names(names: Iterable[object], most: int = 12) -> str:
    """Returns the names in one line, shortened to `most` of them."""
    texts = [repr(name) for name in names]
    shown = ', '.join(texts[:most])
    return f'{shown}, ... ({len(texts)} in all)' if len(texts) > most else shown


def describe(value: object) -> str:
    """Returns a value and its type for the `received` part of a message.

    Unquoted text of a file or a flag has no type yet.
    """
    if isinstance(value, Plain) and not value:
        return 'nothing (an empty value)'
    try:
        text = repr(str(value)) if isinstance(value, Plain) else repr(value)
    except Exception as error:  # a foreign __repr__ must not hide the problem
        text = f'<no repr: {type(error).__name__}>'
    if len(text) > _LONGEST_RECEIVED:
        text = f'{text[:_LONGEST_RECEIVED]}...'
    has_type = value is not None and not isinstance(value, Plain)
    kind = _NAMES_OF_PARSED.get(type(value).__name__, type(value).__name__)
    return f'{text} ({kind})' if has_type else text
