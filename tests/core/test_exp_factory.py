"""Experiments by name."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator

import pytest

from official_lite.core import config_definitions as cfg
from official_lite.core import exp_factory


@pytest.fixture
def experiment() -> Iterator[str]:
    name = 'test/made_up'

    @exp_factory.register_config_factory(name)
    def made_up() -> cfg.ExperimentConfig:
        """Made up.

        For tests.
        """
        return cfg.ExperimentConfig(trainer=cfg.TrainerConfig(train_steps=7))

    yield name
    exp_factory._EXPERIMENTS.remove(name)


def test_an_experiment_is_built_anew_each_time(experiment: str) -> None:
    first, second = (exp_factory.get_exp_config(experiment) for _ in range(2))
    first.trainer.train_steps = 8
    assert second.trainer.train_steps == 7


def test_experiments_are_listed_and_described(experiment: str) -> None:
    names = exp_factory.list_experiments()
    assert names == sorted(names)
    assert {experiment, 'retinanet', 'retinanet_custom', 'retinanet_resnetfpn_coco'} <= set(names)
    assert exp_factory.describe_experiment(experiment) == 'Made up.'


def test_an_unknown_experiment_is_explained() -> None:
    with pytest.raises(
        LookupError,
        match=r"^experiment 'retinanet_cusom' is not registered; did you mean 'retinanet_custom'\? "
        r'Known: .*retinanet, retinanet_custom, retinanet_mobile_coco, retinanet_resnetfpn_coco',
    ):
        exp_factory.get_exp_config('retinanet_cusom')


def test_a_duplicate_is_refused(experiment: str) -> None:
    with pytest.raises(KeyError, match=f"experiment '{experiment}' is registered already"):
        exp_factory.register_config_factory(experiment)(lambda: cfg.ExperimentConfig())


def test_what_the_factory_sets_is_its_own_and_not_a_choice(experiment: str) -> None:
    config = exp_factory.get_exp_config(experiment)
    assert str(config.source_of('trainer.train_steps')) == f'factory: {experiment}'
    assert not config.is_set('trainer.train_steps')
    sources = {path: str(source) for path, _, source in config.leaves()}
    assert sources['trainer.train_steps'] == f'factory: {experiment}'
    assert sources['trainer.max_to_keep'] == 'default'
    config.override({'trainer': {'train_steps': 9}}, source='--params_override')
    assert config.is_set('trainer.train_steps')


def test_a_config_knows_its_experiment(experiment: str) -> None:
    config = exp_factory.get_exp_config(experiment)
    for same in (
        config,
        config.replace(),
        copy.deepcopy(config),
        pickle.loads(pickle.dumps(config)),
    ):
        assert exp_factory.find_experiment(same) == experiment
    assert exp_factory.find_experiment(cfg.ExperimentConfig()) == ''
    assert 'experiment' not in str(config.as_dict())
