"""A config that is written and read again is the same config: every experiment, every format."""

from __future__ import annotations

import copy
import pathlib
import pickle
from collections.abc import Callable, Iterator

import pytest
import yaml

from official_lite.core import config_definitions as cfg
from official_lite.core import exp_factory
from official_lite.modeling import hyperparams
from tests.experiments import plugin
from tests.fuzz import oracle

Convert = Callable[[cfg.ExperimentConfig, pathlib.Path], cfg.ExperimentConfig]


def _from_yaml(config: cfg.ExperimentConfig, folder: pathlib.Path) -> cfg.ExperimentConfig:
    path = folder / 'config.yaml'
    path.write_text(config.to_yaml(), encoding='utf-8')
    return type(config).from_yaml(str(path))


def _from_json_file(config: cfg.ExperimentConfig, folder: pathlib.Path) -> cfg.ExperimentConfig:
    path = folder / 'config.json'
    path.write_text(config.to_json(), encoding='utf-8')
    return type(config).from_json(str(path))


CONVERSIONS: dict[str, Convert] = {
    'dict': lambda config, _: type(config).from_dict(config.to_dict()),
    'JSON text': lambda config, _: type(config).from_json(config.to_json()),
    'JSON file': _from_json_file,
    'YAML file': _from_yaml,
    'pickle': lambda config, _: pickle.loads(pickle.dumps(config)),
    'deepcopy': lambda config, _: copy.deepcopy(config),
    'copy': lambda config, _: copy.copy(config),
    'replace': lambda config, _: config.replace(),
}


@pytest.fixture(scope='module', autouse=True)
def _plugin() -> Iterator[None]:
    plugin.register()
    yield
    for name in plugin.FACTORIES:
        exp_factory._EXPERIMENTS.remove(name)


EXPERIMENTS = [*exp_factory.list_experiments(), *plugin.FACTORIES]


@pytest.mark.parametrize('conversion', CONVERSIONS)
@pytest.mark.parametrize('name', EXPERIMENTS)
def test_round_trip(name: str, conversion: str, tmp_path: pathlib.Path) -> None:
    config = exp_factory.get_exp_config(name)
    again = CONVERSIONS[conversion](config, tmp_path)
    assert again is not config
    assert again == config
    assert oracle.flatten(again) == oracle.flatten(config)
    assert type(again.task) is type(config.task)
    assert again.as_dict() == config.as_dict()
    assert list(oracle.find_problems(again)) == []
    again.validate()


@pytest.mark.parametrize('name', EXPERIMENTS)
def test_parameters_saved_by_a_run_restore_the_experiment(
    name: str, tmp_path: pathlib.Path
) -> None:
    config = exp_factory.get_exp_config(name)
    hyperparams.override_params_dict(config, 'trainer.train_steps=7,runtime.num_gpus=2')
    path = str(tmp_path / 'params.yaml')
    hyperparams.save_params_dict_to_yaml(config, path)
    again = exp_factory.get_exp_config(name)
    hyperparams.override_params_dict(again, path, is_strict=True)
    assert again == config
    assert again.trainer.train_steps == 7


@pytest.mark.parametrize('name', EXPERIMENTS)
def test_saved_parameters_are_plain_yaml(name: str, tmp_path: pathlib.Path) -> None:
    # tf-models-official writes tags such as !!python/tuple, which other programs refuse.
    config = exp_factory.get_exp_config(name)
    path = tmp_path / 'params.yaml'
    hyperparams.save_params_dict_to_yaml(config, str(path))
    text = path.read_text(encoding='utf-8')
    assert '!!' not in text
    plain = yaml.safe_load(text)
    steps = plain['trainer']['train_steps']
    assert (steps, plain['runtime']['seed']) == (config.trainer.train_steps, 0)


@pytest.mark.parametrize('conversion', ['pickle', 'deepcopy'])
def test_a_copy_of_a_locked_config_is_locked(conversion: str, tmp_path: pathlib.Path) -> None:
    config = exp_factory.get_exp_config('plugin_experiment')
    config.lock()
    again = CONVERSIONS[conversion](config, tmp_path)
    assert again == config
    with pytest.raises(ValueError, match='locked'):
        again.task.model.backbone.plugin_net.depth = 4


@pytest.mark.parametrize('conversion', CONVERSIONS)
def test_copies_share_nothing_that_can_change(conversion: str, tmp_path: pathlib.Path) -> None:
    if conversion == 'copy':
        pytest.skip('a shallow copy shares what is below')
    config = exp_factory.get_exp_config('plugin_experiment')
    before = oracle.flatten(config)
    again = CONVERSIONS[conversion](config, tmp_path)
    again.task.model.backbone.plugin_net.depth = 9
    again.task.model.backbone.plugin_net.widths.append(7)
    again.task.notes['author'] = 'you'
    again.task.notes['nested']['deep'].append(3)
    again.task.weights['three'] = 3.0
    assert oracle.flatten(config) == before


def test_a_plugin_loses_nothing(tmp_path: pathlib.Path) -> None:
    config = exp_factory.get_exp_config('plugin_experiment')
    for convert in CONVERSIONS.values():
        task = convert(config, tmp_path).task
        assert type(task) is plugin.PluginTask
        assert type(task.notes) is dict
        assert task.notes['nested'] == {'deep': [1, 2.5, None, True]}
        assert task.weights == {'1': 0.5, 'two': 2.0}
        assert task.teacher == plugin.PluginNet(depth=5)
        assert task.extra.inner.x == 1
        assert task.model.backbone.get() == plugin.PluginNet(widths=[4, 5, 6])


def test_a_copy_remembers_who_set_what() -> None:
    config = exp_factory.get_exp_config('retinanet_custom')
    hyperparams.override_params_dict(config, 'trainer.train_steps=7', source='--params_override')
    for again in (copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        source = again.source_of('trainer.train_steps')
        assert source is not None
        assert str(source) == '--params_override'
