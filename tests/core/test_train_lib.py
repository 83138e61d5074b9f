"""`run_experiment`: modes, evaluation, recovery, the folder of a run."""

from __future__ import annotations

import json
import math
import os
import pathlib
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
    train_lib,
)
from tests.core import tiny_runs, tiny_task

# Modes.


def test_train_saves_and_returns_no_logs(tmp_path: pathlib.Path) -> None:
    _, logs = tiny_runs.run('train', tmp_path)
    assert logs == {}
    assert tiny_runs.saved_steps(tmp_path) == [3, 6]
    assert [line['step'] for line in tiny_runs.read_lines(tmp_path)] == [2, 4, 6]
    assert {'loss', 'error', 'learning_rate'} <= tiny_runs.read_lines(tmp_path)[0].keys()


@pytest.mark.parametrize('mode', ['train_and_eval', 'train_and_validate'])
def test_d15_train_and_eval_returns_the_last_evaluation(tmp_path: pathlib.Path, mode: str) -> None:
    _, logs = tiny_runs.run(mode, tmp_path)
    evaluated = [line for line in tiny_runs.read_lines(tmp_path) if 'eval/loss' in line]
    assert [line['step'] for line in evaluated] == [3, 6]
    assert logs['validation_loss'] == pytest.approx(evaluated[-1]['eval/loss'])
    assert logs['num_seen'] == 10
    assert (tmp_path / 'validation').is_dir()


def test_train_and_post_eval_evaluates_once(tmp_path: pathlib.Path) -> None:
    _, logs = tiny_runs.run('train_and_post_eval', tmp_path)
    evaluated = [line['step'] for line in tiny_runs.read_lines(tmp_path) if 'eval/loss' in line]
    assert evaluated == [6]
    assert 'validation_loss' in logs


def test_run_post_eval_evaluates_after_any_mode(tmp_path: pathlib.Path) -> None:
    _, logs = tiny_runs.run('train', tmp_path, run_kwargs={'run_post_eval': True})
    assert 'validation_loss' in logs


def test_d15_continuous_train_and_eval_evaluates_every_checkpoint(tmp_path: pathlib.Path) -> None:
    tiny_runs.run('continuous_train_and_eval', tmp_path, trainer__checkpoint_interval=2)
    evaluated = [line['step'] for line in tiny_runs.read_lines(tmp_path) if 'eval/loss' in line]
    assert evaluated == tiny_runs.saved_steps(tmp_path) == [2, 4, 6]


def test_eval_evaluates_the_newest_checkpoint(tmp_path: pathlib.Path) -> None:
    trained, trained_logs = tiny_runs.run('train_and_eval', tmp_path, task__use_batch_norm=True)
    model, logs = tiny_runs.run('eval', tmp_path, task__use_batch_norm=True)
    tiny_runs.assert_same_weights(trained, model)
    assert logs['validation_loss'] == pytest.approx(trained_logs['validation_loss'], rel=1e-6)


def test_d15_continuous_eval_follows_a_run_and_ends_with_it(tmp_path: pathlib.Path) -> None:
    target = tmp_path / 'run'
    tiny_runs.run('train', tmp_path / 'source', trainer__checkpoint_interval=3)

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
        _, logs = tiny_runs.run('continuous_eval', target, trainer__continuous_eval_timeout=60)
    finally:
        thread.join()
    evaluated = [line['step'] for line in tiny_runs.read_lines(target) if 'eval/loss' in line]
    assert evaluated[-1] == 6
    assert set(evaluated) <= {3, 6}
    assert logs['num_seen'] == 10


def test_d13_continuous_eval_without_a_checkpoint_is_an_error(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.CheckpointError, match='there is no checkpoint to evaluate'):
        tiny_runs.run('continuous_eval', tmp_path, trainer__continuous_eval_timeout=1)


def test_an_unknown_mode_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.UsageError, match="no mode 'evaluate'; expected one of train, eval"):
        tiny_runs.run('evaluate', tmp_path)


def test_training_without_a_length_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.UsageError, match=r'trainer.train_steps: training needs a length'):
        tiny_runs.run('train', tmp_path, trainer__train_steps=0)


# Evaluation without training.


def test_d13_eval_without_a_checkpoint_is_an_error(tmp_path: pathlib.Path) -> None:
    with pytest.raises(
        errors.CheckpointError, match='there is no checkpoint to evaluate'
    ) as caught:
        tiny_runs.run('eval', tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert not (tmp_path / 'metrics.jsonl').exists()


def test_d13_eval_of_a_pretrained_checkpoint_must_be_complete(tmp_path: pathlib.Path) -> None:
    trained, trained_logs = tiny_runs.run('train_and_eval', tmp_path / 'a')
    pretrained = str(tmp_path / 'a')
    model, logs = tiny_runs.run('eval', tmp_path / 'b', task__init_checkpoint=pretrained)
    tiny_runs.assert_same_weights(trained, model)
    assert logs['validation_loss'] == pytest.approx(trained_logs['validation_loss'], rel=1e-6)
    with pytest.raises(errors.CheckpointError, match='4 variables would be evaluated with random'):
        tiny_runs.run(
            'eval', tmp_path / 'c', task__init_checkpoint=pretrained, task__use_batch_norm=True
        )


def test_d12_evaluation_keeps_the_last_smaller_batch(tmp_path: pathlib.Path) -> None:
    _, logs = tiny_runs.run('train_and_post_eval', tmp_path, task__num_validation_examples=11)
    assert logs['num_seen'] == 11


def test_validation_steps_limits_an_evaluation(tmp_path: pathlib.Path) -> None:
    _, logs = tiny_runs.run('train_and_post_eval', tmp_path, trainer__validation_steps=2)
    assert logs['num_seen'] == 8


def test_empty_validation_data_is_an_error(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.DataError, match='the validation data is empty'):
        tiny_runs.run('train_and_post_eval', tmp_path, task__num_validation_examples=0)


# A loss that blows up.


def test_a_loss_that_is_not_finite_ends_the_run_and_is_not_saved(tmp_path: pathlib.Path) -> None:
    with pytest.raises(actions.LossError, match='the loss is nan; expected a number of at most'):
        tiny_runs.run('train', tmp_path, task__blow_up_at=4)
    assert tiny_runs.saved_steps(tmp_path) == [3]
    model, _ = tiny_runs.run('train', tmp_path, task__blow_up_at=-1)
    assert all(np.isfinite(v).all() for v in tiny_runs.weights(model).values())


def test_recovery_goes_back_and_around_the_data(tmp_path: pathlib.Path) -> None:
    model, _ = tiny_runs.run('train', tmp_path, task__blow_up_at=4, trainer__recovery_max_trials=1)
    assert all(np.isfinite(v).all() for v in tiny_runs.weights(model).values())
    source = checkpoints.CheckpointSource(str(tmp_path / 'ckpt-6'))
    assert source.read('step') == 6
    assert source.read('data/num_batches') > 6


def test_recovery_before_the_first_checkpoint_goes_back_to_the_beginning(
    tmp_path: pathlib.Path,
) -> None:
    model, _ = tiny_runs.run(
        'train',
        tmp_path,
        task__blow_up_at=0,
        trainer__recovery_max_trials=1,
        trainer__checkpoint_interval=100,
    )
    assert all(np.isfinite(v).all() for v in tiny_runs.weights(model).values())


def test_a_negative_number_of_trials_lets_it_pass(tmp_path: pathlib.Path) -> None:
    model, _ = tiny_runs.run('train', tmp_path, task__blow_up_at=1, trainer__recovery_max_trials=-1)
    assert not all(np.isfinite(v).all() for v in tiny_runs.weights(model).values())


# The folder and the console.


def test_b32_params_yaml_and_run_json_reproduce_the_run(tmp_path: pathlib.Path) -> None:
    tiny_runs.run('train', tmp_path, runtime__seed=11)
    params = yaml.safe_load((tmp_path / 'params.yaml').read_text())
    assert params['runtime']['seed'] == 11
    assert params['trainer']['train_steps'] == 6
    info = json.loads((tmp_path / 'run.json').read_text())
    assert {'command', 'versions', 'data'} <= info.keys()


def test_save_summary_false_writes_no_metrics(tmp_path: pathlib.Path) -> None:
    tiny_runs.run('train_and_eval', tmp_path, run_kwargs={'save_summary': False})
    assert not (tmp_path / 'metrics.jsonl').exists()
    assert not (tmp_path / 'train').exists()


def test_summaries_from_inside_a_step(tmp_path: pathlib.Path) -> None:
    class Task(tiny_task.TinyTask):
        def build_losses(self, labels: Any, model_outputs: Any, aux_losses: Any = None) -> Any:
            tf.summary.scalar('inside', tf.reduce_mean(model_outputs))
            return super().build_losses(labels, model_outputs, aux_losses)

    tiny_runs.run('train', tmp_path, task_cls=Task)
    from tests.core.test_metrics_log import _events

    assert [step for step, _ in _events(tmp_path / 'train')['inside']] == [0, 2, 4]


def test_checkpoints_carry_class_names(tmp_path: pathlib.Path) -> None:
    tiny_runs.run('train', tmp_path)
    text = checkpoints.CheckpointSource(str(tmp_path / 'ckpt-6')).metadata
    assert json.loads(text)['versions']['tensorflow'] == tf.__version__


def test_a_task_draws_its_results_once(tmp_path: pathlib.Path, capsys: Any) -> None:
    class Task(tiny_task.TinyTask):
        def save_visualization(self, model: Any, output_dir: str) -> str:
            return os.path.join(output_dir, 'picture.png')

    tiny_runs.run('train_and_eval', tmp_path, task_cls=Task)
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
    tiny_runs.run(
        'train',
        tmp_path,
        trainer__train_steps=0,
        trainer__train_epochs=2.0,
        task__train_data__num_examples=24,
    )
    assert tiny_runs.saved_steps(tmp_path) == [3, 6]
    assert checkpoints.CheckpointSource(str(tmp_path / 'ckpt-6')).read('data/epoch') == 2


def test_model_gardens_minus_one_is_no_number_of_examples() -> None:
    config = tiny_task.make_config(
        trainer__train_steps=0, trainer__train_epochs=2.0, task__train_data__num_examples=-1
    )
    config.validate()
    train_lib.resolve(config, CountingTask)
    assert config.trainer.train_steps == 16  # 2 * 64 examples in batches of 8
    with pytest.raises(errors.UsageError, match=r'num_examples: expected 1 or more, received 0'):
        tiny_task.make_config(task__train_data__num_examples=0).validate()


def test_training_data_that_ends_is_an_error(tmp_path: pathlib.Path) -> None:
    class Task(tiny_task.TinyTask):
        def build_inputs(self, params: Any, input_context: Any = None) -> tf.data.Dataset:
            return super().build_inputs(params, input_context).take(4)

    with pytest.raises(errors.DataError, match='the training data ended'):
        tiny_runs.run('train', tmp_path, task_cls=Task)


def test_logs_have_no_nan_in_json(tmp_path: pathlib.Path) -> None:
    class Task(tiny_task.TinyTask):
        def reduce_aggregated_logs(self, aggregated_logs: Any, global_step: Any = None) -> Any:
            return {'AP': math.nan}

    tiny_runs.run('train_and_post_eval', tmp_path, task_cls=Task)
    assert tiny_runs.read_lines(tmp_path)[-1]['eval/AP'] is None
