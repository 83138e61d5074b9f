"""Dicts, JSON, YAML, JSON Schema and dataclasses-json."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
import time
from typing import Any, Optional

import dataclasses_json
import jsonschema
import marshmallow
import pytest
import yaml

from official_lite.modeling import hyperparams
from official_lite.modeling.hyperparams import Config, ConfigError, override_params_dict
from tests.modeling.hyperparams.schemas import BiggerInner, Cfg, Inner, Other, ResNet, SameInner

TRICKY = [
    'off', 'None', 'null', '', '~', '1e-3', '012', '1_0', '12:30', '2024-01-02', '0x1', '0o7', '0b1', 'yes',
    'inf', '.nan', '<<', 'a: b', '# x', 'a\nb', 'é', '"q"', "'", '=', '- a', '*a', '&a', '!x', '%', '@', '[a',
    '{a', 'true', ' lead', 'trail ', '\t', '\x07', '1.', '.5', '+1', '\u2028', '\U0001f600', '?', '|', 'a, b',
]  # fmt: skip


def make_full() -> Cfg:
    """Returns a config with something in every field."""
    return Cfg(
        i=3, f=1e-7, flag=True, oi=4, os='x', pipe=5, color=3, number_or_text=0.5, li=[3], lf=[math.inf],
        ls=['a'], lli=[[1], []], path=['a', 'b'], t=(3, 4), ts=('u', 'v'), d={'x': 1.0, 'y.z': 2.0},
        free={'a': [1, {'b': None}], 'c': (1, 2)}, inner=BiggerInner(c=2.0), oinner=SameInner(),
        linner=[Inner(a=2), BiggerInner(), SameInner()], tinner=(SameInner(a=3),), model=ResNet(depth=7),
    )  # fmt: skip


def round_trips(config: Any, folder: pathlib.Path) -> dict[str, Any]:
    """Returns the config after each round trip."""
    cls = type(config)
    config.to_yaml(folder / 'params.yaml')
    (folder / 'params.json').write_text(config.to_json(indent=2))
    return {
        'dict': cls.from_dict(config.to_dict()),
        'json': cls.from_json(config.to_json()),
        'json file': cls.from_json(str(folder / 'params.json')),
        'yaml': cls.from_yaml(str(folder / 'params.yaml')),
        'yaml, loaded elsewhere': cls.from_dict(yaml.safe_load(config.to_yaml())),
        'override': override_params_dict(config.replace(i=99), str(folder / 'params.yaml')),
        'schema': cls.schema().loads(cls.schema().dumps(config)),
    }


def test_everything_comes_back(tmp_path: pathlib.Path) -> None:
    config = make_full()
    for way, other in round_trips(config, tmp_path).items():
        assert other == config, way
        assert [type(inner) for inner in other.linner] == [Inner, BiggerInner, SameInner], way
        assert [type(c) for c in (other.inner, other.oinner, other.model)] == [
            BiggerInner,
            SameInner,
            ResNet,
        ], way
        assert type(other.t) is type(other.tinner) is tuple, way


@pytest.mark.parametrize('text', TRICKY)
def test_every_text_comes_back(text: str, tmp_path: pathlib.Path) -> None:
    config = Cfg(
        s=text, os=text, number_or_text=text, ls=[text], path=text, ts=(text,), d={text: 1.0},
        free={'a': text, 'b': [text]},
    )  # fmt: skip
    for way, other in round_trips(config, tmp_path).items():
        assert other == config, way


@pytest.mark.parametrize(
    'number', [0.0, -0.0, 1e-300, 1e22, 0.1, 1 / 3, math.inf, -math.inf, math.nan, 1e16]
)
def test_every_number_comes_back(number: float, tmp_path: pathlib.Path) -> None:
    config = Cfg(f=number, number_or_text=number, free={'a': number})
    trips = round_trips(config, tmp_path)
    if not math.isfinite(number):
        del trips['schema']  # marshmallow's JSON has no such numbers
    for way, other in trips.items():
        assert other == config, way
        assert math.isnan(number) or math.copysign(1, other.f) == math.copysign(1, number), way


def test_to_dict_is_as_dict_where_keys_tell_the_class() -> None:
    config = Cfg(inner=BiggerInner(), linner=[Inner()])
    assert config.to_dict() == config.as_dict()
    config = Cfg(inner=SameInner())
    assert config.as_dict()['inner'] == {'a': 1, 'b': 'text'}
    named = {'_class': 'tests.modeling.hyperparams.schemas:SameInner', 'a': 1, 'b': 'text'}
    assert config.to_dict()['inner'] == named


def test_the_class_that_a_dict_names_must_fit() -> None:
    for name in ('tests.modeling.hyperparams.schemas:Other', 'os:system'):
        with pytest.raises(
            TypeError, match=f"inner._class: no config class '{name}' is known, expected Inner or"
        ):
            Cfg.from_dict({'inner': {'_class': name}})
    assert type(Cfg.from_dict({'model': {'_class': f'{Other.__module__}:Other'}}).model) is Other


def test_from_dict_refuses_what_is_unknown_and_keeps_what_is_free() -> None:
    config = Cfg.from_dict({'free': {'any': {'key': 1}}, 'model': {'x': [1]}, 'd': {'k': 2}})
    assert (config.free.any.key, config.model.x, config.d) == (1, [1], {'k': 2.0})  # type: ignore[union-attr]
    with pytest.raises(ConfigError) as info:
        Cfg.from_dict({'inner': {'aa': 1}, 'one': {'resnet': {'dept': 3}}, 'i': 'x'})
    assert [p.path for p in info.value.problems] == ['inner.aa', 'one.resnet.dept', 'i']
    assert Cfg.from_dict(make_full()) == make_full()


def test_from_json_takes_text_or_a_path(tmp_path: pathlib.Path) -> None:
    assert Inner.from_json('{"a": 2}') == Inner.from_json(b' {"a": 2}') == Inner(a=2)
    file = tmp_path / 'inner.json'
    file.write_text('a: 2')  # Model Garden's from_json reads YAML
    assert Inner.from_json(file) == Inner(a=2)
    with pytest.raises(ValueError, match=r'malformed JSON: .* at line 1, column 8'):
        Inner.from_json('{"a": 2')
    with pytest.raises(ValueError, match="the key 'a' appears twice"):
        Inner.from_json('{"a": 2, "a": 3}')
    with pytest.raises(FileNotFoundError, match=r'no such file: missing.json'):
        Inner.from_json('missing.json')
    with pytest.raises(TypeError, match='a: expected int, received True'):
        Inner.from_json('{"a": true}')


def test_dataclasses_json() -> None:
    assert issubclass(Cfg, dataclasses_json.DataClassJsonMixin)
    schema = Inner.schema(many=True)
    assert schema.load([{'a': 2}, {}]) == [Inner(a=2), Inner()]
    assert json.loads(schema.dumps([Inner()])) == [{'a': 1, 'b': 'text'}]
    with pytest.raises(marshmallow.ValidationError, match='expected int') as info:
        Cfg.schema().load({'inner': {'a': 'x'}, 'zz': 1})
    assert sorted(info.value.messages) == ['inner.a', 'zz']

    @dataclasses.dataclass
    class Foreign(dataclasses_json.DataClassJsonMixin):
        inner: Inner
        name: Optional[str] = None

    assert Foreign.from_dict(Foreign(Inner(a=3)).to_dict()) == Foreign(Inner(a=3))


def test_infer_missing() -> None:
    @dataclasses.dataclass
    class Needy(Config):
        n: Optional[int] = dataclasses.field(kw_only=True)

    assert Needy.from_dict({}, infer_missing=True) == Needy(n=None)
    with pytest.raises(TypeError, match="needs a value for 'n'"):
        Needy.from_dict({})


def test_the_yaml_is_plain_and_in_order() -> None:
    text = Cfg(ts=('a', 'b'), d={'x': 1.0}, linner=[Inner()], s='off').to_yaml()
    assert text.startswith("i: 1\nf: 2.0\ns: 'off'\nflag: false\noi: null\n")
    assert 'ts: [a, b]\nd:\n  x: 1.0\n' in text
    assert 'linner:\n- a: 1\n  b: text\n' in text
    assert 'one:\n  type: resnet\n  resnet:\n' in text
    assert '!!' not in text


def test_the_loader_leaves_pyyaml_alone() -> None:
    assert yaml.safe_load('a: 1e-3') == {'a': '1e-3'}
    assert yaml.safe_load('a: off') == {'a': False}
    assert yaml.safe_dump({'a': [1]}, default_flow_style=False) == 'a:\n- 1\n'


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('', {}),
        ('# nothing', {}),
        ('base: &b {x: 1, y: 2}\nmine: {<<: *b, y: 3}', {'base': {'x': '1', 'y': '2'}, 'mine': {'x': '1', 'y': '3'}}),
        ('a: !!str 5\nb: !!int "7"\nc: !!float 1\nd: !!bool yes\ne: !!null ""', {'a': '5', 'b': 7, 'c': 1.0, 'd': True, 'e': None}),
        ('a: !!python/tuple [1, b]', {'a': ('1', 'b')}),
        ('a: 1 # comment\nb: |\n  text\n', {'a': '1', 'b': 'text\n'}),
    ],
)  # fmt: skip
def test_yaml(text: str, expected: Any) -> None:
    assert hyperparams.parse_yaml(text) == expected


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('a: 1\nb:\n  c: 1\n  c: 2', r"the key 'c' appears twice \(from x.yaml:4\)"),
        ('a: [1', r'malformed YAML: did not find expected .* \(from x.yaml:\d\)'),
        ('a: !!python/object/apply:os.system [ls]', r"the tag .*os.system' is not allowed on a list \(from x.yaml:1\)"),
        ('a: !!python/name:os.system ""', 'cannot read .* with the tag'),
        ('a: !!int x', "cannot read 'x' with the tag"),
        ('a: !!set {x}', 'is not allowed on a mapping'),
        ('a: &x [*x]', 'an alias contains itself'),
        ('? [1, 2]\n: 3', 'a key must be a name'),
        ('<<: 3', 'what `<<` merges must be a mapping'),
        ('just text', r"the YAML is no mapping, expected `key: value` lines, received 'just text' .* \(from x.yaml\)"),
        ('- 1', 'the YAML is no mapping'),
        ('a: 1\n---\nb: 2', 'malformed YAML'),
        ('\ta: 1', 'malformed YAML'),
        ('a: \x01', 'malformed YAML'),
    ],
)  # fmt: skip
def test_bad_yaml(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hyperparams.parse_yaml(text, 'x.yaml')


def test_the_schema_accepts_what_the_package_accepts() -> None:
    schema = hyperparams.json_schema(make_full())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for config in (Cfg(), make_full()):
        tree = json.loads(config.replace(lf=[1.0]).to_json())
        assert list(validator.iter_errors(tree)) == []
    validator = jsonschema.Draft202012Validator(Cfg.json_schema())
    for text in ('i: 1e3', 'f: 1e-3', 'flag: on', 's: off', 's: 012', 'oi: null', 'ls: one', 't: [1, 2]',
                 'color: 3', 'number_or_text: 3', 'd: {x: 1}', 'free: [{a: 1}]', 'oinner: {a: 2}', 'model: {z: 1}',
                 'one: {type: spinenet, spinenet: {min_level: 3}}', 'one: {type: null}'):  # fmt: skip
        override_params_dict(Cfg(), text)
        assert list(validator.iter_errors(yaml.safe_load(text))) == [], text


@pytest.mark.parametrize(
    'text',
    ['i: x', 'i: 1.5', 'flag: 3', 'zz: 1', 'inner: {zz: 1}', 'inner: 3', 'li: 3', 'li: [a]', 't: [1, 2, 3]',
     'color: blue', 'd: {x: y}', 'one: {type: resnett}', 'one: {zz: 1}', 'oinner: 3', 'linner: [3]', 'li: null'],
)  # fmt: skip
def test_the_schema_refuses_what_the_package_refuses(text: str) -> None:
    with pytest.raises(ConfigError):
        override_params_dict(Cfg(), text)
    assert list(
        jsonschema.Draft202012Validator(Cfg.json_schema()).iter_errors(yaml.safe_load(text))
    )


def test_the_schema_of_an_object_knows_its_classes_and_values() -> None:
    schema = hyperparams.json_schema(Cfg(i=7, inner=BiggerInner(a=5)))
    assert schema['properties']['i']['default'] == 7
    inner = schema['$defs']['BiggerInner']
    assert inner['properties']['a'] | {'anyOf': 0} == {
        'description': 'A number of things.',
        'anyOf': 0,
        'default': 5,
    }
    assert list(inner['properties']) == ['a', 'b', 'c', '_class']
    assert inner['description'] == 'A subclass with one more field.'


def test_the_schema_of_a_class_that_holds_itself() -> None:
    @dataclasses.dataclass
    class Node(Config):
        child: Optional[Node] = None

    schema = Node.json_schema()
    jsonschema.validate({'child': {'child': None}}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({'child': {'child': {'x': 1}}}, schema)


def test_building_and_overriding_is_fast() -> None:
    branch = dataclasses.make_dataclass(
        'Branch', [(f'f{i}', int, i) for i in range(9)], bases=(hyperparams.Config,)
    )
    fields = [(f'b{i}', branch, dataclasses.field(default_factory=branch)) for i in range(30)]
    experiment = dataclasses.make_dataclass('Experiment', fields, bases=(hyperparams.Config,))
    text = ','.join(f'b{i}.f{i % 9}={i}' for i in range(10))
    times = []
    for _ in range(7):
        start = time.process_time()
        override_params_dict(experiment(), text)
        times.append(time.process_time() - start)
    assert min(times) < 5e-3
