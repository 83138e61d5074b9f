"""`official-lite config EXPERIMENT`: its config as YAML, or the JSON Schema of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from absl import flags

from official_lite import errors
from official_lite.cli import arguments, reporting
from official_lite.common import flags as common_flags
from official_lite.core import epochs, parsing
from official_lite.modeling import hyperparams
from official_lite.modeling.hyperparams import yaml_files

__all__ = ['format_config', 'main']

_DESCRIPTION = (
    'Prints the config of an experiment, with --config_file and --params_override applied, or the '
    'JSON Schema that editors complete and check YAML files with.'
)


@reporting.command
def main(argv: list[str]) -> None:
    """Prints a config.

    Args:
        argv: Program name, experiment and flags.
    """
    values, rest = arguments.parse_flags(argv, _define, _DESCRIPTION, positional='EXPERIMENT')
    if rest and values.experiment and rest[0] != values.experiment:
        raise errors.UsageError('the experiment is named twice', where='--experiment')
    if rest:
        values['experiment'].value = rest[0]
    parsed = parsing.parse_experiment(values)
    if values.schema:
        print(json.dumps(hyperparams.json_schema(parsed.config), indent=2))
    else:
        print(format_config(parsed, with_sources=values.sources), end='')


def _define(values: flags.FlagValues) -> None:
    common_flags.define_config_flags(values)
    flags.DEFINE_boolean('schema', False, 'Print the JSON Schema instead.', flag_values=values)
    flags.DEFINE_boolean('sources', False, 'Tell who set each value.', flag_values=values)


def format_config(parsed: parsing.ParsedExperiment, *, with_sources: bool = False) -> str:
    """Returns a config as YAML that --config_file accepts.

    What the data decides says so in a comment.

    Args:
        parsed: The config.
        with_sources: Whether each value has a comment that tells who set it.
    """
    notes = dict(_iterate_notes(parsed.config))
    if with_sources:
        for path, _, source in parsed.config.leaves():
            notes[path] = f'{notes[path]}, {source}' if path in notes else str(source)
    head = yaml_files.dump_yaml({'experiment': parsed.experiment, 'imports': list(parsed.imports)})
    lines = _format_tree(parsed.config.to_dict(), notes)
    return head + ''.join(f'{line}\n' for line in lines)


def _iterate_notes(config: Any) -> Iterator[tuple[str, str]]:
    """Yields (path, note) for fields that the data decides and that nobody has set."""
    for path, node in _iterate_nodes(config, ''):
        for name in getattr(type(node), '_from_data', ()):
            if not getattr(node, name):
                yield _join(path, name), '(from data)'
    for path in epochs.list_unresolved_lengths(config):
        yield path, '(steps from data)'


def _iterate_nodes(node: hyperparams.Config, path: str) -> Iterator[tuple[str, hyperparams.Config]]:
    yield path, node
    for name in type(node).__dataclass_fields__:
        child = getattr(node, name, None)
        if isinstance(child, hyperparams.Config):
            yield from _iterate_nodes(child, _join(path, name))


def _format_tree(tree: Any, notes: dict[str, str], path: str = '', depth: int = 0) -> Iterator[str]:
    """Yields the lines of a tree; a mapping goes over several lines, all else is one value."""
    for key, value in tree.items():
        here = _join(path, str(key))
        indent = '  ' * depth
        if isinstance(value, dict) and value:
            yield f'{indent}{key}:'
            yield from _format_tree(value, notes, here, depth + 1)
            continue
        text = yaml_files.dump_yaml({str(key): value}).rstrip('\n')
        first, *others = text.split('\n')
        note = f'  # {notes[here]}' if here in notes else ''
        yield f'{indent}{first}{note}'
        yield from (f'{indent}{line}' for line in others)


def _join(path: str, name: str) -> str:
    return f'{path}.{name}' if path else name
