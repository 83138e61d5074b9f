"""The experiment of a params.yaml that does not name it."""

from __future__ import annotations

import csv
import logging
import pathlib

import pytest

from official_lite import errors
from official_lite.core import checkpoint_experiments, exp_factory, run_files
from tests.vision import test_garden_yaml


def _write(folder: pathlib.Path, text: str) -> str:
    path = folder / 'params.yaml'
    path.write_text(text, encoding='utf-8')
    return str(path)


@pytest.mark.parametrize(
    'name',
    [
        'cascadercnn_spinenet_coco',
        'fasterrcnn_resnetfpn_coco',
        'resnet_imagenet',
        'retinanet_mobile_coco',
        'seg_deeplabv3plus_cityscapes',
        'vit_imagenet_pretrain',
    ],
)
def test_whole_files_are_recognised(name: str, tmp_path: pathlib.Path) -> None:
    path = run_files.save_params(exp_factory.get_exp_config(name), str(tmp_path))
    assert 'experiment:' not in pathlib.Path(path).read_text(encoding='utf-8')
    assert checkpoint_experiments.infer_experiment(path) == name


def test_a_name_in_the_file_counts(tmp_path: pathlib.Path) -> None:
    path = _write(tmp_path, 'experiment: retinanet_custom\ntask: {model: {num_classes: 4}}\n')
    assert checkpoint_experiments.infer_experiment(path) == 'retinanet_custom'


def test_a_backbone_that_only_some_have_as_their_own(tmp_path: pathlib.Path) -> None:
    text = (
        'task:\n  losses: {one_hot: true, label_smoothing: 0.1}\n'
        '  model: {num_classes: 1001, dropout_rate: 0.2, backbone: {type: mobilenet}}\n'
    )
    assert checkpoint_experiments.infer_experiment(_write(tmp_path, text)) == 'mobilenet_imagenet'


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        (
            'task: {init_checkpoint: x}\n',
            r'params\.yaml: its fields do not tell which task it is of; received fields that '
            r'.*ImageClassificationTask.*RetinaNetTask.*; name it: --experiment=NAME',
        ),
        (
            'task: {model: {num_frames: 8}}\n',
            r'params\.yaml: no experiment has all its fields and takes their values; received '
            r'.*task\.model\.num_frames.* \(of \w+, the nearest\); name it: --experiment=NAME',
        ),
    ],
)
def test_files_that_do_not_tell(text: str, message: str, tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.UsageError, match=message):
        checkpoint_experiments.infer_experiment(_write(tmp_path, text))


def test_notices_are_for_the_one_reading_that_counts(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = (
        'task: {model: {dropout_rate: 0.2}}\n'
        'trainer:\n  optimizer_config:\n    optimizer:\n      type: adamw\n'
        '      adamw: {include_in_weight_decay: .*kernel}\n'
    )
    with caplog.at_level(logging.WARNING, 'official_lite'):
        checkpoint_experiments.infer_experiment(_write(tmp_path, text))
    assert caplog.records == []


@pytest.mark.slow
@pytest.mark.skipif(test_garden_yaml.FOLDER is None, reason='no folder of YAML files')
def test_recipes_of_model_garden() -> None:
    """Recipes have some of the fields, and may fit several experiments of their task or of others."""
    folder = test_garden_yaml.FOLDER
    assert folder is not None
    with (folder / 'EXPERIMENTS.tsv').open() as file:
        rows = [(row['yaml'], row['experiment']) for row in csv.DictReader(file, delimiter='\t')]
    found = {}
    for path, expected in rows:
        try:
            name = checkpoint_experiments.infer_experiment(str(folder / path))
        except errors.UsageError:
            continue
        tasks = {type(exp_factory.get_exp_config(n).task) for n in (name, expected)}
        assert len(tasks) == 1, path
        found[path] = name == expected
    assert len(found) >= 46
    assert sum(found.values()) >= 39
