"""The oracle itself, on cases decided by hand. It must not agree with whatever the package does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Optional, Union

import pytest

from tests.fuzz import oracle, schemas

ACCEPT, EITHER, REFUSE = oracle.Verdict.ACCEPT, oracle.Verdict.EITHER, oracle.Verdict.REFUSE


@pytest.mark.parametrize(
    ('raw', 'annotation', 'verdict'),
    [
        (1, int, ACCEPT),
        (1e3, int, ACCEPT),
        (1.5, int, REFUSE),
        (True, int, REFUSE),
        ('1', int, EITHER),
        ('one', int, REFUSE),
        (None, int, REFUSE),
        (float('nan'), int, REFUSE),
        (1, float, ACCEPT),
        (False, float, REFUSE),
        ('1e-4', float, EITHER),
        ([1.0], float, REFUSE),
        (1, bool, REFUSE),
        ('maybe', bool, REFUSE),
        ('off', str, ACCEPT),
        (3, str, REFUSE),
        (None, str, REFUSE),
        (None, Optional[int], ACCEPT),
        ('None', Optional[int], EITHER),
        ('red', Literal['red', 3], ACCEPT),
        ('blue', Literal['red', 3], REFUSE),
        (3, Union[str, float, None], ACCEPT),
        (True, Union[str, float, None], REFUSE),
        ([1, 2], list[int], ACCEPT),
        ((1, 2), list[int], ACCEPT),
        (1, list[int], REFUSE),
        ([1, 'a'], list[int], REFUSE),
        ('a', list[str], EITHER),
        ('a', list[int], REFUSE),
        ([1, None], list[Optional[int]], ACCEPT),
        ([[1], [2]], list[list[int]], ACCEPT),
        ([1, 2], tuple[int, int], ACCEPT),
        ([1, 2, 3], tuple[int, int], REFUSE),
        ([], tuple[float, ...], ACCEPT),
        (3, Sequence[float], REFUSE),
        ({'a': 1}, dict[str, int], ACCEPT),
        ({'a': 'b'}, dict[str, int], REFUSE),
        ([('a', 1)], dict[str, int], REFUSE),
        (object(), Any, REFUSE),
        ({'width': 2}, schemas.Leaf, ACCEPT),
        ({'widht': 2}, schemas.Leaf, REFUSE),
        ({'flag': True}, schemas.Leaf, REFUSE),
        (schemas.SpecialLeaf(), schemas.Leaf, ACCEPT),
        (schemas.Choice(), schemas.Leaf, REFUSE),
        (3, schemas.Leaf, REFUSE),
        ([{'width': 1}, {}], list[schemas.Leaf], ACCEPT),
        ([{'width': 'x'}], list[schemas.Leaf], REFUSE),
        ({'type': 'special', 'special': {'flag': True}}, schemas.Choice, ACCEPT),
        ({'type': 'speciall'}, schemas.Choice, REFUSE),
        ({'special': {'flag': True}}, schemas.Choice, EITHER),
        ({'special': {'flag': 'maybe'}}, schemas.Choice, REFUSE),
    ],
)
def test_judge(raw: Any, annotation: Any, verdict: oracle.Verdict) -> None:
    assert oracle.judge(raw, annotation) is verdict


def test_judge_goes_by_the_class_of_the_present_value() -> None:
    raw = {'flag': True}
    assert oracle.judge(raw, schemas.Leaf, schemas.SpecialLeaf()) is ACCEPT


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('an_int', 'abc'),
        ('an_int', True),
        ('an_int', 1.0),
        ('a_float', '1e-4'),
        ('a_str', None),
        ('a_bool', 1),
        ('literal', 'blue'),
        ('number_or_text', [1]),
    ],
)
def test_a_wrong_value_in_a_tree_is_found(field: str, value: Any) -> None:
    tree = schemas.Tree()
    assert list(oracle.find_problems(tree)) == []
    tree.scalars.__dict__[field] = value  # past the package's own checks
    found = list(oracle.find_problems(tree))
    assert any(line.startswith(f'scalars.{field}: {value!r}') for line in found)


def test_differences_and_side_effects_are_found() -> None:
    tree = schemas.Tree()
    before = oracle.flatten(tree)
    tree.leaf.width = 5
    tree.leaf.name = 'new'
    assert list(oracle.find_differences({'leaf': {'width': 6}}, tree)) == ['leaf.width: 6 became 5']
    after = oracle.flatten(tree)
    assert oracle.changed_outside({'leaf': {'width': 5}}, before, after) == ['leaf.name']
    assert oracle.changed_outside({'leaf': {'width': 5, 'name': 'new'}}, before, after) == []
