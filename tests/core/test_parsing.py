"""The layers of a config, and which one wins."""

from __future__ import annotations

import pathlib
import sys

import pytest

from official_lite import errors
from official_lite.core import parsing, plugins, train_utils
from official_lite.modeling import hyperparams


def parse(experiment: str = 'retinanet_custom', **options: object) -> parsing.ParsedExperiment:
    options.setdefault('config_file', [])
    return parsing.parse_experiment(parsing.ParseConfigOptions(experiment, **options))


def write(path: pathlib.Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_later_layers_win(tmp_path: pathlib.Path) -> None:
    first = write(tmp_path / 'a.yaml', 'trainer: {train_steps: 1, max_to_keep: 1}\n')
    second = write(tmp_path / 'b.yaml', 'trainer: {train_steps: 2, steps_per_loop: 2}\n')
    parsed = parse(
        config_file=[first, second],
        params_override=['trainer.train_steps=3,runtime.seed=3', 'trainer.train_steps=4'],
    )
    trainer = parsed.config.trainer
    assert (trainer.train_steps, trainer.steps_per_loop, trainer.max_to_keep) == (4, 2, 1)
    assert parsed.config.runtime.seed == 3
    sources = {path: str(source) for path, _, source in parsed.config.leaves()}
    assert sources['trainer.train_steps'] == '--params_override'
    assert sources['trainer.steps_per_loop'] == f'{second}:1'
    assert sources['trainer.max_to_keep'] == f'{first}:1'
    assert sources['trainer.validation_interval'] == 'factory: retinanet_custom'
    assert sources['trainer.recovery_max_trials'] == 'default'


def test_b31_tpu_of_a_file_counts_unless_the_flag_is_given(tmp_path: pathlib.Path) -> None:
    path = write(tmp_path / 'a.yaml', 'runtime: {tpu: from-file}\n')
    assert parse(config_file=[path]).config.runtime.tpu == 'from-file'
    assert parse(config_file=[path], tpu='from-flag').config.runtime.tpu == 'from-flag'
    override = 'runtime.tpu=from-override'
    parsed = parse(config_file=[path], tpu='from-flag', params_override=override)
    assert parsed.config.runtime.tpu == 'from-flag'
    assert str(parsed.config.source_of('runtime.tpu')) == '--tpu'


def test_the_data_service_goes_to_both_data_configs() -> None:
    task = parse(tf_data_service='grpc://host:1').config.task
    assert task.train_data.tf_data_service_address == 'grpc://host:1'
    assert task.validation_data.tf_data_service_address == 'grpc://host:1'


def test_a_file_names_its_experiment(tmp_path: pathlib.Path) -> None:
    path = write(tmp_path / 'a.yaml', 'experiment: retinanet\nimports: [json]\ntrainer: {}\n')
    parsed = parse('', config_file=[path])
    assert parsed.experiment == 'retinanet'
    assert parsed.imports == ('json',)
    assert parse('retinanet_custom', config_file=[path]).experiment == 'retinanet_custom'


def test_imports_come_before_the_experiment(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(
        tmp_path / 'plug_exp.py',
        'from official_lite.core import config_definitions as cfg, exp_factory\n'
        "@exp_factory.register_config_factory('plugged')\n"
        'def plugged(): return cfg.ExperimentConfig()\n',
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(plugins, '_state', plugins._State())
    parsed = parse('plugged', imports=['plug_exp'])
    assert parsed.imports == ('plug_exp',)
    path = write(tmp_path / 'a.yaml', 'experiment: plugged\nimports: [plug_exp]\n')
    assert parse('', config_file=[path]).experiment == 'plugged'
    from official_lite.core import exp_factory

    exp_factory._EXPERIMENTS.remove('plugged')
    sys.modules.pop('plug_exp')


def test_no_experiment_is_explained() -> None:
    with pytest.raises(
        errors.UsageError,
        match=r'^--experiment: no experiment is named; give --experiment=NAME '
        r'\(`official-lite experiments` lists them\), or --config_file with a params\.yaml',
    ):
        parse('')


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('experiment: [1]\n', r'a\.yaml: experiment: expected the name of an experiment'),
        ('imports: json\n', r'a\.yaml: imports: expected a list of modules; received'),
        ('imports: [no_such_mod]\n', r'a\.yaml: imports=no_such_mod: there is no module'),
    ],
)
def test_wrong_heads_of_files(tmp_path: pathlib.Path, text: str, message: str) -> None:
    path = write(tmp_path / 'a.yaml', text)
    with pytest.raises(errors.UsageError, match=message):
        parse(config_file=[path])


def test_config_files_that_come_with_the_package_are_found_by_name() -> None:
    assert 'retinanet/own_data.yaml' in parsing.list_config_files()
    path = parsing.find_config_file('retinanet/own_data.yaml')
    assert pathlib.Path(path).is_file()
    config = parse('', config_file=['retinanet/own_data.yaml']).config
    assert config.task.model.backbone.resnet.model_id == 50


def test_a_file_here_comes_before_one_of_the_package(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'retinanet').mkdir()
    write(tmp_path / 'retinanet' / 'own_data.yaml', 'trainer: {train_steps: 1}\n')
    monkeypatch.chdir(tmp_path)
    assert parsing.find_config_file('retinanet/own_data.yaml') == 'retinanet/own_data.yaml'


def test_a_missing_file_is_explained(tmp_path: pathlib.Path) -> None:
    with pytest.raises(
        errors.UsageError,
        match=r'^--config_file=retinanet/own_dat\.yaml: no such file, neither here nor among those '
        r"that come with the package \(.*\); did you mean 'retinanet/own_data\.yaml'\?$",
    ):
        parsing.find_config_file('retinanet/own_dat.yaml')
    with pytest.raises(errors.UsageError, match=r'this is a folder; name a file in it$'):
        parsing.find_config_file(str(tmp_path))
    write(tmp_path / 'params.yaml', '')
    with pytest.raises(errors.UsageError, match=r'folder; use --config_file=.*params\.yaml$'):
        parsing.find_config_file(str(tmp_path))


def test_restrictions_hold() -> None:
    with pytest.raises(KeyError, match='Found inconsistency between key'):
        parse(params_override='task.train_data.is_training=null')


class TestTrainUtils:
    """Model Garden's names."""

    def test_parse_configuration_locks(self) -> None:
        options = train_utils.ParseConfigOptions(
            experiment='retinanet', config_file=[], params_override='trainer.train_steps=3'
        )
        config = train_utils.parse_configuration(options)
        assert config.trainer.train_steps == 3
        with pytest.raises(ValueError, match='locked'):
            config.trainer.train_steps = 4
        unlocked = train_utils.parse_configuration(options, lock_return=False, print_return=False)
        unlocked.trainer.train_steps = 4

    def test_the_parser_by_steps(self) -> None:
        options = train_utils.ParseConfigOptions('retinanet', [], params_override='runtime.seed=3')
        parser = train_utils.ExperimentParser(options)
        config = parser.parse_params_override(parser.base_experiment())
        assert config.runtime.seed == 3
        assert 'tpu' in options
        assert 'no_such' not in options

    def test_serialize_config(self, tmp_path: pathlib.Path) -> None:
        options = train_utils.ParseConfigOptions('retinanet', [], params_override='runtime.seed=3')
        config = train_utils.parse_configuration(options, print_return=False)
        train_utils.serialize_config(config, str(tmp_path))
        again = parse('', config_file=[str(tmp_path / 'params.yaml')]).config
        assert again == config
        with pytest.raises(ValueError, match=r'^model_dir must be a folder, received None$'):
            train_utils.serialize_config(config, None)

    def test_nested_dicts(self) -> None:
        nested = {'a': {'b': 1}}
        assert train_utils.get_leaf_nested_dict(nested, ['a', 'b']) == 1
        with pytest.raises(KeyError, match='Path not exist while traversing'):
            train_utils.get_leaf_nested_dict(nested, ['a', 'c'])
        with pytest.raises(KeyError, match='The value extracted with keys'):
            train_utils.get_leaf_nested_dict(nested, ['a'])
        assert train_utils.cast_leaf_nested_dict(nested, str) == {'a': {'b': '1'}}


def test_one_text_for_a_text_or_a_list_stays_text() -> None:
    override = 'task.init_checkpoint_modules=backbone'
    assert parse(params_override=override).config.task.init_checkpoint_modules == 'backbone'
    override = 'task.init_checkpoint_modules=[backbone,decoder]'
    modules = parse(params_override=override).config.task.init_checkpoint_modules
    assert modules == ['backbone', 'decoder']


def test_a_typo_is_one_error() -> None:
    with pytest.raises(
        hyperparams.ConfigError,
        match=r"^task\.model\.backbone\.typ: .*\(from --params_override\); did you mean 'type'\?$",
    ):
        parse(params_override='task.model.backbone.typ=resnet')
