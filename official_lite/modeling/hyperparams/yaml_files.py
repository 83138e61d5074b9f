"""The package's YAML: a safe subset in which unquoted text keeps its spelling and its place."""

from __future__ import annotations

import io
import os
from typing import Any, NoReturn

import yaml

from official_lite.modeling.hyperparams import errors, scalars
from official_lite.modeling.hyperparams.sources import Plain, Source, SourcedDict, SourcedList

_Base: Any = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)
_PLAIN_TAG = 'plain'
_PREFIX = 'tag:yaml.org,2002:'
_MAPPING_TAGS = (_PREFIX + 'map', _PREFIX + 'python/dict')
_SEQUENCE_TAGS = (_PREFIX + 'seq', _PREFIX + 'python/tuple', _PREFIX + 'python/list')
_MOST_NODES = 1_000_000


class _Loader(_Base):
    """Composes nodes; marks scalars without quotes or tag, and resolves nothing."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        """Returns the tag of a node that has none of its own."""
        if kind is yaml.ScalarNode:
            return _PLAIN_TAG if implicit[0] else _PREFIX + 'str'
        return _PREFIX + ('seq' if kind is yaml.SequenceNode else 'map')


def load_yaml(path: str | os.PathLike[str], source: Source | None = None) -> SourcedDict:
    """Reads a YAML or JSON file that holds a mapping.

    Args:
        path: The file.
        source: Who names the file, for the case that it is missing.

    Returns:
        The mapping. Unquoted scalars are `Plain` text, which the field that receives them reads;
        every key and element knows its file and line.

    Raises:
        ConfigError: The file is missing (also a FileNotFoundError), unreadable, no YAML, or no mapping.
    """
    name = os.fspath(path)
    return parse_yaml(read_text(name, source), name)


def parse_yaml(text: str, name: str = '', source: Source | None = None) -> SourcedDict:
    """Parses YAML or JSON text that holds a mapping; see `load_yaml`.

    Args:
        text: The text.
        name: The file it comes from, for `file:line`; '' if it is no file.
        source: Where the whole text comes from, if it is no file.
    """
    value = parse_yaml_value(text, name, source)
    if value is None or (isinstance(value, Plain) and scalars.is_null(value)):
        return SourcedDict()
    if not isinstance(value, SourcedDict):
        raise_malformed(
            'the YAML is no mapping',
            expected='`key: value` lines',
            received=errors.describe(to_text(value)),
            source=source or _file(name),
        )
    return value


def parse_yaml_value(text: str, name: str = '', source: Source | None = None) -> Any:
    """Parses YAML text of any kind; None for an empty text."""
    try:
        loader = _Loader(text)
    except UnicodeEncodeError:
        problem = 'the text holds half of a surrogate pair, so it is no Unicode'
        raise_malformed(problem, received=errors.describe(text), source=source or _file(name))
    try:
        node = loader.get_single_node()
        return None if node is None else _Reader(name, source).read(node)
    except yaml.YAMLError as error:
        _raise_yaml_error(error, name, source)
    except RecursionError:
        raise_malformed('the YAML is nested too deeply', source=source or _file(name))
    finally:
        loader.dispose()


def _file(name: str) -> Source | None:
    return Source('file', name) if name else None


def _raise_yaml_error(error: yaml.YAMLError, name: str, source: Source | None) -> NoReturn:
    mark = getattr(error, 'problem_mark', None)
    what = getattr(error, 'problem', None) or str(error).splitlines()[0]
    if source is None and name:
        source = Source('file', f'{name}:{mark.line + 1}' if mark else name)
    raise_malformed(f'malformed YAML: {what}', source=source)


def raise_malformed(
    message: str,
    *,
    expected: str = '',
    received: str = '',
    source: Source | None = None,
    hint: str = '',
    kinds: tuple[type[Exception], ...] = (ValueError,),
) -> NoReturn:
    """Raises one problem with an input as a whole."""
    problem = errors.Problem('', message, expected, received, source, '', hint, kinds)
    raise errors.make_error([problem])


def to_text(value: Any) -> Any:
    """Returns Plain text as str, for messages."""
    return str(value) if isinstance(value, str) else value


class _Reader:
    """Turns composed nodes into sourced containers and Plain text."""

    def __init__(self, name: str, source: Source | None) -> None:
        self.name = name
        self.source = source
        self.num_nodes = 0
        self.open: set[int] = set()

    def read(self, node: Any) -> Any:
        """Returns the value of a node."""
        self.num_nodes += 1
        if id(node) in self.open or self.num_nodes > _MOST_NODES:
            self._fail(node, 'an alias contains itself or the aliases expand too far')
        if isinstance(node, yaml.ScalarNode):
            return self._read_scalar(node)
        self.open.add(id(node))
        value = (
            self._read_sequence(node)
            if isinstance(node, yaml.SequenceNode)
            else self._read_mapping(node)
        )
        self.open.discard(id(node))
        return value

    def _source_of(self, node: Any) -> Source | None:
        if not self.name:
            return self.source
        return Source('file', f'{self.name}:{node.start_mark.line + 1}')

    def _fail(self, node: Any, message: str, **details: Any) -> NoReturn:
        raise_malformed(message, source=self._source_of(node), **details)

    def _read_scalar(self, node: Any) -> Any:
        text = node.value
        if node.tag == _PLAIN_TAG:
            return Plain(text)
        kind = node.tag.removeprefix(_PREFIX)
        if kind == 'str':
            return text
        readers: dict[str, Any] = {
            'int': scalars.parse_int,
            'float': scalars.parse_float,
            'bool': scalars.parse_bool,
        }
        if kind == 'null' and scalars.is_null(text):
            return None
        value = readers[kind](text) if kind in readers else None
        if value is None:
            self._fail(node, f'cannot read {text!r} with the tag {node.tag!r}')
        return value

    def _read_sequence(self, node: Any) -> Any:
        if node.tag not in _SEQUENCE_TAGS:
            self._fail(node, f'the tag {node.tag!r} is not allowed on a list')
        values = SourcedList(self.read(child) for child in node.value)
        values.sources = [self._source_of(child) for child in node.value]
        return tuple(values) if node.tag.endswith('tuple') else values

    def _read_mapping(self, node: Any) -> SourcedDict:
        if node.tag not in _MAPPING_TAGS:
            self._fail(node, f'the tag {node.tag!r} is not allowed on a mapping')
        merged = SourcedDict()
        own = SourcedDict()
        for key_node, value_node in node.value:
            if key_node.tag == _PLAIN_TAG and key_node.value == '<<':
                self._merge(merged, value_node)
                continue
            key = self._read_key(key_node)
            if key in own:
                self._fail(key_node, f'the key {key!r} appears twice', kinds=(ValueError, KeyError))
            own.put(key, self.read(value_node), self._source_of(key_node))
        for key, value in own.items():
            merged.put(key, value, own.sources.get(key))
        return merged

    def _merge(self, target: SourcedDict, node: Any) -> None:
        values = [self.read(node)] if isinstance(node, yaml.MappingNode) else self.read(node)
        if not isinstance(values, list) or not all(isinstance(v, SourcedDict) for v in values):
            self._fail(node, 'what `<<` merges must be a mapping or a list of mappings')
        for value in reversed(values):
            for key, item in value.items():
                target.put(key, item, value.sources.get(key))

    def _read_key(self, node: Any) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            self._fail(node, 'a key must be a name')
        return self._read_scalar(node)


def read_text(path: str, source: Source | None = None) -> str:
    """Returns the text of a local or remote (`gs://`) file.

    Raises:
        ConfigError: It is missing (also a FileNotFoundError) or cannot be read (also an OSError).
    """
    try:
        if '://' in path:
            return _read_remote(path)
        with open(path, encoding='utf-8') as file:
            return file.read()
    except FileNotFoundError as error:
        problem = errors.Problem(
            message=f'no such file: {path}', source=source, kinds=(FileNotFoundError,)
        )
        raise errors.make_error([problem]) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or str(error)
        problem = errors.Problem(
            message=f'cannot read {path!r}: {reason}', source=source, kinds=(OSError,)
        )
        raise errors.make_error([problem]) from error


def _read_remote(path: str) -> str:
    import tensorflow as tf

    try:
        if not tf.io.gfile.exists(path):
            raise FileNotFoundError(path)
        with tf.io.gfile.GFile(path, 'r') as file:
            return str(file.read())
    except tf.errors.OpError as error:
        raise OSError(error.message) from error


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes a local or remote file."""
    with _open_to_write(os.fspath(path)) as file:
        file.write(text)


def _open_to_write(path: str) -> Any:
    if '://' not in path:
        return open(path, 'w', encoding='utf-8')
    import tensorflow as tf

    return tf.io.gfile.GFile(path, 'w')


class _Dumper(yaml.SafeDumper):
    """Writes lists in one line, tuples as lists, and quotes all text that could be read as something else."""

    def ignore_aliases(self, data: Any) -> bool:
        """Writes every value out."""
        return True


def _represent_sequence(dumper: yaml.SafeDumper, data: Any) -> Any:
    is_flat = not any(isinstance(item, (dict, list, tuple)) for item in data)
    return dumper.represent_sequence(_PREFIX + 'seq', data, flow_style=is_flat)


def _represent_text(dumper: yaml.SafeDumper, data: str) -> Any:
    is_text = isinstance(scalars.parse_free(data), str) and data not in ('None', '<<')
    is_text = is_text and scalars.parse_float(data) is None and scalars.parse_int(data) is None
    return dumper.represent_scalar(_PREFIX + 'str', data, style=None if is_text else "'")


_Dumper.add_multi_representer(list, _represent_sequence)
_Dumper.add_multi_representer(tuple, _represent_sequence)
_Dumper.add_multi_representer(str, _represent_text)
_Dumper.add_multi_representer(dict, yaml.SafeDumper.represent_dict)
for _kind in (list, tuple, str):
    _Dumper.add_representer(_kind, _Dumper.yaml_multi_representers[_kind])


def dump_yaml(tree: Any) -> str:
    """Returns a tree of plain values as YAML text, in the order of its keys."""
    stream = io.StringIO()
    yaml.dump(
        tree,
        stream,
        Dumper=_Dumper,
        default_flow_style=False,
        sort_keys=False,
        allow_unicode=True,
        width=100,
    )
    return stream.getvalue()
