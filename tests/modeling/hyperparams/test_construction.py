"""Configs as dataclasses: constructors, equality, copies, builders; free-form and untyped ones."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from typing import Any, Optional

import pytest

from official_lite.modeling import hyperparams
from official_lite.modeling.hyperparams import Config, ConfigError, ParamsDict
from tests.modeling.hyperparams.schemas import Backbone, BiggerInner, Cfg, Inner, SameInner


def test_arguments() -> None:
    assert Inner(a=2).as_dict() == {'a': 2, 'b': 'text'}
    assert Inner({'a': 2}) == Inner(default_params={'a': 2}) == Inner(a=2)
    assert Inner.from_args(2, b='x') == Inner(a=2, b='x')
    assert BiggerInner.from_args(0.25) == BiggerInner(c=0.25)
    assert list(inspect.signature(Inner).parameters) == ['default_params', 'restrictions', 'a', 'b']
    assert dataclasses.replace(Inner(a=2), b='x') == Inner(a=2, b='x')
    assert [field.name for field in dataclasses.fields(Inner)] == ['a', 'b']


def test_wrong_arguments_are_reported_together() -> None:
    with pytest.raises(ConfigError) as info:
        Inner(a='x', c=3)  # type: ignore[arg-type,call-arg]
    assert isinstance(info.value, TypeError)
    assert [p.path for p in info.value.problems] == ['a', 'c']
    with pytest.raises(TypeError, match='takes 4 arguments by position'):
        Inner(None, None, 1, 'x', 5)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match='a: given both by position and by name'):
        Inner(None, None, 1, a=2)  # type: ignore[misc]
    with pytest.raises(KeyError, match="The key 'c' does not exist in Inner"):
        Inner({'c': 3})


def test_fields_without_default() -> None:
    @dataclasses.dataclass
    class Needy(Config):
        n: int = dataclasses.field(kw_only=True)
        m: int = 2

    @dataclasses.dataclass
    class Outer(Config):
        needy: Optional[Needy] = None

    assert Needy(n=1).as_dict() == {'n': 1, 'm': 2}
    with pytest.raises(TypeError, match="n: Needy needs a value for 'n', expected int"):
        Needy()  # type: ignore[call-arg]
    assert Outer(needy={'n': 4}).needy == Needy(n=4)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"needy.n: Needy needs a value for 'n'"):
        Outer().override({'needy': {'m': 4}})
    with pytest.raises(TypeError, match='n: Needy needs'):
        Needy.from_dict({'m': 1})


def test_post_init_runs_and_its_values_are_checked() -> None:
    @dataclasses.dataclass
    class Derived(Config):
        a: int = 1
        twice: int = 0
        extra: dataclasses.InitVar[int] = 5

        def __post_init__(self, default_params: Any, restrictions: Any, extra: Any) -> None:
            super().__post_init__(default_params, restrictions)
            self.twice = 2 * self.a + extra

    assert Derived(a=3).twice == 11
    assert Derived({'a': 4}, extra=0).twice == 8
    assert not Derived(a=3).is_set('twice')


def test_an_own_constructor_is_kept() -> None:
    @dataclasses.dataclass
    class Own(Config):
        a: int = 1

        def __init__(self, twice: int = 2) -> None:
            super().__init__()
            self.a = twice * 2

    class Renamed(Own):
        pass

    assert Own(3).a == 6
    assert Renamed(4).a == 8


def test_defaults_are_not_shared() -> None:
    shared = Inner(a=5)

    @dataclasses.dataclass
    class Sharing(Config):
        inner: Inner = dataclasses.field(default_factory=lambda: shared)
        inners: tuple[Inner, ...] = (shared,)

    first, second = Sharing(), Sharing()
    first.inner.a = first.inners[0].a = 9
    assert (second.inner.a, second.inners[0].a, shared.a) == (5, 5, 5)
    one, two = Cfg(), Cfg()
    one.li.append(3)
    assert two.li == [1, 2]


def test_equality_and_hash() -> None:
    assert Inner() == Inner()
    assert Inner() != Inner(a=2)
    assert Inner() != SameInner()
    assert Inner() != 3
    assert Cfg(path=('a',)) == Cfg(path=['a'])
    with pytest.raises(TypeError, match='unhashable'):
        hash(Inner())


def test_repr() -> None:
    assert repr(Inner()) == "Inner(a=1, b='text')"
    assert repr(Backbone()) == "Backbone(type='resnet', resnet=ResNet(depth=50, name=None))"
    assert repr(Config({'a': {'b': 1}})) == 'Config(a=Config(b=1))'


def test_copies_keep_the_lock_and_replace_gives_it_up() -> None:
    config = Cfg(linner=[Inner()], d={'x': 1.0}, restrictions=['i > 0'])
    config.override({'i': 3}, source='--flag')
    config.lock()
    for copied in (copy.deepcopy(config), copy.copy(config), pickle.loads(pickle.dumps(config))):
        assert copied == config
        assert copied.is_locked
        assert copied.linner[0].is_locked
        assert str(copied.source_of('i')) == '--flag'
        with pytest.raises(ValueError, match='no change is allowed'):
            copied.li.append(1)
    free = config.replace(inner={'a': 7})
    free.li.append(3)
    free.d['y'] = 2.0
    free.linner[0].a = 4
    assert (free.inner.a, free.inner.b, config.inner.a) == (7, 'text', 1)
    with pytest.raises(KeyError, match=r'inner.zz'):
        config.replace(inner={'zz': 7})
    assert config.li.copy() == [1, 2]
    assert type(config.li.copy()) is list


def test_membership_get_and_delete() -> None:
    config = Inner()
    assert 'a' in config
    assert 'zz' not in config
    assert '_locked' not in config
    assert (config.get('a'), config.get('zz'), config.get('zz', 5)) == (1, None, 5)
    assert getattr(config, 'zz', 5) == 5
    with pytest.raises(
        AttributeError, match="aa: The key 'aa' does not exist in Inner; did you mean 'a'"
    ):
        config.aa  # type: ignore[attr-defined] # noqa: B018


def test_declared_fields_cannot_be_deleted_and_others_can() -> None:
    config = Inner()
    config.override({'extra': 1}, is_strict=False)
    del config.extra  # type: ignore[attr-defined]
    assert config == Inner()
    with pytest.raises(AttributeError, match=r'^a: a declared field cannot be deleted$'):
        del config.a
    with pytest.raises(AttributeError, match="zz: The key 'zz' does not exist"):
        del config.zz  # type: ignore[attr-defined]


def test_bind() -> None:
    @dataclasses.dataclass
    class Bound(Config):
        pass

    @dataclasses.dataclass
    class BoundBelow(Bound):
        pass

    @hyperparams.bind(Bound)
    def build(x: int) -> int:
        return x + 1

    assert Bound().BUILDER(1) == BoundBelow().BUILDER(1) == build(1) == 2
    assert Inner().BUILDER is None
    with pytest.raises(AttributeError, match='`BUILDER` is a property'):
        Bound().BUILDER = build  # type: ignore[misc]
    with pytest.raises(ValueError, match='bind takes a config class, received 3'):
        hyperparams.bind(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='The `BUILDER` type is not supported'):
        hyperparams.bind(BoundBelow)(3)  # type: ignore[type-var]


def test_free_form_configs() -> None:
    config = Config({'a': 1, 'b': {'c': [1, {'d': 2}]}})
    assert config.b.c[1].d == 2
    assert config.as_dict() == {'a': 1, 'b': {'c': [1, {'d': 2}]}}
    config.e = 5  # type: ignore[attr-defined]
    config.override({'b': {'c': [3]}})
    assert config.as_dict() == {'a': 1, 'b': {'c': [3]}, 'e': 5}
    with pytest.raises(KeyError, match=r"b.x: The key 'x' does not exist in Config .*; it has 'c'"):
        config.override({'b': {'x': 1}})
    with pytest.raises(TypeError, match=r'k: Unknown type: builtins.object'):
        Config({'k': object()})


def test_params_dict() -> None:
    params = ParamsDict({'a': 'x', 'c': {'d': [1, {'e': 2}]}}, ['a == "x"'])
    params.override({'c': {'d': 5}})
    assert params.c.d == 5
    assert params == ParamsDict({'a': 'x', 'c': {'d': 5}})
    params.validate()
    with pytest.raises(KeyError, match="The key 'b' does not exist in ParamsDict"):
        params.b = 3
    hyperparams.override_params_dict(params, 'c.d=0x10,a=off')
    assert params.as_dict() == {'a': 'off', 'c': {'d': 16}}
    params.lock()
    with pytest.raises(ValueError, match='has been locked'):
        params.c.d = 3
