"""What a task's methods return is checked where they return it."""

from __future__ import annotations

from typing import Any

import keras
import pytest
import tensorflow as tf

from official_lite import errors
from official_lite.core import base_trainer, exp_factory
from tests.core import tiny_task


def make_trainer(task: Any, model: Any) -> base_trainer.Trainer:
    config = tiny_task.make_config()
    optimizer = task.create_optimizer(config.trainer.optimizer_config, config.runtime)
    return base_trainer.Trainer(config, task, model, optimizer, evaluate=False)


def make_task() -> tiny_task.TinyTask:
    return tiny_task.TinyTask(tiny_task.make_config().task)


@pytest.mark.parametrize(
    ('model', 'message'),
    [
        (None, r'^TinyTask\.build_model: expected a keras\.Model; received None$'),
        (lambda x: x, r'^TinyTask\.build_model: expected a keras\.Model; received function$'),
        (
            keras.Sequential([keras.layers.Dense(1)]),
            r'^TinyTask\.build_model: the model has no variables yet, .*; call the model once',
        ),
    ],
)
def test_models(model: Any, message: str) -> None:
    with pytest.raises(errors.UsageError, match=message):
        make_trainer(make_task(), model)


def test_datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task()
    monkeypatch.setattr(task, 'build_inputs', lambda params, input_context=None: None)
    trainer = make_trainer(task, task.build_model())
    message = r'^build_inputs of the task: expected a tf\.data\.Dataset of batches; received None$'
    with pytest.raises(errors.UsageError, match=message):
        trainer.train(1)


@pytest.mark.parametrize(
    ('loss', 'received'),
    [(None, 'None'), (1.0, 'float'), (tf.zeros([8]), r'a tensor of shape \(8,\)')],
)
def test_losses(monkeypatch: pytest.MonkeyPatch, loss: Any, received: str) -> None:
    task = make_task()
    monkeypatch.setattr(task, 'build_losses', lambda **_: loss)
    trainer = make_trainer(task, task.build_model())
    message = rf'TinyTask\.build_losses: expected a scalar tensor, .*; received {received}'
    with pytest.raises(ValueError, match=message):
        trainer.train(1)


def test_experiments_that_return_nothing() -> None:
    exp_factory.register_config_factory('forgetful')(lambda: None)
    message = (
        r"^the factory of the experiment 'forgetful': expected an ExperimentConfig; received None; "
        r'does it return its config\?$'
    )
    try:
        with pytest.raises(errors.UsageError, match=message):
            exp_factory.get_exp_config('forgetful')
    finally:
        exp_factory._EXPERIMENTS.remove('forgetful')
