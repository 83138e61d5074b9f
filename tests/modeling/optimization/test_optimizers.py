"""Update rules against NumPy and against tf_keras over five steps."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite.modeling.optimization import (
    lamb,
    lars,
    legacy_adamw,
    name_patterns,
    optimizers,
    replicated_optimizer,
)
from tests.modeling.optimization import update_rules

STARTS = [np.linspace(-1.0, 2.0, 6).reshape(3, 2), np.zeros(2)]
NUM_STEPS = 5


def run(optimizer, num_steps=NUM_STEPS, scale=1.0):
    """Kernel and bias after some steps; variables are called `head/kernel` and `head/bias`."""
    variables = [
        tf.Variable(start.astype(np.float32), name=name)
        for start, name in zip(STARTS, ['head/kernel', 'head/bias'], strict=True)
    ]
    for grads in gradients(num_steps):
        pairs = [
            (tf.constant(g * scale, tf.float32), v) for g, v in zip(grads, variables, strict=True)
        ]
        optimizer.apply_gradients(pairs)
    return [v.numpy() for v in variables]


def gradients(num_steps=NUM_STEPS):
    return list(update_rules.make_gradients([s.shape for s in STARTS], num_steps))


def expect(rule, **kwargs):
    """The oracle's kernel and bias; a pair of values is (kernel's, bias')."""
    results = []
    for i, start in enumerate(STARTS):
        own = {k: v[i] if isinstance(v, tuple) else v for k, v in kwargs.items()}
        results.append(rule(start, [g[i] for g in gradients()], **own))
    return results


BIAS = ['bias']
RULES = [
    (optimizers.SGD(0.1), update_rules.sgd, {'lr': 0.1}),
    (
        optimizers.SGD(0.1, momentum=0.9, decay=0.5),
        update_rules.sgd,
        {'lr': 0.1, 'momentum': 0.9, 'decay': 0.5},
    ),
    (
        optimizers.SGD(0.1, momentum=0.9, nesterov=True),
        update_rules.sgd,
        {'lr': 0.1, 'momentum': 0.9, 'nesterov': True},
    ),
    (optimizers.Adam(0.1), update_rules.adam, {'lr': 0.1}),
    (
        optimizers.Adam(0.1, beta_1=0.5, amsgrad=True, epsilon=0.1),
        update_rules.adam,
        {'lr': 0.1, 'b1': 0.5, 'amsgrad': True, 'epsilon': 0.1},
    ),
    (
        legacy_adamw.AdamWeightDecay(
            0.1, weight_decay_rate=0.2, exclude_from_weight_decay=BIAS, gradient_clip_norm=0.0
        ),
        update_rules.adam,
        {'lr': 0.1, 'wd': (0.2, 0.0)},
    ),
    (optimizers.RMSprop(0.1, epsilon=1e-2), update_rules.rmsprop, {'lr': 0.1, 'epsilon': 1e-2}),
    (
        optimizers.RMSprop(0.1, momentum=0.5, epsilon=1e-2, centered=True),
        update_rules.rmsprop,
        {'lr': 0.1, 'momentum': 0.5, 'epsilon': 1e-2, 'centered': True},
    ),
    (
        optimizers.RMSprop(0.1, centered=True, rho=0.5),
        update_rules.rmsprop,
        {'lr': 0.1, 'centered': True, 'rho': 0.5},
    ),
    (optimizers.Adagrad(0.1, epsilon=1e-2), update_rules.adagrad, {'lr': 0.1, 'epsilon': 1e-2}),
    (
        lamb.LAMB(0.1, weight_decay_rate=0.2, exclude_from_weight_decay=BIAS),
        update_rules.lamb,
        {'lr': 0.1, 'wd': (0.2, 0.0), 'adapt': (True, False)},
    ),
    (
        lamb.LAMB(0.1, weight_decay_rate=0.2, exclude_from_layer_adaptation=['kernel']),
        update_rules.lamb,
        {'lr': 0.1, 'wd': 0.2, 'adapt': (False, True)},
    ),
    (
        lars.LARS(1.0, weight_decay_rate=0.2, exclude_from_weight_decay='bias'),
        update_rules.lars,
        {'lr': 1.0, 'wd': (0.2, 0.0), 'adapt': (True, False)},
    ),
    (lars.LARS(1.0, nesterov=True), update_rules.lars, {'lr': 1.0, 'nesterov': True}),
    (
        lars.LARS(1.0, classic_momentum=False, nesterov=True, eeta=0.01),
        update_rules.lars,
        {'lr': 1.0, 'classic': False, 'nesterov': True, 'eeta': 0.01},
    ),
]


@pytest.mark.parametrize(('optimizer', 'rule', 'kwargs'), RULES)
def test_five_steps_by_numpy(optimizer, rule, kwargs):
    for ours, expected in zip(run(optimizer), expect(rule, **kwargs), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=2e-6, atol=2e-6)


def test_decay_is_not_ignored():
    halves = [0.1, 0.1 / 1.5, 0.1 / 2.0, 0.1 / 2.5, 0.1 / 3.0]
    for i, ours in enumerate(run(lars.LARS(0.1, decay=0.5, exclude_from_layer_adaptation='.*'))):
        weight, velocity = STARTS[i], 0.0
        for rate, g in zip(halves, gradients(), strict=True):
            velocity = 0.9 * velocity + rate * g[i]
            weight = weight - velocity
        np.testing.assert_allclose(ours, weight, rtol=2e-6, atol=2e-6)


def test_adamw_clips_all_gradients_to_a_norm_of_1_by_default():
    clipped = [update_rules.clip_by_global_norm(g, 1.0) for g in gradients()]
    results = run(legacy_adamw.AdamWeightDecay(0.1, weight_decay_rate=0.2))
    for i, (start, ours) in enumerate(zip(STARTS, results, strict=True)):
        expected = update_rules.adam(start, [g[i] for g in clipped], lr=0.1, wd=0.2)
        np.testing.assert_allclose(ours, expected, rtol=2e-6, atol=2e-6)


def test_keras_adamw_by_numpy():
    results = run(optimizers.AdamW(0.1, weight_decay=0.2))
    for ours, expected in zip(results, expect(update_rules.adam, lr=0.1, wd=0.2), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


def test_xla_gives_the_same():
    results = []
    for jit_compile in (False, True):
        variable = tf.Variable([1.0, 2.0])
        optimizer = optimizers.Adam(0.1, jit_compile=jit_compile)
        step = tf.function(lambda g, o=optimizer, v=variable: o.apply_gradients([(g, v)]))
        for gradient in ([1.0, -1.0], [0.5, 2.0]):
            step(tf.constant(gradient))
        results.append(variable.numpy())
    graph = step.get_concrete_function(tf.constant([1.0, 1.0])).graph
    assert any(f.cached_definition.attr['_XlaMustCompile'].b for f in graph._functions.values())
    plain, compiled = results
    np.testing.assert_allclose(plain, compiled, rtol=1e-6)


@pytest.mark.parametrize(('optimizer', 'rule', 'kwargs'), RULES)
def test_config_round_trip(optimizer, rule, kwargs):
    del rule, kwargs
    assert (
        type(optimizer).from_config(optimizer.get_config()).get_config() == optimizer.get_config()
    )


# Which variables decay.


def decayed(include, exclude, keys=('head/kernel', 'head/bias', 'norm/gamma')):
    rule = name_patterns.WeightDecayRule(include, exclude)
    rule.check_used(keys)
    return [key for key in keys if rule.applies_to(key)]


def test_b5_include_is_an_allow_list():
    assert decayed(['kernel'], None) == ['head/kernel']


def test_exclude_is_a_deny_list():
    assert decayed(None, ['bias', 'gamma']) == ['head/kernel']
    assert decayed(None, None) == ['head/kernel', 'head/bias', 'norm/gamma']


def test_include_wins_over_exclude():
    assert decayed(['kernel'], ['head']) == ['head/kernel']


def test_b4_patterns_may_end_in_colon_0_and_may_be_one_string():
    assert decayed(r'.*(kernel|weight):0$', None) == ['head/kernel']
    assert decayed(r'kernel$', None) == ['head/kernel']


@pytest.mark.parametrize(
    'pattern', ['batch_normalization', r'.*batch_normalization/(gamma|beta):0$']
)
def test_the_name_of_keras_2_stands_for_batch_normalization(pattern):
    """As in Model Garden's recipes of MobileNetV4; layer normalisation is not meant."""
    normal = ['stem/norm/gamma', 'stem/norm/beta', 'stem/norm/moving_variance']
    others = ['stem/kernel', 'block/scale/gamma', 'attention/layer_normalization/beta']
    found = decayed(None, [pattern], (*normal, *others))
    assert set(found) - {normal[-1]} == set(others)
    assert set(decayed([pattern], None, (*normal, *others))) >= set(normal[:2])


def test_pattern_errors():
    with pytest.raises(
        name_patterns.PatternError,
        match=r'include_in_weight_decay: no pattern matches any variable; expected patterns over '
        r"variable keys such as 'head/kernel'.*received \['kernle'\]",
    ):
        decayed(['kernle'], None)
    with pytest.raises(
        ValueError, match=r"exclude_from_weight_decay: '\(' is not a regular expression"
    ):
        decayed(None, ['('])


def test_some_patterns_without_a_match_are_warned_of():
    with pytest.warns(
        UserWarning,
        match=r"exclude_from_weight_decay: 'LayerNorm', 'layer_norm' matches no variable; there are "
        "keys such as 'head/kernel', ",
    ):
        assert decayed(None, ['LayerNorm', 'layer_norm', 'bias']) == ['head/kernel', 'norm/gamma']


def test_pattern_that_matches_nothing_is_refused_at_build():
    optimizer = legacy_adamw.AdamWeightDecay(
        0.1, weight_decay_rate=0.1, exclude_from_weight_decay=['LayerNorm']
    )
    with pytest.raises(name_patterns.PatternError, match='no pattern matches any variable'):
        optimizer.build([tf.Variable([1.0], name='kernel')])


def test_pattern_of_frozen_variables_is_no_mistake():
    optimizer = legacy_adamw.AdamWeightDecay(
        0.1, weight_decay_rate=0.1, exclude_from_weight_decay=['backbone/.*/bias']
    )
    kernel, frozen = tf.Variable([1.0]), tf.Variable([1.0], trainable=False)
    optimizer.set_variable_keys({'head/kernel': kernel, 'backbone/stem/bias': frozen})
    optimizer.build([kernel])
    optimizer.apply_gradients([(tf.constant([0.0]), kernel)])
    np.testing.assert_allclose(kernel, [0.99])


# Model Garden's optimizers.

GARDEN = [
    ('sgd', {}),
    ('sgd', {'momentum': 0.9}),
    ('sgd', {'momentum': 0.9, 'decay': 0.1, 'clipvalue': 0.5}),
    ('sgd', {'momentum': 0.9, 'nesterov': True, 'global_clipnorm': 1.0}),
    ('sgd_experimental', {'momentum': 0.9, 'nesterov': True}),
    ('sgd_experimental', {'global_clipnorm': 0.5}),
    ('adam', {}),
    ('adam', {'clipnorm': 0.5, 'beta_1': 0.8}),
    ('adam', {'amsgrad': True, 'epsilon': 0.01}),
    ('adam_experimental', {'beta_2': 0.9}),
    ('adam_experimental', {'amsgrad': True, 'epsilon': 0.01, 'clipnorm': 0.5}),
    ('adamw', {'weight_decay_rate': 0.1, 'exclude_from_weight_decay': ['bias']}),
    ('adamw', {'weight_decay_rate': 0.1, 'gradient_clip_norm': 0.0}),
    ('adamw', {'weight_decay_rate': 0.1, 'gradient_clip_norm': 0.3, 'amsgrad': True}),
    ('adamw_experimental', {'weight_decay': 0.1}),
    ('adamw_experimental', {'weight_decay': 0.1, 'global_clipnorm': None, 'amsgrad': True}),
    ('lamb', {}),
    ('lamb', {'weight_decay_rate': 0.1, 'exclude_from_weight_decay': ['bias']}),
    ('lamb', {'weight_decay_rate': 0.1, 'epsilon': 0.01, 'global_clipnorm': 1.0}),
    ('lamb', {'exclude_from_layer_adaptation': ['kernel']}),
    ('rmsprop', {}),
    ('rmsprop', {'epsilon': 0.01}),
    ('rmsprop', {'epsilon': 1.0, 'rho': 0.5}),
    ('rmsprop', {'epsilon': 0.01, 'centered': True}),
    ('rmsprop', {'epsilon': 1.0, 'momentum': 0.9}),
    ('rmsprop', {'epsilon': 0.01, 'momentum': 0.9, 'centered': True}),
    ('lars', {}),
    ('lars', {'weight_decay_rate': 0.1, 'exclude_from_weight_decay': ['bias']}),
    ('lars', {'nesterov': True, 'eeta': 0.01}),
    ('lars', {'classic_momentum': False}),
    ('lars', {'classic_momentum': False, 'nesterov': True}),
    ('lars', {'weight_decay_rate': 0.1, 'exclude_from_layer_adaptation': ['bias']}),
    ('adagrad', {}),
    ('adagrad', {'epsilon': 0.01, 'initial_accumulator_value': 0.2}),
]


@pytest.mark.garden
@pytest.mark.parametrize(('name', 'fields'), GARDEN)
def test_five_steps_as_model_garden(name, fields):
    from official.modeling import optimization as theirs

    from official_lite.modeling import optimization as ours

    params = {
        'optimizer': {'type': name, name: fields},
        'learning_rate': {
            'type': 'polynomial',
            'polynomial': {'initial_learning_rate': 0.1, 'decay_steps': 10},
        },
    }
    results = []
    for module in (ours, theirs):
        factory = module.OptimizerFactory(module.OptimizationConfig(params))
        results.append(run(factory.build_optimizer(factory.build_learning_rate())))
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.garden
@pytest.mark.parametrize(
    'fields',
    [{}, {'clip_threshold': 0.3, 'beta_2_decay': -0.5}, {'epsilon_1': 0.1, 'epsilon_2': 2.0}],
)
@pytest.mark.parametrize('schedule', ['constant', 'polynomial'])
def test_adafactor_as_model_garden(fields, schedule):
    """For vectors: theirs cannot be built for matrices, because it adds an int to a shape."""
    from official.modeling import optimization as theirs

    from official_lite.modeling import optimization as ours

    rates = {
        'constant': {'learning_rate': 0.1},
        'polynomial': {'initial_learning_rate': 0.1, 'decay_steps': 10},
    }
    params = {
        'optimizer': {'type': 'adafactor_keras', 'adafactor_keras': fields},
        'learning_rate': {'type': schedule, schedule: rates[schedule]},
    }
    results = []
    for module in (ours, theirs):
        factory = module.OptimizerFactory(module.OptimizationConfig(params))
        optimizer = factory.build_optimizer(factory.build_learning_rate())
        variable = tf.Variable(STARTS[1].astype(np.float32) + 0.5)
        for grads in gradients():
            optimizer.apply_gradients([(tf.constant(grads[1], tf.float32), variable)])
        results.append(variable.numpy())
    np.testing.assert_allclose(*results, rtol=1e-6, atol=1e-6)


def test_keras_optimizer_by_replicated():
    ours = replicated_optimizer.replicated(keras.optimizers.Lion)(0.1)
    assert isinstance(ours, keras.optimizers.Lion)
    for a, b in zip(run(ours), run(keras.optimizers.Lion(0.1)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    assert replicated_optimizer.replicated(type(ours)) is type(ours)
