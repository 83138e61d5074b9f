"""Layer overrides in a run: their order, checkpoints with and without them, schedules, the table."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite.core import (
    checkpoint_files,
    checkpoint_fit,
    checkpoints,
    dry_run,
    layer_control,
    train_lib,
)
from official_lite.modeling import layer_overrides
from tests.core import tiny_task


def make(steps=6, overrides=(), **fields):
    config = tiny_task.make_config(trainer__train_steps=steps, **fields)
    config.override({'task.layer_overrides': list(overrides)})
    return config


def run(model_dir, steps=6, overrides=(), mode='train', **fields):
    """Values of the model after a run."""
    config = make(steps, overrides, **fields)
    task = tiny_task.TinyTask(config.task)
    strategy = tf.distribute.get_strategy()
    model, _ = train_lib.run_experiment(strategy, task, mode, config, str(model_dir))
    return {key: v.numpy() for key, v in checkpoints.model_variables(model).items()}


def make_trainer(overrides=(), **fields):
    config = make(6, overrides, **fields)
    return train_lib.make_trainer(config, tiny_task.TinyTask(config.task))


ALL = [
    {'pattern': 'backbone/stem', 'learning_rate_multiplier': 0.1, 'activation': 'tanh'},
    {'pattern': 'backbone/batch_normalization', 'trainable': False},
    {'pattern': 'head', 'kernel_initializer': 'ones', 'kernel_regularizer': {'l2': 0.1}},
]
BATCH_NORM = {'task__use_batch_norm': True}


def test_a_resumed_run_is_the_uninterrupted_one_and_never_initializes_again(tmp_path):
    once = run(tmp_path / 'once', 6, ALL, **BATCH_NORM)
    run(tmp_path / 'twice', 3, ALL, **BATCH_NORM)
    twice = run(tmp_path / 'twice', 6, ALL, **BATCH_NORM)
    for key, value in once.items():
        np.testing.assert_array_equal(twice[key], value, err_msg=key)
    assert np.abs(once['head/stem/kernel'] - 1.0).max() > 1e-3


def test_new_values_come_after_init_checkpoint(tmp_path):
    old = run(tmp_path / 'old')
    overrides = [{'pattern': 'head', 'kernel_initializer': 'ones'}]
    trainer = make_trainer(overrides, task__init_checkpoint=str(tmp_path / 'old'))
    trainer.initialize()
    found = {k: v.numpy() for k, v in checkpoints.model_variables(trainer.model).items()}
    np.testing.assert_array_equal(found['head/stem/kernel'], np.ones([8, 1]))
    for key in ('head/stem/bias', 'backbone/stem/kernel'):
        np.testing.assert_array_equal(found[key], old[key])


def test_a_multiplier_acts_from_the_first_step(tmp_path):
    moved = []
    for multiplier in (1.0, 0.1):
        trainer = make_trainer(
            [{'pattern': 'backbone', 'learning_rate_multiplier': multiplier}], runtime__seed=1
        )
        tiny_weights(trainer)
        before = values(trainer)
        trainer.train(1)
        moved.append({key: values(trainer)[key] - before[key] for key in before})
    for key, step in moved[0].items():
        factor = 0.1 if key.startswith('backbone') else 1.0
        np.testing.assert_allclose(moved[1][key], factor * step, rtol=1e-4, atol=1e-7, err_msg=key)


def tiny_weights(trainer):
    rng = np.random.default_rng(0)
    for variable in trainer.model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))


def values(trainer):
    return {k: v.numpy() for k, v in checkpoints.model_variables(trainer.model).items()}


def test_frozen_batch_norm_keeps_its_statistics(tmp_path):
    after = run(tmp_path, 6, ALL, **BATCH_NORM)
    np.testing.assert_array_equal(after['backbone/batch_normalization/moving_mean'], np.zeros(8))
    np.testing.assert_array_equal(after['backbone/batch_normalization/moving_variance'], np.ones(8))


def test_backbone_and_head_have_schedules_of_their_own():
    def schedule(rate):
        values = {'boundaries': [2], 'values': [rate, rate / 2]}
        return {'type': 'stepwise', 'stepwise': values}

    overrides = [
        {'pattern': 'backbone', 'learning_rate': schedule(0.04)},
        {'pattern': 'head', 'learning_rate': schedule(0.01), 'learning_rate_multiplier': 2.0},
    ]
    plain = {'trainer__optimizer_config__optimizer__sgd__momentum': 0.0}
    trainer = make_trainer(overrides, **plain)
    features, labels = next(iter(trainer.task.build_inputs(trainer.config.task.train_data)))
    for factor in (1.0, 1.0, 1.0, 0.5, 0.5):
        before = values(trainer)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(trainer.model(features) - labels))
        gradients = tape.gradient(loss, trainer.model.trainable_variables)
        keys = {id(v): k for k, v in checkpoints.model_variables(trainer.model).items()}
        trainer.task.train_step((features, labels), trainer.model, trainer.optimizer)
        for gradient, variable in zip(gradients, trainer.model.trainable_variables, strict=True):
            key = keys[id(variable.value)]
            rate = factor * (0.04 if key.startswith('backbone') else 0.02)
            expected = before[key] - rate * gradient.numpy()
            np.testing.assert_allclose(values(trainer)[key], expected, rtol=1e-5, atol=1e-6)


def test_a_schedule_of_layers_is_in_train_steps_with_accumulation():
    schedule = {'type': 'stepwise', 'stepwise': {'boundaries': [4], 'values': [0.1, 0.2]}}
    trainer = make_trainer(
        [{'pattern': 'head', 'learning_rate': schedule}],
        trainer__optimizer_config__gradient_accumulation_steps=3,
    )
    rate = trainer.layer_control.settings.rates['head/stem/kernel'].schedule
    assert [round(float(rate(update)), 6) for update in (0, 1, 2, 3)] == [0.1, 0.1, 0.2, 0.2]


@pytest.mark.parametrize('ema', [None, {'average_decay': 0.5}])
def test_checkpoints_load_with_and_without_overrides(tmp_path, ema):
    fields = {'task__dropout': 0.0, 'trainer__optimizer_config__ema': ema, **BATCH_NORM}
    overrides = [
        {'pattern': 'backbone', 'trainable': False},
        {'pattern': 'head', 'activity_regularizer': {'l2': 0.01}},
    ]
    frozen = run(tmp_path, 3, overrides, **fields)
    trained = run(tmp_path, 6, (), mode='train_and_eval', **fields)
    again = run(tmp_path, 9, overrides, mode='train_and_eval', **fields)
    run(tmp_path, 9, (), mode='eval', **fields)
    key = 'backbone/stem/kernel'
    assert np.abs(frozen[key] - trained[key]).max() > 1e-4
    np.testing.assert_array_equal(trained[key], again[key])


@pytest.mark.parametrize(
    ('field', 'slots'),
    [
        ({'ema': {'average_decay': 0.5}}, ['average']),
        ({'optimizer': {'type': 'schedule_free_adamw'}}, ['average', 'momentum']),
    ],
)
def test_what_keeps_a_weight_begins_at_the_weight_of_the_checkpoint(tmp_path, field, slots):
    fields = {'trainer__optimizer_config': field}
    frozen = run(tmp_path, 3, [{'pattern': 'backbone', 'trainable': False}], **fields)
    trainer = make_trainer(**fields)
    trainer.restore(checkpoint_files.latest_checkpoint(str(tmp_path)))
    for slot in slots:
        value = trainer.checkpoint.variables[f'optimizer/default/backbone/stem/kernel/{slot}']
        np.testing.assert_array_equal(value.numpy(), frozen['backbone/stem/kernel'])


def test_a_checkpoint_of_another_optimizer_still_does_not_fit(tmp_path):
    run(tmp_path, 3)
    config = make(6, trainer__optimizer_config__optimizer={'type': 'adam'})
    trainer = train_lib.make_trainer(config, tiny_task.TinyTask(config.task))
    with pytest.raises(checkpoints.errors.CheckpointError, match='the checkpoint does not fit'):
        trainer.restore(checkpoint_files.latest_checkpoint(str(tmp_path)))


def test_dropout_that_overrides_turn_on_needs_no_state_in_a_checkpoint(tmp_path):
    fields = {'task__dropout': 0.5}
    run(tmp_path, 3, **fields)
    path = checkpoint_files.latest_checkpoint(str(tmp_path))
    off = [{'pattern': 'backbone/dropout', 'dropout_rate': 0.0}]
    make_trainer(off, **fields).restore(path)
    key = 'backbone/dropout/seed_generator/seed_generator_state'
    source = checkpoints.CheckpointSource(path)
    assert key in source.shapes
    assert checkpoint_fit.find_optional({key, 'a/kernel'}, {'a/kernel'}) == {key}


def test_weight_decay_multipliers_need_a_decay():
    overrides = [{'pattern': 'head', 'weight_decay_multiplier': 0.5}]
    with pytest.raises(layer_overrides.LayerOverrideError, match='SGD has no weight decay'):
        make_trainer(overrides)


def test_float16_needs_loss_scaling():
    with pytest.raises(layer_overrides.LayerOverrideError, match='float16 needs loss scaling'):
        make_trainer([{'pattern': 'head', 'dtype': 'float16'}])


def test_training_of_what_task_freeze_froze_is_a_contradiction():
    with pytest.raises(layer_overrides.LayerOverrideError, match=r'contradicts task\.freeze on'):
        make_trainer([{'pattern': 'backbone/stem', 'trainable': True}], task__freeze=['backbone'])


def test_stock_optimizers_cannot_have_rates():
    config = make(6, [{'pattern': 'head', 'learning_rate_multiplier': 0.5}])
    task = tiny_task.TinyTask(config.task)
    control = layer_control.LayerControl(task.build_model(), config)
    with pytest.raises(TypeError, match=r'need an optimizer that Task\.create_optimizer built'):
        control.configure_optimizer(keras.optimizers.SGD(0.1))


def test_without_overrides_nothing_is_done():
    trainer = make_trainer()
    assert trainer.layer_control.settings is None
    assert not trainer.optimizer._rates


def test_dry_run_prints_every_layer(tmp_path):
    config = make(6, ALL, trainer__optimizer_config__layerwise_lr_decay=0.5, **BATCH_NORM)
    text = dry_run.dry_run(tf.distribute.get_strategy(), tiny_task.TinyTask(config.task), config)
    lines = [line.split() for line in text.splitlines()]
    rows = {line[0]: line[1:] for line in lines if line and '/' in line[0]}
    assert rows == {
        'backbone/stem': ['40', 'yes', '0.0025', '-', '-', 'activation=tanh'],
        'backbone/batch_normalization': ['32', 'no', '-', '-', '-'],
        'head/stem/kernel': ['8', 'yes', '0.05', '-', 'l2=0.1', 'kernel_initializer=ones'],
        'head/stem/bias': ['1', 'yes', '0.05', '-', '-', 'kernel_initializer=ones'],
    }


def test_a_served_model_computes_as_in_training_and_needs_no_schedule():
    warmup = {'type': 'linear', 'linear': {'warmup_steps': 3}}
    overrides = [
        {'pattern': 'head/stem', 'activation': 'tanh', 'warmup': warmup},
        {'pattern': 'backbone', 'trainable': False},
    ]
    config = make(6, overrides)
    model = tiny_task.TinyTask(config.task).build_model()
    features = tf.random.stateless_normal([3, 4], [0, 1])
    plain = model(features)
    served = layer_control.apply_to_served_model(model, config.task)
    np.testing.assert_allclose(served(features), np.tanh(plain), rtol=1e-5, atol=1e-6)
