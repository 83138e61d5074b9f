"""The override language: `a.b=1, c=[1, 2], d[0]=3, e='x, y'`, or YAML or JSON text, or a file.

A value without quotes or brackets ends at a comma that another `key=` follows, so paths with commas
(`gs://a/*,gs://b/*`) need no quotes. Keys are names joined by dots, each with optional indices; a
name may be quoted. An index replaces one element of a list; the index after the last one appends.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from official_lite.modeling.hyperparams import errors, scalars
from official_lite.modeling.hyperparams.places import MISSING
from official_lite.modeling.hyperparams.sources import (
    Elements,
    Plain,
    Source,
    SourcedDict,
    SourcedList,
    as_source,
    source_in,
)
from official_lite.modeling.hyperparams.yaml_files import (
    load_yaml,
    parse_yaml,
    parse_yaml_value,
    raise_malformed,
)

_NAME = r"""(?:[A-Za-z0-9_][\w\-]*|'[^']*'|"[^"]*")(?:\[[0-9]{1,9}\])*"""
_PATH = rf'{_NAME}(?:\.{_NAME})*'
_KEY = re.compile(rf'\s*({_PATH})\s*=')
_NEXT_KEY = re.compile(rf',\s*(?:$|(?={_PATH}\s*=))')
_STEP = re.compile(r"""'([^']*)'|"([^"]*)"|\[([0-9]+)\]|([A-Za-z0-9_][\w\-]*)""")
_AFTER_VALUE = re.compile(r'\s*(,|$)')
_QUOTED = re.compile(r"""'(?:[^']|'')*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
_FILE_SUFFIXES = ('.yaml', '.yml', '.json')
_CLOSING = {'[': ']', '{': '}'}


def parse_override(text: str, source: Source | str | None = None) -> SourcedDict:
    """Parses an override text into a nested mapping.

    Args:
        text: `'a.b=1,c=[1,2]'`, or YAML or JSON text that holds a mapping.
        source: Where the text comes from, such as `'--params_override'`.

    Returns:
        The mapping; unquoted scalars are `Plain` text.

    Raises:
        ConfigError: The text is malformed (also a ValueError).
    """
    origin = as_source(source)
    if not text.strip():
        return SourcedDict()
    if _KEY.match(text):
        return _parse_pairs(text, origin)
    stripped = text.lstrip()
    if stripped.startswith('{') or re.search(r':(\s|$)', stripped):
        return parse_yaml(text, source=origin)
    _fail(text, 0, origin)


def read_overrides(given: Any, source: Source | None = None) -> SourcedDict:
    """Parses a text, or the file that it names, into a nested mapping."""
    if isinstance(given, os.PathLike):
        return load_yaml(given, source)
    if not isinstance(given, str):
        raise_malformed(
            'Unknown input type to parse',
            expected='a mapping, a text or a path',
            received=errors.describe(given),
            source=source,
            kinds=(ValueError, TypeError),
        )
    if _is_path(given):
        return load_yaml(given.strip(), source)
    return parse_override(given, source)


def _is_path(text: str) -> bool:
    text = text.strip()
    if '\n' in text or text.startswith('{') or _KEY.match(text):
        return False
    if text.endswith(_FILE_SUFFIXES) or os.path.isfile(text):
        return True
    return '/' in text and not re.search(r':(\s|$)', text) and '=' not in text


def iterate_pairs(text: str, source: Source | str | None = None) -> Iterator[tuple[str, Any]]:
    """Yields the path, as it is written, and the parsed value of each `key=value` of a text.

    Args:
        text: `'a.b=1,c=[1,2]'`; white space alone has no pairs.
        source: Where the text comes from, such as `'--hparams_overrides'`.

    Raises:
        ConfigError: The text is malformed (also a ValueError).
    """
    origin = as_source(source)
    position = 0 if text.strip() else len(text)
    while position < len(text):
        key = _KEY.match(text, position)
        if key is None:
            _fail(text, position, origin)
        value, position = _parse_value(text, key.end(), origin)
        yield key.group(1), value


def _parse_pairs(text: str, source: Source | None) -> SourcedDict:
    tree = SourcedDict()
    for path, value in iterate_pairs(text, source):
        _insert(tree, _parse_path(path), value, source)
    return tree


def _parse_path(path: str) -> list[str | int]:
    steps: list[str | int] = []
    for single, double, index, name in _STEP.findall(path):
        steps.append(int(index) if index else single or double or name)
    return steps


def _insert(tree: SourcedDict, steps: list[str | int], value: Any, source: Source | None) -> None:
    """Puts a value below nested mappings; what comes later wins."""
    container: Any = tree
    for step, following in itertools.pairwise(steps):
        below = _get(container, step)
        if not _fits(below, following):
            below = Elements() if isinstance(following, int) else SourcedDict()
            _put(container, step, below, source)
        container = below
    _put(container, steps[-1], value, source)


def _get(container: Any, step: str | int) -> Any:
    if isinstance(container, list):
        return container[step] if isinstance(step, int) and step < len(container) else MISSING
    return container.get(step, MISSING)


def _fits(below: Any, step: str | int) -> bool:
    """Whether `step` can go into what is there already: an index into a list or other indices."""
    if isinstance(step, int):
        return isinstance(below, (Elements, SourcedList))
    return type(below) is SourcedDict


def _put(container: Any, step: str | int, value: Any, source: Source | None) -> None:
    if isinstance(container, SourcedDict):
        container.put(step, value, source)
    elif isinstance(step, int) and step <= len(container):
        container[step : step + 1] = [value]
        container.sources[step : step + 1] = [source]
    else:
        raise_malformed(
            f'there is no element {step}',
            expected=f'an index up to {len(container)}, which appends',
            source=source,
            kinds=(IndexError, ValueError),
        )


def _parse_value(text: str, start: int, source: Source | None) -> tuple[Any, int]:
    """Returns the value that begins at `start` and the position of the next key."""
    while start < len(text) and text[start].isspace():
        start += 1
    first = text[start : start + 1]
    if first in ('"', "'") and first:
        return _parse_quoted(text, start, source)
    if first in _CLOSING and first:
        end = _find_closing(text, start, source)
        after = _AFTER_VALUE.match(text, end)
        if after is not None:
            return parse_yaml_value(text[start:end], source=source), after.end()
    following = _NEXT_KEY.search(text, start)
    end, rest = (following.start(), following.end()) if following else (len(text), len(text))
    return Plain(text[start:end].strip()), rest


def _parse_quoted(text: str, start: int, source: Source | None) -> tuple[str, int]:
    quoted = _QUOTED.match(text, start)
    if quoted is None:
        _fail(text, start, source, 'a quote is not closed')
    after = _AFTER_VALUE.match(text, quoted.end())
    if after is None:
        _fail(text, quoted.end(), source, 'text follows a closing quote')
    return str(parse_yaml_value(quoted.group(), source=source)), after.end()


def _find_closing(text: str, start: int, source: Source | None) -> int:
    """Returns the position after the bracket that closes the one at `start`."""
    expected = [_CLOSING[text[start]]]
    position = start + 1
    while expected:
        if position >= len(text):
            _fail(text, start, source, 'a bracket is not closed')
        char = text[position]
        quoted = _QUOTED.match(text, position) if char in '"\'' else None
        if quoted and text[position - 1] in '[{,: ':
            position = quoted.end()
            continue
        if char in _CLOSING:
            expected.append(_CLOSING[char])
        elif char == expected[-1]:
            expected.pop()
        elif char in ']}':
            _fail(text, position, source, 'a bracket closes what is not open')
        position += 1
    return position


def _fail(text: str, position: int, source: Source | None, message: str = '') -> NoReturn:
    raise_malformed(
        f'Malformed override at {text[position:][:60]!r}: {message or "no `key=value` is there"}',
        expected='a.b=1,c=[1,2], YAML or JSON text, or the path of a file',
        received=repr(text[:200]),
        source=source,
    )


def nested_csv_str_to_json_str(csv_str: str) -> str:
    """Returns an override text as one line of YAML: `'a=1,b.c=2'` as `'{a : 1, b : {c : 2}}'`.

    Raises:
        ConfigError: It is malformed, or gives some elements of a list but not the first ones
            (also a ValueError).
    """
    return _show(_parse_pairs(csv_str, None)) if csv_str else ''


def _show(value: Any) -> str:
    if isinstance(value, Elements):
        if sorted(value) != list(range(len(value))):
            raise_malformed('some elements of the list are given, others are not')
        return f'[{", ".join(_show(value[index]) for index in sorted(value))}]'
    if isinstance(value, dict):
        return f'{{{", ".join(f"{key} : {_show(item)}" for key, item in value.items())}}}'
    if isinstance(value, list):
        return f'[{", ".join(_show(item) for item in value)}]'
    if isinstance(value, Plain):
        is_safe = not isinstance(scalars.parse_free(value), str) or re.fullmatch(
            r'[\w.\-+]+', value
        )
        return str(value) if is_safe else _quote(value)
    return _quote(value) if isinstance(value, str) else str(value)


def _quote(text: str) -> str:
    escaped = text.replace("'", "''")
    return f"'{escaped}'"


def expand_keys(mapping: Mapping[Any, Any], is_known: Callable[[str], bool]) -> Mapping[Any, Any]:
    """Returns a mapping in which keys such as `'a.b'` and `'a[0]'` are nested; known keys stay."""
    if not any(_is_path_key(key) and not is_known(key) for key in mapping):
        return mapping
    tree = SourcedDict()
    for key, value in mapping.items():
        source = source_in(mapping, key)
        if _is_path_key(key) and not is_known(key) and re.fullmatch(_PATH, key):
            _insert(tree, _parse_path(key), value, source)
        elif isinstance(value, Mapping) and isinstance(tree.get(key), SourcedDict):
            _insert_all(tree[key], value)
        else:
            tree.put(key, value, source)
    return tree


def _is_path_key(key: Any) -> bool:
    return isinstance(key, str) and ('.' in key or '[' in key)


def _insert_all(tree: SourcedDict, mapping: Mapping[Any, Any]) -> None:
    for key, value in mapping.items():
        below = tree.get(key)
        if isinstance(value, Mapping) and isinstance(below, SourcedDict):
            _insert_all(below, value)
        else:
            tree.put(key, value, source_in(mapping, key))


def split_path(path: str) -> list[str | int]:
    """Returns the names and indices of a dotted path such as `'a.b[0].c'`.

    Raises:
        ConfigError: It is no path (also a ValueError).
    """
    if not re.fullmatch(_PATH, path):
        raise_malformed(f'{path!r} is no dotted path', expected='a.b[0].c')
    return _parse_path(path)
