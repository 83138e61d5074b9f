"""The step that all optimizers share: replicas, clipping, accumulation, loss scaling, state."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite.modeling.optimization import optimizers, replicated_optimizer
from tests.modeling.optimization import replica_cases

ROOT = pathlib.Path(__file__).parents[3]


def make_variables():
    return [tf.Variable([1.0, 2.0], name='a'), tf.Variable([3.0, 4.0], name='b')]


def step(optimizer, variables, *gradients):
    pairs = [(tf.constant(g, tf.float32), v) for g, v in zip(gradients, variables, strict=True)]
    optimizer.apply_gradients(pairs)


# Two replicas.


def start(path, **environment):
    command = [sys.executable, '-m', 'tests.modeling.optimization.replica_cases', str(path)]
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | environment)


@pytest.fixture(scope='module')
def one_replica():
    return replica_cases.run_cases(tf.distribute.get_strategy(), replica_cases.CASES)


@pytest.fixture(scope='module')
def two_replicas(tmp_path_factory):
    path = tmp_path_factory.mktemp('replicas') / 'two.npz'
    assert start(path).wait(timeout=300) == 0
    return dict(np.load(path))


def check_equal(actual, expected, name):
    keys = [key for key in expected if key.startswith(f'{name}:')]
    assert keys == [key for key in actual if key.startswith(f'{name}:')]
    for key in keys:
        if key.endswith(':model/seen'):
            continue  # That of the first replica.
        np.testing.assert_allclose(actual[key], expected[key], rtol=1e-5, atol=1e-6, err_msg=key)


@pytest.mark.parametrize('name', replica_cases.CASES)
def test_two_replicas_do_the_steps_of_one(one_replica, two_replicas, name):
    check_equal(two_replicas, one_replica, name)
    assert two_replicas[f'{name}:difference between replicas'] == 0.0


@pytest.fixture(scope='module')
def two_workers(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp('workers')
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
        for free in sockets:
            free.bind(('localhost', 0))
        addresses = [f'localhost:{free.getsockname()[1]}' for free in sockets]
    workers = []
    for i in range(2):
        task = {'cluster': {'worker': addresses}, 'task': {'type': 'worker', 'index': i}}
        workers.append(start(tmp_path / f'{i}.npz', TF_CONFIG=json.dumps(task)))
    try:
        assert [worker.wait(timeout=300) for worker in workers] == [0, 0]
    finally:
        for worker in workers:
            worker.kill()
    return [dict(np.load(tmp_path / f'{i}.npz')) for i in range(2)]


@pytest.mark.parametrize('name', replica_cases.WORKER_CASES)
def test_two_workers_do_the_steps_of_one(one_replica, two_workers, name):
    for results in two_workers:
        check_equal(results, one_replica, name)
        assert results[f'{name}:difference between replicas'] == 0.0


@pytest.fixture
def large_batch(monkeypatch):
    """Two updates with the batches that four micro steps see; the fifth micro step makes none."""
    data = [array[:4].reshape(2, 8, -1) for array in replica_cases.make_data()]
    monkeypatch.setattr(replica_cases, 'make_data', lambda: data)
    large = {'large': lambda: optimizers.SGD(0.1, momentum=0.9, global_clipnorm=0.5)}
    monkeypatch.setattr(replica_cases, 'CASES', large)
    return replica_cases.run_case(tf.distribute.get_strategy(), 'large')


@pytest.mark.parametrize('strategy', ['one device', 'default', 'mirrored', 'worker 0', 'worker 1'])
def test_micro_steps_equal_one_large_batch(strategy, request, one_replica):
    name = 'accumulated_clipped'
    if strategy == 'mirrored':
        results = request.getfixturevalue('two_replicas')
    elif strategy.startswith('worker'):
        results = request.getfixturevalue('two_workers')[int(strategy[-1])]
    elif strategy == 'one device':
        one_device = tf.distribute.OneDeviceStrategy('CPU:0')
        results = replica_cases.run_case(one_device, name)
    else:
        results = one_replica
    large = request.getfixturevalue('large_batch')
    assert results[f'{name}:iterations'] == large['large:iterations'] == 2
    for key in ('model/dense/kernel', 'model/dense/bias', 'model/dense/kernel/momentum'):
        np.testing.assert_allclose(
            results[f'{name}:{key}'], large[f'large:{key}'], rtol=1e-5, atol=1e-6, err_msg=key
        )


def test_averages_under_two_replicas(one_replica, two_replicas):
    one, two = one_replica, two_replicas
    assert two['ema_all:came back']
    assert two['ema_all:equal averages']
    for key in ('dense/kernel', 'dense/bias', 'seen'):
        np.testing.assert_array_equal(
            two[f'ema_all:swapped model/{key}'], two[f'ema_all:model/{key}/average']
        )
    # The statistics differed between the replicas; their average is that of the whole batch.
    assert np.abs(one['ema_all:model/seen'] - two['ema_all:model/seen']).max() > 0.01


def test_averages_of_schedule_free_under_two_replicas(one_replica, two_replicas):
    name = 'schedule_free_adamw'
    assert two_replicas[f'{name}:came back']
    for key in ('model/dense/kernel', 'model/dense/bias'):
        averages = two_replicas[f'{name}:swapped {key}']
        assert np.abs(averages - two_replicas[f'{name}:{key}']).max() > 1e-3


def test_overflow_on_one_replica_skips_the_step_on_all(one_replica, two_replicas):
    for results in (one_replica, two_replicas):
        # Two of five steps of the fixed scale overflowed; of the dynamic one's, one of five micro
        # steps.
        assert results['ema_all:iterations'] == replica_cases.NUM_STEPS - 2
        assert results['ema_all:loss_scale'] == 8.0
        assert results['loss_scale_accumulated:iterations'] == 2
        assert results['loss_scale_accumulated:micro_step'] == 0
        assert results['loss_scale_accumulated:loss_scale'] == 2.0**14
        assert results['loss_scale_accumulated:good_steps'] == 3
        assert all(np.isfinite(value).all() for value in results.values())


def test_skipped_steps_leave_no_trace(monkeypatch):
    skipped = replica_cases.run_case(tf.distribute.get_strategy(), 'ema_all')
    inputs, targets = replica_cases.make_data()
    kept = [i for i in range(replica_cases.NUM_STEPS) if i not in replica_cases.INFINITE['ema_all']]
    monkeypatch.setattr(replica_cases, 'make_data', lambda: (inputs[kept], targets[kept]))
    monkeypatch.setattr(replica_cases, 'INFINITE', {})
    never_there = replica_cases.run_case(tf.distribute.get_strategy(), 'ema_all')
    for key, value in never_there.items():
        np.testing.assert_array_equal(skipped[key], value, err_msg=key)


def test_builds_at_the_first_step_inside_of_a_function():
    optimizer, variables = optimizers.Adam(0.1), make_variables()
    tf.function(lambda: step(optimizer, variables, [1.0, 1.0], [1.0, 1.0]))()
    assert optimizer.built
    np.testing.assert_allclose(variables[0], [0.9, 1.9], rtol=1e-6)


def test_cross_replica_context_is_refused():
    strategy = tf.distribute.OneDeviceStrategy('CPU:0')
    with strategy.scope():
        optimizer, variables = optimizers.SGD(0.1), make_variables()
        optimizer.build(variables)
        with pytest.raises(
            RuntimeError, match=r'in cross-replica context; .* inside strategy.run\(\)'
        ):
            step(optimizer, variables, [1.0, 1.0], [1.0, 1.0])
    with strategy.scope():
        late = optimizers.SGD(0.1)
    with pytest.raises(RuntimeError, match=r'build\(\) under the strategy of the constructor'):
        late.build(variables)


# Clipping and transformers.


@pytest.mark.parametrize(
    ('kwargs', 'expected'),
    [
        ({}, [[0.0, 4.0], [0.0, 0.0]]),
        ({'clipvalue': 1.0}, [[0.0, 1.0], [0.0, 0.0]]),
        ({'clipnorm': 2.0}, [[0.0, 2.0], [0.0, 0.0]]),
        ({'global_clipnorm': 2.5}, [[0.0, 2.0], [1.5, 0.0]]),
        ({'gradient_clip_norm': 2.5, 'clipvalue': 1.8}, [[0.0, 1.8], [1.5, 0.0]]),
        ({'gradient_clip_norm': 0.0, 'clipnorm': 10.0}, [[0.0, 4.0], [3.0, 0.0]]),
    ],
)
def test_clipping(kwargs, expected):
    variables = [tf.Variable([0.0, 0.0]), tf.Variable([0.0, 0.0])]
    gradients = [[0.0, 4.0], [3.0, 0.0] if sum(expected[1]) else [0.0, 0.0]]
    step(optimizers.SGD(1.0, **kwargs), variables, *gradients)
    for variable, change in zip(variables, expected, strict=True):
        np.testing.assert_allclose(-variable.numpy(), change, rtol=1e-6)


@pytest.mark.parametrize(
    ('kwargs', 'norms'), [({}, [5, 5, 2]), ({'global_clipnorm': 1}, [5, 4, 2])]
)
def test_a_norm_that_is_not_noted(kwargs, norms):
    """Without clipping, which needs it anyway, it stays what it was."""
    variable = tf.Variable([0.0, 0.0])
    optimizer = optimizers.SGD(1.0, **kwargs)
    step = tf.function(lambda g: optimizer.apply_gradients([(g, variable)]))
    received = []
    for is_noted, gradient in ((True, [3.0, 4.0]), (False, [0.0, 4.0]), (True, [2.0, 0.0])):
        optimizer.norm_is_noted.assign(is_noted)
        step(tf.constant(gradient))
        received.append(float(optimizer.gradient_norm))
    assert received == norms
    np.testing.assert_allclose(variable, [-1.6, -1.8] if kwargs else [-5, -8], rtol=1e-6)


def test_clipping_errors():
    with pytest.raises(ValueError, match='at most one of clipnorm and global_clipnorm'):
        optimizers.SGD(0.1, clipnorm=1.0, global_clipnorm=1.0)
    with pytest.raises(ValueError, match='clipvalue: expected 0 or more, or None; received -1'):
        optimizers.SGD(0.1, clipvalue=-1.0)


def test_transformers_come_after_the_sum_and_before_clipping():
    def double(pairs):
        return [(2 * gradient, variable) for gradient, variable in pairs]

    def zero(pairs):
        return [(tf.zeros_like(gradient), variable) for gradient, variable in pairs]

    variables = make_variables()
    optimizer = optimizers.SGD(1.0, gradient_transformers=[double, double], clipvalue=3.0)
    step(optimizer, variables, [0.5, 1.0], [0.0, 0.0])
    np.testing.assert_allclose(variables[0], [-1.0, -1.0])
    step(optimizers.SGD(1.0, gradient_aggregator=zero), variables, [0.5, 1.0], [1.0, 1.0])
    np.testing.assert_allclose(variables[0], [-1.0, -1.0])


# Accumulation.


@pytest.mark.parametrize('kwargs', [{}, {'global_clipnorm': 0.5}, {'clipnorm': 0.1}])
def test_accumulation_is_one_step_with_the_mean(kwargs):
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(6, 2, 2)).astype(np.float32)
    small, large = make_variables(), make_variables()
    accumulating = optimizers.Adam(0.1, gradient_accumulation_steps=3, **kwargs)
    plain = optimizers.Adam(0.1, **kwargs)
    for i, gradient in enumerate(gradients):
        before = [v.numpy() for v in small]
        step(accumulating, small, *gradient)
        changed = any((v.numpy() != b).any() for v, b in zip(small, before, strict=True))
        assert changed == (i % 3 == 2)
    for three in gradients.reshape(2, 3, 2, 2):
        step(plain, large, *three.mean(axis=0))
    for a, b in zip(small, large, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    assert int(accumulating.iterations) == 2
    for accumulator in accumulating.slots()['gradient_accumulator'].values():
        np.testing.assert_array_equal(accumulator, [0.0, 0.0])


def test_schedules_count_updates_not_micro_steps():
    schedule = keras.optimizers.schedules.PolynomialDecay(1.0, 10, 0.0)
    optimizer, variables = optimizers.SGD(schedule, gradient_accumulation_steps=2), make_variables()
    for _ in range(4):
        step(optimizer, variables, [1.0, 1.0], [0.0, 0.0])
    assert float(optimizer.learning_rate) == pytest.approx(0.8)
    np.testing.assert_allclose(variables[0], [1 - 1.0 - 0.9, 2 - 1.0 - 0.9], rtol=1e-6)


# Loss scaling.


def test_loss_scale_halves_at_an_overflow_and_doubles_after_2000_good_steps():
    optimizer, variables = optimizers.SGD(0.0, loss_scale='dynamic'), make_variables()
    good = tf.function(lambda: step(optimizer, variables, [1.0, 1.0], [1.0, 1.0]))
    step(optimizer, variables, [1.0, np.inf], [1.0, 1.0])
    scale, good_steps = (optimizer.scalars()[name] for name in ('loss_scale', 'good_steps'))
    assert float(scale.numpy()) == 2.0**14
    assert int(optimizer.iterations) == 0
    good_steps.assign(1998)
    good()
    assert float(scale.numpy()) == 2.0**14
    good()
    assert float(scale.numpy()) == 2.0**15
    assert int(good_steps.numpy()) == 0
    step(optimizer, variables, [np.nan, 1.0], [1.0, 1.0])
    assert float(scale.numpy()) == 2.0**14
    assert int(optimizer.iterations) == 2


def test_scaled_loss_and_unscaled_gradients():
    optimizer, (variable, other) = optimizers.SGD(1.0, loss_scale=4.0), make_variables()
    optimizer.build([variable, other])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(variable * [1.0, 2.0])
        scaled = optimizer.get_scaled_loss(loss)
    assert float(scaled) == 4.0 * float(loss)
    gradients = optimizer.get_unscaled_gradients(tape.gradient(scaled, [variable, other]))
    assert gradients[1] is None
    with pytest.warns(UserWarning, match=r"no gradients for \['b'\]"):
        optimizer.apply_gradients(zip(gradients, [variable, other], strict=True))
    np.testing.assert_allclose(variable, [0.0, 0.0])
    assert optimizer.get_scaled_loss(tf.constant(2.0, tf.float16)).dtype == tf.float16


def test_without_loss_scale_both_are_the_identity():
    optimizer, loss, gradient = optimizers.SGD(1.0), tf.constant(2.0), tf.constant([1.0])
    assert optimizer.get_scaled_loss(loss) is loss
    assert optimizer.get_unscaled_gradients([gradient, None]) == [gradient, None]
    assert optimizer.scale_loss(loss) is loss


def test_loss_scale_errors():
    with pytest.raises(
        ValueError, match="loss_scale: expected 'dynamic' or a positive number; received 0"
    ):
        optimizers.SGD(0.1, loss_scale=0)
    with pytest.raises(NotImplementedError, match=r'use get_scaled_loss\(\)'):
        optimizers.SGD(0.1, loss_scale='dynamic').scale_loss(1.0)


# State.


def test_slots_and_scalars_by_variable_key():
    optimizer = optimizers.Adam(0.1, loss_scale='dynamic', gradient_accumulation_steps=2)
    variables = make_variables()
    optimizer.set_variable_keys({'backbone/w': variables[0], 'head/w': variables[1]})
    optimizer.build(variables)
    keys = {'backbone/w', 'head/w'}
    assert {slot: set(by_key) for slot, by_key in optimizer.slots().items()} == {
        'momentum': keys,
        'velocity': keys,
        'gradient_accumulator': keys,
    }
    state = optimizer.checkpoint_variables()
    assert set(state) == {
        *(f'{k}/{s}' for k in keys for s in ('momentum', 'velocity', 'gradient_accumulator')),
        *('iterations', 'loss_scale', 'good_steps', 'micro_step'),
    }
    assert {id(v) for v in state.values()} == {id(v) for v in optimizer.variables}
    step(optimizer, variables, [1.0, 1.0], [2.0, 2.0])
    np.testing.assert_array_equal(state['head/w/gradient_accumulator'], [2.0, 2.0])


def test_settings_may_change_until_build():
    optimizer = optimizers.SGD(0.1, loss_scale='dynamic', gradient_accumulation_steps=2)
    optimizer.set_loss_scale(8.0)
    optimizer.set_gradient_accumulation_steps(None)
    assert set(optimizer.checkpoint_variables()) == {'iterations', 'loss_scale', 'good_steps'}
    optimizer.build(make_variables())
    with pytest.raises(RuntimeError, match=r'call set_loss_scale\(\) before build\(\)'):
        optimizer.set_loss_scale(None)


def test_other_state_of_a_keras_optimizer_is_not_forgotten():
    optimizer = replicated_optimizer.replicated(keras.optimizers.Nadam)(0.1)
    optimizer.build(make_variables())
    state = optimizer.checkpoint_variables()
    assert {id(v) for v in state.values()} >= {id(v) for v in optimizer.variables}
    assert (
        len(state) == 2 * 2 + 1 + 1
    )  # momentum and velocity, iterations, the product of momentums


def test_variables_without_keys_have_their_names_and_a_number():
    optimizer = optimizers.SGD(0.1, momentum=0.9)
    optimizer.build([tf.Variable([1.0], name='w'), tf.Variable([1.0], name='w')])
    assert set(optimizer.slots()['momentum']) == {'w', 'w_1'}


def test_keys_must_be_whole_and_come_before_build():
    variables = make_variables()
    optimizer = optimizers.SGD(0.1, momentum=0.9)
    optimizer.set_variable_keys({'w': variables[0]})
    with pytest.raises(ValueError, match=r'set_variable_keys\(\) was called without b'):
        optimizer.build(variables)
    with pytest.raises(RuntimeError, match=r'call set_variable_keys\(\) before'):
        optimizer.set_variable_keys({})


def test_hooks_for_rates_of_single_variables():
    class Halved(optimizers.AdamW):
        def variable_learning_rate(self, variable, learning_rate):
            return learning_rate * (0.5 if self.key_of(variable) == 'b' else 1.0)

        def variable_weight_decay(self, variable):
            return 0.1 if self.key_of(variable) == 'b' else 0.0

        def key_of(self, variable):
            return self.variable_key(self._model_variable(variable))

    variables = make_variables()
    step(Halved(0.2), variables, [1.0, 1.0], [1.0, 1.0])
    np.testing.assert_allclose(variables[0], [0.8, 1.8], rtol=1e-5)
    np.testing.assert_allclose(variables[1], [3 * 0.99 - 0.1, 4 * 0.99 - 0.1], rtol=1e-5)


def test_constraints_hold_after_the_update():
    variable = keras.Variable([1.0, 2.0], name='w')
    variable.constraint = keras.constraints.NonNeg()
    step(optimizers.SGD(1.5), [variable], [1.0, 1.0])
    np.testing.assert_allclose(variable, [0.0, 0.5])


def test_sparse_gradients_count_as_dense():
    table = tf.Variable([[1.0], [2.0], [3.0]])
    sparse = tf.IndexedSlices(tf.constant([[1.0], [1.0]]), tf.constant([2, 2]), tf.constant([3, 1]))
    optimizers.SGD(0.5).apply_gradients([(sparse, table)])
    np.testing.assert_allclose(table, [[1.0], [2.0], [2.0]])


def test_gradients_that_are_missing_or_unknown():
    variables = make_variables()
    optimizer = optimizers.SGD(0.1)
    with pytest.raises(
        ValueError, match=r"no variable has a gradient; received None for \['a', 'b'\]"
    ):
        optimizer.apply_gradients([(None, variables[0]), (None, variables[1])])
    with pytest.raises(ValueError, match='Unknown variable'):
        step(optimizer, [tf.Variable([1.0])], [1.0])


def test_learning_rate_can_be_read_and_set_and_is_no_state():
    optimizer, variables = optimizers.SGD(0.5), make_variables()
    optimizer.learning_rate = 0.25
    assert float(optimizer.learning_rate) == 0.25
    step(optimizer, variables, [1.0, 0.0], [0.0, 0.0])
    np.testing.assert_allclose(variables[0], [0.75, 2.0])
    assert list(optimizer.checkpoint_variables()) == ['iterations']
    assert [v.name for v in optimizer.variables] == ['iteration']


def test_features_of_keras_that_fail_under_strategies_are_refused():
    with pytest.raises(
        ValueError, match=r'use_ema does not work under tf.distribute: wrap the optimizer'
    ):
        optimizers.SGD(0.1, use_ema=True)
    with pytest.raises(
        ValueError, match='gradient_accumulation_steps: expected 1 or more; received 0'
    ):
        optimizers.SGD(0.1, gradient_accumulation_steps=0)
