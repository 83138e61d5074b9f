"""Runs that were stopped go on as if they had not been."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest

from official_lite import errors
from official_lite.core import (
    checkpoints,
    interruption,
)
from tests.core import tiny_runs

REPO = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.parametrize('use_async', [False, True])
def test_d10_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    tmp_path: pathlib.Path, use_async: bool
) -> None:
    settings = {
        'task__dropout': 0.3,
        'task__use_batch_norm': True,
        'trainer__train_steps': 8,
        'trainer__optimizer_config__ema': {'average_decay': 0.9, 'trainable_weights_only': False},
    }
    whole, whole_logs = tiny_runs.run('train_and_eval', tmp_path / 'whole', **settings)
    kwargs = {'enable_async_checkpointing': use_async}
    with pytest.raises(tiny_runs.Killed):
        tiny_runs.run(
            'train_and_eval',
            tmp_path / 'parts',
            run_kwargs={**kwargs, 'train_actions': [tiny_runs.KillAt(2)]},
            **settings,
        )
    assert tiny_runs.saved_steps(tmp_path / 'parts') == [3]  # Killed at step 4.
    parts, parts_logs = tiny_runs.run(
        'train_and_eval', tmp_path / 'parts', run_kwargs=kwargs, **settings
    )
    tiny_runs.assert_same_weights(whole, parts)
    assert whole_logs == parts_logs
    a, b = (
        checkpoints.CheckpointSource(str(tmp_path / name / 'ckpt-8')) for name in ('whole', 'parts')
    )
    assert a.shapes == b.shapes
    for key in a.shapes:
        np.testing.assert_array_equal(a.read(key), b.read(key), err_msg=key)
    steps = [line['step'] for line in tiny_runs.read_lines(tmp_path / 'parts')]
    assert steps == sorted(steps)


def test_a_finished_run_is_evaluated_and_not_trained_again(tmp_path: pathlib.Path) -> None:
    first, logs = tiny_runs.run('train_and_eval', tmp_path)
    second, again = tiny_runs.run('train_and_eval', tmp_path)
    tiny_runs.assert_same_weights(first, second)
    assert again == logs


def test_other_shapes_are_refused_on_resume(tmp_path: pathlib.Path) -> None:
    tiny_runs.run('train', tmp_path)
    with pytest.raises(errors.OfficialLiteError, match='batch_norm'):
        tiny_runs.run('train', tmp_path, task__use_batch_norm=True)


def test_d9_the_seed_decides_over_the_weights(tmp_path: pathlib.Path) -> None:
    first, _ = tiny_runs.run('train', tmp_path / 'a', task__dropout=0.3)
    same, _ = tiny_runs.run('train', tmp_path / 'b', task__dropout=0.3)
    other, _ = tiny_runs.run('train', tmp_path / 'c', task__dropout=0.3, runtime__seed=8)
    tiny_runs.assert_same_weights(first, same)
    key = 'head/stem/kernel'
    assert not np.array_equal(tiny_runs.weights(first)[key], tiny_runs.weights(other)[key])


def test_keeps_the_last_checkpoints(tmp_path: pathlib.Path) -> None:
    tiny_runs.run('train', tmp_path, trainer__checkpoint_interval=1, trainer__max_to_keep=2)
    assert tiny_runs.saved_steps(tmp_path) == [5, 6]


_SCRIPT = """
import sys
from tests.core import tiny_runs
from tests.core.test_train_lib_resuming import INTERRUPTED
tiny_runs.run('train', sys.argv[1], trainer__train_steps=int(sys.argv[2]), **INTERRUPTED)
"""
INTERRUPTED: dict[str, Any] = {
    'task__dropout': 0.3,
    'trainer__checkpoint_interval': 100_000,
    'trainer__optimizer_config__learning_rate__constant__learning_rate': 1e-3,
}


def _start(model_dir: pathlib.Path, steps: int) -> Any:
    env = {**os.environ, 'PYTHONPATH': str(REPO), 'TF_CPP_MIN_LOG_LEVEL': '2'}
    return subprocess.Popen(
        [sys.executable, '-c', _SCRIPT, str(model_dir), str(steps)],
        cwd=REPO,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_a_checkpoint_from_which_the_same_command_goes_on(
    tmp_path: pathlib.Path, number: signal.Signals
) -> None:
    process = _start(tmp_path / 'run', 10_000_000)
    try:
        metrics = tmp_path / 'run' / 'metrics.jsonl'
        deadline = time.monotonic() + 120
        while not metrics.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(number)
        text, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 128 + number, text
    (step,) = tiny_runs.saved_steps(tmp_path / 'run')
    assert f'Stopped at step {step}; saved' in text
    assert 'Traceback' not in text
    end = step + 3
    resumed, _ = tiny_runs.run('train', tmp_path / 'run', trainer__train_steps=end, **INTERRUPTED)
    whole, _ = tiny_runs.run('train', tmp_path / 'whole', trainer__train_steps=end, **INTERRUPTED)
    tiny_runs.assert_same_weights(whole, resumed)


def test_interrupted_is_an_exit_with_the_signals_code() -> None:
    error = interruption.Interrupted('stopped', signal.SIGTERM)
    assert isinstance(error, SystemExit)
    assert error.code == 143
    assert str(error) == 'stopped'


def test_the_first_signal_is_noted_and_the_second_acts() -> None:
    with interruption.StopSignals() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.received == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
