"""JSON Schema (draft 2020-12) of config classes, so that editors complete and check YAML files.

The schema describes parsed YAML or JSON. It accepts what the package accepts of it, with one
exception: dotted and indexed keys (`a.b: 1`) are known to the package only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from official_lite.modeling.hyperparams import (
    checkers,
    config_checker,
    construction,
    containers,
    tree,
    values,
)
from official_lite.modeling.hyperparams.plans import FieldSpec, plan_of

_DIALECT = 'https://json-schema.org/draft/2020-12/schema'
_FREE: dict[str, Any] = {}


def json_schema(config_or_class: Any) -> dict[str, Any]:
    """Returns the schema of a config class, or of a config's class with its concrete classes.

    Args:
        config_or_class: A class describes every subclass-free default tree. An object, such as an
            experiment's config, also fixes the classes of its fields (`task`) and its values are
            the schema's defaults.
    """
    config = (
        construction.make_blank(config_or_class)
        if isinstance(config_or_class, type)
        else config_or_class
    )
    writer = _Writer()
    reference = writer.write_config(config)
    definitions = writer.definitions
    root = (
        definitions.pop(reference)
        if not writer.is_recursive(reference)
        else {'$ref': f'#/$defs/{reference}'}
    )
    schema = {'$schema': _DIALECT, 'title': type(config).__name__, **root}
    if definitions:
        schema['$defs'] = definitions
    return schema


class _Writer:
    """Writes one definition for each class and set of concrete classes below it."""

    def __init__(self) -> None:
        self.definitions: dict[str, Any] = {}
        self.names: dict[Any, str] = {}
        self.used: set[str] = set()
        self.kept: list[Any] = []  # so that no two objects have the same id

    def is_recursive(self, name: str) -> bool:
        """Whether a definition is referred to from another."""
        return name in self.used

    def write_config(self, config: Any) -> str:
        """Writes the definition of a config object; returns its name."""
        return self._write(type(config), config)

    def _refer(self, cls: Any, config: Any) -> dict[str, Any]:
        name = self._write(cls, config)
        self.used.add(name)
        return {'$ref': f'#/$defs/{name}'}

    def _write(self, cls: Any, config: Any) -> str:
        """Writes the definition of a class, or of an object that differs from its class's default."""
        if config is not None:
            cls = type(config)
            if config == construction.make_blank(cls):
                config = None
        key = cls if config is None else id(config)
        if key in self.names:
            return self.names[key]
        name = self._free_name(cls.__name__)
        self.names[key] = name
        self.definitions[name] = {}
        config = construction.make_blank(cls) if config is None else config
        self.kept.append(config)
        self.definitions[name] = self._object(cls, config)
        return name

    def _free_name(self, name: str) -> str:
        names, number = self.definitions, 2
        free = name
        while free in names:
            free = f'{name}{number}'
            number += 1
        return free

    def _object(self, cls: Any, config: Any) -> dict[str, Any]:
        if config._is_free_form:
            return {'type': 'object'}
        described = describe_fields(cls)
        specs = {name: config._spec(name) for name in cls._field_names()}
        properties = {
            name: self._field(config, spec, described.get(name, '')) for name, spec in specs.items()
        }
        if hasattr(config, '_branch_specs'):
            names = [name for name in properties if name != 'type']
            allows_none = type(None) in specs['type'].checker.exact
            options = {'enum': [*names, None] if allows_none else names}
            properties['type'] = {
                **options,
                **{k: v for k, v in properties['type'].items() if k in ('description', 'default')},
            }
        schema: dict[str, Any] = {'type': 'object'}
        summary = summarize(cls)
        if summary:
            schema['description'] = summary
        properties[config_checker.CLASS_KEY] = {
            'type': 'string',
            'description': 'The config class.',
        }
        schema['properties'] = properties
        required = [name for name, spec in plan_of(cls).fields.items() if spec.is_required]
        if required:
            schema['required'] = required
        schema['additionalProperties'] = False
        return schema

    def _field(self, config: Any, spec: FieldSpec, description: str) -> dict[str, Any]:
        value = getattr(config, spec.name, None)
        schema = self.of(spec.checker, value)
        if description:
            schema = {'description': description, **schema}
        if not spec.is_required and not _holds_configs(value) and _is_json(value):
            schema = {**schema, 'default': values.export(value)}
        return schema

    def of(self, checker: Any, value: Any = None) -> dict[str, Any]:
        """Returns the schema of what one checker reads from a file."""
        for kind, write in self._writers().items():
            if isinstance(checker, kind):
                return write(checker, value)
        return dict(_FREE)

    def _writers(self) -> dict[type, Callable[[Any, Any], dict[str, Any]]]:
        return {
            checkers.IntChecker: lambda c, v: _or_text('integer', _INT_TEXT),
            checkers.FloatChecker: lambda c, v: _or_text('number', _FLOAT_TEXT),
            checkers.BoolChecker: lambda c, v: _or_text('boolean', _BOOL_TEXT),
            checkers.StrChecker: lambda c, v: {'type': ['string', 'number', 'boolean']},
            checkers.NoneChecker: lambda c, v: {'type': 'null'},
            checkers.LiteralChecker: lambda c, v: {'enum': list(c.values)},
            containers.SequenceChecker: self._sequence,
            containers.TupleChecker: self._tuple,
            containers.DictChecker: lambda c, v: {
                'type': 'object',
                'additionalProperties': self.of(c.value),
            },
            containers.UnionChecker: self._union,
            config_checker.ConfigChecker: self._config,
        }

    def _sequence(self, checker: Any, value: Any) -> dict[str, Any]:
        schema = {'type': 'array', 'items': self._items(checker.item, value)}
        if str in checker.item.exact:
            return {'anyOf': [schema, {'type': 'string'}]}
        return schema

    def _items(self, checker: Any, value: Any) -> dict[str, Any]:
        """Returns the schema of a list's elements; subclasses that the list holds are options."""
        schema = self.of(checker)
        held = (
            {type(v) for v in value if _is_of(checker, v)}
            if isinstance(value, (list, tuple))
            else ()
        )
        others = [cls for cls in held if cls is not checker.config_class]
        if not others:
            return schema
        return {'anyOf': [schema, *(self._refer(cls, None) for cls in others)]}

    def _tuple(self, checker: Any, value: Any) -> dict[str, Any]:
        count = len(checker.items)
        items = [self.of(item) for item in checker.items]
        return {'type': 'array', 'prefixItems': items, 'minItems': count, 'maxItems': count}

    def _union(self, checker: Any, value: Any) -> dict[str, Any]:
        options = [self.of(m, value if _is_of(m, value) else None) for m in checker.members]
        return {'anyOf': options}

    def _config(self, checker: Any, value: Any) -> dict[str, Any]:
        return self._refer(checker.config_class, value if _is_of(checker, value) else None)


def _or_text(kind: str, pattern: str) -> dict[str, Any]:
    """Returns the schema of a value that YAML readers may also see as text (`1e-3`, `on`)."""
    return {'anyOf': [{'type': kind}, {'type': 'string', 'pattern': pattern}]}


_INT_TEXT = r'^[-+]?([0-9][0-9_]*|0x[0-9a-fA-F]+|0o[0-7]+|0b[01]+|[0-9]+\.?[0-9]*[eE]\+?[0-9]+)$'
_BOOL_TEXT = r'^([Tt]rue|TRUE|[Ff]alse|FALSE|[Yy]es|YES|[Nn]o|NO|[Oo]n|ON|[Oo]ff|OFF)$'
_FLOAT_TEXT = r'^[-+]?([0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?$|^[-+]?\.?(inf|Inf|INF|nan|NaN|NAN)$'


def _is_of(checker: Any, value: Any) -> bool:
    return hasattr(checker, 'config_class') and isinstance(value, checker.config_class)


def _holds_configs(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_holds_configs(item) for item in value)
    return tree.is_config(value)


def _is_json(value: Any) -> bool:
    return not (isinstance(value, float) and not math.isfinite(value))


_SECTION = re.compile(r'^(Attributes|Args|Arguments):\s*$')
_ENTRY = re.compile(r'^(\w+)\s*(\([^)]*\))?:\s*(.*)$')


def summarize(cls: type) -> str:
    """Returns the first paragraph of a class's own docstring, '' if it has none."""
    text = cls.__dict__.get('__doc__') or ''
    if text.startswith(f'{cls.__name__}('):  # dataclasses writes the signature when there is none
        return ''
    return ' '.join(text.strip().split('\n\n')[0].split())


def describe_fields(cls: type) -> dict[str, str]:
    """Returns what the docstrings of a class and its bases say about each field.

    They are read from the section `Attributes:` (or `Args:`), one entry `name: text` per field.
    """
    described: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if '__dataclass_fields__' in base.__dict__:
            described.update(_parse_attributes(base.__dict__.get('__doc__') or ''))
    return described


def _parse_attributes(text: str) -> dict[str, str]:
    import inspect

    entries: dict[str, list[str]] = {}
    name, level, is_inside = '', -1, False
    for line in inspect.cleandoc(text).splitlines():
        indent = len(line) - len(line.lstrip())
        if indent == 0 and line:
            is_inside = bool(_SECTION.match(line))
            level = -1
            continue
        if not is_inside or not line:
            continue
        level = indent if level < 0 else level
        entry = _ENTRY.match(line.strip()) if indent == level else None
        if entry:
            name = entry.group(1)
            entries[name] = [entry.group(3)]
        elif name in entries:
            entries[name].append(line.strip())
    return {key: ' '.join(part for part in parts if part) for key, parts in entries.items()}
