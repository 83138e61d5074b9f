"""`official-lite import-checkpoint SRC DST` on what Model Garden's trainer leaves, of every family."""

from __future__ import annotations

import gc
import os
import pathlib
import re
import subprocess
import sys
import tarfile
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from official_lite import cli
from official_lite.core import checkpoints, initialization, parsing, run_files, task_factory
from official_lite.garden import model_outputs
from tests import commands, garden_checkpoints
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

# What loads an imported checkpoint as the docs say, where nothing of Model Garden's is installed.
LOAD = """
import sys
for name in ('official', 'tf_keras', 'orbit', 'gin', 'tf_slim', 'tensorflow_text'):
    sys.modules[name] = None
import numpy as np
from official_lite.core import initialization, parsing, run_files, task_factory
from official_lite.garden import model_outputs
folder, images, outputs = sys.argv[1:]
options = parsing.ParseConfigOptions(experiment='', config_file=[folder + '/params.yaml'])
config = parsing.parse_experiment(options).config
model = task_factory.get_task(config.task).build_model()
print(initialization.load_pretrained(model, folder).describe())
np.savez(outputs, **model_outputs.compute_outputs(model, np.load(images)))
"""


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
    ours = _build(tmp_path / 'imported')
    assert initialization.load_pretrained(ours, str(tmp_path / 'imported')).is_complete
    images = _make_images(model)
    _assert_same_outputs(model_outputs.compute_outputs(ours, images), theirs, images)


def _build(folder: pathlib.Path) -> Any:
    """The model of a folder's params.yaml."""
    options = parsing.ParseConfigOptions('', [str(folder / 'params.yaml')])
    return task_factory.get_task(parsing.parse_experiment(options).config.task).build_model()


def _make_images(model: dict[str, Any]) -> np.ndarray:
    return np.random.default_rng(1).normal(size=[1, *model['input_size']]).astype(np.float32)


def _assert_same_outputs(found: Any, garden_model: Any, images: np.ndarray) -> None:
    for key, value in model_outputs.compute_outputs(garden_model, images).items():
        largest = max(1.0, np.abs(value).max())
        np.testing.assert_allclose(found[key], value, atol=1e-4 * largest, rtol=0, err_msg=key)


@pytest.mark.garden
@pytest.mark.slow
@pytest.mark.parametrize('family', ['mobilenet_v2', 'mask_rcnn'])
def test_what_was_imported_needs_nothing_of_model_gardens(
    family: str, tmp_path: pathlib.Path
) -> None:
    gc.collect()
    _, model = families.MODELS[family]
    theirs = garden_checkpoints.write_run(tmp_path / 'run', EXPERIMENTS[family], model)
    assert _import(tmp_path / 'run', tmp_path / 'imported', '--nocompare') == 0
    images = _make_images(model)
    np.save(tmp_path / 'images.npy', images)
    arguments = [str(tmp_path / name) for name in ('imported', 'images.npy', 'outputs.npz')]
    result = subprocess.run(
        [sys.executable, '-c', LOAD, *arguments],
        cwd=commands.REPO,
        env={**os.environ, 'PYTHONPATH': str(commands.REPO)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert 'missing' not in result.stdout
    _assert_same_outputs(np.load(tmp_path / 'outputs.npz'), theirs, images)


@pytest.mark.garden
@pytest.mark.slow
@pytest.mark.parametrize('experiment', ['mobilenet_imagenet', 'retinanet_resnetfpn_coco'])
def test_all_values_of_the_config_are_carried_over(experiment: str, tmp_path: pathlib.Path) -> None:
    family = {'mobilenet_imagenet': 'mobilenet_v2'}.get(experiment, 'retinanet')
    _, model = families.MODELS[family]
    garden_checkpoints.write_run(tmp_path / 'run', experiment, model)
    assert _import(tmp_path / 'run', tmp_path / 'imported', '--nocompare') == 0
    imported = str(tmp_path / 'imported' / 'params.yaml')
    name = run_files.load_params(imported).experiment
    theirs = _read_leaves(str(tmp_path / 'run' / 'params.yaml'), name)
    ours = _read_leaves(imported)
    assert theirs.keys() == ours.keys()
    differing = {path for path, value in theirs.items() if ours[path] != value}
    # What a run starts from is not that of the original any more.
    assert differing <= {'task.init_checkpoint', 'task.init_checkpoint_modules'}


def _read_leaves(path: str, experiment: str = '') -> dict[str, Any]:
    """Dotted path to value of all that an experiment's config has with a params.yaml."""
    options = parsing.ParseConfigOptions(experiment, [path])
    return {path: value for path, value, _ in parsing.parse_experiment(options).config.leaves()}


@pytest.mark.garden
@pytest.mark.slow
@pytest.mark.parametrize('has_params', [True, False])
def test_the_folder_of_a_released_archive(
    has_params: bool, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its list of checkpoints names another machine's; a config may lie beside it or elsewhere."""
    gc.collect()
    _, model = families.MODELS['resnet']
    garden_checkpoints.write_run(tmp_path / 'run', 'resnet_imagenet', model)
    config = (tmp_path / 'run' / 'params.yaml').rename(tmp_path / 'recipe.yaml')
    (tmp_path / 'run' / 'checkpoint').write_text('model_checkpoint_path: "gs://there/run/ckpt-3"\n')
    if has_params:
        (tmp_path / 'run' / 'params.yaml').write_bytes(config.read_bytes())
    with tarfile.open(tmp_path / 'resnet-10.tar.gz', 'w:gz') as archive:
        archive.add(tmp_path / 'run', 'resnet-10')
    with tarfile.open(tmp_path / 'resnet-10.tar.gz') as archive:
        archive.extractall(tmp_path / 'downloads', filter='data')
    code = _import(tmp_path / 'downloads', tmp_path / 'imported')
    text, error = capsys.readouterr()
    if not has_params:
        assert code == 2
        assert 'nothing says which model the checkpoint is of' in error
        code = _import(tmp_path / 'downloads', tmp_path / 'imported', f'--config_file={config}')
        text, error = capsys.readouterr()
    assert code == 0, text + error
    assert f'Initialized from {tmp_path}/downloads/resnet-10/ckpt-3 (of Model Garden)' in text
    assert "1 outputs are equal to Model Garden's" in text


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
    assert 'all,-head/classifier (--modules of import-checkpoint)' in error
    code = _import(tmp_path / 'run', tmp_path / 'b', classes, '--modules=all,-head/classifier')
    text = capsys.readouterr().out
    assert code == 0, text
    assert '2 of modules that were not asked for, initialized at random: head/classifier' in text
    assert "Outputs are not compared with Model Garden's: parts were left out." in text
    report = initialization.load_pretrained(_build(tmp_path / 'b'), str(tmp_path / 'b'))
    assert report.missing == ('head/classifier/bias', 'head/classifier/kernel')
    assert report.left_over == ()


def test_a_checkpoint_of_ours_is_compared_with_nothing(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = (
        'task.model.num_classes=3,task.model.input_size=[32,32,3],'
        'task.model.backbone.resnet.depth_multiplier=0.125'
    )
    flags = ('--experiment=image_classification', f'--params_override={small}')
    options = parsing.ParseConfigOptions(
        experiment='image_classification', config_file=[], params_override=[small]
    )
    model = task_factory.get_task(parsing.parse_experiment(options).config.task).build_model()
    variables = {**checkpoints.model_variables(model), checkpoints.STEP_KEY: tf.Variable(5)}
    checkpoints.FlatCheckpoint(variables, '').write(str(tmp_path / 'ckpt-5'))
    assert _import(tmp_path / 'ckpt-5', tmp_path / 'copy', *flags) == 0
    assert 'not compared' in (text := capsys.readouterr().out)
    assert 'the checkpoint is one of official_lite' in text


def _write_checkpoint(folder: pathlib.Path) -> None:
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


def test_a_folder_with_a_checkpoint_is_not_written_to(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not the source's either, whose files would be replaced."""
    _write_checkpoint(tmp_path)
    (tmp_path / 'params.yaml').write_text('experiment: resnet_imagenet\n')
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert _import(tmp_path, tmp_path) == 2
    assert (
        f'{tmp_path}: there is a run or a checkpoint already; expected a new or an empty folder'
        in capsys.readouterr().err
    )
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
