"""params.yaml and run.json, and what may go on in a folder."""

from __future__ import annotations

import json
import pathlib
import re

import pytest
import yaml

from official_lite import errors
from official_lite.core import config_definitions as cfg
from official_lite.core import epochs, exp_factory, parsing, run_files


def make(**overrides: object) -> cfg.ExperimentConfig:
    config = exp_factory.get_exp_config('retinanet_custom')
    config.override({key.replace('__', '.'): value for key, value in overrides.items()})
    return config


def reload(folder: pathlib.Path) -> parsing.ParsedExperiment:
    options = parsing.ParseConfigOptions('', [str(folder / 'params.yaml')])
    return parsing.parse_experiment(options)


def test_params_alone_give_the_config_again(tmp_path: pathlib.Path) -> None:
    config = make(trainer__train_steps=7, task__class_names=['a', 'b'], task__model__num_classes=3)
    path = run_files.save_params(config, str(tmp_path / 'new'), 'retinanet_custom', ['json'])
    text = pathlib.Path(path).read_text()
    keys = [line for line in text.splitlines() if not line.startswith('#')]
    assert keys[:2] == ['experiment: retinanet_custom', 'imports: [json]']
    parsed = reload(tmp_path / 'new')
    assert parsed.config == config
    assert (parsed.experiment, parsed.imports) == ('retinanet_custom', ('json',))


@pytest.mark.parametrize('name', ['retinanet', 'retinanet_custom', 'retinanet_resnetfpn_coco'])
def test_b32_any_yaml_reader_reads_params(tmp_path: pathlib.Path, name: str) -> None:
    config = exp_factory.get_exp_config(name)
    config.task.train_data.parser.override({'aug_type': {'type': 'ssd_random_crop'}})  # has tuples
    run_files.save_params(config, str(tmp_path), name)
    tree = yaml.safe_load((tmp_path / 'params.yaml').read_text())
    crop = tree['task']['train_data']['parser']['aug_type']['ssd_random_crop']
    assert crop['aspect_ratio_range'] == [0.5, 2.0]
    assert reload(tmp_path).config == config


def test_epochs_are_saved_and_not_the_steps_that_follow(tmp_path: pathlib.Path) -> None:
    config = make(trainer__train_epochs=3.0, trainer__optimizer_config__warmup__type='linear')
    epochs.resolve_lengths(config, 80)
    assert config.trainer.train_steps == 30
    run_files.save_params(config, str(tmp_path), 'retinanet_custom')
    again = reload(tmp_path).config
    assert again.trainer.train_epochs == 3.0
    epochs.resolve_lengths(again, 80)
    assert again == config
    assert run_files.check_resume(config, str(tmp_path)) == []


def test_run_info_has_versions_command_and_data(tmp_path: pathlib.Path) -> None:
    argv = ['train.py', '--model_dir=a b']
    run_files.save_run_info(str(tmp_path), argv, {'fingerprint': 'f00'})
    info = json.loads((tmp_path / 'run.json').read_text())
    assert info['command'] == "train.py '--model_dir=a b'"
    assert info['data'] == {'fingerprint': 'f00'}
    assert set(info['versions']) == {'python', 'official-lite', *run_files.PACKAGES}
    assert info['versions']['tensorflow'].startswith('2.')
    assert info['earlier'] == []


def test_run_info_keeps_what_earlier_runs_wrote(tmp_path: pathlib.Path) -> None:
    for number in range(3):
        run_files.save_run_info(str(tmp_path), [f'run{number}'])
    info = json.loads((tmp_path / 'run.json').read_text())
    assert info['command'] == 'run2'
    assert [entry['command'] for entry in info['earlier']] == ['run0', 'run1']
    assert all('earlier' not in entry for entry in info['earlier'])


def test_a_folder_of_another_experiment_is_refused(tmp_path: pathlib.Path) -> None:
    run_files.check_experiment(str(tmp_path), 'retinanet')
    run_files.save_params(make(), str(tmp_path), 'retinanet_custom')
    run_files.check_experiment(str(tmp_path), 'retinanet_custom')
    with pytest.raises(
        errors.UsageError,
        match=r"^--model_dir=.*: the folder holds a run of the experiment 'retinanet_custom', not of "
        r"'retinanet'; choose another folder, or delete this one$",
    ):
        run_files.check_experiment(str(tmp_path), 'retinanet')


def test_harmless_changes_are_told(tmp_path: pathlib.Path) -> None:
    run_files.save_params(make(), str(tmp_path), 'retinanet_custom')
    changed = make(
        trainer__train_steps=9,
        task__model__input_size=[256, 256, 3],
        task__model__anchor__anchor_size=3.0,
        task__model__norm_activation__activation='swish',
        task__model__backbone__resnet__bn_trainable=False,
    )
    assert run_files.check_resume(changed, str(tmp_path)) == [
        'task.model.input_size: [128, 128, 3] -> [256, 256, 3]',
        'task.model.anchor.anchor_size: 2.0 -> 3.0',
        'task.model.backbone.resnet.bn_trainable: True -> False',
        "task.model.norm_activation.activation: 'relu' -> 'swish'",
        'trainer.train_steps: 3000 -> 9',
    ]
    assert run_files.check_resume(make(), str(tmp_path)) == []
    assert run_files.check_resume(make(), str(tmp_path / 'new')) == []


def test_of_an_entry_that_is_new_or_gone_only_what_is_set_is_told(tmp_path: pathlib.Path) -> None:
    entry = {'pattern': 'head', 'kernel_regularizer': {'l2': 0.1}, 'trainable': True}
    plain, changed = make(), make(task__layer_overrides=[entry])
    run_files.save_params(plain, str(tmp_path / 'plain'), 'retinanet_custom')
    run_files.save_params(changed, str(tmp_path / 'changed'), 'retinanet_custom')
    assert run_files.check_resume(changed, str(tmp_path / 'plain')) == [
        "task.layer_overrides[0].pattern: (absent) -> 'head'",
        'task.layer_overrides[0].trainable: (absent) -> True',
        'task.layer_overrides[0].kernel_regularizer.l2: (absent) -> 0.1',
    ]
    gone = run_files.check_resume(plain, str(tmp_path / 'changed'))
    assert "task.layer_overrides[0].pattern: 'head' -> (absent)" in gone
    assert not any('None' in line for line in gone)


@pytest.mark.parametrize(
    ('overrides', 'line'),
    [
        ({'task.model.backbone.resnet.model_id': 18}, r'task\.model\.backbone\.resnet\.model_id'),
        ({'task.model.backbone.type': 'mobilenet'}, r'task\.model\.backbone\.type: .*mobilenet'),
        ({'task.model.decoder.fpn.num_filters': 32}, r'task\.model\.decoder\.fpn\.num_filters'),
        ({'task.model.head.num_convs': 3}, r'task\.model\.head\.num_convs: 2 -> 3'),
        ({'task.model.anchor.aspect_ratios': [0.5, 1.0]}, r'task\.model\.anchor\.aspect_ratios'),
        ({'task.model.max_level': 6, 'task.model.input_size': [64, 64, 3]}, r'max_level: 5 -> 6'),
        ({'task.model.num_classes': 4}, r'task\.model\.num_classes: 3 -> 4'),
        ({'task.class_names': ['a', 'c']}, r"task\.class_names: \['a', 'b'\] -> \['a', 'c'\]"),
    ],
)
def test_changes_of_weights_and_classes_are_refused(
    tmp_path: pathlib.Path, overrides: dict[str, object], line: str
) -> None:
    saved = make(task__model__num_classes=3, task__class_names=['a', 'b'])
    run_files.save_params(saved, str(tmp_path), 'retinanet_custom')
    saved.override(overrides)
    assert re.search(line, '\n'.join(run_files.check_resume(saved, str(tmp_path))))
    (tmp_path / 'checkpoint').write_text('')  # from now on there are weights
    with pytest.raises(
        errors.UsageError,
        match=r'(?s)^--model_dir=.*: the run in this folder has weights or classes that this config '
        rf'does not fit:\n  .*{line}.*; choose another folder, or take these changes back$',
    ):
        run_files.check_resume(saved, str(tmp_path))


def test_params_that_do_not_fit_any_more_are_explained(tmp_path: pathlib.Path) -> None:
    (tmp_path / 'params.yaml').write_text('trainer: {no_such_field: 1}\n')
    with pytest.raises(
        errors.UsageError,
        match=r'its params\.yaml does not fit this experiment: trainer\.no_such_field: .*'
        r'params\.yaml:1',
    ):
        run_files.check_resume(make(), str(tmp_path))


def test_a_folder_that_cannot_be_made_is_explained(tmp_path: pathlib.Path) -> None:
    (tmp_path / 'file').write_text('')
    with pytest.raises(errors.UsageError, match=r'^--model_dir=.*: the folder cannot be made: '):
        run_files.make_dir(str(tmp_path / 'file' / 'run'))
