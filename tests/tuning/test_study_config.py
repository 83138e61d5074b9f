"""Settings of a study and objectives."""

from __future__ import annotations

from typing import Any

import pytest

from official_lite import errors
from official_lite.core import exp_factory
from official_lite.modeling import hyperparams
from official_lite.tuning import study_config


def test_the_default_objective_is_the_best_checkpoint_metric() -> None:
    config = exp_factory.get_exp_config('retinanet_custom')
    assert study_config.parse_objectives([], config) == (study_config.Objective('AP', 'max'),)
    assert study_config.parse_objectives(['AP'], config)[0].direction == 'maximize'


def test_objectives_have_directions() -> None:
    config = exp_factory.get_exp_config('retinanet_custom')
    found = study_config.parse_objectives(['eval/AP50:max', 'loss|cls:lower'], config)
    assert [str(objective) for objective in found] == ['AP50:max', 'loss/cls:min']
    assert found[1].is_better(1.0, 2.0)
    assert not found[0].is_better(1.0, 2.0)


@pytest.mark.parametrize(
    ('texts', 'message'),
    [
        (['loss'], r'--objective=loss: .*; expected loss:max or loss:min'),
        (['AP:up'], r'--objective=AP:up: .*; expected AP:max or AP:min'),
        (['AP:max', 'AP:max'], 'a metric is named twice'),
    ],
)
def test_objectives_that_are_wrong(texts: list[str], message: str) -> None:
    config = exp_factory.get_exp_config('retinanet_custom')
    with pytest.raises(errors.UsageError, match=message):
        study_config.parse_objectives(texts, config)


def test_no_objective_at_all() -> None:
    config = exp_factory.get_exp_config('retinanet')
    config.trainer.best_checkpoint_export_subdir = ''
    config.trainer.best_checkpoint_eval_metric = ''
    with pytest.raises(errors.UsageError, match='--objective: nothing says which metric'):
        study_config.parse_objectives([], config)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({}, r'n_trials: expected a number, or timeout_mins, received None .*; --n_trials=20'),
        ({'n_trials': 0}, 'n_trials: expected 1 or more, or null'),
        ({'n_trials': 1, 'workers': 0}, 'workers: expected 1 or more'),
        ({'timeout_mins': 0.0}, 'timeout_mins: expected more than 0'),
        ({'n_trials': 1, 'sampler.type': None}, r'sampler.type: expected one of grid, random'),
        ({'sampler.type': 'grid', 'try_default': True}, 'try_default: expected false'),
        (
            {'n_trials': 1, 'objectives': ['a:max', 'b:min'], 'pruner.type': 'median'},
            'pruner.type: expected none, because there are several objectives',
        ),
        (
            {'n_trials': 1, 'objectives': ['a:max', 'b:min'], 'sampler.type': 'cmaes'},
            'sampler.type: expected one for several objectives, such as nsga2',
        ),
        ({'n_trials': 1, 'sampler.tpe.n_startup_trials': -1}, 'n_startup_trials: expected 0 or'),
        (
            {'n_trials': 1, 'pruner': {'type': 'asha', 'asha': {'reduction_factor': 1}}},
            'reduction_factor: expected 2 or more',
        ),
    ],
)
def test_settings_that_are_wrong(settings: dict[str, Any], message: str) -> None:
    config = study_config.StudyConfig()
    config.override(settings)
    with pytest.raises(hyperparams.ConfigError, match=message):
        config.validate()


def test_an_unknown_sampler_has_a_suggestion() -> None:
    with pytest.raises(hyperparams.ConfigError, match=r"did you mean 'random'\?"):
        study_config.StudyConfig().override({'sampler': {'type': 'randm'}})
