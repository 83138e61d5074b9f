"""Order, activity, grids and names of searched paths."""

from __future__ import annotations

import itertools

import pytest

from official_lite.core import config_definitions as cfg
from official_lite.core import exp_factory
from official_lite.tuning import Choice, LogUniform, Uniform, search_space, space_checks
from tests.tuning import studies

BACKBONE = 'task.model.backbone'


@pytest.fixture(scope='module')
def config() -> cfg.ExperimentConfig:
    return exp_factory.get_exp_config('retinanet_custom')


def make_space(config: cfg.ExperimentConfig) -> search_space.SearchSpace:
    space = {
        studies.RATE: LogUniform(1e-4, 1e-2, num_points=3),
        studies.MOMENTUM: Uniform(0.5, 0.9, num_points=2),
        f'{studies.OPTIMIZER}.type': Choice(['sgd', 'adamw']),
        f'{BACKBONE}.type': Choice(['resnet', 'mobilenet']),
        f'{BACKBONE}.resnet.model_id': Choice([10, 18]),
        'trainer.train_steps': 7,
    }
    return space_checks.check_space(config, space_checks.make_parameters(space))


def test_a_grid_has_every_combination_once_and_conditional_values_under_their_branch_only(
    config: cfg.ExperimentConfig,
) -> None:
    points = list(make_space(config).iterate_grid(config))
    # (sgd with 2 momenta, adamw) x (resnet with 2 depths, mobilenet) x 3 rates
    assert len(points) == 3 * 3 * 3
    assert len({tuple(sorted(map(str, point.items()))) for point in points}) == len(points)
    for point in points:
        assert (studies.MOMENTUM in point) == (point[f'{studies.OPTIMIZER}.type'] == 'sgd')
        has_depth = f'{BACKBONE}.resnet.model_id' in point
        assert has_depth == (point[f'{BACKBONE}.type'] == 'resnet')
        assert 'trainer.train_steps' not in point
    rates = sorted({float(str(point[studies.RATE])) for point in points})
    assert rates == pytest.approx([1e-4, 1e-3, 1e-2])


def test_a_config_gets_constants_and_what_counts(config: cfg.ExperimentConfig) -> None:
    space = make_space(config)
    asked: list[str] = []

    def suggest(parameter: search_space.Parameter) -> str | int | float:
        asked.append(parameter.path)
        return {
            f'{studies.OPTIMIZER}.type': 'sgd',
            f'{BACKBONE}.type': 'mobilenet',
            studies.RATE: 0.001,
            studies.MOMENTUM: 0.75,
        }[parameter.path]

    built = space.build_config(config, suggest)
    assert asked[:2] == [f'{studies.OPTIMIZER}.type', f'{BACKBONE}.type']
    assert set(asked[2:]) == {studies.RATE, studies.MOMENTUM}
    assert built.trainer.optimizer_config.optimizer.sgd.momentum == 0.75
    assert built.trainer.train_steps == 7
    assert built.task.model.backbone.type == 'mobilenet'
    assert config.trainer.train_steps == 3000  # the base stays as it is


def test_defaults_are_the_values_of_the_config(config: cfg.ExperimentConfig) -> None:
    assert make_space(config).find_defaults(config) == {
        f'{studies.OPTIMIZER}.type': 'adamw',
        f'{BACKBONE}.type': 'resnet',
        studies.RATE: 0.008,
        f'{BACKBONE}.resnet.model_id': 10,
    }
    space = space_checks.check_space(
        config, space_checks.make_parameters({studies.RATE: LogUniform(1e-5, 1e-3)})
    )
    with pytest.raises(ValueError, match=r'initial_learning_rate: 0\.008 is outside of'):
        space.find_defaults(config)


def test_short_names_tell_paths_apart() -> None:
    paths = ['a.b.rate', 'a.c.rate', 'a.backbone.type', 'x.size', 'size']
    short = search_space.shorten_paths(paths)
    assert short == {
        'a.b.rate': 'b.rate',
        'a.c.rate': 'c.rate',
        'a.backbone.type': 'backbone.type',
        'x.size': 'x.size',
        'size': 'size',
    }
    assert all(x != y for x, y in itertools.combinations(short.values(), 2))
