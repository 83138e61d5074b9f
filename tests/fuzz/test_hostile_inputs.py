"""Inputs that break parsers and config libraries, one by one: all end in the package's own error."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from official_lite.modeling import hyperparams
from tests.fuzz import oracle, properties, schemas

DEPTH = 5000

TEXTS = {
    'deep list': 'sequences.free.a=' + '[' * DEPTH + ']' * DEPTH,
    'deep mapping': '{a: ' * DEPTH + '1' + '}' * DEPTH,
    'deep path': '.'.join(['leaf'] * DEPTH) + '=1',
    'deep blocks': '\n'.join(' ' * n + '- ' for n in range(500)),
    'unclosed brackets': 'leaf.width=' + '[' * DEPTH,
    'alias of itself': 'sequences: &a {free: *a}',
    'list in itself': 'sequences: {bare_list: &a [*a]}',
    'billion laughs': (
        'sequences: {bare_list: [&a [x, x], &b [*a, *a], &c [*b, *b], &d [*c, *c], *d, *e]}'
    ),
    'undefined alias': 'leaf: *nobody',
    'python object': 'leaf: !!python/object/apply:os.system ["true"]',
    'python tuple of objects': 'sequences: {pair: !!python/tuple [!!python/name:os.system , 1]}',
    'unknown tag': 'leaf: !mine {width: 1}',
    'binary': 'leaf: {name: !!binary aGk=}',
    'set': 'sequences: {bare_list: !!set {a, b}}',
    'merge of a scalar': 'leaf: {<<: 3}',
    'twice the same key': 'leaf: {width: 1, width: 2}',
    'two documents': 'leaf: {width: 1}\n---\nleaf: {width: 2}',
    'mapping as key': '{{a: 1}: 2}',
    'list as key': '{[1]: 2}',
    'null as key': '{null: 2}',
    'date': 'scalars: {an_int: 2024-01-02}',
    'many digits': 'scalars.an_int=' + '9' * 5000,
    'number out of range': 'scalars.an_int=1e999',
    'not a number': 'scalars.an_int=.nan',
    'half': 'scalars.an_int=0.5',
    'control character': 'leaf: {name: "\x01"}',
    'zero byte': 'leaf.width=\x00',
    'half a surrogate in YAML': 'leaf: {name: \ud800}',
    'half a surrogate': 'leaf.width=\ud800',
    'tab': 'leaf:\n\twidth: 1',
    'only a sign': '=',
    'only a comma': ',',
    'only a key': 'leaf.width',
    'no key': '=1',
    'empty part of a path': 'leaf..width=1',
    'path that ends in a dot': 'leaf.=1',
    'leading dot': '.leaf.width=1',
    'index without a list': 'leaf[0].width=1',
    'index out of range': 'leaves[7].width=1',
    'negative index': 'leaves[-1].width=1',
    'huge index': 'leaves[999999999999].width=1',
    'index that is a word': 'leaves[first].width=1',
    'index not closed': 'leaves[0.width=1',
    'index twice': 'leaves[0][0].width=1',
    'quote not closed': "leaf.name='abc",
    'text after a quote': "leaf.name='abc'def",
    'scalar over a node': 'leaf=3',
    'node over a scalar': 'leaf.width.deeper=1',
    'list over a node': 'leaf=[1]',
    'dunder': 'leaf.__class__=1',
    'private': 'leaf._locked=true',
    'method': 'leaf.override=1',
    'builder': 'leaf.BUILDER=1',
    'type of a choice': 'choice.type=type',
    'unknown type': 'choice.type=leav',
    'type that is a number': 'choice.type=3',
    'too few for a tuple': 'sequences.pair=[1]',
    'too many for a tuple': 'sequences.pair=[1,2,3]',
    'just a word': 'leaf',
    'file that is missing': 'missing/params.yaml',
    'folder': '.',
    'root': '/',
    'device': '/dev/null/x',
    'remote file of no known kind': 'nosuch://bucket/params.yaml',
    'long file name': 'a' * 500 + '.yaml',
}


@pytest.mark.parametrize('name', TEXTS)
def test_text_is_refused_and_changes_nothing(name: str) -> None:
    error = properties.check_text(schemas.Tree(), TEXTS[name])
    assert error is not None
    assert len(str(error)) < 2000


FINE_TEXTS = {
    'blank': ' ',
    'empty mapping': '{}',
    'nothing for a node': '{leaf: {}}',
    'node after null': 'opt_leaf=null,opt_leaf.width=3',
    'aliases': 'leaf: &a {width: 4}\nopt_leaf: *a',
    'merge': 'leaf: {<<: {width: 4}}',
    'spaces': ' leaf.width = 4 ',
    'index': 'leaves[1].width=4',
    'dotted keys': '{leaf.width: 4}',
}


@pytest.mark.parametrize('name', FINE_TEXTS)
def test_text_is_unusual_and_fine(name: str) -> None:
    assert properties.check_text(schemas.Tree(), FINE_TEXTS[name]) is None


def _endless_dict() -> dict[str, Any]:
    inner: dict[str, Any] = {}
    inner['leaf'] = inner
    return inner


def _deep_list() -> list[Any]:
    inner: list[Any] = []
    for _ in range(DEPTH):
        inner = [inner]
    return inner


class _Sneaky(int):
    """A number that is not what it looks like."""

    def __repr__(self) -> str:
        raise RuntimeError('no repr')


class _NoEq:
    def __eq__(self, other: object) -> bool:
        raise RuntimeError('no eq')

    __hash__ = None  # type: ignore[assignment]


RAWS: dict[str, Any] = {
    'mapping in itself': _endless_dict(),
    'deep list': {'sequences': {'bare_list': _deep_list()}},
    'repr that raises': {'leaf': {'name': _Sneaky(3)}},
    'eq that raises': {'leaf': {'width': _NoEq()}},
    'class': {'leaf': schemas.Leaf},
    'config of another class': {'leaf': schemas.Choice()},
    'config instead of a mapping': {'sequences': {'counts': schemas.Leaf()}},
    'function': {'leaf': {'name': len}},
    'bytes': {'leaf': {'name': b'x'}},
    'bool for a number': {'leaf': {'width': True}},
    'number for a bool': {'scalars': {'a_bool': 1}},
    'text for a bool': {'scalars': {'a_bool': 'maybe'}},
    'key that is no text': {3: 4},
    'key that is None': {None: 4},
}


@pytest.mark.parametrize('name', RAWS)
def test_data_is_refused_and_changes_nothing(name: str) -> None:
    config = schemas.Tree()
    before = oracle.flatten(config)
    error = properties.attempt(lambda: config.override(RAWS[name]))
    assert error is not None
    properties.check_refusal(error)
    properties.check_unchanged(before, config)


@pytest.mark.parametrize('raw', [3, 'a', [1], None, b'', 1.5, object(), {1}])
def test_override_refuses_what_is_no_mapping(raw: Any) -> None:
    config = schemas.Tree()
    error = properties.attempt(lambda: config.override(raw))
    if raw is not None:
        assert error is not None
    properties.check_types(config)


FILES = {
    'binary': b'\x89PNG\r\n\x1a\n\x00\x00',
    'not UTF-8': 'leaf: {name: "é"}'.encode('latin-1'),
    'list': b'- 1\n- 2\n',
    'scalar': b'42\n',
    'python tag': b'leaf: !!python/object:os.system {}\n',
    'unclosed': b'leaf: {width: 1\n',
    'unknown key': b'\nleaf:\n  widht: 1\n',
    'duplicate key': b'leaf:\n  width: 1\n  width: 2\n',
}


@pytest.mark.parametrize('name', FILES)
def test_file_is_refused_by_name(name: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / 'params.yaml'
    path.write_bytes(FILES[name])
    with pytest.raises(hyperparams.ConfigError, match=r'params\.yaml') as caught:
        schemas.Tree.from_yaml(str(path))
    properties.check_refusal(caught.value)


@pytest.mark.parametrize(('name', 'line'), [('unknown key', 3), ('duplicate key', 3)])
def test_file_is_refused_with_the_line(name: str, line: int, tmp_path: pathlib.Path) -> None:
    path = tmp_path / 'params.yaml'
    path.write_bytes(FILES[name])
    with pytest.raises(hyperparams.ConfigError, match=rf'params\.yaml:{line}\b'):
        schemas.Tree.from_yaml(str(path))


@pytest.mark.parametrize('kind', ['missing', 'folder'])
def test_path_that_is_no_file_is_refused(kind: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path if kind == 'folder' else tmp_path / 'missing.yaml'
    with pytest.raises(hyperparams.ConfigError, match=path.name):
        schemas.Tree.from_yaml(str(path))
