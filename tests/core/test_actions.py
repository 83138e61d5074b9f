"""Best checkpoint, recovery, early stopping."""

from __future__ import annotations

import json
import math
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from official_lite.core import actions, best_checkpoint, checkpoint_files, checkpoints


def _checkpoint(value: float) -> checkpoints.FlatCheckpoint:
    return checkpoints.FlatCheckpoint({'v': tf.Variable(value)})


def _best_value(folder: pathlib.Path) -> float:
    variable = tf.Variable(0.0)
    path = checkpoint_files.latest_checkpoint(str(folder))
    assert path is not None
    checkpoints.FlatCheckpoint({'v': variable}).read(path)
    return float(variable)


def test_the_best_checkpoint_is_kept_with_metrics_and_config(tmp_path: pathlib.Path) -> None:
    exporter = best_checkpoint.BestCheckpointExporter(
        str(tmp_path),
        'box|AP',
        'higher',
        write_config=lambda folder: (pathlib.Path(folder) / 'params.yaml').write_text('a: 1'),  # type: ignore[arg-type,return-value]
    )
    for step, value, is_best in (
        (10, 0.5, True),
        (20, 0.6, True),
        (30, 0.55, False),
        (40, 0.6, False),
    ):
        logs = {'box': {'AP': np.float32(value)}, 'image': np.zeros([2, 2, 3])}
        assert exporter.maybe_export_checkpoint(_checkpoint(step), logs, step) is is_best
    assert _best_value(tmp_path) == 20
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        'best_ckpt-20.data-00000-of-00001',
        'best_ckpt-20.index',
        'checkpoint',
        'info.json',
        'params.yaml',
    ]
    info = json.loads((tmp_path / 'info.json').read_text())
    assert info == {'box': {'AP': pytest.approx(0.6)}, 'best_ckpt_global_step': 20.0}


def test_d14_a_nan_never_counts_as_best(tmp_path: pathlib.Path) -> None:
    exporter = best_checkpoint.BestCheckpointExporter(str(tmp_path), 'AP', 'higher')
    assert not exporter.maybe_export_checkpoint(_checkpoint(1), {'AP': math.nan}, 1)
    assert exporter.best_value is None
    assert exporter.best_ckpt_path is None
    assert exporter.maybe_export_checkpoint(_checkpoint(2), {'AP': 0.1}, 2)
    assert not exporter.maybe_export_checkpoint(_checkpoint(3), {'AP': math.nan}, 3)
    assert _best_value(tmp_path) == 2


def test_d14_a_nan_in_info_json_is_beaten(tmp_path: pathlib.Path) -> None:
    (tmp_path / 'info.json').write_text('{"AP": NaN, "best_ckpt_global_step": 5.0}')
    exporter = best_checkpoint.BestCheckpointExporter(str(tmp_path), 'AP', 'higher')
    assert exporter.maybe_export_checkpoint(_checkpoint(6), {'AP': 0.1}, 6)


def test_an_earlier_run_counts_and_lower_can_be_better(tmp_path: pathlib.Path) -> None:
    first = best_checkpoint.BestCheckpointExporter(str(tmp_path), 'loss', 'lower')
    assert first.maybe_export_checkpoint(_checkpoint(1), {'loss': 0.5}, 1)
    second = best_checkpoint.BestCheckpointExporter(str(tmp_path), 'loss', 'lower')
    assert second.best_value == 0.5
    assert not second.maybe_export_checkpoint(_checkpoint(2), {'loss': 0.7}, 2)
    assert second.maybe_export_checkpoint(_checkpoint(3), {'loss': 0.4}, 3)
    assert _best_value(tmp_path) == 3


def test_a_metric_that_does_not_exist(tmp_path: pathlib.Path) -> None:
    exporter = best_checkpoint.BestCheckpointExporter(str(tmp_path), 'mAP', 'higher')
    with pytest.raises(KeyError, match="no metric 'mAP'; expected one of AP, AP50") as caught:
        exporter.maybe_export_checkpoint(_checkpoint(1), {'AP': 1.0, 'AP50': 1.0}, 1)
    assert caught.value.exit_code == 2  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match='must be one of higher, lower'):
        best_checkpoint.BestCheckpointExporter(str(tmp_path), 'AP', 'larger')


def test_other_workers_know_the_best_but_do_not_write(tmp_path: pathlib.Path) -> None:
    exporter = best_checkpoint.BestCheckpointExporter(str(tmp_path), 'AP', 'higher', is_chief=False)
    assert exporter.maybe_export_checkpoint(_checkpoint(1), {'AP': 0.5}, 1)
    assert exporter.best_value == 0.5
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('loss', [0.6, math.nan, math.inf])
def test_recovery_condition_counts_trials(loss: float) -> None:
    condition = actions.RecoveryCondition(
        tf.Variable(3), loss_upper_bound=0.5, recovery_max_trials=2
    )
    assert not condition({'training_loss': 0.4})
    assert condition({'training_loss': loss})
    assert condition({'training_loss': tf.constant([loss])})
    with pytest.raises(RuntimeError, match=f'step 3: the loss is {loss:g}; expected a number'):
        condition({'training_loss': loss})


def test_a_high_loss_is_allowed_at_the_beginning() -> None:
    step = tf.Variable(9)
    condition = actions.RecoveryCondition(
        step, loss_upper_bound=0.5, recovery_begin_steps=10, recovery_max_trials=1
    )
    assert not condition({'training_loss': 0.6})
    assert condition({'training_loss': math.nan})
    step.assign(10)
    with pytest.raises(RuntimeError, match='2 such losses, 1 are allowed'):
        condition({'training_loss': 0.6})


def test_d9_early_stopping_after_its_patience() -> None:
    action = actions.EarlyStopping('AP', patience=2)
    for value in (0.1, 0.3, 0.2):
        action({'AP': value})
    action({'AP': 0.4})
    action({'AP': math.nan})
    with pytest.raises(actions.StopTraining, match='AP has not improved for 2 evaluations'):
        action({'AP': 0.4})


def test_d9_early_stopping_on_a_loss() -> None:
    action = actions.EarlyStopping('validation_loss', patience=1, metric_comp='lower')
    action({'validation_loss': 0.5})
    action({'validation_loss': 0.4})
    with pytest.raises(actions.StopTraining):
        action({'validation_loss': 0.45})


def test_d9_time_limit() -> None:
    times = iter([0.0, 5.0, 10.0])
    action = actions.TimeLimit(10.0, clock=lambda: next(times))
    action({})
    with pytest.raises(actions.StopTraining, match='the time limit of 10 s is reached'):
        action({})
