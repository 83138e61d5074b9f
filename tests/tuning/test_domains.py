"""Domains: what is wrong with them, what a grid makes of them, and what Optuna is asked for."""

from __future__ import annotations

import math
from typing import Any

import pytest

from official_lite.tuning import Choice, Constant, Domain, Int, LogUniform, Uniform


@pytest.mark.parametrize(
    ('domain', 'expected'),
    [
        (Uniform(1.0, 1.0), 'a lower end below the upper end'),
        (Uniform(2.0, 1.0), 'a lower end below the upper end'),
        (Uniform(0.0, math.inf), 'a finite number for high'),
        (Uniform(0.0, 1.0, step=0.0), 'a step above 0 that fits into the range'),
        (Uniform(0.0, 1.0, step=2.0), 'a step above 0 that fits into the range'),
        (Uniform(0.0, 1.0, num_points=1), '2 points or more'),
        (Uniform(0.0, 1.0, step=0.1, num_points=3), 'step or num_points, not both'),
        (LogUniform(0.0, 1.0), 'a lower end above 0, because the scale is logarithmic'),
        (LogUniform(1.0, 10.0, num_points=0), '2 points or more'),
        (Int(3, 1), 'a lower end below the upper end'),
        (Int(1, 5, step=9), 'a step above 0 that fits into the range'),
        (Int(0, 5, log=True), 'a lower end of 1 or more, because the scale is logarithmic'),
        (Int(1, 5, step=2, log=True), 'no step, because the scale is logarithmic'),
        (Int(1.5, 5), 'a whole number for low'),  # type: ignore[arg-type]
        (Choice([]), 'at least one value to choose from'),
        (Choice([8, 16, 8]), 'each value once'),
    ],
)
def test_problems_of_a_domain(domain: Domain, expected: str) -> None:
    assert expected in [problem[0] for problem in domain.find_problems()]


@pytest.mark.parametrize(
    'domain',
    [
        Uniform(0.0, 1.0),
        Uniform(-1.0, 1.0, step=0.5),
        LogUniform(1e-5, 1e-3),
        Int(1, 9, step=2),
        Int(1, 64, log=True),
        Choice([1, True, 'a', None]),
        Constant([1, 2]),
    ],
)
def test_domains_without_problems(domain: Domain) -> None:
    assert list(domain.find_problems()) == []


@pytest.mark.parametrize(
    ('domain', 'grid'),
    [
        (Uniform(0.0, 1.0), None),
        (Uniform(0.0, 1.0, num_points=3), [0.0, 0.5, 1.0]),
        (Uniform(0.0, 1.0, step=0.3), [0.0, 0.3, 0.6, 0.9]),
        (LogUniform(1e-4, 1e-2), None),
        (LogUniform(1e-4, 1e-2, num_points=3), [1e-4, 1e-3, 1e-2]),
        (Int(1, 9, step=3), [1, 4, 7]),
        (Choice(['a', [1, 2]]), ['a', '[1, 2]']),
        (Choice({'small': {'depth': 18}, 'large': {'depth': 50}}), ['small', 'large']),
    ],
)
def test_values_of_a_grid(domain: Domain, grid: list[Any] | None) -> None:
    if grid is None or isinstance(grid[0], str):
        assert domain.list_grid() == grid
    else:
        assert domain.list_grid() == pytest.approx(grid)


def test_a_choice_gives_the_value_that_belongs_to_a_label() -> None:
    choice = Choice({'small': {'depth': 18}, 'large': {'depth': 50}})
    assert choice.get_value('large') == {'depth': 50}
    assert choice.find_stored({'depth': 18}) == 'small'
    assert Choice([[1, 2], [3]]).get_value('[3]') == [3]
    with pytest.raises(ValueError, match=r'7 is none of 8, 16'):
        Choice([8, 16]).find_stored(7)


def test_a_range_knows_what_is_inside() -> None:
    assert Uniform(0.0, 1.0).find_stored(1.0) == 1.0
    with pytest.raises(ValueError, match=r'2\.0 is outside of \[0\.0, 1\.0\]'):
        Uniform(0.0, 1.0).find_stored(2.0)
    with pytest.raises(ValueError, match='None is outside'):
        Uniform(0.0, 1.0).find_stored(None)


def test_optuna_is_asked_for_what_the_domain_says() -> None:
    optuna = pytest.importorskip('optuna')
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    trial = study.ask()
    values = {
        'u': Uniform(0.0, 1.0, step=0.25).suggest(trial, 'u'),
        'l': LogUniform(1e-5, 1e-3).suggest(trial, 'l'),
        'i': Int(1, 9, step=2).suggest(trial, 'i'),
        'c': Choice([8, [1, 2]]).suggest(trial, 'c'),
    }
    assert values['u'] in (0.0, 0.25, 0.5, 0.75, 1.0)
    assert 1e-5 <= values['l'] <= 1e-3
    assert values['i'] in (1, 3, 5, 7, 9)
    assert values['c'] in (8, '[1, 2]')
    assert trial.distributions['l'].log
    assert trial.distributions['i'].step == 2
