"""What a run keeps beside its checkpoints: the best one, averages; and when it ends early."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import pytest

from official_lite.core import (
    actions,
    checkpoints,
)
from tests.core import tiny_runs


def test_the_best_checkpoint_has_its_config_and_can_start_another_run(
    tmp_path: pathlib.Path,
) -> None:
    settings = {
        'trainer__best_checkpoint_export_subdir': 'best',
        'trainer__best_checkpoint_eval_metric': 'error',
        'trainer__best_checkpoint_metric_comp': 'lower',
    }
    _, logs = tiny_runs.run('train_and_eval', tmp_path, **settings)
    errors_by_step = {
        line['step']: line['eval/error']
        for line in tiny_runs.read_lines(tmp_path)
        if 'eval/error' in line
    }
    best = min(errors_by_step, key=errors_by_step.__getitem__)
    info = json.loads((tmp_path / 'best' / 'info.json').read_text())
    assert info['best_ckpt_global_step'] == best
    assert logs['best_error'] == pytest.approx(errors_by_step[best])
    assert (tmp_path / 'best' / f'best_ckpt-{best}.index').exists()
    assert (tmp_path / 'best' / 'params.yaml').read_text() == (tmp_path / 'params.yaml').read_text()
    _, again = tiny_runs.run(
        'eval', tmp_path / 'other', task__init_checkpoint=str(tmp_path / 'best')
    )
    assert again['error'] == pytest.approx(errors_by_step[best], rel=1e-6)


def test_b30_moving_averages_are_evaluated_and_exported_without_bias(
    tmp_path: pathlib.Path,
) -> None:
    settings = {
        'trainer__optimizer_config__ema': {'average_decay': 0.999, 'dynamic_decay': False},
        'trainer__train_steps': 2,
        'trainer__checkpoint_interval': 2,
        'trainer__best_checkpoint_export_subdir': 'best',
        'trainer__best_checkpoint_eval_metric': 'error',
    }
    model, logs = tiny_runs.run('train_and_eval', tmp_path, **settings)
    key = 'head/stem/kernel'
    trained = tiny_runs.weights(model)[key]
    run_file = checkpoints.CheckpointSource(str(tmp_path / 'ckpt-2'))
    average = run_file.read(f'optimizer/default/{key}/average')
    exported = checkpoints.CheckpointSource(str(tmp_path / 'best' / 'best_ckpt-2'))
    saved = checkpoints.CheckpointSource(str(tmp_path / 'ema_checkpoints' / 'average_weights-2'))
    np.testing.assert_array_equal(run_file.read(key), trained)
    np.testing.assert_array_equal(exported.read(key), average)
    np.testing.assert_array_equal(saved.read(key), average)
    # After two steps at decay 0.999 an average that began at zero would be near zero.
    assert np.abs(average).sum() > 0.5 * np.abs(trained).sum()
    assert not np.array_equal(average, trained)
    evaluated, again = tiny_runs.run('eval', tmp_path, **settings)
    np.testing.assert_array_equal(tiny_runs.weights(evaluated)[key], average)
    assert again['error'] == pytest.approx(logs['error'], rel=1e-6)


@pytest.mark.parametrize('trainable_weights_only', [True, False])
def test_averages_of_statistics_are_exported_if_they_are_kept(
    tmp_path: pathlib.Path, trainable_weights_only: bool
) -> None:
    tiny_runs.run(
        'train_and_eval',
        tmp_path,
        task__use_batch_norm=True,
        trainer__optimizer_config__ema={
            'average_decay': 0.9,
            'dynamic_decay': False,
            'trainable_weights_only': trainable_weights_only,
        },
        trainer__train_steps=2,
        trainer__checkpoint_interval=2,
        trainer__best_checkpoint_export_subdir='best',
        trainer__best_checkpoint_eval_metric='error',
    )
    key = 'backbone/batch_normalization/moving_mean'
    run_file = checkpoints.CheckpointSource(str(tmp_path / 'ckpt-2'))
    exported = checkpoints.CheckpointSource(str(tmp_path / 'best' / 'best_ckpt-2')).read(key)
    average = f'optimizer/default/{key}/average'
    assert (average in run_file.shapes) is not trainable_weights_only
    if trainable_weights_only:
        np.testing.assert_array_equal(exported, run_file.read(key))
    else:
        np.testing.assert_array_equal(exported, run_file.read(average))
        assert not np.array_equal(exported, run_file.read(key))


def test_schedule_free_weights_are_evaluated_and_exported_at_their_average(
    tmp_path: pathlib.Path,
) -> None:
    settings = {
        'trainer__optimizer_config__optimizer': {'type': 'schedule_free_adamw'},
        'trainer__train_steps': 2,
        'trainer__checkpoint_interval': 2,
        'trainer__best_checkpoint_export_subdir': 'best',
        'trainer__best_checkpoint_eval_metric': 'error',
    }
    model, logs = tiny_runs.run('train_and_eval', tmp_path, **settings)
    key = 'head/stem/kernel'
    average = checkpoints.CheckpointSource(str(tmp_path / 'ckpt-2')).read(
        f'optimizer/default/{key}/average'
    )
    best = checkpoints.CheckpointSource(str(tmp_path / 'best' / 'best_ckpt-2'))
    np.testing.assert_array_equal(best.read(key), average)
    assert not np.array_equal(average, tiny_runs.weights(model)[key])
    evaluated, again = tiny_runs.run('eval', tmp_path, **settings)
    np.testing.assert_array_equal(tiny_runs.weights(evaluated)[key], average)
    assert again['error'] == pytest.approx(logs['error'], rel=1e-6)


def test_d9_early_stopping_and_time_limit_from_the_config(tmp_path: pathlib.Path) -> None:
    tiny_runs.run(
        'train_and_eval',
        tmp_path / 'patience',
        trainer__train_steps=100,
        trainer__early_stopping_patience=2,
        trainer__best_checkpoint_eval_metric='num_seen',
    )
    assert tiny_runs.saved_steps(tmp_path / 'patience') == [3, 6, 9]
    _, logs = tiny_runs.run(
        'train_and_eval', tmp_path / 'time', trainer__train_steps=100, trainer__max_train_secs=1e-9
    )
    assert tiny_runs.saved_steps(tmp_path / 'time') == [2]
    assert 'validation_loss' in logs


def test_d9_training_can_end_early(tmp_path: pathlib.Path) -> None:
    stop = actions.EarlyStopping('num_seen', patience=1)
    _, logs = tiny_runs.run(
        'train_and_eval', tmp_path, run_kwargs={'eval_actions': [stop]}, trainer__train_steps=100
    )
    assert tiny_runs.saved_steps(tmp_path) == [3, 6]
    assert 'validation_loss' in logs


def test_actions_get_the_logs(tmp_path: pathlib.Path) -> None:
    seen: list[Any] = []
    tiny_runs.run(
        'train_and_eval',
        tmp_path,
        run_kwargs={'train_actions': [seen.append], 'eval_actions': [seen.append]},
    )
    assert ['training_loss' in logs for logs in seen] == [True, False, True, True, False]
