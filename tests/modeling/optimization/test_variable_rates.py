"""Rates of single variables: the update of each rule is what its multiplier makes of it."""

import collections

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite.modeling.optimization import (
    adafactor,
    keras_optimizers,
    lamb,
    lars,
    legacy_adamw,
    optimizers,
    replicated_optimizer,
    variable_rates,
)

RATE = variable_rates.VariableRate
Lion = replicated_optimizer.replicated(keras.optimizers.Lion)

OPTIMIZERS = {
    'sgd': lambda rate: optimizers.SGD(rate),
    'sgd_momentum': lambda rate: optimizers.SGD(rate, momentum=0.9, nesterov=True, decay=0.1),
    'sgd_decay': lambda rate: optimizers.SGD(rate, weight_decay=0.1),
    'adam': lambda rate: optimizers.Adam(rate),
    'adam_amsgrad': lambda rate: optimizers.Adam(rate, amsgrad=True),
    'adamw': lambda rate: legacy_adamw.AdamWeightDecay(rate, weight_decay_rate=0.1),
    'adamw_experimental': lambda rate: optimizers.AdamW(rate, weight_decay=0.1),
    'lamb': lambda rate: lamb.LAMB(rate, weight_decay_rate=0.1),
    'lion': lambda rate: Lion(rate, weight_decay=0.1),
    'lars': lambda rate: lars.LARS(rate, weight_decay_rate=0.1),
    'rmsprop': lambda rate: optimizers.RMSprop(rate, momentum=0.5),
    'adagrad': lambda rate: optimizers.Adagrad(rate),
    'nadam': lambda rate: keras_optimizers.Nadam(rate, weight_decay=0.1),
    'muon': lambda rate: keras_optimizers.Muon(rate),
    'schedule_free_adamw': lambda rate: keras_optimizers.ScheduleFreeAdamW(rate, weight_decay=0.1),
}


def make_variables():
    rng = np.random.default_rng(0)
    return [
        tf.Variable(rng.normal(size=(3, 2)).astype(np.float32), name=name)
        for name in ('same', 'slow')
    ]


def make_gradients(num_steps):
    rng = np.random.default_rng(1)
    return rng.normal(size=(num_steps, 3, 2)).astype(np.float32)


def train(optimizer, num_steps, rates=None):
    """Values of both variables after training in a graph; both get the same gradients."""
    variables = make_variables()
    optimizer.set_variable_rates(rates or {})
    optimizer.build(variables)
    step = tf.function(lambda g: optimizer.apply_gradients([(g, v) for v in variables]))
    for gradient in make_gradients(num_steps):
        step(tf.constant(gradient))
    return [variable.numpy() for variable in variables]


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_a_multiplier_of_a_tenth_gives_a_tenth_of_the_update(name):
    start = [variable.numpy() for variable in make_variables()]
    _, slow = train(OPTIMIZERS[name](0.1), 1, {'slow': RATE(0.1)})
    _, full = train(OPTIMIZERS[name](0.1), 1)
    assert np.abs(full - start[1]).max() > 1e-4
    np.testing.assert_allclose(slow - start[1], (full - start[1]) * 0.1, rtol=2e-4, atol=3e-7)


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_a_multiplier_does_for_five_steps_what_a_rate_of_a_tenth_does(name):
    same, slow = train(OPTIMIZERS[name](0.1), 5, {'slow': RATE(0.1)})
    np.testing.assert_array_equal(same, train(OPTIMIZERS[name](0.1), 5)[0])
    expected = train(OPTIMIZERS[name](0.1 * 0.1), 5)[1]
    np.testing.assert_allclose(slow, expected, rtol=1e-6, atol=1e-6)


def test_closed_form_of_sgd_with_decay():
    start = make_variables()[1].numpy().astype(np.float64)
    gradient = make_gradients(1)[0]
    rates = {'slow': RATE(0.1, 0.5)}
    _, slow = train(optimizers.SGD(0.2, weight_decay=0.3), 1, rates)
    expected = start - 0.2 * 0.1 * (0.3 * 0.5 * start + gradient)
    np.testing.assert_allclose(slow, expected, rtol=1e-6)


def test_closed_form_of_adamw_and_lion():
    start = make_variables()[1].numpy().astype(np.float64)
    gradient = make_gradients(1)[0]
    rates = {'slow': RATE(0.1, 0.5)}
    # At the first step both rules go by the gradient's sign.
    decayed = start * (1.0 - 0.02 * 0.1 * 0.3 * 0.5)
    expected = decayed - 0.02 * 0.1 * np.sign(gradient)
    for optimizer in (
        legacy_adamw.AdamWeightDecay(0.02, weight_decay_rate=0.3, epsilon=1e-12),
        optimizers.AdamW(0.02, weight_decay=0.3, epsilon=1e-12),
        Lion(0.02, weight_decay=0.3),
    ):
        _, slow = train(optimizer, 1, rates)
        np.testing.assert_allclose(slow, expected, rtol=1e-5, err_msg=optimizer.name)


def test_closed_form_of_lamb():
    start = make_variables()[1].numpy().astype(np.float64)
    gradient = make_gradients(1)[0].astype(np.float64)
    _, slow = train(lamb.LAMB(0.02, weight_decay_rate=0.3), 1, {'slow': RATE(0.1, 0.5)})
    update = gradient / (np.abs(gradient) + 1e-6) + 0.3 * 0.5 * start
    ratio = np.linalg.norm(start) / np.linalg.norm(update)
    np.testing.assert_allclose(slow, start - 0.02 * 0.1 * ratio * update, rtol=1e-5)


@pytest.mark.parametrize('name', ['sgd_decay', 'adamw', 'lamb', 'lion', 'lars', 'muon'])
def test_a_weight_decay_multiplier_of_zero_is_no_decay(name):
    without = {
        'sgd_decay': lambda: optimizers.SGD(0.1),
        'adamw': lambda: legacy_adamw.AdamWeightDecay(0.1),
        'lamb': lambda: lamb.LAMB(0.1),
        'lion': lambda: Lion(0.1),
        'lars': lambda: lars.LARS(0.1),
        'muon': lambda: keras_optimizers.Muon(0.1, weight_decay=0.0),
    }
    same, slow = train(OPTIMIZERS[name](0.1), 3, {'slow': RATE(1.0, 0.0)})
    np.testing.assert_allclose(slow, train(without[name](), 3)[1], rtol=1e-6)
    assert np.abs(same - slow).max() > 1e-5


def test_adafactor_scales_its_decay_too():
    start = make_variables()[1].numpy()
    results = []
    for multiplier in (1.0, 0.1):
        optimizer = adafactor.Adafactor(0.1, weight_decay=0.2)
        _, slow = train(optimizer, 1, {'slow': RATE(multiplier)})
        results.append(slow - start)
    np.testing.assert_allclose(results[1], results[0] * 0.1, rtol=1e-4)


def test_the_limit_of_keras_adafactor_comes_before_the_multiplier():
    start = make_variables()[1].numpy()
    results = []
    for multiplier in (1.0, 0.1):
        # A rate of 2 is limited to 1 at the first step.
        optimizer = optimizers.KerasAdafactor(2.0)
        _, slow = train(optimizer, 1, {'slow': RATE(multiplier)})
        results.append(slow - start)
    np.testing.assert_allclose(results[1], results[0] * 0.1, rtol=1e-4)


def test_a_schedule_of_its_own_counts_updates():
    def schedule(step):
        return 0.1 * tf.cast(step + 1, tf.float32)

    start = make_variables()[1].numpy()
    rates = {'slow': RATE(0.5, 1.0, schedule)}
    same, slow = train(optimizers.SGD(1.0, decay=1.0), 3, rates)
    gradients = make_gradients(3)
    # Divided by 1 + decay * updates, as the optimizer's own rate is.
    expected = start - sum(0.5 * 0.1 * (t + 1) / (1 + t) * gradients[t] for t in range(3))
    np.testing.assert_allclose(slow, expected, rtol=1e-5)
    expected = make_variables()[0].numpy() - sum(gradients[t] / (1 + t) for t in range(3))
    np.testing.assert_allclose(same, expected, rtol=1e-5)


def count_operations(optimizer, rates=None, num_variables=8):
    variables = [tf.Variable([1.0, 2.0], name=f'v{i}') for i in range(num_variables)]
    if rates is not None:
        optimizer.set_variable_rates(rates)
    optimizer.build(variables)

    @tf.function
    def step(gradients):
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    graph = step.get_concrete_function([tf.TensorSpec([2])] * num_variables).graph
    return collections.Counter(op.type for op in graph.get_operations())


@pytest.mark.parametrize('name', ['sgd_momentum', 'adam', 'adamw', 'lamb', 'lion'])
def test_without_rates_the_graph_has_no_operation_more(name):
    plain = count_operations(OPTIMIZERS[name](0.1))
    assert count_operations(OPTIMIZERS[name](0.1), {}) == plain
    assert count_operations(OPTIMIZERS[name](0.1), {'v0': RATE()}) == plain


def test_a_group_costs_one_multiplication():
    plain = count_operations(optimizers.SGD(0.1))
    rates = {f'v{i}': RATE(0.1 if i < 4 else 0.2) for i in range(6)}
    more = count_operations(optimizers.SGD(0.1), rates) - plain
    assert more['Mul'] == 2
    assert sum(more.values()) <= 4


def test_a_key_of_no_variable_is_an_error():
    optimizer = optimizers.SGD(0.1)
    optimizer.set_variable_rates({'elsewhere': RATE(0.1)})
    with pytest.raises(ValueError, match=r"no variable has a key of \['elsewhere'\]"):
        optimizer.build(make_variables())


def test_negative_multipliers_are_errors():
    with pytest.raises(ValueError, match='slow: weight_decay_multiplier: expected 0 or more'):
        optimizers.SGD(0.1).set_variable_rates({'slow': RATE(1.0, -1.0)})


def test_rates_come_before_build():
    optimizer = optimizers.SGD(0.1)
    optimizer.build(make_variables())
    with pytest.raises(RuntimeError, match='call set_variable_rates'):
        optimizer.set_variable_rates({})
