"""Gradient accumulation, the norm of the gradients, and frozen variables, through the trainer."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite.core import base_trainer, checkpoints, epochs, runtime, train_lib
from official_lite.modeling import freezing, hyperparams
from tests.core import tiny_task

_SCHEDULE = 'trainer__optimizer_config__learning_rate'
_WARMUP = 'trainer__optimizer_config__warmup'
_STEPS = 'trainer__optimizer_config__gradient_accumulation_steps'


def _make_trainer(**overrides: Any) -> base_trainer.Trainer:
    config = tiny_task.make_config(**overrides)
    runtime.prepare(config)
    return train_lib.make_trainer(config, tiny_task.TinyTask(config.task))


def _lengths(factor: int) -> dict[str, Any]:
    """Lengths of 12 train steps for `factor` 2 and of 6 for 1: cosine, warm-up, moving average."""
    cosine = {'initial_learning_rate': 0.1, 'decay_steps': 6 * factor}
    return {
        _SCHEDULE: {'type': 'cosine', 'cosine': cosine},
        _WARMUP: {'type': 'linear', 'linear': {'warmup_steps': 2 * factor}},
        'trainer__optimizer_config__ema': {'start_step': 3 * factor, 'average_decay': 0.5},
        'trainer__optimizer_config__optimizer': {'sgd': {'global_clipnorm': 1.5}},
    }


def _weights(trainer: base_trainer.Trainer) -> list[np.ndarray]:
    return [np.array(v) for v in trainer.model.trainable_variables]


def test_d7_micro_steps_equal_a_large_batch() -> None:
    large = _make_trainer(task__train_data__global_batch_size=8, **_lengths(1))
    micro = _make_trainer(task__train_data__global_batch_size=4, **{_STEPS: 2}, **_lengths(2))
    for _ in range(6):
        expected, logs = large.train(1), micro.train(2)
        assert logs['learning_rate'] == pytest.approx(expected['learning_rate'], abs=1e-7)
        assert logs['gradient_norm'] == pytest.approx(expected['gradient_norm'], rel=1e-5)
        for value, wanted in zip(_weights(micro), _weights(large), strict=True):
            np.testing.assert_allclose(value, wanted, rtol=1e-5, atol=1e-6)
    assert (int(micro.global_step), int(micro.optimizer.iterations)) == (12, 6)
    with large.evaluation_weights(), micro.evaluation_weights():
        for value, wanted in zip(_weights(micro), _weights(large), strict=True):
            np.testing.assert_allclose(value, wanted, rtol=1e-5, atol=1e-6)


def test_d7_an_unfinished_accumulation_changes_no_weight() -> None:
    trainer = _make_trainer(**{_STEPS: 3})
    before = _weights(trainer)
    trainer.train(2)
    for value, wanted in zip(_weights(trainer), before, strict=True):
        np.testing.assert_array_equal(value, wanted)
    assert 'optimizer/default/micro_step' in trainer.checkpoint.variables


def test_d7_accumulation_is_described_and_checked() -> None:
    config = tiny_task.make_config(**{_STEPS: 4})
    assert epochs.describe_accumulation(config) == (
        'gradient_accumulation_steps=4: 6 train steps make 1 updates; warm-up and schedules are '
        'in train steps; the last 2 train steps make none'
    )
    assert epochs.describe_accumulation(tiny_task.make_config()) == ''
    with pytest.raises(hyperparams.ConfigError, match=r'gradient_accumulation_steps: .*1 or more'):
        tiny_task.make_config(**{_STEPS: 0}).validate()


@pytest.mark.parametrize('clipnorm', [None, 0.01])
def test_d7_gradient_norm_is_that_before_clipping(clipnorm: float | None) -> None:
    trainer = _make_trainer(
        trainer__optimizer_config__optimizer={'sgd': {'global_clipnorm': clipnorm}}
    )
    x, y = next(iter(trainer.task.build_inputs(trainer.config.task.train_data)))
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(trainer.model(x) - y))
    gradients = tape.gradient(loss, [v.value for v in trainer.model.trainable_variables])
    expected = np.sqrt(sum(np.sum(np.square(g)) for g in gradients))
    assert trainer.train(1)['gradient_norm'] == pytest.approx(expected, rel=1e-5)
    assert not any('gradient_norm' in key for key in trainer.checkpoint.variables)


def test_d7_gradient_norm_is_that_of_the_last_step_of_a_loop() -> None:
    one_by_one, at_once = (_make_trainer() for _ in range(2))
    for one, other in zip(one_by_one.model.variables, at_once.model.variables, strict=True):
        other.assign(one)
    norms = [one_by_one.train(1)['gradient_norm'] for _ in range(3)]
    assert len(set(norms)) == 3
    assert at_once.train(3)['gradient_norm'] == pytest.approx(norms[-1], rel=1e-6)


def test_d7_gradient_norm_is_in_the_metrics_file(tmp_path: pathlib.Path) -> None:
    config = tiny_task.make_config()
    train_lib.run_experiment(
        tf.distribute.get_strategy(),
        tiny_task.TinyTask(config.task),
        'train',
        config,
        str(tmp_path),
    )
    lines = [json.loads(line) for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()]
    norms = [line['gradient_norm'] for line in lines if 'gradient_norm' in line]
    assert len(norms) == 3
    assert all(norm > 0 for norm in norms)


def test_d7_frozen_variables_keep_their_values_and_keys() -> None:
    free = _make_trainer(task__use_batch_norm=True)
    trainer = _make_trainer(task__use_batch_norm=True, task__freeze=['backbone'])
    keys = checkpoints.model_variables(trainer.model)
    assert list(keys) == list(checkpoints.model_variables(free.model))
    before = {key: np.array(variable) for key, variable in keys.items()}
    trainer.train(2)
    changed = [key for key in keys if not np.array_equal(before[key], np.array(keys[key]))]
    assert sorted(changed) == ['head/stem/bias', 'head/stem/kernel']
    slots = [k for k in trainer.checkpoint.variables if k.endswith('/momentum')]
    assert all('/head/' in key for key in slots)
    assert len(slots) == 2


@pytest.mark.parametrize(
    ('pattern', 'moves'),
    [('backbone/batch_normalization', False), (r'backbone/.*/(gamma|beta)', True)],
    ids=['whole layer', 'scale and offset only'],
)
def test_d7_only_whole_batch_norm_layers_stop_moving(pattern: str, moves: bool) -> None:
    trainer = _make_trainer(task__use_batch_norm=True, task__freeze=[pattern])
    keys = checkpoints.model_variables(trainer.model)
    mean = keys['backbone/batch_normalization/moving_mean']
    gamma = keys['backbone/batch_normalization/gamma']
    trainer.train(2)
    assert bool(np.any(np.array(mean) != 0.0)) is moves
    np.testing.assert_array_equal(np.array(gamma), 1.0)


@pytest.mark.parametrize(
    ('patterns', 'text'),
    [
        (
            ['bakbone'],
            r"task.freeze: 'bakbone' matches no variable; expected a prefix of variable keys "
            r"\(backbone, head\), or a regular expression over them; did you mean 'backbone'",
        ),
        (['head', 'backbone/sten/kernel'], "did you mean 'backbone/stem/kernel'"),
        (['backbone', 'head'], 'task.freeze: nothing is left to train'),
        (['head('], r"task.freeze: 'head\(' is not a regular expression"),
        (['back'], "task.freeze: 'back' matches no variable"),
    ],
)
def test_d7_patterns_that_freeze_nothing_or_all_are_refused(patterns: list[str], text: str) -> None:
    with pytest.raises(freezing.FreezeError, match=text):
        _make_trainer(task__freeze=patterns)


def test_d7_frozen_layers_are_not_regularized() -> None:
    dense = keras.layers.Dense(1, kernel_regularizer='l2', name='dense')
    model = keras.Sequential([keras.Input((2,)), dense, keras.layers.Dense(1, name='last')])
    assert len(model.losses) == 1
    freezing.freeze(model, {'kernel': dense.kernel}, ['kernel'])
    assert not model.losses
