"""`train.py` as a user types it: a run, its files, and going on with it."""

from __future__ import annotations

import json
import pathlib
import re

import pytest

from tests import commands

DATA = (
    '--params_override=task.train_data.source.embedded.num_scenes=16,'
    'task.validation_data.source.embedded.num_scenes=4'
)
SHORT = '--params_override=trainer.train_epochs=1,trainer.steps_per_loop=2'


@pytest.fixture(scope='module')
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A finished run of two steps (16 scenes in batches of 8)."""
    pytest.importorskip('sklearn', reason='the embedded data needs scikit-learn (the extra `demo`)')
    folder = tmp_path_factory.mktemp('run') / 'digits'
    result = commands.run_train(
        '--experiment=retinanet_custom', '--mode=train', f'--model_dir={folder}', DATA, SHORT
    )
    assert result.exit_code == 0, result.stderr
    assert re.search(r'trainer\.train_steps=2 \(1\.0 epochs\)', result.stdout)
    return folder


def test_d2_the_run_says_and_saves_what_epochs_are(model_dir: pathlib.Path) -> None:
    assert (model_dir / 'ckpt-2.index').is_file()
    params = (model_dir / 'params.yaml').read_text()
    assert params.splitlines()[1:3] == ['experiment: retinanet_custom', 'imports: []']
    assert '  train_epochs: 1.0\n' in params
    assert '  train_steps' not in params
    assert '    num_classes: 11\n' in params


def test_run_json_tells_how(model_dir: pathlib.Path) -> None:
    info = json.loads((model_dir / 'run.json').read_text())
    assert 'train.py --experiment=retinanet_custom --mode=train' in info['command']
    assert info['data']['origin'] == 'embedded:digits'
    assert info['data']['num_examples'] == 16
    assert re.fullmatch('[0-9a-f]{16,}', info['data']['fingerprint'])


def test_going_on_tells_what_changed(model_dir: pathlib.Path) -> None:
    result = commands.run_train(
        f'--config_file={model_dir / "params.yaml"}',
        '--mode=train',
        f'--model_dir={model_dir}',
        '--params_override=trainer.max_to_keep=2',
    )
    assert result.exit_code == 0, result.stderr
    assert 'trainer.max_to_keep: 5 -> 2' in result.stdout
    assert 'ckpt-2' in result.stdout + result.stderr


def test_going_on_with_other_weights_is_refused(model_dir: pathlib.Path) -> None:
    before = sorted(path.name for path in model_dir.iterdir())
    result = commands.run_train(
        f'--config_file={model_dir / "params.yaml"}',
        '--mode=train',
        f'--model_dir={model_dir}',
        '--params_override=task.model.head.num_filters=32',
    )
    assert result.exit_code == 2
    assert 'task.model.head.num_filters: 64 -> 32' in result.stderr
    assert 'Traceback' not in result.stderr
    assert sorted(path.name for path in model_dir.iterdir()) == before


def test_a_dry_run_writes_nothing(tmp_path: pathlib.Path) -> None:
    pytest.importorskip('sklearn', reason='the embedded data needs scikit-learn (the extra `demo`)')
    result = commands.run_train('--experiment=retinanet_custom', '--dry_run', DATA, cwd=tmp_path)
    assert result.exit_code == 0, result.stderr
    for word in ('one step: loss', 'backbone', 'decoder', 'head', 'total', 'GFLOPs', 'peak memory'):
        assert word in result.stdout
    assert list(tmp_path.iterdir()) == []
