"""The override language: texts, files, and what they do to a config."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from official_lite.modeling import hyperparams
from official_lite.modeling.hyperparams import ConfigError, override_params_dict, parse_override
from tests.modeling.hyperparams.schemas import Cfg


def changes(text: Any) -> dict[str, Any]:
    """Returns the leaves that an override changes, by path."""
    config = override_params_dict(Cfg(), text, source='--params_override')
    return {
        path: new for path, _, new in hyperparams.diff(Cfg(), config) if repr(new) != '(absent)'
    }


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('i=2,f=3', {'i': 2, 'f': 3.0}),
        (' i = 2 , f = 3 ', {'i': 2, 'f': 3.0}),
        ('i=2,', {'i': 2}),
        ('i=2,i=3', {'i': 3}),
        ('lli=[[1,2],[3]]', {'lli': [[1, 2], [3]]}),
        ('li=[ 4 , 5 ]', {'li': [4, 5]}),
        ('li=[]', {'li': []}),
        ('ts=[]', {}),
        ("s='x, y'", {'s': 'x, y'}),
        ('s="x, y"', {'s': 'x, y'}),
        ("s='it''s'", {'s': "it's"}),
        (r's="a\"b\n"', {'s': 'a"b\n'}),
        ("ls=['a,b', c]", {'ls': ['a,b', 'c']}),
        ('s=x,y', {'s': 'x,y'}),
        ('s=a=b,i=2', {'s': 'a=b', 'i': 2}),
        ('s=it is,i=2', {'s': 'it is', 'i': 2}),
        ('path=gs://a/b*,gs://c', {'path': 'gs://a/b*,gs://c'}),
        ('path=gs://a/b*,gs://c,i=2', {'path': 'gs://a/b*,gs://c', 'i': 2}),
        ('path=[0-9]*.tfrecord,i=2', {'path': '[0-9]*.tfrecord', 'i': 2}),
        ('path=/d/train-[0-9]*,i=2', {'path': '/d/train-[0-9]*', 'i': 2}),
        ('path=[gs://a, /b:c]', {'path': ['gs://a', '/b:c']}),
        ('s=C:\\data,i=2', {'s': 'C:\\data', 'i': 2}),
        ('s=,i=2', {'s': '', 'i': 2}),
        ('lf[0]=5', {'lf': [5.0, 2.0]}),
        ('lf[0]=5,lf[1]=6,lf[2]=7', {'lf': [5.0, 6.0, 7.0]}),
        ('lf=[9,9],lf[1]=6', {'lf': [9.0, 6.0]}),
        ('t[1]=9', {'t': (1, 9)}),
        ('lli[0]=[1],lli[0][0]=7', {'lli': [[7]]}),
        ('linner[0].a=5', {'linner[0].a': 5, 'linner[0].b': 'text'}),
        ('linner=[{a: 1},{a: 2}],linner[1].b=x', {'linner[0].a': 1, 'linner[0].b': 'text', 'linner[1].a': 2, 'linner[1].b': 'x'}),
        ('inner={a: 3, b: [}', None),
        ('inner={a: 3, b: q}', {'inner.a': 3, 'inner.b': 'q'}),
        ('d.x=1,d.y-z=2', {'d': {'x': 1.0, 'y-z': 2.0}}),
        ("d.'x.y'=1", {'d': {'x.y': 1.0}}),
        ('d={x.y: 1}', {'d': {'x.y': 1.0}}),
        ('model.k.l=1e-3,model.m=[a,1]', {'model.k.l': 1e-3, 'model.m': ['a', 1]}),
        ('one.spinenet.min_level=2,one.type=spinenet', {'one.type': 'spinenet', 'one.spinenet.min_level': 2, 'one.spinenet.max_level': 7}),
    ],
)  # fmt: skip
def test_pairs(text: str, expected: dict[str, Any] | None) -> None:
    if expected is None:
        with pytest.raises(ValueError, match='Malformed override'):
            changes(text)
    else:
        assert changes(text) == expected


@pytest.mark.parametrize(
    'text',
    [
        '{i: 2, inner: {a: 4}, linner: [{a: 1}]}',
        '{"i": 2, "inner": {"a": 4}, "linner": [{"a": 1}]}',
        'i: 2\ninner:\n  a: 4\nlinner:\n- a: 1\n',
        'i: 2\ninner.a: 4\nlinner: [{a: 1}]',
        'inner:\n  b: text\ninner.a: 4\ni: 2\nlinner[0].a: 1',
        {'i': 2, 'inner.a': 4, 'linner': [{'a': 1}]},
        {'inner.a': 4, 'i': 2, 'inner': {'b': 'text'}, 'linner[0].a': 1},
    ],
)
def test_yaml_json_and_dotted_keys(text: Any, tmp_path: pathlib.Path) -> None:
    expected = {'i': 2, 'inner.a': 4, 'linner[0].a': 1, 'linner[0].b': 'text'}
    assert changes(text) == expected
    if isinstance(text, str):
        file = tmp_path / 'override.yaml'
        file.write_text(text)
        assert changes(str(file)) == expected
        assert changes(file) == expected


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('foo', "^Malformed override at 'foo': no `key=value` is there.*from --params_override"),
        ('=1', 'Malformed override'),
        (',i=1', 'Malformed override'),
        ('a..b=1', 'Malformed override'),
        ('.i=1', 'Malformed override'),
        ('i[x]=1', 'Malformed override'),
        ("s='a", 'a quote is not closed'),
        ("s='a'b", 'text follows a closing quote'),
        ('li=[1,2', 'a bracket is not closed'),
        ('li=[1,2)', 'a bracket is not closed'),
        ('inner={a: [1}]', 'a bracket closes what is not open'),
        ('lli=[1],lli[5]=2', 'there is no element 5'),
        ('{i: 1', 'malformed YAML: did not find expected'),
        ('i: [1', 'malformed YAML'),
        ('- a\n- b', 'Malformed override'),
        ('i: 1\ni: 2', "the key 'i' appears twice"),
        ('inner={a: 1, a: 2}', "the key 'a' appears twice"),
    ],
)
def test_malformed_texts_are_reported_as_such(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as info:
        changes(text)
    assert isinstance(info.value, ValueError)
    assert not isinstance(info.value, FileNotFoundError)


@pytest.mark.parametrize(
    'path', ['/no/such/file.yaml', 'missing.yaml', 'no/such/file', 'a=b/c.yaml']
)
def test_a_missing_file_is_reported_as_such(path: str) -> None:
    if '=' in path:
        with pytest.raises(KeyError, match="The key 'a' does not exist"):
            changes(path)
        return
    with pytest.raises(
        FileNotFoundError, match=rf'^no such file: {path} \(from --params_override\)$'
    ):
        changes(path)


def test_a_file_that_cannot_be_read(tmp_path: pathlib.Path) -> None:
    with pytest.raises(OSError, match='cannot read'):
        hyperparams.load_yaml(tmp_path)
    (tmp_path / 'binary.yaml').write_bytes(b'\xff\xfe\x00\x81')
    with pytest.raises(OSError, match='cannot read'):
        hyperparams.load_yaml(tmp_path / 'binary.yaml')


def test_other_input_is_refused() -> None:
    with pytest.raises(ValueError, match='Unknown input type to parse, expected a mapping'):
        override_params_dict(Cfg(), 3)
    assert override_params_dict(Cfg(), '') == override_params_dict(Cfg(), None) == Cfg()


def test_the_parsed_tree_keeps_text_and_sources() -> None:
    tree = parse_override("a.b=012,c=[x, 'y']", source='--hparams_overrides')
    assert tree == {'a': {'b': '012'}, 'c': ['x', 'y']}
    assert str(tree['a'].sources['b']) == '--hparams_overrides'


@pytest.mark.parametrize(
    ('text', 'expected', 'message'),
    [
        (
            'li[5]=1',
            '',
            r'^li\[5\]: there is no element 5, expected an index up to 2, which appends',
        ),
        ('t[2]=1', '', r'^t\[2\]: there is no element 2, expected tuple of 2'),
        ('i[0]=1', '', '^i: expected int'),
        ('inner[0]=1', '', r'^inner: expected Inner \(a mapping\)'),
        ('lf[0]=abc', '', r"^lf\[0\]: expected float, received 'abc'"),
        ('i=', '', '^i: expected int, received nothing'),
        ('my-key=1', '', "The key 'my-key' does not exist in Cfg"),
        ('linner=[3]', '', r'^linner\[0\]: expected Inner'),
        ('oi=x', '', "^oi: expected int or None, received 'x'"),
        (
            'color=gren',
            '',
            "^color: expected one of 'red', 'green', 3, received 'gren'.*did you mean 'green'",
        ),
        ('_locked=true', '', "The key '_locked' is internally reserved"),
        ('restrictions=[]', '', "The key 'restrictions' does not exist"),
    ],
)
def test_values_that_do_not_fit(text: str, expected: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        changes(text)


def test_an_override_with_a_problem_changes_nothing() -> None:
    config = Cfg()
    with pytest.raises(ConfigError) as info:
        config.override(
            {
                'inner': {'a': 5},
                'linner': [{'a': 1}],
                'one': {'type': 'spinenet'},
                'd': {'x': 1},
                'i': 'x',
                'f': 'y',
            }
        )
    assert [p.path for p in info.value.problems] == ['i', 'f']
    assert config == Cfg()
    assert not config.is_set('inner.a')


def test_what_is_given_is_neither_changed_nor_shared() -> None:
    given = {'free': {'a': [1, 2]}, 'd': {'x': 1.0}, 'linner': [{'a': 1}], 'li': [1]}
    config = Cfg()
    config.override(given)
    config.free.a.append(3)
    config.d['y'] = 2.0
    config.li.append(2)
    assert given == {'free': {'a': [1, 2]}, 'd': {'x': 1.0}, 'linner': [{'a': 1}], 'li': [1]}
    inner = Cfg().inner
    config.inner = inner
    inner.a = 99
    assert config.inner.a == 1


def test_a_dict_field_is_updated_by_override_and_replaced_by_assignment() -> None:
    config = Cfg(d={'x': 1.0})
    config.override({'d': {'y': 2}})
    assert config.d == {'x': 1.0, 'y': 2.0}
    config.d = {'z': 3}
    assert config.d == {'z': 3.0}


def test_lists_of_configs_merge_at_equal_length_only() -> None:
    config = Cfg(linner=[{'a': 5, 'b': 'x'}])  # type: ignore[list-item]
    config.override({'linner': [{'a': 6}]})
    assert config.linner[0].as_dict() == {'a': 6, 'b': 'x'}
    config.override({'linner': [{'a': 7}, {}]})
    assert [inner.b for inner in config.linner] == ['text', 'text']


def test_not_strict_adds_keys() -> None:
    config = Cfg()
    config.override({'extra': {'x': 1}, 'inner': {'more': 2}}, is_strict=False)
    assert config.extra.x == 1  # type: ignore[attr-defined]
    assert config.as_dict()['inner'] == {'a': 1, 'b': 'text', 'more': 2}


def test_one_line_of_yaml() -> None:
    show = hyperparams.nested_csv_str_to_json_str
    assert show('a=1,b.c=2,d[1]=3,d[0]=x') == '{a : 1, b : {c : 2}, d : [x, 3]}'
    assert show('a=gs://b,c=[[1,2],[3]]') == "{a : 'gs://b', c : [[1, 2], [3]]}"
    with pytest.raises(ValueError, match='some elements of the list are given, others are not'):
        show('a[0]=1,a[2]=2')
