"""JSON text with its numbers typed, duplicate keys refused."""

from __future__ import annotations

import json
import os
from typing import Any

from official_lite.modeling.hyperparams import yaml_files
from official_lite.modeling.hyperparams.sources import Source, SourcedDict


def text_of(given: Any) -> tuple[str, str]:
    """Returns the text, and the path if `given` is one: text starts with `{`."""
    if isinstance(given, (bytes, bytearray)):
        given = bytes(given).decode('utf-8')
    if isinstance(given, str) and given.lstrip().startswith('{'):
        return given, ''
    path = os.fspath(given)
    return yaml_files.read_text(path), path


def parse_json(text: str, name: str = '', **kwargs: Any) -> Any:
    """Parses JSON; text that is none is read as YAML, of which it may be the other dialect.

    Raises:
        ConfigError: It is neither, or a key appears twice (also a ValueError).
    """
    source = Source('file', name) if name else None
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: _mapping(pairs, source), **kwargs)
    except json.JSONDecodeError as error:
        if name or not text.lstrip().startswith('{'):
            return yaml_files.parse_yaml(text, name)
        yaml_files.raise_malformed(
            f'malformed JSON: {error.msg} at line {error.lineno}, column {error.colno}'
        )
    except RecursionError:
        yaml_files.raise_malformed('the JSON is nested too deeply', source=source)


def _mapping(pairs: list[tuple[str, Any]], source: Source | None) -> SourcedDict:
    tree = SourcedDict()
    for key, value in pairs:
        if key in tree:
            yaml_files.raise_malformed(
                f'the key {key!r} appears twice', source=source, kinds=(ValueError, KeyError)
            )
        tree.put(key, value, None)
    return tree
