"""`validate`, `lock`, sources and differences."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from official_lite.modeling import hyperparams
from official_lite.modeling.hyperparams import Config, ConfigError, Source, override_params_dict
from tests.modeling.hyperparams.schemas import Backbone, BiggerInner, Cfg, Inner, Other, ResNet


def test_changes_inside_lists_and_dicts_are_reported() -> None:
    config = Cfg()
    config.override({'li': [1], 'd': {'x': 1}}, source='--flag')
    config.li.append('x')  # type: ignore[arg-type]
    config.d['y'] = 'z'  # type: ignore[assignment]
    config.linner.append(Other())  # type: ignore[arg-type]
    for check in (config.validate, config.lock):
        with pytest.raises(TypeError) as info:
            check()
        assert [str(p) for p in info.value.problems] == [  # type: ignore[attr-defined]
            "li[1]: expected int, received 'x' (str) (from --flag)",
            "d.y: expected float, received 'z' (str) (from --flag)",
            'linner[0]: expected Inner (a mapping), received Other(z=0) (Other)',
        ]
    assert not config.is_locked


def test_values_that_fit_in_another_form_get_the_declared_one() -> None:
    config = Cfg()
    config.li.append(3.0)  # type: ignore[arg-type]
    config.linner.append({'a': 3})  # type: ignore[arg-type]
    config.validate()
    assert config.li == [1, 2, 3]
    assert type(config.li[2]) is int
    assert config.linner == [Inner(a=3)]


def test_hooks_see_every_chosen_node_and_name_the_source() -> None:
    config = Cfg(linner=[Inner()])
    config.override({'one.resnet.depth': 0}, source='--params_override')
    with pytest.raises(ValueError, match=(
        r'^one.resnet.depth: expected 1 or more, received 0 \(int\) \(from --params_override\); ResNets have layers$'
    )):  # fmt: skip
        config.validate()
    config.one.type = 'spinenet'
    config.one.resnet.depth = 0
    config.validate()


def test_hooks_of_lists_and_of_relations() -> None:
    @dataclasses.dataclass
    class Pair(Config):
        low: int = 0
        high: int = 1

        def _check(self, report: Any) -> None:
            if self.low > self.high:
                report('low', message='is above `high`', hint='swap them')

    @dataclasses.dataclass
    class Pairs(Config):
        pairs: list[Pair] = dataclasses.field(default_factory=list)

    config = Pairs(pairs=[Pair(), Pair(low=2), Pair(low=3)])
    with pytest.raises(ConfigError) as info:
        config.validate()
    assert [(p.path, p.message) for p in info.value.problems] == [
        ('pairs[1].low', 'is above `high`'),
        ('pairs[2].low', 'is above `high`'),
    ]


def test_hooks_do_not_see_values_of_wrong_types() -> None:
    @dataclasses.dataclass
    class Sum(Config):
        parts: list[int] = dataclasses.field(default_factory=list)

        def _check(self, report: Any) -> None:
            if sum(self.parts) > 3:
                report('parts', expected='a sum up to 3')

    config = Sum()
    config.parts.append('x')  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r'^parts\[0\]: expected int'):
        config.validate()
    config.parts[:] = [4]
    with pytest.raises(
        ValueError, match=r'^parts: expected a sum up to 3, received \[4\] \(list\)'
    ):
        config.validate()


@pytest.mark.parametrize(
    ('restriction', 'message'),
    [
        ('i', "Unsupported relation in restriction 'i', expected two sides and one of"),
        ('i = 1', 'Unsupported relation'),
        ('0 < i < 3', 'Unsupported relation'),
        ('i == nowhere', "names 'nowhere', which does not exist"),
        ('inner.aa == 1', "names 'aa', which does not exist; did you mean 'a'"),
        ('oi < 3', "the restriction 'oi < 3' cannot be checked"),
        ('i == [1', 'cannot be checked'),
        ('s == "other"', 'Found inconsistency between keys'),
        ('i >= 2', "'i >= 2' does not hold, received i = 1 .int. and 2"),
        ('inner == oinner', 'Found inconsistency between keys'),
    ],
)
def test_restrictions_that_do_not_hold(restriction: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Cfg(restrictions=[restriction]).validate()


@pytest.mark.parametrize(
    'restriction',
    ['i==1', 'i != 2', 'f>=i', 'i<f', 'oi == None', 'flag == false', "s == 'text'", "'a == b' != s",
     'li == [1, 2]', 't == (1, 2)', 'i > -1', 'inner == inner', 'd != None'],
)  # fmt: skip
def test_restrictions_that_hold(restriction: str) -> None:
    Cfg(restrictions=[restriction]).validate()


def test_locking_reaches_branches_that_are_not_chosen_and_free_values() -> None:
    config = Cfg(free={'a': [{'b': [1]}]}, model=ResNet())
    config.lock()
    config.lock()
    config.validate()
    with pytest.raises(ValueError, match='The SpineNet has been locked'):
        config.one.spinenet.min_level = 1
    with pytest.raises(ValueError, match='this list belongs to a locked config'):
        config.free.a[0].b += [1]
    with pytest.raises(ValueError, match=r'The Cfg has been locked.*change a copy: config.replace'):
        config.override({'i': 3})
    assert config.as_dict()['free'] == {'a': [{'b': [1]}]}
    config.as_dict()['li'].append(3)
    assert config.li == [1, 2]


def test_every_leaf_knows_who_set_it(tmp_path: Any) -> None:
    file = tmp_path / 'own.yaml'
    file.write_text('# mine\ninner:\n  a: 5\nlf:\n- 1\none.resnet.depth: 18\n')
    config = Cfg(s='given')
    override_params_dict(config, str(file))
    override_params_dict(config, 'i=2,linner=[{a: 1}]', source='--params_override')
    config.flag = True
    config.set_from('oi', 9, 'data: /records')
    here = __file__.rpartition('/')[2]
    sources = {path: str(source) for path, _, source in config.leaves()}
    assert sources['inner.a'] == f'{file}:3'
    assert sources['inner.b'] == 'default'
    assert sources['lf'] == f'{file}:4'
    assert sources['one.resnet.depth'] == f'{file}:6'
    assert sources['one.type'] == sources['li'] == 'default'
    assert sources['i'] == sources['linner[0].a'] == '--params_override'
    assert sources['s'].rpartition(':')[0].endswith(here)
    assert sources['flag'].rpartition(':')[0].endswith(here)
    assert config.source_of('oi') == Source('data', 'data: /records')
    assert all(str(config.source_of(path)) == source for path, source in sources.items())
    assert [path for path in sources if config.is_set(path)] == [
        'i', 's', 'flag', 'oi', 'lf', 'inner.a', 'linner[0].a', 'one.resnet.depth'
    ]  # fmt: skip
    assert config.source_of('nowhere') is None
    assert config.source_of('inner.nowhere') is None
    assert config.source_of('linner[7]') is None
    assert not config.is_set('nowhere')
    with pytest.raises(ValueError, match='no dotted path'):
        config.source_of('a..b')


def test_problems_in_files_name_the_line(tmp_path: Any) -> None:
    file = tmp_path / 'own.yaml'
    file.write_text('inner:\n  a: five\nli:\n- 1\n- two\nlinner:\n- {aa: 1}\n')
    with pytest.raises(ConfigError) as info:
        override_params_dict(Cfg(), str(file))
    assert [(p.path, str(p.source)) for p in info.value.problems] == [
        ('inner.a', f'{file}:2'),
        ('li[1]', f'{file}:5'),
        ('linner[0].aa', f'{file}:7'),
    ]


def test_what_a_factory_sets_is_nobodys_choice() -> None:
    config = Cfg(i=5, inner=Inner(a=2))
    config.one.resnet.depth = 34
    config.reset_sources('factory: mine')
    assert {str(source) for _, _, source in config.leaves()} == {'factory: mine'}
    assert not config.is_set('one.resnet.depth')
    config.one.resnet.depth = 18
    assert config.is_set('one.resnet.depth')
    assert str(config.source_of('one.resnet.name')) == 'factory: mine'


def test_diff() -> None:
    left, right = Cfg(), Cfg()
    override_params_dict(right, 'i=2,li=[3],oinner.a=1,one.type=spinenet')
    found = {path: (a, b) for path, a, b in hyperparams.diff(left, right)}
    assert found['i'] == (1, 2)
    assert found['li'] == ([1, 2], [3])
    assert found['one.type'] == ('resnet', 'spinenet')
    assert repr(found['one.resnet.depth']) == '(50, (absent))'
    assert hyperparams.diff(left, Cfg()) == []


def test_the_nearest_name_is_near() -> None:
    config = Cfg()
    for given, nearest in (
        ('inners', 'inner'),
        ('number-or-text', 'number_or_text'),
        ('colour', 'color'),
    ):
        with pytest.raises(KeyError, match=f'did you mean {nearest!r}'):
            config.override({given: 1})
    with pytest.raises(KeyError, match="it has 'i', 'f'"):
        config.override({'qqqqq': 1})


def test_problems_can_be_read_by_programs() -> None:
    with pytest.raises(ConfigError) as info:
        override_params_dict(Cfg(), 'one.type=resnt', source='--params_override')
    (problem,) = info.value.problems
    assert (problem.path, problem.suggestion, problem.received) == ('one.type', 'resnet', '')
    assert problem.source == Source('flag', '--params_override')
    assert info.value.exit_code == 2
    assert Backbone is type(Cfg().one)
    assert BiggerInner().validate() is None
