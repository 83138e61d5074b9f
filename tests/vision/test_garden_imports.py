"""`official-lite import-checkpoint SRC DST` on what Model Garden's trainer leaves, of every family."""

from __future__ import annotations

import gc
import pathlib
import re
from typing import Any

import numpy as np
import pytest

from official_lite import cli
from official_lite.core import initialization, parsing, task_factory
from official_lite.garden import model_outputs
from tests import garden_checkpoints
from tests.vision import test_garden_checkpoints as families

# Family -> experiment that Model Garden trains it with.
EXPERIMENTS = {
    'resnet': 'resnet_imagenet',
    'resnet_rs': 'resnet_rs_imagenet',
    'mobilenet_v2': 'mobilenet_imagenet',
    'vit': 'deit_imagenet_pretrain',
    'retinanet': 'retinanet_resnetfpn_coco',
    'retinanet_spinenet': 'retinanet_spinenet_coco',
    'faster_rcnn': 'fasterrcnn_resnetfpn_coco',
    'mask_rcnn': 'maskrcnn_resnetfpn_coco',
    'cascade_rcnn': 'cascadercnn_spinenet_coco',
    'deeplab_v3': 'seg_deeplabv3_pascal',
    'deeplab_v3_plus': 'seg_deeplabv3plus_pascal',
}


def _import(source: pathlib.Path, target: pathlib.Path, *flags: str) -> int:
    return cli.main(['official-lite', 'import-checkpoint', str(source), str(target), *flags])


@pytest.mark.garden
@pytest.mark.slow
@pytest.mark.parametrize('family', EXPERIMENTS)
def test_one_line_imports_a_run(
    family: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gc.collect()
    _, model = families.MODELS[family]
    theirs = garden_checkpoints.write_run(tmp_path / 'run', EXPERIMENTS[family], model)
    code = _import(tmp_path / 'run', tmp_path / 'imported')
    text, error = capsys.readouterr()
    assert code == 0, text + error
    # The nearest, which may be another one of the task: these models are small.
    assert re.search(rf'Experiment: \w+, the nearest to {tmp_path}/run/params.yaml ', text), text
    assert re.search(r"\d+ outputs are equal to Model Garden's", text), text
    assert 'missing' not in text
    assert 'left over' not in text
    assert (tmp_path / 'imported' / 'ckpt-0.index').is_file()

    options = parsing.ParseConfigOptions('', [str(tmp_path / 'imported' / 'params.yaml')])
    ours = task_factory.get_task(parsing.parse_experiment(options).config.task).build_model()
    assert initialization.load_pretrained(ours, str(tmp_path / 'imported')).is_complete
    images = np.random.default_rng(1).normal(size=[1, *model['input_size']]).astype(np.float32)
    expected = model_outputs.compute_outputs(theirs, images)
    found = model_outputs.compute_outputs(ours, images)
    for key, value in expected.items():
        largest = max(1.0, np.abs(value).max())
        np.testing.assert_allclose(
            found[key], value, atol=1e-4 * largest, rtol=0, err_msg=f'{family}: {key}'
        )


@pytest.mark.garden
@pytest.mark.slow
def test_heads_are_left_out_by_choice_and_it_is_said(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other classes than the original's."""
    _, model = families.MODELS['retinanet']
    garden_checkpoints.write_run(tmp_path / 'run', 'retinanet_resnetfpn_coco', model)
    classes = '--params_override=task.model.num_classes=7'
    assert _import(tmp_path / 'run', tmp_path / 'a', classes) == 1
    error = capsys.readouterr().err
    assert 'head/classifier/bias is (36,) there and (63,) here' in error
    code = _import(tmp_path / 'run', tmp_path / 'b', classes, '--modules=all,-head/classifier')
    text = capsys.readouterr().out
    assert code == 0, text
    assert '2 of modules that were not asked for, initialized at random: head/classifier' in text
    assert "Outputs are not compared with Model Garden's: parts were left out." in text


def _write_checkpoint(folder: pathlib.Path) -> None:
    import tensorflow as tf

    tf.train.Checkpoint(v=tf.Variable(1.0)).write(str(folder / 'ckpt-1'))


@pytest.mark.parametrize(
    ('params', 'message'),
    [
        (
            None,
            'nothing says which model the checkpoint is of; expected a params.yaml beside it or in '
            'a folder above it; give the one it was trained with as --config_file=FILE, or '
            '--experiment=NAME',
        ),
        ('task: {init_checkpoint: x}\n', 'its fields do not tell which task it is of'),
        ('task: {model: {num_frames: 8}}\n', 'no experiment has all its fields and takes their'),
    ],
)
def test_what_does_not_tell_the_model(
    params: Any, message: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / 'a' / 'b' / 'c' / 'd'
    _write_checkpoint(folder)
    if params is not None:
        (folder / 'params.yaml').write_text(params)
    assert _import(folder, tmp_path / 'imported') == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'imported').exists()


def test_an_address_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path) -> None:
    address = 'https://storage.googleapis.com/tf_model_garden/vision/resnet/resnet-50-i224.tar.gz'
    assert cli.main(['official-lite', 'import-checkpoint', address, str(tmp_path)]) == 1
    assert f'curl -LO {address} && tar -xf resnet-50-i224.tar.gz' in capsys.readouterr().err
