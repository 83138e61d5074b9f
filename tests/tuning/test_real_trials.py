"""Real trainings in a study: killed and resumed, out of memory, beside each other."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from tests import commands
from tests.tuning import studies
from tests.tuning.test_recipes import TINY

pytest.importorskip('optuna')
pytest.importorskip('sklearn')

STEPS = 60


def start(folder: pathlib.Path, *args: str) -> subprocess.Popen[bytes]:
    """`official-lite tune` on a tiny detector."""
    (folder / 'tiny.yaml').write_text(TINY)
    space = f"""\
sampler: {{type: random}}
n_trials: 2
space:
  {studies.RATE}: {{log_uniform: [1.0e-4, 1.0e-2]}}
  trainer.train_steps: {STEPS}
  trainer.validation_interval: {STEPS // 2}
  trainer.checkpoint_interval: 10
"""
    (folder / 'space.yaml').write_text(space)
    with (folder / 'said.txt').open('ab') as said:
        return subprocess.Popen(
            [
                *(sys.executable, '-m', 'official_lite.cli', 'tune'),
                *('--experiment=retinanet_custom', f'--config_file={folder}/tiny.yaml'),
                *(f'--search_space={folder}/space.yaml', f'--study_dir={folder}/study'),
                *args,
            ],
            cwd=commands.REPO,
            env={**os.environ, 'PYTHONPATH': str(commands.REPO)},
            stdout=said,
            stderr=said,
        )


def wait_for_checkpoint(trial_dir: pathlib.Path) -> None:
    end = time.monotonic() + 1500
    while not list(trial_dir.glob('ckpt-*.index')):
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_killed_study_resumes_its_trial_from_the_checkpoint(tmp_path: pathlib.Path) -> None:
    process = start(tmp_path)
    trial_dir = tmp_path / 'study' / 'trials' / '00000'
    wait_for_checkpoint(trial_dir)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert start(tmp_path, '--workers=2').wait(timeout=1500) == 0, (
        tmp_path / 'said.txt'
    ).read_text()
    log = (trial_dir / 'trial.log').read_text()
    assert 'the process that started this trial has ended' in log
    assert 'Resuming from' in log
    assert 'Stopped at step' in log  # it saved before it ended
    for number in range(2):
        lines = (tmp_path / 'study' / 'trials' / f'{number:05d}' / 'metrics.jsonl').read_text()
        evaluated = [json.loads(x)['step'] for x in lines.splitlines() if 'eval/AP' in x]
        assert evaluated == [STEPS // 2, STEPS]
    rows = (tmp_path / 'study' / 'trials.csv').read_text().splitlines()
    assert len(rows) == 3
    assert all(',complete,' in row for row in rows[1:])
