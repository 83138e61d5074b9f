"""`run_experiment`: modes, resuming, recovery, evaluation, the folder of a run."""

from __future__ import annotations

import json
import math
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import yaml

from official_lite import errors
from official_lite.core import (
    actions,
    checkpoint_files,
    checkpoints,
    data_info,
    interruption,
    train_lib,
)
from tests.core import tiny_task

REPO = pathlib.Path(__file__).resolve().parents[2]


def run(
    mode: str,
    model_dir: Any,
    task_cls: type[tiny_task.TinyTask] = tiny_task.TinyTask,
    run_kwargs: dict[str, Any] | None = None,
    **overrides: Any,
) -> tuple[Any, dict[str, Any]]:
    config = tiny_task.make_config(**overrides)
    return train_lib.run_experiment(
        tf.distribute.get_strategy(),
        task_cls(config.task),
        mode,
        config,
        str(model_dir),
        **(run_kwargs or {}),
    )


def weights(model: Any) -> dict[str, np.ndarray]:
    return {k: v.numpy() for k, v in checkpoints.model_variables(model).items()}


def assert_same_weights(first: Any, second: Any) -> None:
    a, b = weights(first), weights(second)
    assert a.keys() == b.keys()
    for key, value in a.items():
        np.testing.assert_array_equal(value, b[key], err_msg=key)


def read_lines(model_dir: pathlib.Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (model_dir / 'metrics.jsonl').read_text().splitlines()]


def saved_steps(model_dir: pathlib.Path) -> list[int]:
    return sorted(int(p.stem.split('-')[1]) for p in model_dir.glob('ckpt-*.index'))


# Modes.


def test_train_saves_and_returns_no_logs(tmp_path: pathlib.Path) -> None:
    _, logs = run('train', tmp_path)
    assert logs == {}
    assert saved_steps(tmp_path) == [3, 6]
    assert [line['step'] for line in read_lines(tmp_path)] == [2, 4, 6]
    assert {'loss', 'error', 'learning_rate'} <= read_lines(tmp_path)[0].keys()


@pytest.mark.parametrize('mode', ['train_and_eval', 'train_and_validate'])
def test_d15_train_and_eval_returns_the_last_evaluation(tmp_path: pathlib.Path, mode: str) -> None:
    _, logs = run(mode, tmp_path)
    evaluated = [line for line in read_lines(tmp_path) if 'eval/loss' in line]
    assert [line['step'] for line in evaluated] == [3, 6]
    assert logs['validation_loss'] == pytest.approx(evaluated[-1]['eval/loss'])
    assert logs['num_seen'] == 10
    assert (tmp_path / 'validation').is_dir()


def test_train_and_post_eval_evaluates_once(tmp_path: pathlib.Path) -> None:
    _, logs = run('train_and_post_eval', tmp_path)
    evaluated = [line['step'] for line in read_lines(tmp_path) if 'eval/loss' in line]
    assert evaluated == [6]
    assert 'validation_loss' in logs


def test_run_post_eval_evaluates_after_any_mode(tmp_path: pathlib.Path) -> None:
    _, logs = run('train', tmp_path, run_kwargs={'run_post_eval': True})
    assert 'validation_loss' in logs


def test_d15_continuous_train_and_eval_evaluates_every_checkpoint(tmp_path: pathlib.Path) -> None:
    run('continuous_train_and_eval', tmp_path, trainer__checkpoint_interval=2)
    evaluated = [line['step'] for line in read_lines(tmp_path) if 'eval/loss' in line]
    assert evaluated == saved_steps(tmp_path) == [2, 4, 6]


def test_eval_evaluates_the_newest_checkpoint(tmp_path: pathlib.Path) -> None:
    trained, trained_logs = run('train_and_eval', tmp_path, task__use_batch_norm=True)
    model, logs = run('eval', tmp_path, task__use_batch_norm=True)
    assert_same_weights(trained, model)
    assert logs['validation_loss'] == pytest.approx(trained_logs['validation_loss'], rel=1e-6)


def test_d15_continuous_eval_follows_a_run_and_ends_with_it(tmp_path: pathlib.Path) -> None:
    target = tmp_path / 'run'
    run('train', tmp_path / 'source', trainer__checkpoint_interval=3)

    def copy_one_after_the_other() -> None:
        target.mkdir()
        for step in (3, 6):
            for path in (tmp_path / 'source').glob(f'ckpt-{step}.*'):
                (target / path.name).write_bytes(path.read_bytes())
            checkpoint_files.write_state(str(target), [str(target / f'ckpt-{step}')])
            time.sleep(2.5)

    thread = threading.Thread(target=copy_one_after_the_other)
    thread.start()
    try:
        _, logs = run('continuous_eval', target, trainer__continuous_eval_timeout=60)
    finally:
        thread.join()
    evaluated = [line['step'] for line in read_lines(target) if 'eval/loss' in line]
    assert evaluated[-1] == 6
    assert set(evaluated) <= {3, 6}
    assert logs['num_seen'] == 10


def test_d13_continuous_eval_without_a_checkpoint_is_an_error(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.CheckpointError, match='there is no checkpoint to evaluate'):
        run('continuous_eval', tmp_path, trainer__continuous_eval_timeout=1)


def test_an_unknown_mode_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.UsageError, match="no mode 'evaluate'; expected one of train, eval"):
        run('evaluate', tmp_path)


def test_training_without_a_length_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.UsageError, match=r'trainer.train_steps: training needs a length'):
        run('train', tmp_path, trainer__train_steps=0)


# Evaluation without training.


def test_d13_eval_without_a_checkpoint_is_an_error(tmp_path: pathlib.Path) -> None:
    with pytest.raises(
        errors.CheckpointError, match='there is no checkpoint to evaluate'
    ) as caught:
        run('eval', tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert not (tmp_path / 'metrics.jsonl').exists()


def test_d13_eval_of_a_pretrained_checkpoint_must_be_complete(tmp_path: pathlib.Path) -> None:
    trained, trained_logs = run('train_and_eval', tmp_path / 'a')
    pretrained = str(tmp_path / 'a')
    model, logs = run('eval', tmp_path / 'b', task__init_checkpoint=pretrained)
    assert_same_weights(trained, model)
    assert logs['validation_loss'] == pytest.approx(trained_logs['validation_loss'], rel=1e-6)
    with pytest.raises(errors.CheckpointError, match='4 variables would be evaluated with random'):
        run('eval', tmp_path / 'c', task__init_checkpoint=pretrained, task__use_batch_norm=True)


def test_d12_evaluation_keeps_the_last_smaller_batch(tmp_path: pathlib.Path) -> None:
    _, logs = run('train_and_post_eval', tmp_path, task__num_validation_examples=11)
    assert logs['num_seen'] == 11


def test_validation_steps_limits_an_evaluation(tmp_path: pathlib.Path) -> None:
    _, logs = run('train_and_post_eval', tmp_path, trainer__validation_steps=2)
    assert logs['num_seen'] == 8


def test_empty_validation_data_is_an_error(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.DataError, match='the validation data is empty'):
        run('train_and_post_eval', tmp_path, task__num_validation_examples=0)


# Resuming.


class _Killed(Exception):
    pass


class _KillAt:
    """A training action that ends the process' life as far as the run can see."""

    def __init__(self, calls: int) -> None:
        self._calls = calls

    def __call__(self, logs: Any) -> None:
        self._calls -= 1
        if not self._calls:
            raise _Killed


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
    whole, whole_logs = run('train_and_eval', tmp_path / 'whole', **settings)
    kwargs = {'enable_async_checkpointing': use_async}
    with pytest.raises(_Killed):
        run(
            'train_and_eval',
            tmp_path / 'parts',
            run_kwargs={**kwargs, 'train_actions': [_KillAt(2)]},
            **settings,
        )
    assert saved_steps(tmp_path / 'parts') == [3]  # Killed at step 4.
    parts, parts_logs = run('train_and_eval', tmp_path / 'parts', run_kwargs=kwargs, **settings)
    assert_same_weights(whole, parts)
    assert whole_logs == parts_logs
    a, b = (
        checkpoints.CheckpointSource(str(tmp_path / name / 'ckpt-8')) for name in ('whole', 'parts')
    )
    assert a.shapes == b.shapes
    for key in a.shapes:
        np.testing.assert_array_equal(a.read(key), b.read(key), err_msg=key)
    steps = [line['step'] for line in read_lines(tmp_path / 'parts')]
    assert steps == sorted(steps)


def test_a_finished_run_is_evaluated_and_not_trained_again(tmp_path: pathlib.Path) -> None:
    first, logs = run('train_and_eval', tmp_path)
    second, again = run('train_and_eval', tmp_path)
    assert_same_weights(first, second)
    assert again == logs


def test_other_shapes_are_refused_on_resume(tmp_path: pathlib.Path) -> None:
    run('train', tmp_path)
    with pytest.raises(errors.OfficialLiteError, match='batch_norm'):
        run('train', tmp_path, task__use_batch_norm=True)


def test_d9_the_seed_decides_over_the_weights(tmp_path: pathlib.Path) -> None:
    first, _ = run('train', tmp_path / 'a', task__dropout=0.3)
    same, _ = run('train', tmp_path / 'b', task__dropout=0.3)
    other, _ = run('train', tmp_path / 'c', task__dropout=0.3, runtime__seed=8)
    assert_same_weights(first, same)
    key = 'head/stem/kernel'
    assert not np.array_equal(weights(first)[key], weights(other)[key])


def test_keeps_the_last_checkpoints(tmp_path: pathlib.Path) -> None:
    run('train', tmp_path, trainer__checkpoint_interval=1, trainer__max_to_keep=2)
    assert saved_steps(tmp_path) == [5, 6]


_SCRIPT = """
import sys
from tests.core import tiny_task
from tests.core.test_train_lib import INTERRUPTED, run
run('train', sys.argv[1], trainer__train_steps=int(sys.argv[2]), **INTERRUPTED)
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
    (step,) = saved_steps(tmp_path / 'run')
    assert f'Stopped at step {step}; saved' in text
    assert 'Traceback' not in text
    end = step + 3
    resumed, _ = run('train', tmp_path / 'run', trainer__train_steps=end, **INTERRUPTED)
    whole, _ = run('train', tmp_path / 'whole', trainer__train_steps=end, **INTERRUPTED)
    assert_same_weights(whole, resumed)


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


# A loss that blows up.


def test_a_loss_that_is_not_finite_ends_the_run_and_is_not_saved(tmp_path: pathlib.Path) -> None:
    with pytest.raises(actions.LossError, match='the loss is nan; expected a number of at most'):
        run('train', tmp_path, task__blow_up_at=4)
    assert saved_steps(tmp_path) == [3]
    model, _ = run('train', tmp_path, task__blow_up_at=-1)
    assert all(np.isfinite(v).all() for v in weights(model).values())


def test_recovery_goes_back_and_around_the_data(tmp_path: pathlib.Path) -> None:
    model, _ = run('train', tmp_path, task__blow_up_at=4, trainer__recovery_max_trials=1)
    assert all(np.isfinite(v).all() for v in weights(model).values())
    source = checkpoints.CheckpointSource(str(tmp_path / 'ckpt-6'))
    assert source.read('step') == 6
    assert source.read('data/num_batches') > 6


def test_recovery_before_the_first_checkpoint_goes_back_to_the_beginning(
    tmp_path: pathlib.Path,
) -> None:
    model, _ = run(
        'train',
        tmp_path,
        task__blow_up_at=0,
        trainer__recovery_max_trials=1,
        trainer__checkpoint_interval=100,
    )
    assert all(np.isfinite(v).all() for v in weights(model).values())


def test_a_negative_number_of_trials_lets_it_pass(tmp_path: pathlib.Path) -> None:
    model, _ = run('train', tmp_path, task__blow_up_at=1, trainer__recovery_max_trials=-1)
    assert not all(np.isfinite(v).all() for v in weights(model).values())


# Best checkpoint, moving averages, actions.


def test_the_best_checkpoint_has_its_config_and_can_start_another_run(
    tmp_path: pathlib.Path,
) -> None:
    settings = {
        'trainer__best_checkpoint_export_subdir': 'best',
        'trainer__best_checkpoint_eval_metric': 'error',
        'trainer__best_checkpoint_metric_comp': 'lower',
    }
    _, logs = run('train_and_eval', tmp_path, **settings)
    errors_by_step = {
        line['step']: line['eval/error'] for line in read_lines(tmp_path) if 'eval/error' in line
    }
    best = min(errors_by_step, key=errors_by_step.__getitem__)
    info = json.loads((tmp_path / 'best' / 'info.json').read_text())
    assert info['best_ckpt_global_step'] == best
    assert logs['best_error'] == pytest.approx(errors_by_step[best])
    assert (tmp_path / 'best' / f'best_ckpt-{best}.index').exists()
    assert (tmp_path / 'best' / 'params.yaml').read_text() == (tmp_path / 'params.yaml').read_text()
    _, again = run('eval', tmp_path / 'other', task__init_checkpoint=str(tmp_path / 'best'))
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
    model, logs = run('train_and_eval', tmp_path, **settings)
    key = 'head/stem/kernel'
    trained = weights(model)[key]
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
    evaluated, again = run('eval', tmp_path, **settings)
    np.testing.assert_array_equal(weights(evaluated)[key], average)
    assert again['error'] == pytest.approx(logs['error'], rel=1e-6)


@pytest.mark.parametrize('trainable_weights_only', [True, False])
def test_averages_of_statistics_are_exported_if_they_are_kept(
    tmp_path: pathlib.Path, trainable_weights_only: bool
) -> None:
    run(
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
    model, logs = run('train_and_eval', tmp_path, **settings)
    key = 'head/stem/kernel'
    average = checkpoints.CheckpointSource(str(tmp_path / 'ckpt-2')).read(
        f'optimizer/default/{key}/average'
    )
    best = checkpoints.CheckpointSource(str(tmp_path / 'best' / 'best_ckpt-2'))
    np.testing.assert_array_equal(best.read(key), average)
    assert not np.array_equal(average, weights(model)[key])
    evaluated, again = run('eval', tmp_path, **settings)
    np.testing.assert_array_equal(weights(evaluated)[key], average)
    assert again['error'] == pytest.approx(logs['error'], rel=1e-6)


def test_d9_early_stopping_and_time_limit_from_the_config(tmp_path: pathlib.Path) -> None:
    run(
        'train_and_eval',
        tmp_path / 'patience',
        trainer__train_steps=100,
        trainer__early_stopping_patience=2,
        trainer__best_checkpoint_eval_metric='num_seen',
    )
    assert saved_steps(tmp_path / 'patience') == [3, 6, 9]
    _, logs = run(
        'train_and_eval', tmp_path / 'time', trainer__train_steps=100, trainer__max_train_secs=1e-9
    )
    assert saved_steps(tmp_path / 'time') == [2]
    assert 'validation_loss' in logs


def test_d9_training_can_end_early(tmp_path: pathlib.Path) -> None:
    stop = actions.EarlyStopping('num_seen', patience=1)
    _, logs = run(
        'train_and_eval', tmp_path, run_kwargs={'eval_actions': [stop]}, trainer__train_steps=100
    )
    assert saved_steps(tmp_path) == [3, 6]
    assert 'validation_loss' in logs


def test_actions_get_the_logs(tmp_path: pathlib.Path) -> None:
    seen: list[Any] = []
    run(
        'train_and_eval',
        tmp_path,
        run_kwargs={'train_actions': [seen.append], 'eval_actions': [seen.append]},
    )
    assert ['training_loss' in logs for logs in seen] == [True, False, True, True, False]


# The folder and the console.


def test_b32_params_yaml_and_run_json_reproduce_the_run(tmp_path: pathlib.Path) -> None:
    run('train', tmp_path, runtime__seed=11)
    params = yaml.safe_load((tmp_path / 'params.yaml').read_text())
    assert params['runtime']['seed'] == 11
    assert params['trainer']['train_steps'] == 6
    info = json.loads((tmp_path / 'run.json').read_text())
    assert {'command', 'versions', 'data'} <= info.keys()


def test_save_summary_false_writes_no_metrics(tmp_path: pathlib.Path) -> None:
    run('train_and_eval', tmp_path, run_kwargs={'save_summary': False})
    assert not (tmp_path / 'metrics.jsonl').exists()
    assert not (tmp_path / 'train').exists()


def test_summaries_from_inside_a_step(tmp_path: pathlib.Path) -> None:
    class Task(tiny_task.TinyTask):
        def build_losses(self, labels: Any, model_outputs: Any, aux_losses: Any = None) -> Any:
            tf.summary.scalar('inside', tf.reduce_mean(model_outputs))
            return super().build_losses(labels, model_outputs, aux_losses)

    run('train', tmp_path, task_cls=Task)
    from tests.core.test_metrics_log import _events

    assert [step for step, _ in _events(tmp_path / 'train')['inside']] == [0, 2, 4]


def test_checkpoints_carry_class_names(tmp_path: pathlib.Path) -> None:
    run('train', tmp_path)
    text = checkpoints.CheckpointSource(str(tmp_path / 'ckpt-6')).metadata
    assert json.loads(text)['versions']['tensorflow'] == tf.__version__


def test_a_task_draws_its_results_once(tmp_path: pathlib.Path, capsys: Any) -> None:
    class Task(tiny_task.TinyTask):
        def save_visualization(self, model: Any, output_dir: str) -> str:
            return os.path.join(output_dir, 'picture.png')

    run('train_and_eval', tmp_path, task_cls=Task)
    text = capsys.readouterr().out
    assert text.count(f'Picture of the results: {tmp_path}/visualization/picture.png') == 1


# Lengths in epochs.


class CountingTask(tiny_task.TinyTask):
    """A task whose data says how many examples there are."""

    @classmethod
    def get_data_info(cls, task_config: Any, is_training: bool) -> data_info.DataInfo:
        size = task_config.num_examples if is_training else task_config.num_validation_examples
        return data_info.DataInfo(
            num_examples=size,
            class_names=('a',),
            category_ids=(1,),
            num_boxes=size,
            boxes_per_class=(size,),
            max_label=1,
            fingerprint='f',
            origin='generated',
        )


@pytest.mark.parametrize(('batch_size', 'steps'), [(8, 16), (16, 8), (10, 13)])
def test_d2_lengths_in_epochs_follow_the_batch_size(
    batch_size: int, steps: int, capsys: Any
) -> None:
    config = tiny_task.make_config(
        trainer__train_steps=0,
        trainer__train_epochs=2.0,
        task__train_data__global_batch_size=batch_size,
    )
    train_lib.resolve(config, CountingTask)
    assert config.trainer.train_steps == steps
    train_lib.resolve(config, CountingTask)
    assert config.trainer.train_steps == steps
    assert f'trainer.train_steps={steps} (2.0 epochs) on 64 examples' in capsys.readouterr().out


def test_epochs_without_a_count_are_an_error() -> None:
    config = tiny_task.make_config(trainer__train_steps=0, trainer__train_epochs=2.0)
    with pytest.raises(errors.UsageError, match='epochs need the number of training examples'):
        train_lib.resolve(config, tiny_task.TinyTask)


def test_num_examples_of_the_config_counts(tmp_path: pathlib.Path) -> None:
    run(
        'train',
        tmp_path,
        trainer__train_steps=0,
        trainer__train_epochs=2.0,
        task__train_data__num_examples=24,
    )
    assert saved_steps(tmp_path) == [3, 6]
    assert checkpoints.CheckpointSource(str(tmp_path / 'ckpt-6')).read('data/epoch') == 2


def test_training_data_that_ends_is_an_error(tmp_path: pathlib.Path) -> None:
    class Task(tiny_task.TinyTask):
        def build_inputs(self, params: Any, input_context: Any = None) -> tf.data.Dataset:
            return super().build_inputs(params, input_context).take(4)

    with pytest.raises(errors.DataError, match='the training data ended'):
        run('train', tmp_path, task_cls=Task)


def test_logs_have_no_nan_in_json(tmp_path: pathlib.Path) -> None:
    class Task(tiny_task.TinyTask):
        def reduce_aggregated_logs(self, aggregated_logs: Any, global_step: Any = None) -> Any:
            return {'AP': math.nan}

    run('train_and_post_eval', tmp_path, task_cls=Task)
    assert read_lines(tmp_path)[-1]['eval/AP'] is None
