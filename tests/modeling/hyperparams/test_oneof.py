"""Choices between branches, declared and registered."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Iterator
from typing import Any, Optional

import jsonschema
import pytest

from official_lite.modeling import hyperparams
from official_lite.modeling.hyperparams import OneOfConfig, override_params_dict
from tests.modeling.hyperparams.schemas import Backbone, Cfg, Inner, ResNet, SpineNet


@dataclasses.dataclass
class MyNet(hyperparams.Config):
    """A plugin's config.

    Attributes:
        depth: How deep.
    """

    depth: int = 2


@pytest.fixture
def registered() -> Iterator[None]:
    Backbone.register_branch('my_net', MyNet)
    yield
    Backbone._registered.clear()  # type: ignore[attr-defined]


def test_get_and_as_dict() -> None:
    one = Backbone()
    assert one.get() is one.resnet
    assert one.as_dict() == {'type': 'resnet', 'resnet': {'depth': 50, 'name': None}}
    one.type = None
    assert one.get() is None
    assert one.as_dict() == {'type': None}
    assert Backbone.branches() == {'resnet': ResNet, 'spinenet': SpineNet}


def test_branches_need_not_be_configs() -> None:
    @dataclasses.dataclass
    class Output(OneOfConfig):
        type: str = 'single'
        single: int = 1
        double: Optional[Inner] = None

    assert override_params_dict(Output(), 'single=3').get() == 3
    assert override_params_dict(Output(), 'type=double,double.a=4').get() == Inner(a=4)
    with pytest.raises(TypeError, match='type: expected str, received None'):
        Output().type = None  # type: ignore[assignment]


def test_switching_carries_nothing_over() -> None:
    config = Cfg()
    config.one.resnet.depth = 101
    config.one.type = 'spinenet'
    config.one.type = 'resnet'
    assert config.one.resnet.depth == 50
    assert not config.is_set('one.resnet.depth')
    override_params_dict(config, 'one.resnet.depth=18')
    override_params_dict(config, 'one={type: spinenet, spinenet: {min_level: 2}}')
    override_params_dict(config, 'one.type=resnet')
    assert config.one == Backbone()
    assert config.one.spinenet == SpineNet()


def test_a_branch_may_be_prepared_before_it_is_chosen() -> None:
    one = Backbone()
    one.spinenet.min_level = 2
    one.type = 'spinenet'
    assert one.get().min_level == 2
    assert Backbone(type='spinenet', spinenet=SpineNet(min_level=4)).get().min_level == 4


def test_a_failed_switch_changes_nothing() -> None:
    config = Cfg()
    config.one.resnet.depth = 101
    with pytest.raises(KeyError, match=r'one.spinenet.zz'):
        override_params_dict(config, 'one.type=spinenet,one.spinenet.zz=3')
    assert config.one.type == 'resnet'
    assert config.one.resnet.depth == 101


def test_order_within_an_override_does_not_matter() -> None:
    for text in (
        'one.spinenet.min_level=2,one.type=spinenet',
        'one.type=spinenet,one.spinenet.min_level=2',
    ):
        assert override_params_dict(Cfg(), text).one.get().min_level == 2


def test_equality_is_that_of_the_choice() -> None:
    left, right = Backbone(), Backbone()
    left.spinenet.min_level = 2
    assert left == right
    left.resnet.depth = 3
    assert left != right


def test_a_registered_branch_is_as_good_as_a_declared_one(tmp_path: Any) -> None:
    before, locked = Cfg(), Cfg()
    locked.lock()
    Backbone.register_branch('my_net', MyNet)
    try:
        Backbone.register_branch('my_net', MyNet)  # the same again is fine
        assert locked.one.my_net.is_locked  # type: ignore[attr-defined]
        assert 'my_net' in before.one
        config = override_params_dict(before, 'one.type=my_net,one.my_net.depth=3', source='--flag')
        assert config.one == Backbone(type='my_net', my_net=MyNet(depth=3))  # type: ignore[call-arg]
        assert config.one.as_dict() == {'type': 'my_net', 'my_net': {'depth': 3}}
        assert str(config.source_of('one.my_net.depth')) == '--flag'
        config.to_yaml(tmp_path / 'p.yaml')
        copies = [
            copy.deepcopy(config),
            pickle.loads(pickle.dumps(config)),
            Cfg.from_dict(config.to_dict()),
            Cfg.from_json(config.to_json()),
            Cfg.from_yaml(tmp_path / 'p.yaml'),
        ]
        assert all(copied == config for copied in copies)
        assert all(copied.one.get() == MyNet(depth=3) for copied in copies)
        assert config != override_params_dict(config.replace(), 'one.my_net.depth=4')
        schema = Cfg.json_schema()
        assert 'my_net' in schema['$defs']['Backbone']['properties']['type']['enum']
        assert schema['$defs']['MyNet']['properties']['depth']['description'] == 'How deep.'
        jsonschema.validate({'one': {'type': 'my_net', 'my_net': {'depth': 4}}}, schema)
        with pytest.raises(ValueError, match="expected one of 'resnet', 'spinenet', 'my_net'"):
            config.one.type = 'my_nett'
        with pytest.raises(KeyError, match=r"one.my_net.dept: .*did you mean 'depth'"):
            override_params_dict(config, 'one.my_net.dept=4')
        config.one.type = 'resnet'
        config.one.type = 'my_net'
        assert config.one.get() == MyNet()
    finally:
        Backbone._registered.clear()  # type: ignore[attr-defined]


def test_branches_reach_subclasses_and_only_them(registered: None) -> None:
    @dataclasses.dataclass
    class Bigger(Backbone):
        inner: Inner = dataclasses.field(default_factory=Inner)

    @dataclasses.dataclass
    class Unrelated(OneOfConfig):
        resnet: ResNet = dataclasses.field(default_factory=ResNet)

    assert list(Bigger.branches()) == ['resnet', 'spinenet', 'inner', 'my_net']
    assert Bigger(type='my_net').get() == MyNet()
    assert list(Unrelated.branches()) == ['resnet']


@pytest.mark.parametrize(
    ('name', 'cls', 'message'),
    [
        ('my_net', ResNet, "Backbone.my_net: a branch 'my_net' of another class exists already"),
        ('resnet', MyNet, "a branch 'resnet' of another class exists already"),
        ('type', MyNet, "'type' is reserved"),
        ('override', MyNet, "'override' is reserved"),
        ('my-net', MyNet, "'my-net' is no name for a branch"),
        ('number', int, 'a branch needs a config class'),
    ],
)
def test_branches_that_cannot_be_registered(
    registered: None, name: str, cls: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Backbone.register_branch(name, cls)


def test_no_branch_is_chosen() -> None:
    config = Cfg(one=Backbone(type=None))
    with pytest.raises(
        ValueError,
        match=r'one.resnet: the branch .* is not chosen \(no type is chosen\).*set one.type=resnet',
    ):
        override_params_dict(config, 'one.resnet.depth=3')


def test_restrictions_on_branches_that_are_not_chosen_do_not_apply() -> None:
    restrictions = ['i == one.spinenet.min_level']
    config = Cfg(restrictions=restrictions)
    config.validate()
    config.one.type = 'spinenet'
    with pytest.raises(
        KeyError,
        match=r'Found inconsistency between keys: .*received i = 1 .int. and one.spinenet.min_level = 3',
    ):
        config.validate()
    config.i = 3
    config.validate()
    with pytest.raises(
        KeyError, match="names 'spinnet', which does not exist; did you mean 'spinenet'"
    ):
        Cfg(restrictions=['i == one.spinnet.min_level']).validate()


def test_a_config_older_than_a_branch_can_be_locked() -> None:
    config = Cfg()
    assert 'my_net' not in vars(config.one)
    Backbone.register_branch('my_net', MyNet)
    try:
        config.lock()
        assert config.one.my_net.is_locked  # type: ignore[attr-defined]
        assert config.one.my_net == MyNet()  # type: ignore[attr-defined]
    finally:
        Backbone._registered.clear()  # type: ignore[attr-defined]
