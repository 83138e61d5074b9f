"""A program of one's own with absl's flags and Model Garden's entry point."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import textwrap

import pytest
import yaml

PROGRAM = """
    from absl import app
    from official_lite.common import flags as tfm_flags
    from official_lite.core import exp_factory
    from official_lite.vision import train
    from official_lite.vision.configs import retinanet

    @exp_factory.register_config_factory('mine')
    def mine():
        config = retinanet.retinanet()
        config.trainer.train_steps = 3
        return config

    if __name__ == '__main__':
        tfm_flags.define_flags()
        app.run(train.main)
"""


def _run(folder: pathlib.Path, *args: str) -> subprocess.CompletedProcess[str]:
    (folder / 'main.py').write_text(textwrap.dedent(PROGRAM), 'utf-8')
    command = [sys.executable, str(folder / 'main.py'), *args]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_program_runs_its_own_experiment(tmp_path: pathlib.Path) -> None:
    override = '--params_override=trainer.steps_per_loop=2'
    done = _run(tmp_path, '--experiment=mine', override, '--print_config')
    assert done.returncode == 0, done.stderr
    config = yaml.safe_load(done.stdout)
    assert config['experiment'] == 'mine'
    assert (config['trainer']['train_steps'], config['trainer']['steps_per_loop']) == (3, 2)


def test_what_is_wrong_is_one_line(tmp_path: pathlib.Path) -> None:
    done = _run(tmp_path, '--experiment=mine', '--mode=train')
    assert done.returncode == 2
    assert done.stderr.startswith('error: --model_dir: a run needs this flag')


@pytest.mark.parametrize(
    ('statement', 'hint'),
    [
        ('from official_lite.core import input_reader', 'use official_lite.vision.dataloaders'),
        ('from official_lite.common import dataset_fn', 'sources of data open the files'),
        ('from official_lite.vision.utils import object_detection', "No module named '.*utils'"),
        ('from official_lite.vision import utils', 'boxes are in vision.ops'),
    ],
)
def test_modules_that_are_not_there_say_what_to_use(statement: str, hint: str) -> None:
    with pytest.raises(ImportError, match=hint):
        exec(statement, {})
