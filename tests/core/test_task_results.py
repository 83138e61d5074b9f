"""What a task's methods return is checked where they return it."""

from __future__ import annotations

from typing import Any

import keras
import pytest
import tensorflow as tf

from official_lite import errors
from official_lite.core import base_trainer, exp_factory, train_lib
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
    message = r'^TinyTask\.build_inputs: expected a tf\.data\.Dataset of batches; received None$'
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
    message = rf'^TinyTask\.build_losses: expected a scalar tensor, .*; received {received}$'
    with pytest.raises(errors.UsageError, match=message):
        trainer.train(1)


def test_data_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task()
    monkeypatch.setattr(task, 'build_inputs_at', lambda params, context, num_batches_seen: [])
    trainer = make_trainer(task, task.build_model())
    message = (
        r'^build_inputs_at of the task: expected a tf\.data\.Dataset of batches; received list$'
    )
    with pytest.raises(errors.UsageError, match=message):
        trainer.train(1)


@pytest.mark.parametrize(
    ('metrics', 'message'),
    [
        (None, r': expected a list of keras\.metrics\.Metric, \[\] for none; received None$'),
        (keras.metrics.Mean(), r': expected a list of keras\.metrics\.Metric, .*; received Mean$'),
        ({'a': 1}, r': expected a list of keras\.metrics\.Metric, .*; received dict$'),
        ('mse', r': expected a list of keras\.metrics\.Metric, .*; received str$'),
        ([keras.metrics.Mean(), 'mse'], r'\[1\]: expected a keras\.metrics\.Metric; received str$'),
    ],
)
def test_metrics(monkeypatch: pytest.MonkeyPatch, metrics: Any, message: str) -> None:
    task = make_task()
    monkeypatch.setattr(task, 'build_metrics', lambda training: metrics)
    with pytest.raises(errors.UsageError, match=r'^TinyTask\.build_metrics' + message):
        make_trainer(task, task.build_model())


_LOGS = [
    (None, r'expected a dict of tensors by name; received None$'),
    (tf.zeros([]), r'expected a dict of tensors by name; received EagerTensor$'),
    ({'cost': 1.0}, r"expected the loss of the replica as 'loss'; received a dict of \['cost'\]$"),
    ({'loss': None}, r"expected the loss of the replica as 'loss'; received None as it$"),
]


@pytest.mark.parametrize('method', ['train_step', 'compute_losses'])
@pytest.mark.parametrize(('logs', 'message'), _LOGS)
def test_logs_of_training(
    monkeypatch: pytest.MonkeyPatch, method: str, logs: Any, message: str
) -> None:
    task = make_task()
    monkeypatch.setattr(task, method, lambda *args, **kwargs: logs)
    trainer = make_trainer(task, task.build_model())
    with pytest.raises(errors.UsageError, match=rf'^TinyTask\.{method}: {message}'):
        trainer.train(1)


@pytest.mark.parametrize('method', ['validation_step', 'reduce_aggregated_logs'])
def test_logs_of_evaluation(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    task = make_task()
    monkeypatch.setattr(task, 'aggregate_logs', lambda state, logs: [logs])
    monkeypatch.setattr(task, method, lambda *args, **kwargs: ['loss'])
    trainer = base_trainer.Trainer(tiny_task.make_config(), task, task.build_model(), None, False)
    message = rf'^TinyTask\.{method}: expected a dict of tensors by name; received list$'
    with pytest.raises(errors.UsageError, match=message):
        trainer.evaluate()


def test_evaluation_that_returns_nothing_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task()
    monkeypatch.setattr(task, 'aggregate_logs', lambda state, logs: [logs])
    monkeypatch.setattr(task, 'reduce_aggregated_logs', lambda state, global_step: None)
    trainer = base_trainer.Trainer(tiny_task.make_config(), task, task.build_model(), None, False)
    assert trainer.evaluate()['validation_loss'] > 0


def test_optimizers_and_facts_of_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny_task.TinyTask, 'create_optimizer', lambda *args: None)
    message = (
        r'^TinyTask\.create_optimizer: expected a keras\.optimizers\.Optimizer; received None$'
    )
    with pytest.raises(errors.UsageError, match=message):
        train_lib.make_trainer(tiny_task.make_config(), make_task())
    monkeypatch.setattr(tiny_task.TinyTask, 'get_data_info', lambda *args: {'num_examples': 3})
    message = (
        r'^TinyTask\.get_data_info: expected a core\.data_info\.DataInfo, or None; received dict$'
    )
    with pytest.raises(errors.UsageError, match=message):
        train_lib.resolve(tiny_task.make_config(), tiny_task.TinyTask)


class _Twofold(tiny_task.TinyTask):
    def build_model(self) -> Any:
        return super().build_model(), 'a note'


def test_models_of_a_class() -> None:
    task = _Twofold(tiny_task.make_config().task)
    message = r'^_Twofold\.build_model: expected a keras\.Model; received tuple$'
    with pytest.raises(errors.UsageError, match=message):
        train_lib.make_trainer(tiny_task.make_config(), task)


class _Branching(tiny_task.TinyTask):
    """Of no package: AutoGraph converts its steps."""

    def train_step(self, *args: Any, **kwargs: Any) -> Any:
        logs = super().train_step(*args, **kwargs)
        if logs['loss'] > 1e9:
            logs['loss'] = tf.zeros([])
        return [logs]


def test_errors_of_code_that_autograph_converts_are_the_same() -> None:
    task = _Branching(tiny_task.make_config().task)
    message = r'^_Branching\.train_step: expected a dict of tensors by name; received list$'
    with pytest.raises(errors.UsageError, match=message):
        make_trainer(task, task.build_model()).train(1)


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
