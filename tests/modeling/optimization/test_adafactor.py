"""Adafactor against NumPy, from the paper's algorithms and flax' switches."""

import numpy as np
import pytest
import tensorflow as tf

from official_lite.modeling import hyperparams, optimization
from official_lite.modeling.optimization import adafactor, name_patterns
from tests.modeling.optimization import update_rules

SHAPES = {'head/kernel': (6, 4), 'conv/kernel': (3, 5, 2, 7), 'head/bias': (4,)}
STARTS = {
    key: np.linspace(-1.0, 2.0, int(np.prod(shape))).reshape(shape) for key, shape in SHAPES.items()
}
GRADIENTS = list(update_rules.make_gradients(list(SHAPES.values()), 5))


def rms(x):
    return np.sqrt(np.mean(np.square(x)))


def oracle(
    w, grads, lr, *, axes=None, scale=True, beta1=None, decay_rate=0.8, offset=0, clip=1.0,
    epsilon1=1e-30, epsilon2=1e-3, wd=0.0,
):  # fmt: skip
    """float64; `axes` are those whose means are kept, the larger first, or None."""
    row = column = v = m = 0.0
    for t, g in enumerate(grads, 1):
        d = 1.0 - max(t - offset, 1) ** -decay_rate
        square = g**2 + epsilon1
        if axes is None:
            v = d * v + (1 - d) * square
            estimate = v
        else:
            row = d * row + (1 - d) * square.mean(axis=axes[0], keepdims=True)
            column = d * column + (1 - d) * square.mean(axis=axes[1], keepdims=True)
            estimate = row * column / row.mean(axis=axes[1], keepdims=True)
        u = g / np.sqrt(estimate)
        u = u if clip is None else u / max(1.0, rms(u) / clip)
        u = u * lr * (max(rms(w), epsilon2) if scale else 1.0)
        if beta1 is not None:
            m = beta1 * m + (1 - beta1) * u
            u = m
        w = w - u - wd * w
    return w


def run(optimizer, starts=STARTS):
    variables = {key: tf.Variable(w.astype(np.float32)) for key, w in starts.items()}
    optimizer.set_variable_keys(variables)
    optimizer.build(list(variables.values()))
    step = tf.function(lambda *g: optimizer.apply(list(g), list(variables.values())))
    for gradients in GRADIENTS:
        step(*(tf.constant(g, tf.float32) for g in gradients))
    return {key: variable.numpy() for key, variable in variables.items()}


# For shapes (6, 4) and (3, 5, 2, 7): the largest axis, then the second largest.
AXES = {'head/kernel': (0, 1), 'conv/kernel': (3, 1), 'head/bias': None}
CASES = {
    'as it is': ({}, {'axes': None}),
    'factored': ({'min_dim_size_to_factor': 4}, {}),
    'one of two': ({'min_dim_size_to_factor': 5}, {'axes': {'conv/kernel': (3, 1)}}),
    'never factored': ({'min_dim_size_to_factor': 1, 'factored': False}, {'axes': None}),
    'absolute steps': (
        {'min_dim_size_to_factor': 4, 'multiply_by_parameter_scale': False},
        {'scale': False},
    ),
    'with a mean': ({'min_dim_size_to_factor': 4, 'beta1': 0.9}, {'beta1': 0.9}),
    'mean of nothing': ({'min_dim_size_to_factor': 4, 'beta1': 0.0}, {}),
    'decay rate': ({'min_dim_size_to_factor': 4, 'decay_rate': 0.5}, {'decay_rate': 0.5}),
    'offset': ({'min_dim_size_to_factor': 4, 'step_offset': 2}, {'offset': 2}),
    'clipping': ({'min_dim_size_to_factor': 4, 'clipping_threshold': 0.3}, {'clip': 0.3}),
    'epsilons': (
        {'min_dim_size_to_factor': 4, 'epsilon1': 0.1, 'epsilon2': 1.5},
        {'epsilon1': 0.1, 'epsilon2': 1.5},
    ),
    'weight decay': ({'min_dim_size_to_factor': 4, 'weight_decay': 0.1}, {'wd': 0.1}),
    'decay of kernels': (
        {'weight_decay': 0.1, 'include_in_weight_decay': 'kernel:0$'},
        {'axes': None, 'wd': {'head/kernel': 0.1, 'conv/kernel': 0.1}},
    ),
}


@pytest.mark.parametrize('case', CASES)
def test_five_updates_by_numpy(case):
    fields, settings = CASES[case]
    config = optimization.OptimizationConfig(
        {
            'optimizer': {'type': 'adafactor', 'adafactor': fields},
            'learning_rate': {'type': 'constant', 'constant': {'learning_rate': 0.1}},
        }
    )
    config.validate()
    optimizer = optimization.OptimizerFactory(config).build_optimizer(0.1)
    results = run(optimizer)
    for i, (key, start) in enumerate(STARTS.items()):
        own = {'axes': AXES} | settings
        own = {k: v.get(key, 0.0) or None if isinstance(v, dict) else v for k, v in own.items()}
        own['wd'] = own.get('wd') or 0.0
        expected = oracle(start, [g[i] for g in GRADIENTS], 0.1, **own)
        np.testing.assert_allclose(results[key], expected, rtol=1e-6, atol=1e-6, err_msg=key)


def test_state_is_small_where_it_is_factored():
    optimizer = adafactor.Adafactor(0.1, min_dim_size_to_factor=4, beta1=0.9)
    run(optimizer)
    shapes = {
        name: {key: tuple(v.shape) for key, v in slots.items()}
        for name, slots in optimizer.slots().items()
    }
    assert shapes == {
        'momentum': SHAPES,
        'row': {'head/kernel': (4,), 'conv/kernel': (3, 5, 2)},
        'column': {'head/kernel': (6,), 'conv/kernel': (3, 2, 7)},
        'velocity': {'head/bias': (4,)},
    }
    assert len(optimizer.checkpoint_variables()) == len(optimizer.variables)


def test_equal_sizes_are_factored_along_the_last_two():
    optimizer = adafactor.Adafactor(min_dim_size_to_factor=2)
    assert optimizer.factored_axes((3, 3)) == (1, 0)
    assert optimizer.factored_axes((1, 1, 64, 64)) == (3, 2)
    assert optimizer.factored_axes((1, 64)) is None
    assert optimizer.factored_axes((64,)) is None
    assert optimizer.factored_axes(()) is None


def test_the_first_update_does_not_depend_on_the_gradients_size():
    results = []
    for factor in (1.0, 1e-6):
        variable = tf.Variable([3.0, 4.0])
        adafactor.Adafactor(0.1).apply([tf.constant([factor, -factor])], [variable])
        results.append(variable.numpy())
    step = 0.1 * np.sqrt(12.5)
    np.testing.assert_allclose(results, [[3.0 - step, 4.0 + step]] * 2, rtol=1e-5)


def test_config_round_trip_and_patterns():
    optimizer = adafactor.Adafactor(0.1, beta1=0.5, weight_decay=0.1, include_in_weight_decay='k')
    again = adafactor.Adafactor.from_config(optimizer.get_config())
    assert again.get_config() == optimizer.get_config()
    with pytest.raises(name_patterns.PatternError, match='include_in_weight_decay: no pattern'):
        run(adafactor.Adafactor(0.1, weight_decay=0.1, include_in_weight_decay='weight'))


def test_impossible_values():
    fields = {'decay_rate': 0.0, 'step_offset': -1, 'min_dim_size_to_factor': 0}
    config = optimization.OptimizationConfig(
        {'optimizer': {'type': 'adafactor', 'adafactor': fields}}
    )
    with pytest.raises(hyperparams.ConfigError) as error:
        config.validate()
    for name, expected in zip(fields, ('more than 0', '0 or more', 'more than 0'), strict=True):
        assert f'optimizer.adafactor.{name}: expected {expected}' in str(error.value)
