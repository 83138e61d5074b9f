"""`Trainer` and the base `Task` on one device: what one step computes, one trace, evaluation."""

from __future__ import annotations

import pathlib
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite.core import (
    base_task,
    base_trainer,
    dry_run,
    graph_code,
    pace,
    runtime,
    train_lib,
)
from tests.core import tiny_task


def make_trainer(
    task_cls: type[tiny_task.TinyTask] = tiny_task.TinyTask, **overrides: Any
) -> base_trainer.Trainer:
    config = tiny_task.make_config(**overrides)
    runtime.prepare(config)
    return train_lib.make_trainer(config, task_cls(config.task))


def test_a_step_is_the_one_worked_out_in_numpy() -> None:
    trainer = make_trainer()
    kernel1, bias1, kernel2, bias2 = (np.array(v) for v in trainer.model.trainable_variables)
    x, y = next(iter(trainer.task.build_inputs(trainer.config.task.train_data)))
    x, y = x.numpy(), y.numpy()
    hidden = x @ kernel1 + bias1
    error = hidden @ kernel2 + bias2 - y
    loss = np.mean(error**2)
    d_output = 2.0 * error / error.size
    d_hidden = d_output @ kernel2.T
    expected = [
        kernel1 - 0.05 * x.T @ d_hidden,
        bias1 - 0.05 * d_hidden.sum(0),
        kernel2 - 0.05 * hidden.T @ d_output,
        bias2 - 0.05 * d_output.sum(0),
    ]
    logs = trainer.train(1)
    assert logs['training_loss'] == pytest.approx(loss, rel=1e-5)
    assert logs['error'] == pytest.approx(np.abs(error).mean(), rel=1e-5)
    assert logs['learning_rate'] == pytest.approx(0.05)
    for variable, value in zip(trainer.model.trainable_variables, expected):
        np.testing.assert_allclose(variable, value, rtol=1e-4, atol=1e-6)


def test_the_step_is_traced_once_for_any_number_of_steps() -> None:
    num_traces = 0

    class Task(tiny_task.TinyTask):
        def build_losses(self, labels: Any, model_outputs: Any, aux_losses: Any = None) -> Any:
            nonlocal num_traces
            num_traces += 1
            return super().build_losses(labels, model_outputs, aux_losses)

    trainer = make_trainer(Task)
    for num_steps in (1, 3, tf.constant(2)):
        trainer.train(num_steps)
    assert num_traces == 1
    assert trainer.global_step.numpy() == trainer.num_batches.numpy() == 6


def test_metrics_are_reset_between_logs() -> None:
    one_by_one, together = make_trainer(), make_trainer()
    losses = [one_by_one.train(1)['training_loss'] for _ in range(3)]
    assert together.train(3)['training_loss'] == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.mark.parametrize(
    'settings',
    [
        {'trainer__train_tf_while_loop': False},
        {'trainer__train_tf_while_loop': False, 'trainer__train_tf_function': False},
        {'runtime__run_eagerly': True},
        {'runtime__enable_xla': True},
    ],
    ids=['no loop', 'no function', 'eager', 'xla'],
)
def test_other_ways_to_run_a_step_give_the_same(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = make_trainer().train(3)['training_loss']
    if 'runtime__enable_xla' in settings:
        monkeypatch.setattr(graph_code, 'has_accelerator', lambda: True)
    try:
        trainer = make_trainer(**settings)
        assert trainer.train(3)['training_loss'] == pytest.approx(expected, rel=1e-5)
        assert trainer.evaluate()['num_seen'] == 10
    finally:
        tf.config.run_functions_eagerly(False)


def test_nothing_is_compiled_by_xla_on_cpus_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []
    function = tf.function

    def record(*args: Any, **kwargs: Any) -> Any:
        compiled.append(bool(kwargs.get('jit_compile')))
        return function(*args, **kwargs)

    monkeypatch.setattr(tf, 'function', record)
    make_trainer(runtime__enable_xla=True)
    assert not any(compiled)
    monkeypatch.setattr(graph_code, 'has_accelerator', lambda: True)
    make_trainer(runtime__enable_xla=True)
    assert any(compiled)


def test_data_goes_on_where_it_was() -> None:
    trainer = make_trainer()
    trainer.train(2)
    x = next(iter(trainer.task.build_inputs_at(trainer.config.task.train_data, None, 2)))[0]
    whole = list(trainer.task.build_inputs(trainer.config.task.train_data).take(3))
    np.testing.assert_array_equal(x, whole[2][0])


def test_a_passed_dataset_is_used(tmp_path: pathlib.Path) -> None:
    config = tiny_task.make_config()
    task = tiny_task.TinyTask(config.task)
    x = tf.ones([4, tiny_task.NUM_FEATURES])
    dataset = tf.data.Dataset.from_tensors((x, tf.ones([4, 1]))).repeat(3)
    model = task.build_model()
    trainer = base_trainer.Trainer(
        config,
        task,
        model=model,
        optimizer=task.create_optimizer(config.trainer.optimizer_config, config.runtime),
        train_dataset=dataset.repeat(),
        validation_dataset=dataset,
    )
    expected = float(tf.reduce_mean(tf.square(model(x) - 1.0)))
    assert trainer.train(tf.constant(1))['training_loss'] == pytest.approx(expected, rel=1e-5)
    assert trainer.evaluate(tf.constant(2))['num_seen'] == 8
    assert trainer.evaluate()['num_seen'] == 12


def test_evaluation_in_one_loop_has_device_metrics_only() -> None:
    expected = make_trainer().evaluate(2)
    logs = make_trainer(trainer__eval_tf_while_loop=True, trainer__validation_steps=2).evaluate(2)
    assert logs['validation_loss'] == pytest.approx(expected['validation_loss'], rel=1e-6)
    assert logs['error'] == pytest.approx(expected['error'], rel=1e-6)
    assert 'num_seen' not in logs


def test_validation_loss_is_left_out_when_the_task_returns_none() -> None:
    class Task(tiny_task.TinyTask):
        def validation_step(self, inputs: Any, model: Any, metrics: Any = None) -> Any:
            logs = super().validation_step(inputs, model, metrics)
            del logs[self.loss]
            return logs

    assert 'validation_loss' not in make_trainer(Task).evaluate()


def test_validation_loss_counts_valid_examples_only() -> None:
    class Task(tiny_task.TinyTask):
        def validation_step(self, inputs: Any, model: Any, metrics: Any = None) -> Any:
            return {self.loss: tf.reduce_mean(inputs[1]['value'])}

        def aggregate_logs(self, state: Any = None, step_outputs: Any = None) -> Any:
            return None

    labels = {
        'value': tf.constant([[1.0, 1.0], [4.0, 4.0], [9.0, 9.0]]),
        'is_valid': tf.constant([[True, True], [True, False], [False, False]]),
    }
    features = tf.zeros([3, 2, tiny_task.NUM_FEATURES])
    config = tiny_task.make_config()
    task = Task(config.task)
    trainer = base_trainer.Trainer(
        config,
        task,
        task.build_model(),
        optimizer=None,
        train=False,
        validation_dataset=tf.data.Dataset.from_tensor_slices((features, labels)),
    )
    assert trainer.evaluate()['validation_loss'] == pytest.approx((2 * 1.0 + 1 * 4.0) / 3)


def test_d6_regularization_is_part_of_the_base_loss() -> None:
    class Task(base_task.Task):
        def build_inputs(self, params: Any, input_context: Any = None) -> tf.data.Dataset:
            return tf.data.Dataset.from_tensors(tf.ones([2, 1])).repeat()

    layer = keras.layers.Dense(
        1, kernel_initializer='ones', kernel_regularizer=keras.regularizers.L2(0.5)
    )
    model = keras.Sequential([keras.Input((1,)), layer])
    optimizer = keras.optimizers.SGD(0.1)
    logs = Task(None).train_step(tf.ones([2, 1]), model, optimizer)
    assert float(logs['loss']) == pytest.approx(0.5)
    assert float(layer.kernel[0, 0]) == pytest.approx(1.0 - 0.1 * 2 * 0.5)
    assert float(Task(None).build_losses(None, None)) == 0.0


def test_inputs_may_be_one_structure() -> None:
    assert base_task.split_inputs({'a': 1}) == ({'a': 1}, {'a': 1})
    assert base_task.split_inputs((1, 2)) == (1, 2)
    assert base_task.split_inputs((1, 2, 3)) == ((1, 2, 3), (1, 2, 3))


def test_build_inputs_without_a_context_is_called_as_in_model_garden() -> None:
    class Task(tiny_task.TinyTask):
        def build_inputs(self, params: Any) -> tf.data.Dataset:  # type: ignore[override]
            return super().build_inputs(params)

    assert np.isfinite(make_trainer(Task).train(1)['training_loss'])


def test_differential_privacy_clips_the_gradients() -> None:
    before = make_trainer()
    clipped = make_trainer(task__differential_privacy_config={'clipping_norm': 1e-3})
    initial = [np.array(v) for v in clipped.model.trainable_variables]
    for trainer in (before, clipped):
        trainer.train(1)
    step = [np.array(v) - i for v, i in zip(clipped.model.trainable_variables, initial)]
    norm = np.sqrt(sum(np.sum(s**2) for s in step))
    assert norm == pytest.approx(0.05 * 1e-3, rel=1e-2)
    free = [np.array(v) - i for v, i in zip(before.model.trainable_variables, initial)]
    assert np.sqrt(sum(np.sum(s**2) for s in free)) > 100 * norm


def test_a_config_without_what_a_trainer_needs() -> None:
    class Config:
        task = object()
        runtime = object()

    with pytest.raises(AttributeError, match='with the attribute `trainer`'):
        base_trainer.Trainer(Config(), None, None, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ('interval', 'last', 'due'), [(3, 8, [3, 6, 8]), (10, 4, [4]), (1, 3, [1, 2, 3])]
)
def test_events_are_due_at_multiples_and_at_the_end(
    interval: int, last: int, due: list[int]
) -> None:
    event = pace.Event(interval, lambda step: None)
    assert [step for step in range(1, last + 1) if event.is_due(step, last)] == due
    assert [event.next_step(step, last) for step in [0, *due[:-1]]] == due


def test_d22_dry_run_counts_parameters_operations_and_memory() -> None:
    config = tiny_task.make_config(task__use_batch_norm=True)
    text = dry_run.dry_run(tf.distribute.get_strategy(), tiny_task.TinyTask(config.task), config)
    rows = {words[0]: words[1] for words in map(str.split, text.splitlines()) if len(words) == 2}
    # Dense 4 to 8 and BatchNorm of 8; Dense 8 to 1.
    assert rows == {'backbone': '72', 'head': '9', 'total': '81', 'trainable': '65'}
    assert 'forward pass: 0.000 GFLOPs' in text
    assert 'peak memory:' in text


def test_d22_operations_are_counted_from_shapes() -> None:
    class Task(tiny_task.TinyTask):
        def build_model(self) -> Any:
            return keras.Sequential(
                [
                    keras.Input((4,)),
                    keras.layers.Reshape((2, 2, 1)),
                    keras.layers.Conv2D(3, 2, padding='same'),
                    keras.layers.DepthwiseConv2D(2, padding='same'),
                    keras.layers.Flatten(),
                    keras.layers.Dense(1),
                ]
            )

    trainer = make_trainer(Task)
    convolution, depthwise, dense = 2 * 12 * 4, 2 * 12 * 4, 2 * 12
    assert dry_run.count_forward_flops(trainer) == convolution + depthwise + dense


def test_a_fast_start_leaves_the_options_of_others_as_they_were() -> None:
    before = tf.config.optimizer.get_experimental_options()
    with graph_code.fast_start():
        assert tf.config.optimizer.get_experimental_options()['disable_meta_optimizer']
    after = tf.config.optimizer.get_experimental_options()
    assert after.pop('disable_meta_optimizer') is before.pop('disable_meta_optimizer', False)
    assert after == before


def test_autograph_converts_tasks_of_users_only() -> None:
    class Theirs:
        """Of this file, which is not part of the package."""

    assert graph_code.has_foreign_code(Theirs())
    assert not graph_code.has_foreign_code(make_trainer())


def test_a_task_of_a_user_may_branch_on_tensors() -> None:
    class Branching(tiny_task.TinyTask):
        def build_losses(self, labels, model_outputs, aux_losses=None):
            loss = super().build_losses(labels, model_outputs, aux_losses)
            if loss > 0.0:  # AutoGraph makes this a condition of the graph
                loss = loss * 1.0
            return loss

    logs = make_trainer(Branching).train(2)
    assert np.isfinite(logs['training_loss'])
