"""`official-lite export` with what does not fit: one line that says so, and never a traceback."""

from __future__ import annotations

import pathlib

import pytest
import tensorflow as tf

from official_lite import cli
from official_lite.core import (
    checkpoint_files,
    checkpoints,
    exp_factory,
    run_files,
    task_factory,
)

_EXPERIMENT = 'classification_custom'
_BACKBONE = {'type': 'resnet', 'resnet': {'model_id': 10, 'depth_multiplier': 0.125}}


@pytest.fixture(scope='module', name='run')
def _run(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The folder of a run that has done nothing."""
    folder = tmp_path_factory.mktemp('run')
    params = exp_factory.get_exp_config(_EXPERIMENT)
    model = {'input_size': [32, 32, 3], 'num_classes': 3, 'backbone': _BACKBONE}
    params.override({'task': {'model': model}})
    run_files.save_params(params, str(folder), _EXPERIMENT)
    variables = checkpoints.model_variables(task_factory.get_task(params.task).build_model())
    saved = {**variables, checkpoints.STEP_KEY: tf.Variable(1, dtype=tf.int64)}
    checkpoints.FlatCheckpoint(saved).write(str(folder / 'ckpt-1'))
    checkpoint_files.write_state(str(folder), ['ckpt-1'])
    return folder


def _export(run: pathlib.Path, *flags: str) -> int:
    named = [f'--config_file={run}/params.yaml', f'--checkpoint_path={run}']
    return cli.main(['official-lite', 'export', *named, f'--export_dir={run}/out', *flags])


@pytest.mark.parametrize(
    ('flag', 'message'),
    [
        ('--batch_size=0', 'batch_size: expected 1 or more, or None for any number; received 0'),
        ('--input_image_size=1,big', '--input_image_size: expected height,width in pixels, as in'),
        ('--input_image_size=1,99999999999', 'input_image_size: expected height and width of 1 to'),
        ('--num_channels=4', 'num_channels: expected 3; received 4'),
        ('--input_type=picture', 'input_type: expected image_tensor or image_bytes or tf_example'),
        (
            '--input_name=two words',
            'input_name: expected a letter, then letters, digits and unders',
        ),
        ('--function_keys=image_tensor', '--function_keys: expected TYPE:NAME,..., as in'),
        (
            '--function_keys=image_tensor:a,image_tensor:b',
            '--function_keys: expected each type once; received image_tensor:a,image_tensor:b',
        ),
        (
            '--function_keys=image_tensor:a,image_bytes:a',
            "function_keys: expected a name of its own for each signature; received 'a' for 2 of",
        ),
        ('--export_dir=/proc/sys/no', 'export_dir=/proc/sys/no: cannot be written (/proc/sys/no; '),
        ('--config_file=/nowhere.yaml', '--config_file=/nowhere.yaml: no such file, neither here'),
    ],
)
def test_flags(
    run: pathlib.Path, flag: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _export(run, flag) == 2
    assert capsys.readouterr().err.startswith(f'error: {message}')
    assert not (run / 'out').exists()


def test_folders(run: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file where a folder is to be, and checkpoints that are not there."""
    assert _export(run, f'--export_dir={run}/params.yaml') == 2
    message = f'error: export_dir={run}/params.yaml: cannot be written ('
    assert capsys.readouterr().err.startswith(message)
    for folder in ('/nowhere', f'{run}/params.yaml'):
        assert _export(run, f'--checkpoint_path={folder}') == 1
        assert capsys.readouterr().err.startswith(f'error: {folder}: there is no checkpoint; ')


def test_an_exported_folder_is_a_checkpoint(run: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Also where a folder has the name of the list of checkpoints; params.yaml says of which model."""
    assert _export(run, f'--export_dir={tmp_path}') == 0
    assert checkpoint_files.find_checkpoint(str(tmp_path)) == f'{tmp_path}/checkpoint/ckpt-1'
    assert checkpoint_files.latest_checkpoint(str(tmp_path)) is None
    assert run_files.load_params(f'{tmp_path}/params.yaml').experiment == _EXPERIMENT
