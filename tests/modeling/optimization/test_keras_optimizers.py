"""The optimizers of Keras 3: their numbers are Keras' own, in our step."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite.modeling import hyperparams, optimization
from official_lite.modeling.optimization import (
    keras_optimizers,
    name_patterns,
    optimizer_factory,
    optimizers,
)
from tests.modeling.optimization import update_rules

NAMES = ('conv/kernel', 'embedding/table', 'head/kernel', 'head/bias')
SHAPES = [(2, 1, 3, 2), (4, 3), (3, 2), (2,)]
GRADIENTS = [
    [g.astype(np.float32) for g in step] for step in update_rules.make_gradients(SHAPES, 5)
]


def make_variables():
    starts = [np.linspace(-1.0, 2.0, int(np.prod(shape)), dtype=np.float32) for shape in SHAPES]
    return [
        keras.Variable(start.reshape(shape), name=name.split('/')[-1])
        for start, shape, name in zip(starts, SHAPES, NAMES, strict=True)
    ]


def run(optimizer, prepare=lambda variables: None):
    """The variables after five updates."""
    variables = make_variables()
    if hasattr(optimizer, 'set_variable_keys'):
        optimizer.set_variable_keys(dict(zip(NAMES, variables, strict=True)))
    prepare(variables)
    optimizer.build(variables)
    step = tf.function(lambda *grads: optimizer.apply(list(grads), variables))
    for gradients in GRADIENTS:
        step(*map(tf.constant, gradients))
    return [variable.numpy() for variable in variables]


def build(name, **fields):
    config = optimization.OptimizationConfig(
        {
            'optimizer': {'type': name, name: fields},
            'learning_rate': {
                'type': 'polynomial',
                'polynomial': {'initial_learning_rate': 0.1, 'decay_steps': 10},
            },
        }
    )
    config.validate()
    factory = optimization.OptimizerFactory(config)
    return factory.build_optimizer(factory.build_learning_rate())


def make_schedule():
    return keras.optimizers.schedules.PolynomialDecay(0.1, 10)


CASES = [
    ('sgd_experimental', keras.optimizers.SGD, {'momentum': 0.9, 'nesterov': True}),
    ('adam_experimental', keras.optimizers.Adam, {'amsgrad': True, 'beta_2': 0.9}),
    ('adamw_experimental', keras.optimizers.AdamW, {'weight_decay': 0.1, 'global_clipnorm': 1.0}),
    ('adafactor_keras', keras.optimizers.Adafactor, {'clip_threshold': 0.5}),
    ('adadelta', keras.optimizers.Adadelta, {}),
    ('adadelta', keras.optimizers.Adadelta, {'rho': 0.5, 'epsilon': 1e-2, 'weight_decay': 0.1}),
    ('adagrad_keras', keras.optimizers.Adagrad, {'epsilon': 1e-2}),
    ('adamax', keras.optimizers.Adamax, {}),
    ('adamax', keras.optimizers.Adamax, {'beta_1': 0.5, 'epsilon': 1e-2, 'clipnorm': 0.5}),
    ('ftrl', keras.optimizers.Ftrl, {}),
    (
        'ftrl',
        keras.optimizers.Ftrl,
        {
            'learning_rate_power': -0.4,
            'l1_regularization_strength': 0.1,
            'l2_regularization_strength': 0.1,
            'l2_shrinkage_regularization_strength': 0.1,
            'beta': 0.1,
            'initial_accumulator_value': 0.2,
        },
    ),
    ('lamb_keras', keras.optimizers.Lamb, {}),
    ('lamb_keras', keras.optimizers.Lamb, {'epsilon': 1e-2, 'weight_decay': 0.1}),
    ('lion', keras.optimizers.Lion, {}),
    ('lion', keras.optimizers.Lion, {'beta_1': 0.5, 'beta_2': 0.9, 'weight_decay': 0.1}),
    ('muon', keras.optimizers.Muon, {}),
    ('muon', keras.optimizers.Muon, {'rms_rate': None, 'nesterov': False, 'ns_steps': 3}),
    (
        'muon',
        keras.optimizers.Muon,
        {'adam_lr_ratio': 0.5, 'adam_weight_decay': 0.1, 'adam_beta_1': 0.5, 'muon_a': 3.0},
    ),
    ('nadam', keras.optimizers.Nadam, {}),
    ('nadam', keras.optimizers.Nadam, {'beta_1': 0.5, 'epsilon': 1e-2, 'weight_decay': 0.1}),
    ('rmsprop_keras', keras.optimizers.RMSprop, {'epsilon': 1e-2}),
    ('rmsprop_keras', keras.optimizers.RMSprop, {'momentum': 0.9, 'centered': True}),
]


@pytest.mark.parametrize(('name', 'keras_cls', 'fields'), CASES)
def test_five_updates_as_keras(name, keras_cls, fields):
    kwargs = {k: v for k, v in fields.items() if k not in ('include_in_weight_decay',)}
    if name == 'muon':  # By our keys this is an embedding; Keras looks at its own paths.
        kwargs['exclude_layers'] = ['table']
    expected = run(keras_cls(make_schedule(), **kwargs))
    for ours, wanted in zip(run(build(name, **fields)), expected, strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-6, atol=1e-6)


def test_no_optimizer_of_keras_is_missing():
    wanted = {
        cls
        for cls in vars(keras.optimizers).values()
        if isinstance(cls, type) and issubclass(cls, keras.optimizers.Optimizer)
    } - {
        # The base class, and what wraps optimizers: our step scales losses itself.
        keras.optimizers.Optimizer,
        keras.optimizers.LossScaleOptimizer,
        keras.optimizers.MultiOptimizer,
    }
    classes = optimizer_factory.NEW_OPTIMIZERS_CLS.values()
    assert {cls for cls in wanted if not any(issubclass(c, cls) for c in classes)} == set()
    compared = {keras_cls for _, keras_cls, _ in CASES}
    assert compared == wanted - {keras.optimizers.ScheduleFreeAdamW}


def test_every_type_has_a_config_with_keras_defaults():
    config = optimization.OptimizerConfig()
    for name, keras_cls, _ in CASES:
        if name.endswith('_experimental') or name == 'adafactor_keras':
            continue  # Model Garden's defaults.
        defaults = keras_cls().get_config()
        for field, value in getattr(config, name).as_dict().items():
            if field in defaults and field not in ('name', 'weight_decay', 'exclude_layers'):
                assert value == defaults[field], (name, field)
        assert (getattr(config, name).weight_decay or None) == (defaults['weight_decay'] or None)


@pytest.mark.parametrize('name', dict.fromkeys([*(c[0] for c in CASES), 'schedule_free_adamw']))
def test_config_round_trip(name):
    optimizer = build(name, clipvalue=0.5)
    again = type(optimizer).from_config(optimizer.get_config())
    config = optimizer.get_config()
    config['learning_rate'] = again.get_config()['learning_rate']
    assert again.get_config() == config


@pytest.mark.parametrize('name', ['lion', 'nadam', 'adadelta', 'schedule_free_adamw'])
def test_weight_decay_by_patterns(name):
    plain, included = build(name), build(name, weight_decay=0.2, include_in_weight_decay=['bias'])
    excluded = build(name, weight_decay=0.2, exclude_from_weight_decay=['kernel:0$', 'table'])
    plain, included, excluded = run(plain), run(included), run(excluded)
    for a, b, c, key in zip(plain, included, excluded, NAMES, strict=True):
        assert np.array_equal(a, b) is (key != 'head/bias')
        np.testing.assert_array_equal(b, c)


def test_muon_patterns_go_by_our_keys():
    by_default, excluded = build('muon'), build('muon', exclude_layers=['^head/'])
    run(by_default)
    run(excluded)
    assert set(by_default.slots()['velocity']) == {'conv/kernel', 'embedding/table', 'head/bias'}
    assert set(excluded.slots()['velocity']) == set(NAMES)
    with pytest.raises(name_patterns.PatternError, match='exclude_layers: no pattern matches any'):
        run(build('muon', exclude_layers=['classifier']))
    everything = build('muon', exclude_embeddings=False)
    run(everything)
    assert 'embedding/table' not in everything.slots()['velocity']


def test_muon_takes_kernels_of_convolutions_as_matrices():
    kernel = run(build('muon', flatten_kernels=True))[0]
    shape = (6, 2)
    variable = keras.Variable(make_variables()[0].numpy().reshape(shape))
    matrix = keras.optimizers.Muon(make_schedule())
    for gradients in GRADIENTS:
        matrix.apply([tf.constant(gradients[0].reshape(shape))], [variable])
    np.testing.assert_allclose(kernel.reshape(shape), variable, rtol=1e-6, atol=1e-6)


def test_muon_orthogonalizes():
    optimizer = keras_optimizers.Muon(
        1.0, weight_decay=0.0, rms_rate=None, momentum=0.0, ns_steps=30, muon_a=2.0, muon_b=-1.5,
        muon_c=0.5,
    )  # fmt: skip
    gradient = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)
    variable = keras.Variable(np.zeros((3, 3), np.float32))
    optimizer.apply([tf.constant(gradient)], [variable])
    left, _, right = np.linalg.svd(gradient)
    np.testing.assert_allclose(variable, -left @ right, atol=1e-4)


def schedule_free(w, gradients, lr=0.1, b1=0.9, b2=0.999, epsilon=1e-8, wd=0.0):
    """By the paper's equations, with weights 1 / t: y and x after the last step."""
    y, z, x, v = w, w, w, 0.0
    for t, g in enumerate(gradients, 1):
        v = b2 * v + (1 - b2) * g**2
        z = z - lr * (g / (np.sqrt(v / (1 - b2**t)) + epsilon) + wd * y)
        x = x + (z - x) / t
        y = (1 - b1) * z + b1 * x
    return y, x


@pytest.mark.parametrize(
    ('fields', 'settings'),
    [
        ({}, {}),
        ({'beta_1': 0.5, 'beta_2': 0.9, 'epsilon': 0.1}, {'b1': 0.5, 'b2': 0.9, 'epsilon': 0.1}),
        ({'weight_decay': 0.2}, {'wd': 0.2}),
    ],
)
def test_schedule_free_by_numpy(fields, settings):
    optimizer = keras_optimizers.ScheduleFreeAdamW(0.1, **fields)
    starts = [variable.numpy().astype(np.float64) for variable in make_variables()]
    for i, (ours, start) in enumerate(zip(run(optimizer), starts, strict=True)):
        y, _ = schedule_free(start, [g[i] for g in GRADIENTS], **settings)
        np.testing.assert_allclose(ours, y, rtol=2e-6, atol=2e-6)


def test_schedule_free_evaluates_at_the_average_and_begins_at_loaded_weights():
    optimizer = keras_optimizers.ScheduleFreeAdamW(0.1, beta_1=0.8)
    variable = keras.Variable([5.0, 6.0])
    optimizer.build([variable])
    variable.assign([1.0, 2.0])  # As from a checkpoint.
    optimizer.swap_weights()
    np.testing.assert_array_equal(variable, [1.0, 2.0])
    optimizer.swap_weights()
    gradients = [step[-1] for step in GRADIENTS]
    for gradient in gradients:
        optimizer.apply([tf.constant(gradient)], [variable])
    trained = variable.numpy()
    y, x = schedule_free(np.array([1.0, 2.0]), gradients, b1=0.8)
    np.testing.assert_allclose(trained, y, rtol=1e-5)
    optimizer.swap_weights()
    np.testing.assert_allclose(variable, x, rtol=1e-5)
    assert np.abs(x - y).max() > 1e-3
    optimizer.swap_weights()
    np.testing.assert_array_equal(variable, trained)


def test_nadam_product_is_state_and_stays_in_a_skipped_step():
    optimizer = keras_optimizers.Nadam(0.1, loss_scale='dynamic')
    variable = keras.Variable([1.0])
    for gradient in (1.0, np.inf, 1.0):
        optimizer.apply([tf.constant([gradient])], [variable])
    assert set(optimizer.scalars()) == {'iterations', 'loss_scale', 'good_steps', 'u_product'}
    expected = 0.9 * (1 - 0.5 * 0.96) * 0.9 * (1 - 0.5 * 0.96**2)
    assert float(optimizer.scalars()['u_product'].numpy()) == pytest.approx(expected, rel=1e-6)


def test_nadam_without_its_product_would_differ():
    run(optimizers.Adam(0.1))
    ours, adam = run(build('nadam')), run(build('adam_experimental'))
    assert np.abs(ours[-1] - adam[-1]).max() > 1e-3


@pytest.mark.parametrize(
    ('name', 'fields', 'message'),
    [
        ('muon', {'ns_steps': 0}, 'optimizer.muon.ns_steps: expected 1 or more'),
        ('muon', {'rms_rate': 0.0}, 'optimizer.muon.rms_rate: expected more than 0'),
        ('muon', {'adam_beta_1': 1.0}, 'optimizer.muon.adam_beta_1: expected 0 or more and less'),
        ('ftrl', {'learning_rate_power': 0.5}, 'ftrl.learning_rate_power: expected 0 or less'),
        ('ftrl', {'l1_regularization_strength': -1.0}, 'l1_regularization_strength: expected 0 or'),
        ('lion', {'weight_decay': -0.1}, 'optimizer.lion.weight_decay: expected 0 or more'),
        ('schedule_free_adamw', {'beta_1': 0.0}, 'schedule_free_adamw.beta_1: expected more than'),
        ('adadelta', {'rho': 1.5}, 'optimizer.adadelta.rho: expected 0 or more and less than 1'),
    ],
)
def test_impossible_values_are_found_before_anything_is_built(name, fields, message):
    with pytest.raises(hyperparams.ConfigError, match=message):
        build(name, **fields)


def test_schedule_free_and_a_moving_average_are_refused_together():
    config = optimization.OptimizationConfig(
        {'optimizer': {'type': 'schedule_free_adamw'}, 'ema': {'average_decay': 0.9}}
    )
    with pytest.raises(
        hyperparams.ConfigError,
        match='ema: expected null, because schedule_free_adamw keeps an average itself',
    ):
        config.validate()
    config.ema = None
    config.validate()
    assert config.has_averages
