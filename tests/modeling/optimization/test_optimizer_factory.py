"""From configs to learning rates and optimizers."""

import dataclasses
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite import errors
from official_lite.modeling import hyperparams, optimization
from official_lite.modeling.optimization import (
    ema_optimizer,
    lamb,
    lr_schedule,
    optimizer_factory,
    optimizers,
    registration,
    replicated_optimizer,
)


def make_factory(optimizer='sgd', learning_rate=0.1, warmup=None, ema=None, **fields):
    if not isinstance(learning_rate, dict):
        learning_rate = {'type': 'constant', 'constant': {'learning_rate': learning_rate}}
    params = {
        'optimizer': {'type': optimizer, optimizer: fields},
        'learning_rate': learning_rate,
        'warmup': warmup or {},
    }
    if ema is not None:
        params['ema'] = ema
    return optimization.OptimizerFactory(optimization.OptimizationConfig(params))


def build(**kwargs):
    factory = make_factory(**kwargs)
    return factory.build_optimizer(factory.build_learning_rate())


IMPLEMENTED = list(optimizer_factory.LEGACY_OPTIMIZERS_CLS)


@pytest.mark.parametrize('name', IMPLEMENTED)
@pytest.mark.parametrize('legacy', [True, False])
def test_every_type_builds_and_learns(name, legacy):
    factory = make_factory(name)
    optimizer = factory.build_optimizer(factory.build_learning_rate(), use_legacy_optimizer=legacy)
    assert isinstance(optimizer, replicated_optimizer.ReplicatedOptimizer)
    variable = tf.Variable([1.0, 2.0])
    optimizer.apply_gradients([(tf.constant([1.0, -1.0]), variable)])
    assert (variable.numpy() < [1.0, 9.0]).all()
    assert variable.numpy()[0] != 1.0


def test_fields_of_the_config_reach_the_optimizer():
    optimizer = build(optimizer='sgd', momentum=0.9, nesterov=True, decay=0.5, global_clipnorm=2.0)
    config = optimizer.get_config()
    assert isinstance(optimizer, optimizers.SGD)
    expected = {'momentum': 0.9, 'nesterov': True, 'decay': 0.5, 'global_clipnorm': 2.0}
    assert {key: config[key] for key in expected} == expected
    assert (config['learning_rate'], config['name']) == (0.1, 'SGD')
    assert isinstance(build(optimizer='lamb'), lamb.LAMB)


def test_legacy_and_new_rmsprop_differ_in_the_place_of_epsilon():
    changes = []
    for legacy in (True, False):
        factory, variable = make_factory('rmsprop', 1.0, epsilon=1.0, rho=0.0), tf.Variable([0.0])
        optimizer = factory.build_optimizer(1.0, use_legacy_optimizer=legacy)
        optimizer.apply_gradients([(tf.constant([1.0]), variable)])
        changes.append(-variable.numpy()[0])
    assert changes == pytest.approx([1 / 2, 1 / np.sqrt(2)])


def test_learning_rate_with_warmup():
    factory = make_factory(
        learning_rate={
            'type': 'stepwise',
            'stepwise': {'boundaries': [10000, 20000], 'values': [0.1, 0.01, 0.001]},
        },
        warmup={'type': 'linear', 'linear': {'warmup_steps': 500, 'warmup_learning_rate': 0.01}},
    )
    schedule = factory.build_learning_rate()
    expected = {0: 0.01, 250: 0.055, 500: 0.1, 10000: 0.1, 10001: 0.01, 20001: 0.001}
    for step, value in expected.items():
        assert schedule(step).numpy() == pytest.approx(value)
    optimizer = factory.build_optimizer(schedule)
    assert float(optimizer.learning_rate) == pytest.approx(0.01)


def test_constant_rate_is_a_float_or_warms_up():
    assert make_factory(learning_rate=0.3).build_learning_rate() == 0.3
    warmup = {'type': 'polynomial', 'polynomial': {'warmup_steps': 4, 'power': 2.0}}
    schedule = make_factory(learning_rate=0.4, warmup=warmup).build_learning_rate()
    assert isinstance(schedule, lr_schedule.PolynomialWarmUp)
    assert float(schedule(2)) == pytest.approx(0.1)


SCHEDULES = {
    'stepwise': {'boundaries': [1], 'values': [0.2, 0.1]},
    'exponential': {'initial_learning_rate': 0.1, 'decay_steps': 10, 'decay_rate': 0.5},
    'polynomial': {'initial_learning_rate': 0.1, 'decay_steps': 10},
    'cosine': {'initial_learning_rate': 0.1, 'decay_steps': 10},
    'power': {'initial_learning_rate': 0.1},
    'power_linear': {'initial_learning_rate': 0.1, 'total_decay_steps': 10},
    'power_with_offset': {'initial_learning_rate': 0.1},
    'step_cosine_with_offset': {'boundaries': [0, 9], 'values': [0.2, 0.1]},
}


@pytest.mark.parametrize('name', optimizer_factory.LR_CLS)
def test_every_schedule_builds_and_names_what_is_missing(name):
    schedule = make_factory(
        learning_rate={'type': name, name: SCHEDULES[name]}
    ).build_learning_rate()
    assert isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule)
    for field in SCHEDULES[name]:
        rest = {k: v for k, v in SCHEDULES[name].items() if k != field}
        factory = make_factory(learning_rate={'type': name, name: rest})
        with pytest.raises(
            ValueError, match=rf'^learning_rate.{name}.{field}: is not set; expected a value$'
        ):
            factory.build_learning_rate()


def test_warmup_steps_must_be_set():
    factory = make_factory(warmup={'type': 'linear'})
    with pytest.raises(ValueError, match=r'warmup.linear.warmup_steps: is not set'):
        factory.build_learning_rate()


def test_epochs_must_have_become_steps():
    fields = {'initial_learning_rate': 0.1, 'decay_epochs': 2.0}
    factory = make_factory(learning_rate={'type': 'cosine', 'cosine': fields})
    with pytest.raises(
        ValueError, match=r'learning_rate.cosine.decay_epochs: decay_steps is not known yet'
    ):
        factory.build_learning_rate()


def test_moving_average():
    optimizer = build(ema={'average_decay': 0.5, 'trainable_weights_only': False, 'start_step': 2})
    assert isinstance(optimizer, ema_optimizer.ExponentialMovingAverage)
    config = optimizer.get_config()
    assert (config['average_decay'], config['start_step']) == (0.5, 2)
    assert config['trainable_weights_only'] is False


def test_types_must_be_set():
    config = optimization.OptimizationConfig()
    with pytest.raises(
        ValueError,
        match=r'^optimizer.type: Optimizer type must be specified; expected one of adadelta, adafac',
    ):
        optimization.OptimizerFactory(config)
    config.optimizer.type = 'sgd'
    with pytest.raises(
        ValueError, match='Learning rate type must be specified; expected one of constant, cosine'
    ):
        optimization.OptimizerFactory(config)


def test_what_is_not_implemented_is_refused_with_what_there_is():
    with pytest.raises(
        optimizer_factory.OptimizationError,
        match=r"optimizer.type: there is no 'slide'; expected one of adadelta, adafactor, adafactor_",
    ):
        build(optimizer='slide')


def test_b4_one_string_is_a_list_of_one_pattern():
    params = {
        'optimizer': {
            'type': 'adamw',
            'adamw': {'weight_decay_rate': 0.5, 'include_in_weight_decay': '.*(kernel|weight):0$'},
        },
        'learning_rate': {'type': 'constant', 'constant': {'learning_rate': 0.1}},
    }
    config = optimization.OptimizationConfig(params)
    assert config.optimizer.adamw.include_in_weight_decay == ['.*(kernel|weight):0$']
    optimizer = optimization.OptimizerFactory(config).build_optimizer(0.1)
    variables = {'head/kernel': tf.Variable([2.0]), 'head/bias': tf.Variable([2.0])}
    optimizer.set_variable_keys(variables)
    optimizer.apply_gradients([(tf.constant([0.0]), v) for v in variables.values()])
    assert [float(v.numpy()[0]) for v in variables.values()] == pytest.approx([1.9, 2.0])


def test_two_norms_are_refused_before_anything_is_built():
    config = optimization.OptimizationConfig(
        {'optimizer': {'type': 'sgd', 'sgd': {'clipnorm': 1.0, 'global_clipnorm': 1.0}}}
    )
    with pytest.raises(
        hyperparams.ConfigError,
        match=r'optimizer.sgd.clipnorm: expected null, because global_clipnorm is set',
    ):
        config.validate()


def test_impossible_values_name_their_place():
    with pytest.raises(
        ValueError, match=r'^optimizer.sgd: expected at most one of clipnorm and global'
    ):
        build(clipnorm=1.0, global_clipnorm=1.0)
    with pytest.raises(ValueError, match=r'^ema: average_decay: expected 0 to 1; received 2'):
        build(ema={'average_decay': 2.0})


def test_aggregator_transformers_and_postprocessor():
    def zero(pairs):
        return [(tf.zeros_like(gradient), variable) for gradient, variable in pairs]

    for kwargs in ({'gradient_aggregator': zero}, {'gradient_transformers': [zero]}):
        variable = tf.Variable([1.0, 2.0])
        optimizer = make_factory('adam').build_optimizer(1.0, **kwargs)
        optimizer.apply_gradients([(tf.constant([1.0, 1.0]), variable)])
        np.testing.assert_array_equal(variable, [1.0, 2.0])
    with pytest.raises(
        TypeError, match='expected an optimizer from the postprocessor; received None'
    ):
        make_factory().build_optimizer(0.1, postprocessor=lambda optimizer: None)


@dataclasses.dataclass
class LionConfig(optimization.BaseOptimizerConfig):
    """Fields of keras.optimizers.Lion.

    Attributes:
        beta_1: Decay.
    """

    name: str = 'Lion'
    beta_1: float = 0.9


@pytest.fixture
def forget():
    """Takes back what a test registers; branches of configs stay."""
    tables = (
        registration.LEGACY_OPTIMIZERS,
        registration.NEW_OPTIMIZERS,
        registration.LEARNING_RATES,
        registration.WARMUPS,
    )
    before = [dict(table) for table in tables]
    yield
    for table, content in zip(tables, before, strict=True):
        table.clear()
        table.update(content)


@pytest.mark.usefixtures('forget')
@pytest.mark.parametrize('by_path', [False, True])
def test_a_registered_keras_optimizer_becomes_a_replicated_one(by_path):
    cls = 'keras.optimizers:Lion' if by_path else keras.optimizers.Lion
    optimization.register_optimizer_cls('test_lion', cls, config=LionConfig)
    optimizer = build(optimizer='test_lion', beta_1=0.5, clipnorm=1.0)
    assert isinstance(optimizer, keras.optimizers.Lion)
    assert isinstance(optimizer, replicated_optimizer.ReplicatedOptimizer)
    assert (optimizer.beta_1, optimizer.clipnorm) == (0.5, 1.0)
    assert 'test_lion' in optimizer_factory.NEW_OPTIMIZERS_CLS
    with pytest.raises(
        ValueError, match=r'test_lion already registered in OptimizerConfig, as .*Lion'
    ):
        optimization.register_optimizer_cls('test_lion', keras.optimizers.Lion)


@pytest.mark.usefixtures('forget')
def test_what_cannot_be_registered_or_imported():
    with pytest.raises(
        ValueError, match='adamw already registered in OptimizerConfig, as a built-in class'
    ):
        optimization.register_optimizer_cls('adamw', keras.optimizers.AdamW)
    with pytest.raises(ValueError, match='cosine already registered in LrConfig, as a built-in'):
        optimization.register_lr_cls('cosine', Stairs)
    with pytest.raises(errors.UsageError, match=r"expected a class, or 'package.module:name'; rec"):
        optimization.register_optimizer_cls('test_lion', 'keras.optimizers.Lion')
    for path, message in (
        ('no_such_package:Lion', "there is no module 'no_such_package'"),
        ('keras.optimizers:Tiger', "module 'keras.optimizers' has no class 'Tiger'"),
    ):
        registration.LEGACY_OPTIMIZERS.clear()
        optimization.register_optimizer_cls('test_lion', path, config=LionConfig)
        with pytest.raises(errors.UsageError, match=f'optimizer.type: .*{message}'):
            build(optimizer='test_lion')


_PLUGIN = """
import dataclasses
import sys
from official_lite.modeling import optimization
from official_lite.core import exp_factory

@dataclasses.dataclass
class TigerConfig(optimization.BaseOptimizerConfig):
    name: str = 'Tiger'
    stripes: float = 2.0

optimization.register_optimizer_cls('tiger', 'no_package_yet:Tiger', config=TigerConfig)
config = exp_factory.get_exp_config('retinanet')
config.override({'trainer': {'optimizer_config': {
    'optimizer': {'type': 'tiger', 'tiger': {'stripes': 3.0}}}}})
assert config.trainer.optimizer_config.optimizer.get().stripes == 3.0
print(sorted({'keras', 'numpy', 'tensorflow'} & set(sys.modules)))
"""


def test_registering_imports_no_tensorflow():
    result = subprocess.run(
        [sys.executable, '-c', _PLUGIN], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == '[]'


@dataclasses.dataclass
class OneCycleConfig(hyperparams.Config):
    """A test schedule.

    Attributes:
        peak: Rate.
    """

    peak: float = 1.0


@dataclasses.dataclass
class StairsConfig(hyperparams.Config):
    """A test warm-up.

    Attributes:
        warmup_steps: Length.
    """

    warmup_steps: int = 2


class Stairs(lr_schedule.Schedule):
    """Half of the rate after it, for some steps."""

    def __init__(self, after, warmup_steps):
        self.after, self.warmup_steps = after, warmup_steps

    def __call__(self, step):
        return self.after(step) * tf.where(step < self.warmup_steps, 0.5, 1.0)


@pytest.mark.usefixtures('forget')
def test_a_registered_learning_rate_and_warmup():
    optimization.LrConfig.register_branch('test_cycle', OneCycleConfig)
    optimization.register_lr_cls('test_cycle', lambda peak: lr_schedule.DirectPowerDecay(peak, 0))
    optimization.register_warmup_cls('test_stairs', Stairs, config=StairsConfig)
    schedule = make_factory(
        learning_rate={'type': 'test_cycle', 'test_cycle': {'peak': 0.7}},
        warmup={'type': 'test_stairs', 'test_stairs': {'warmup_steps': 3}},
    ).build_learning_rate()
    assert [float(schedule(step)) for step in (0, 2, 3)] == pytest.approx([0.35, 0.35, 0.7])
    with pytest.raises(ValueError, match='test_stairs already registered in WarmupConfig, as Stai'):
        optimization.register_warmup_cls('test_stairs', Stairs)


@pytest.mark.parametrize('name', IMPLEMENTED)
def test_the_checkpoint_has_all_state(name):
    """Five steps at once are three steps, a restart from what a checkpoint has, and two steps."""
    fields = {'beta1': 0.9, 'min_dim_size_to_factor': 2} if name == 'adafactor' else {}
    rng = np.random.default_rng(0)
    gradients = [[rng.normal(size=(3, 2)), rng.normal(size=2)] for _ in range(5)]

    def start(weights, state):
        variables = {
            key: tf.Variable(weight, dtype=tf.float32)
            for key, weight in zip(('dense/kernel', 'dense/bias'), weights, strict=True)
        }
        optimizer = build(optimizer=name, **fields)
        optimizer.set_variable_keys(variables)
        optimizer.build(list(variables.values()))
        own = optimizer.checkpoint_variables()
        assert len(own) == len(optimizer.variables)
        for key, value in state.items():
            own[key].assign(value)
        return optimizer, list(variables.values())

    def train(optimizer, variables, steps):
        for step in steps:
            grads = [tf.constant(g, tf.float32) for g in step]
            optimizer.apply_gradients(list(zip(grads, variables, strict=True)))
        return [v.numpy() for v in variables]

    weights = [np.linspace(-1, 2, 6).reshape(3, 2), np.ones(2)]
    expected = train(*start(weights, {}), gradients)
    optimizer, variables = start(weights, {})
    weights = train(optimizer, variables, gradients[:3])
    state = {key: v.numpy() for key, v in optimizer.checkpoint_variables().items()}
    for ours, wanted in zip(train(*start(weights, state), gradients[3:]), expected, strict=True):
        np.testing.assert_array_equal(ours, wanted)
