"""Folders, checkpoints and settings that are wrong, and runs that are interrupted."""

from __future__ import annotations

import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests import commands
from tests.runs_on_data import (
    ANNOTATIONS,
    TRAIN,
    VALIDATION,
    check,
    coco,
    make_flags,
    tfrecord,
)

pytestmark = pytest.mark.usefixtures('own_cache')


def test_evaluation_needs_a_checkpoint(
    data: pathlib.Path, run: Any, tmp_path: pathlib.Path
) -> None:
    both = coco(data / ANNOTATIONS), coco(data / ANNOTATIONS, VALIDATION)
    message = (
        r'/run: there is no checkpoint to evaluate; train first, or name a checkpoint with task'
    )
    check(run(*both, mode='eval'), 1, message)
    message = r'^/nowhere/ckpt: there is no checkpoint; expected a folder with checkpoints'
    check(run(*both, 'task.init_checkpoint=/nowhere/ckpt', mode='eval'), 1, message)
    assert not (tmp_path / 'run').exists()


# ---- folders and checkpoints --------------------------------------------------------------------


def test_model_dir(data: pathlib.Path, run: Any, tmp_path: pathlib.Path) -> None:
    fine = coco(data / ANNOTATIONS)
    (tmp_path / 'file').write_text('x')
    for folder, message in (
        (tmp_path / 'file', r'^--model_dir=.*/file: the folder cannot be made: File exists$'),
        (tmp_path / 'file' / 'run', r'/file/run: the folder cannot be made: Not a directory$'),
        ('/proc/sys', r'^--model_dir=/proc/sys: params\.yaml cannot be written: '),
    ):
        check(run(fine, model_dir=folder), 2, message)
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other' / 'params.yaml').write_text('experiment: retinanet_resnetfpn_coco\n')
    check(
        run(fine, model_dir=tmp_path / 'other'),
        2,
        r'^--model_dir=.*/other: the folder holds a run of the experiment '
        r"'retinanet_resnetfpn_coco', not of 'retinanet_custom'; choose another folder",
    )
    assert [path.name for path in (tmp_path / 'other').iterdir()] == ['params.yaml']


def test_a_damaged_checkpoint(data: pathlib.Path, run: Any, tmp_path: pathlib.Path) -> None:
    fine, folder = coco(data / ANNOTATIONS), tmp_path / 'run'
    longer = f'{fine},trainer.train_steps=3'
    assert run(f'{fine},trainer.checkpoint_interval=1').exit_code == 0
    values, listing = folder / 'ckpt-2.data-00000-of-00001', folder / 'checkpoint'
    content, listed = values.read_bytes(), listing.read_text()
    before = sorted(path.name for path in folder.iterdir())
    hint = r'; if it is damaged, delete .*ckpt-2\.index to go on from the one before it$'
    values.write_bytes(content[: len(content) // 2])
    check(run(longer), 1, r'^.*/run/ckpt-2: cannot read the checkpoint; received .*' + hint)
    evaluated = coco(data / ANNOTATIONS, VALIDATION)
    check(run(longer, evaluated, mode='eval'), 1, r'/run/ckpt-2: cannot read the checkpoint; ')
    values.write_bytes(content[:500] + bytes(100) + content[600:])
    check(run(longer), 1, r'cannot read the checkpoint; received .*Checksum does not match' + '.*')
    listing.write_text('garbage')
    check(run(longer), 1, r'^.*/run/checkpoint: the list of checkpoints is damaged; expected lines')
    assert sorted(path.name for path in folder.iterdir()) == before
    listing.write_text(listed)
    (folder / 'ckpt-2.index').unlink()
    outcome = run(longer)
    assert outcome.exit_code == 0, outcome.stderr
    assert re.search(r'Resuming from .*/run/ckpt-1\.', outcome.stdout + outcome.stderr)


# ---- settings that cannot work ------------------------------------------------------------------


@pytest.mark.parametrize(
    ('overrides', 'message'),
    [
        (
            'task.model.input_size=[]',
            r'^task\.model\.input_size: needed here and not set, expected \[height, width, channels\]',
        ),
        ('task.model.input_size=[32,32]', r'input_size: expected \[height, width, channels\], rec'),
        (
            'task.model.input_size=[-32,32,3]',
            r'input_size: expected numbers of 1 or more, received',
        ),
        (
            'trainer.train_steps=0',
            r'^trainer\.train_steps: needed here and not set, expected 1 or more, or trainer\.train_e',
        ),
        (f'{TRAIN}.global_batch_size=0', rf'^{TRAIN}\.global_batch_size: needed here and not set'),
        (
            'runtime.enable_xla=true,runtime.run_eagerly=true',
            r'^runtime\.enable_xla: expected false, because run_eagerly is on, received True',
        ),
        (
            'runtime.enable_xla=true,runtime.distribution_strategy=multi_worker_mirrored',
            r'^runtime\.enable_xla: gradients cannot be summed over workers inside an XLA-compiled',
        ),
        (
            "runtime.mixed_precision_dtype=float16,runtime.distribution_strategy=tpu,runtime.tpu='x'",
            r'^runtime\.mixed_precision_dtype: .*float16',
        ),
        ('runtime.num_gpus=99', r'^runtime\.num_gpus: 99 GPUs are asked for and \d+ are visible$'),
    ],
)
def test_settings(
    data: pathlib.Path, run: Any, tmp_path: pathlib.Path, overrides: str, message: str
) -> None:
    check(run(coco(data / ANNOTATIONS), overrides), 2, message)
    assert not (tmp_path / 'run').exists()


def test_embedded_data_without_scikit_learn(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ('sklearn', 'sklearn.datasets'):
        monkeypatch.setitem(sys.modules, name, None)
    outcome = run(f'{TRAIN}.source.embedded.num_scenes=4')
    check(outcome, 2, r"scikit-learn is not installed.*pip install 'official-lite\[demo\]'$")


# ---- as processes of their own ------------------------------------------------------------------


def test_a_process_ends_the_same_way(data: pathlib.Path, tmp_path: pathlib.Path) -> None:
    result = commands.run_train(*make_flags(tmp_path, tfrecord(data / '*.none')))
    assert result.exit_code == 2
    # TensorFlow may print lines of its own before.
    [error] = [line for line in result.stderr.splitlines() if line.startswith('error: ')]
    assert error.startswith(f'error: {TRAIN}.source.tfrecord.input_path: no file matches')
    assert result.stderr.endswith(f'{error}\n')
    assert 'Traceback' not in result.stderr


def test_ctrl_c_saves_and_the_same_command_goes_on(
    data: pathlib.Path, run: Any, tmp_path: pathlib.Path
) -> None:
    fine = f'{coco(data / ANNOTATIONS)},trainer.checkpoint_interval=1000000'
    args = make_flags(tmp_path, fine, 'trainer.train_steps=1000000')
    log = tmp_path / 'stderr.txt'
    with log.open('w') as file:
        process = subprocess.Popen(
            [sys.executable, str(commands.REPO / 'train.py'), *args],
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, 'TF_CPP_MIN_LOG_LEVEL': '3'},
        )
        try:
            _wait_for(lambda: 'step ' in log.read_text() or process.poll() is not None)
            process.send_signal(signal.SIGINT)
            exit_code = process.wait(timeout=60)
        finally:
            process.kill()
    text = log.read_text()
    assert exit_code == 130, text
    assert 'Traceback' not in text
    found = re.search(
        r'Stopped at step (\d+); saved .*/run/ckpt-\1\. The same command goes on from here\.', text
    )
    assert found is not None, text
    step = int(found[1])
    outcome = run(fine, f'trainer.train_steps={step + 1}')
    assert outcome.exit_code == 0, outcome.stderr
    assert f'Resuming from {tmp_path}/run/ckpt-{step}.' in outcome.stdout + outcome.stderr
    assert (tmp_path / 'run' / f'ckpt-{step + 1}.index').is_file()


def _wait_for(is_done: Callable[[], bool], timeout_secs: float = 120.0) -> None:
    end = time.monotonic() + timeout_secs
    while not is_done():
        assert time.monotonic() < end, 'the run did not begin'
        time.sleep(0.1)
