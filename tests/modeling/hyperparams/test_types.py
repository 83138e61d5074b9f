"""What each declared type accepts, by assignment in Python and as text."""

from __future__ import annotations

import dataclasses
import enum
import math
import pathlib
from typing import Annotated, Any, Literal, Mapping, Optional, Sequence, Union  # noqa: UP035

import numpy as np
import pytest

from official_lite.modeling import hyperparams
from official_lite.modeling.hyperparams import ConfigError, override_params_dict
from tests.modeling.hyperparams.schemas import BiggerInner, Cfg, Inner

REFUSED = object()


class Color(str, enum.Enum):  # noqa: UP042
    RED = 'red'


class Level(enum.IntEnum):
    ONE = 1


def make(annotation: Any, default: Any = None) -> Any:
    """Returns an object of a class with one field `x` of the given type."""
    cls = dataclasses.make_dataclass(
        'Made', [('x', annotation, default)], bases=(hyperparams.Config,)
    )
    return cls()


@pytest.mark.parametrize(
    ('annotation', 'default', 'given', 'expected'),
    [
        (int, 0, 3, 3),
        (int, 0, 3.0, 3),
        (int, 0, 3.5, REFUSED),
        (int, 0, math.inf, REFUSED),
        (int, 0, math.nan, REFUSED),
        (int, 0, True, REFUSED),
        (int, 0, '3', REFUSED),
        (int, 0, None, REFUSED),
        (int, 0, [3], REFUSED),
        (int, 0, Level.ONE, 1),
        (int, 0, np.int64(3), 3),
        (int, 0, np.float32(3), 3),
        (int, 0, np.bool_(True), REFUSED),
        (int, 0, 3j, REFUSED),
        (float, 0.0, 3, 3.0),
        (float, 0.0, np.float16(0.5), 0.5),
        (float, 0.0, True, REFUSED),
        (float, 0.0, '1', REFUSED),
        (float, 0.0, 10**400, REFUSED),
        (bool, False, True, True),
        (bool, False, np.bool_(True), True),
        (bool, False, 1, REFUSED),
        (bool, False, 'true', REFUSED),
        (bool, False, None, REFUSED),
        (str, '', 'x', 'x'),
        (str, '', np.str_('x'), 'x'),
        (str, '', Color.RED, 'red'),
        (str, '', pathlib.PurePosixPath('/a/b'), '/a/b'),
        (str, '', 3, REFUSED),
        (str, '', b'x', REFUSED),
        (str, '', None, REFUSED),
        (Optional[int], None, 3, 3),
        (Optional[int], 3, None, None),
        (Optional[int], None, 'x', REFUSED),
        (int | None, 3, None, None),
        (Union[str, float, None], None, 3, 3.0),
        (Union[str, float, None], None, 'x', 'x'),
        (Union[str, float, None], None, True, REFUSED),
        (Union[int, float], 0, 2.5, 2.5),
        (Union[int, float], 0, 2, 2),
        (Literal['a', 2, None], 'a', 2, 2),
        (Literal['a', 2, None], 'a', None, None),
        (Literal['a', 2, None], 'a', 'b', REFUSED),
        (Literal[1], 1, True, REFUSED),
        (Literal[True], True, 1, REFUSED),
        (tuple[int, ...], (), [1, 2], (1, 2)),
        (tuple[int, ...], (), (), ()),
        (tuple[int, str], (1, 'a'), [2, 'b'], (2, 'b')),
        (tuple[int, str], (1, 'a'), [2], REFUSED),
        (tuple[int, str], (1, 'a'), ['b', 2], REFUSED),
        (tuple[()], (), [], ()),
        (tuple[()], (), [1], REFUSED),
        (Optional[list[int]], None, (1, 2), [1, 2]),
        (Optional[list[int]], None, [1, '2'], REFUSED),
        (Optional[list[int]], None, {1, 2}, REFUSED),
        (Optional[list[int]], None, {'a': 1}, REFUSED),
        (Optional[list[int]], None, 'ab', REFUSED),
        (Optional[list[list[int]]], None, [[1], []], [[1], []]),
        (Optional[list[Optional[int]]], None, [None, 1], [None, 1]),
        (Optional[Sequence[int]], None, (1, 2), (1, 2)),
        (Optional[Sequence[int]], None, [1, 2], [1, 2]),
        (Union[Sequence[str], str], '', 'a', 'a'),
        (Union[Sequence[str], str], '', ['a'], ['a']),
        (Optional[dict[str, int]], None, {'a': 1.0}, {'a': 1}),
        (Optional[dict[str, int]], None, {'a': 'b'}, REFUSED),
        (Optional[dict[str, int]], None, {1: 1}, REFUSED),
        (Optional[dict[int, str]], None, {1: 'a'}, {1: 'a'}),
        (Optional[dict[str, Any]], None, {'a': {'b': [1, {'c': 2}]}}, {'a': {'b': [1, {'c': 2}]}}),
        (Optional[Mapping[str, list[int]]], None, {'a': [1]}, {'a': [1]}),
        (Optional[dict], None, {'a': 1, 2: 'b'}, {'a': 1, 2: 'b'}),
        (Optional[list], None, [1, 'a', None], [1, 'a', None]),
        (Annotated[int, 'px'], 0, 3, 3),
        (Any, None, [1, ('a', None)], [1, ('a', None)]),
        (Any, None, np.float32(0.5), 0.5),
        (Any, None, object(), REFUSED),
        (Any, None, {1, 2}, REFUSED),
        (Any, None, b'x', REFUSED),
        (Any, None, len, REFUSED),
    ],
)  # fmt: skip
def test_assignment(annotation: Any, default: Any, given: Any, expected: Any) -> None:
    config = make(annotation, default)
    if expected is REFUSED:
        with pytest.raises(ConfigError, match=r'^(\d+ problems in the config:\n  )?x'):
            config.x = given
        assert config.x == default
        return
    config.x = given
    assert config.x == expected
    assert type(config.x) is type(expected)


@pytest.mark.parametrize(
    ('annotation', 'default', 'text', 'expected'),
    [
        (int, 0, '012', 12),
        (int, 0, '1_000', 1000),
        (int, 0, '0x1F', 31),
        (int, 0, '-1e3', -1000),
        (int, 0, '1e-3', REFUSED),
        (int, 0, '1.5', REFUSED),
        (int, 0, '1e99', REFUSED),
        (int, 0, '12:30', REFUSED),
        (int, 0, "'3'", REFUSED),
        (int, 0, 'true', REFUSED),
        (float, 0.0, '1e-4', 1e-4),
        (float, 0.0, '1.E+3', 1000.0),
        (float, 0.0, '.5', 0.5),
        (float, 0.0, '+.5e3', 500.0),
        (float, 0.0, '.inf', math.inf),
        (float, 0.0, '-inf', -math.inf),
        (float, 0.0, '3', 3.0),
        (float, 0.0, '1e999', REFUSED),
        (float, 0.0, '"1e-4"', REFUSED),
        (float, 0.0, '\u0661', REFUSED),
        (bool, False, 'yes', True),
        (bool, True, 'Off', False),
        (bool, False, '1', REFUSED),
        (bool, False, 'maybe', REFUSED),
        (str, '', 'off', 'off'),
        (str, '', '012', '012'),
        (str, '', '1e-3', '1e-3'),
        (str, '', '2024-01-02', '2024-01-02'),
        (str, '', 'null', REFUSED),
        (str, '', "'null'", 'null'),
        (str, 'x', '', ''),
        (Optional[str], 'x', 'null', None),
        (Optional[str], 'x', '', None),
        (Optional[str], 'x', "''", ''),
        (Optional[str], 'x', '7', '7'),
        (Optional[int], 3, 'None', None),
        (Optional[bool], None, 'on', True),
        (Union[str, float, None], None, '1.5', 1.5),
        (Union[str, float, None], None, '3', 3.0),
        (Union[str, float, None], None, "'1.5'", '1.5'),
        (Union[str, float, None], None, 'dynamic', 'dynamic'),
        (Union[int, bool], 0, 'true', True),
        (Union[int, str], 0, '0x10', 16),
        (Literal['a', 2], 'a', '2', 2),
        (Literal['on', 'off'], 'on', 'off', 'off'),
        (tuple[float, ...], (), '[1, 1e-3]', (1.0, 1e-3)),
        (Optional[dict[int, str]], None, '{1: a}', {1: 'a'}),
        (Optional[dict[str, float]], None, '{1: 2, null: 3}', {'1': 2.0, 'null': 3.0}),
        (Any, 0, '012', 12),
        (Any, 0, '0o17', 15),
        (Any, 0, 'yes', 'yes'),
        (Any, 0, 'true', True),
        (Any, 0, '12:30', '12:30'),
        (Any, 0, '1_000', '1_000'),
        (Any, 0, '1e-3', 1e-3),
        (Any, 0, 'None', 'None'),
        (Any, 0, '~', None),
        (Any, 0, '2024-01-02', '2024-01-02'),
        (Any, 0, '[1, a, [true]]', [1, 'a', [True]]),
    ],
)  # fmt: skip
def test_text(annotation: Any, default: Any, text: str, expected: Any) -> None:
    config = make(annotation, default)
    if expected is REFUSED:
        with pytest.raises(ConfigError, match=r'^x: expected'):
            override_params_dict(config, f'x={text}')
        assert config.x == default
        return
    override_params_dict(config, f'x={text}')
    assert config.x == expected
    assert type(config.x) is type(expected)


def test_nan_is_a_float_and_equals_itself_in_configs() -> None:
    config = override_params_dict(make(float, 0.0), 'x=.nan')
    assert math.isnan(config.x)
    assert config == config.replace()


def test_a_subclass_fits_and_is_copied() -> None:
    given = BiggerInner(a=3)
    config = Cfg(inner=given, linner=[given])
    given.a = 4
    assert config.inner == config.linner[0] == BiggerInner(a=3)
    assert type(config.inner) is BiggerInner
    config.override({'inner': {'c': 2}})
    assert config.inner.c == 2.0  # type: ignore[attr-defined]


@pytest.mark.parametrize('annotation', [set, bytes, complex, list[set], Optional[object.__class__]])
def test_what_a_config_cannot_hold(annotation: Any) -> None:
    with pytest.raises(TypeError, match=r'Made.x: a config cannot hold values of type'):
        make(annotation)


def test_a_default_of_a_wrong_type_is_reported() -> None:
    with pytest.raises(
        TypeError, match=r"Made.x: expected int, received 'a' \(str\) \(from its default\)"
    ):
        make(int, 'a')


def test_annotations_may_name_what_is_local_or_later() -> None:
    @dataclasses.dataclass
    class Leaf(hyperparams.Config):
        n: int = 0

    @dataclasses.dataclass
    class Node(hyperparams.Config):
        leaf: Leaf = dataclasses.field(default_factory=Leaf)
        child: Optional[Node] = None

    node = Node(leaf={'n': 3}, child={'child': {'leaf': {'n': 4}}})  # type: ignore[arg-type]
    assert node.child is not None
    assert node.child.child is not None
    assert node.child.child.leaf == Leaf(n=4)
    with pytest.raises(KeyError, match=r'child.child.x'):
        node.override({'child': {'child': {'x': 1}}})


def test_an_annotation_that_names_nothing() -> None:
    @dataclasses.dataclass
    class Broken(hyperparams.Config):
        x: Optional[Nowhere] = None  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(
        TypeError, match=r'Broken.x: the annotation .*Nowhere.* cannot be evaluated'
    ):
        Broken()


def test_a_forgotten_decorator() -> None:
    class Forgotten(Inner):
        c: int = 3

    with pytest.raises(TypeError, match="Forgotten declares 'c' but is no dataclass; decorate it"):
        Forgotten()

    class Renamed(Inner):
        pass

    assert Renamed(a=2).a == 2
