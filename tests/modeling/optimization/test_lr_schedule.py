"""Schedules and warm-ups: values worked out by hand, and Model Garden's."""

import math

import keras
import pytest
import tensorflow as tf

from official_lite.modeling.optimization import lr_schedule


def check(schedule, expected):
    for step, value in expected.items():
        assert float(schedule(step)) == pytest.approx(value, rel=1e-6, abs=1e-9), step


def test_stepwise_boundary_belongs_to_the_value_before_it():
    schedule = lr_schedule.PiecewiseConstantDecayWithOffset([10, 20], [1.0, 0.5, 0.1], offset=5)
    check(schedule, {0: 1.0, 15: 1.0, 16: 0.5, 25: 0.5, 26: 0.1, 1000: 0.1})


def test_exponential():
    schedule = lr_schedule.ExponentialDecayWithOffset(
        initial_learning_rate=0.1, decay_steps=10, decay_rate=0.5, offset=10
    )
    check(schedule, {10: 0.1, 15: 0.1 * math.sqrt(0.5), 20: 0.05, 40: 0.0125})
    stairs = lr_schedule.ExponentialDecayWithOffset(
        initial_learning_rate=0.1, decay_steps=10, decay_rate=0.5, staircase=True
    )
    check(stairs, {0: 0.1, 9: 0.1, 10: 0.05, 19: 0.05})


def test_polynomial():
    schedule = lr_schedule.PolynomialDecayWithOffset(
        initial_learning_rate=1.0, decay_steps=100, end_learning_rate=0.2, power=2.0
    )
    check(schedule, {0: 1.0, 50: 0.8 * 0.25 + 0.2, 100: 0.2, 500: 0.2})


def test_polynomial_cycle_goes_on_with_twice_the_length():
    schedule = lr_schedule.PolynomialDecayWithOffset(
        initial_learning_rate=1.0, decay_steps=100, end_learning_rate=0.0, cycle=True
    )
    check(schedule, {0: 1.0, 100: 0.0, 150: 0.25, 200: 0.0})


def test_cosine():
    schedule = lr_schedule.CosineDecayWithOffset(
        initial_learning_rate=2.0, decay_steps=100, alpha=0.1, offset=20
    )
    check(schedule, {20: 2.0, 70: 2.0 * (0.9 * 0.5 + 0.1), 120: 0.2, 500: 0.2})


@pytest.mark.parametrize(
    'schedule',
    [
        lr_schedule.ExponentialDecayWithOffset(
            initial_learning_rate=1.0, decay_steps=100, decay_rate=0.5, offset=50
        ),
        lr_schedule.PolynomialDecayWithOffset(
            initial_learning_rate=1.0, decay_steps=100, end_learning_rate=0.0, power=2.0, offset=50
        ),
        lr_schedule.CosineDecayWithOffset(initial_learning_rate=1.0, decay_steps=100, offset=50),
        lr_schedule.PowerAndLinearDecay(1.0, 100, power=-1.0, offset=50),
        lr_schedule.StepCosineDecayWithOffset([0, 100], [1.0, 0.5], offset=50),
    ],
)
def test_b7_before_its_offset_a_schedule_has_its_first_value(schedule):
    check(schedule, {0: 1.0, 25: 1.0, 50: 1.0})
    assert float(schedule(100)) < 1.0


def test_power():
    check(lr_schedule.DirectPowerDecay(2.0, -0.5), {0: 2.0, 1: 2.0, 4: 1.0, 100: 0.2})


def test_power_and_linear():
    schedule = lr_schedule.PowerAndLinearDecay(1.0, 100, power=-1.0, linear_decay_fraction=0.5)
    check(schedule, {0: 1.0, 40: 1 / 40, 60: 0.8 / 60, 100: 0.0, 150: 0.0})
    whole = lr_schedule.PowerAndLinearDecay(1.0, 100, power=-1.0, linear_decay_fraction=0.0)
    check(whole, {100: 0.01, 200: 0.005})


def test_power_with_offset():
    schedule = lr_schedule.PowerDecayWithOffset(1.0, -1.0, offset=10, pre_offset_learning_rate=0.25)
    check(schedule, {0: 0.25, 10: 0.25, 11: 0.25, 12: 0.25, 14: 0.25, 15: 0.2, 20: 0.1})


def test_power_with_offset_zero_has_no_rate_of_a_million_at_step_0():
    check(lr_schedule.PowerDecayWithOffset(0.5, -1.0), {0: 0.5, 1: 0.5, 2: 0.25})


def test_b6_step_cosine_is_finite_after_the_last_boundary():
    schedule = lr_schedule.StepCosineDecayWithOffset([0, 100, 200], [1.0, 0.5, 0.1])
    quarter = (1 + math.cos(math.pi / 4)) / 2
    check(
        schedule,
        {0: 1.0, 25: 0.5 + 0.5 * quarter, 50: 0.75, 100: 0.5, 150: 0.3, 200: 0.1, 10**6: 0.1},
    )


def test_step_cosine_begins_at_its_first_boundary():
    schedule = lr_schedule.StepCosineDecayWithOffset([100, 200], [1.0, 0.0])
    check(schedule, {0: 1.0, 100: 1.0, 150: 0.5, 200: 0.0})
    check(lr_schedule.StepCosineDecayWithOffset([0], [0.3]), {0: 0.3, 5: 0.3})


def test_linear_warmup_ends_at_the_schedule_and_does_not_shift_it():
    cosine = lr_schedule.CosineDecayWithOffset(initial_learning_rate=1.0, decay_steps=100)
    schedule = lr_schedule.LinearWarmup(cosine, warmup_steps=50, warmup_learning_rate=0.1)
    check(schedule, {0: 0.1, 25: 0.3, 50: 0.5, 100: 0.0})
    check(lr_schedule.LinearWarmup(0.4, 4), {0: 0.0, 1: 0.1, 3: 0.3, 4: 0.4, 9: 0.4})


def test_polynomial_warmup():
    schedule = lr_schedule.PolynomialWarmUp(0.4, warmup_steps=4, power=2.0)
    check(schedule, {0: 0.025, 1: 0.025, 2: 0.1, 3: 0.225, 4: 0.4})


@pytest.mark.parametrize('warmup', [lr_schedule.LinearWarmup, lr_schedule.PolynomialWarmUp])
def test_warmup_of_no_steps_is_none(warmup):
    check(warmup(0.4, warmup_steps=0), {0: 0.4, 1: 0.4})


def test_schedules_in_a_graph_and_with_variables():
    schedule = lr_schedule.LinearWarmup(
        lr_schedule.StepCosineDecayWithOffset([0, 10], [1.0, 0.0]), warmup_steps=2
    )
    step = keras.Variable(1, dtype='int64')
    in_graph = tf.function(lambda: schedule(step))()
    assert in_graph.dtype == tf.float32
    assert float(in_graph) == pytest.approx(float(schedule(1)))


@pytest.mark.parametrize(
    'schedule',
    [
        lr_schedule.CosineDecayWithOffset(initial_learning_rate=1.0, decay_steps=9, offset=3),
        lr_schedule.PiecewiseConstantDecayWithOffset([1], [1.0, 2.0]),
        lr_schedule.PowerDecayWithOffset(1.0, offset=4),
        lr_schedule.StepCosineDecayWithOffset([0, 9], [1.0, 0.1]),
        lr_schedule.LinearWarmup(lr_schedule.DirectPowerDecay(1.0, -0.5), warmup_steps=9),
        lr_schedule.PolynomialWarmUp(0.5, warmup_steps=9, power=2.0),
    ],
)
def test_config_round_trip(schedule):
    serialized = keras.optimizers.schedules.serialize(schedule)
    again = keras.optimizers.schedules.deserialize(serialized)
    assert type(again) is type(schedule)
    assert again.get_config() == schedule.get_config()
    assert float(again(5)) == float(schedule(5))


def test_errors():
    with pytest.raises(ValueError, match=r'one value more than boundaries; received 1 values'):
        lr_schedule.PiecewiseConstantDecayWithOffset([1, 2], [0.1])
    with pytest.raises(ValueError, match=r'stepwise .* strictly increasing boundaries.*\[2, 2\]'):
        lr_schedule.PiecewiseConstantDecayWithOffset([2, 2], [1.0, 0.5, 0.1])
    with pytest.raises(ValueError, match=r'as many boundaries as values, at least one; received 1'):
        lr_schedule.StepCosineDecayWithOffset([0], [1.0, 0.5])
    with pytest.raises(ValueError, match='warmup_steps: expected 0 or more; received -1'):
        lr_schedule.LinearWarmup(0.1, -1)


# Model Garden's schedules.

_STEPS = [
    0,
    1,
    2,
    12,
    24,
    25,
    26,
    29,
    30,
    31,
    39,
    40,
    41,
    45,
    59,
    60,
    61,
    63,
    64,
    65,
    69,
    70,
    71,
    72,
]
_STEPS += [73, 77, 79, 80, 81, 99, 100, 101, 139, 140, 141, 150, 211, 1000, 10**6]
_POLYNOMIAL = {'initial_learning_rate': 0.3, 'decay_steps': 70, 'end_learning_rate': 0.1}
_EXPONENTIAL = {'initial_learning_rate': 0.3, 'decay_steps': 20, 'decay_rate': 0.7}
_POWER = {'initial_learning_rate': 0.3, 'power': -0.7}
GARDEN = [
    ('stepwise', {'boundaries': [30, 60], 'values': [1.0, 0.5, 0.1]}),
    ('polynomial', {**_POLYNOMIAL, 'power': 2.0}),
    ('polynomial', {**_POLYNOMIAL, 'cycle': True}),
    ('exponential', _EXPONENTIAL),
    ('exponential', {**_EXPONENTIAL, 'staircase': True}),
    ('cosine', {'initial_learning_rate': 0.3, 'decay_steps': 70, 'alpha': 0.1}),
    ('power', _POWER),
    ('power_linear', {'initial_learning_rate': 0.3, 'total_decay_steps': 80}),
    ('power_linear', {**_POWER, 'total_decay_steps': 80, 'linear_decay_fraction': 1.0}),
    ('power_linear', {**_POWER, 'total_decay_steps': 80, 'linear_decay_fraction': 0.0}),
    ('power_with_offset', {'initial_learning_rate': 0.3, 'offset': 7}),
    ('power_with_offset', {**_POWER, 'offset': 40, 'pre_offset_learning_rate': 0.2}),
    ('step_cosine_with_offset', {'boundaries': [0, 40, 100], 'values': [1.0, 0.4, 0.1]}),
    ('constant', {'learning_rate': 0.3}),
]


def build_both(params):
    """Our rate and Model Garden's, as functions of the step."""
    from official.modeling import optimization as theirs

    from official_lite.modeling import optimization as ours

    results = []
    for module in (ours, theirs):
        config = module.OptimizationConfig({'optimizer': {'type': 'sgd'}, **params})
        config.validate()
        rate = module.OptimizerFactory(config).build_learning_rate()
        results.append(rate if callable(rate) else lambda step, rate=rate: rate)
    return results


def check_equal(schedules, steps):
    # Their NaN at a last boundary is no number to compare with.
    for step in steps:
        ours, theirs = (float(schedule(tf.constant(step, tf.int64))) for schedule in schedules)
        assert ours == pytest.approx(theirs, rel=2e-6, abs=1e-8), step


@pytest.mark.garden
@pytest.mark.parametrize(('name', 'fields'), GARDEN)
def test_same_numbers_as_model_garden(name, fields):
    steps = [s for s in _STEPS if s < 100] if name.startswith('step_') else _STEPS
    check_equal(build_both({'learning_rate': {'type': name, name: fields}}), steps)


@pytest.mark.garden
@pytest.mark.parametrize(
    ('name', 'fields'),
    [(n, f) for n, f in GARDEN if n not in ('constant', 'power', 'power_with_offset')],
)
def test_same_numbers_as_model_garden_from_the_offset_on(name, fields):
    params = {'learning_rate': {'type': name, name: {**fields, 'offset': 33}}}
    steps = [s for s in _STEPS if s < 100] if name.startswith('step_') else _STEPS
    check_equal(build_both(params), [s + 33 for s in steps])


@pytest.mark.garden
@pytest.mark.parametrize(('name', 'fields'), GARDEN)
@pytest.mark.parametrize(
    ('warmup', 'settings'),
    [
        ('linear', {'warmup_steps': 25}),
        ('linear', {'warmup_steps': 1, 'warmup_learning_rate': 0.5}),
        ('polynomial', {'warmup_steps': 25, 'power': 1.5}),
        ('polynomial', {'warmup_steps': 60}),
    ],
)
def test_same_warmup_as_model_garden(name, fields, warmup, settings):
    params = {
        'learning_rate': {'type': name, name: fields},
        'warmup': {'type': warmup, warmup: settings},
    }
    check_equal(build_both(params), [s for s in _STEPS if s < 100])


@pytest.mark.garden
def test_b6_step_cosine_is_nan_there_and_the_last_value_here():
    fields = {'boundaries': [0, 40, 100], 'values': [1.0, 0.4, 0.1]}
    name = 'step_cosine_with_offset'
    ours, theirs = build_both({'learning_rate': {'type': name, name: fields}})
    for step in (100, 101, 10**6):
        assert math.isnan(float(theirs(step)))
        assert float(ours(step)) == pytest.approx(0.1)


@pytest.mark.garden
@pytest.mark.parametrize(
    ('name', 'fields', 'extrapolated'),
    [
        ('polynomial', {'end_learning_rate': 0.0, 'power': 2.0}, 2.25),
        ('cosine', {}, 0.5),
        ('exponential', {'decay_rate': 0.25}, 2.0),
    ],
)
def test_b7_before_its_offset_a_schedule_is_extrapolated_there_and_constant_here(
    name, fields, extrapolated
):
    fields = {'initial_learning_rate': 1.0, 'decay_steps': 100, 'offset': 50, **fields}
    ours, theirs = build_both({'learning_rate': {'type': name, name: fields}})
    assert float(theirs(0)) == pytest.approx(extrapolated)
    for step in (0, 1, 25, 50):
        assert float(ours(step)) == pytest.approx(1.0)


@pytest.mark.garden
def test_power_with_offset_zero_has_a_rate_of_a_million_there_at_step_0_and_not_here():
    name = 'power_with_offset'
    ours, theirs = build_both({'learning_rate': {'type': name, name: _POWER}})
    assert float(theirs(0)) == 1e6
    assert float(ours(0)) == pytest.approx(0.3)
    check_equal((ours, theirs), _STEPS[1:])
