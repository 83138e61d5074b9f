"""Moving averages: their values, and that swapping is exact."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite.modeling import variable_keys
from official_lite.modeling.optimization import ema_optimizer, optimizers

GRADIENTS = [1.0, -2.0, 0.5, 3.0]


def train(optimizer, variable, gradients=GRADIENTS):
    """The variable's value after each update."""
    values = []
    for gradient in gradients:
        optimizer.apply_gradients([(tf.constant([gradient]), variable)])
        values.append(variable.numpy()[0])
    return values


def average_of(optimizer):
    (average,) = optimizer.slots()['average'].values()
    return average.numpy()[0]


def make(**kwargs):
    return ema_optimizer.ExponentialMovingAverage(optimizers.SGD(0.1), **kwargs), tf.Variable([5.0])


def test_b30_static_decay_starts_at_the_weight_and_not_at_zero():
    optimizer, variable = make(average_decay=0.9, dynamic_decay=False)
    expected, *values = train(optimizer, variable)
    for value in values:
        expected = 0.9 * expected + 0.1 * value
    assert average_of(optimizer) == pytest.approx(expected, rel=1e-6)


def test_dynamic_decay():
    optimizer, variable = make(average_decay=0.25)
    expected, *values = train(optimizer, variable)
    for k, value in enumerate(values, 2):
        decay = min(0.25, (1 + k) / (10 + k))
        expected = decay * expected + (1 - decay) * value
    assert average_of(optimizer) == pytest.approx(expected, rel=1e-6)


def test_before_start_step_the_average_is_the_weight():
    optimizer, variable = make(average_decay=0.9, start_step=3, dynamic_decay=False)
    values = train(optimizer, variable, GRADIENTS[:2])
    assert average_of(optimizer) == values[-1]
    values += train(optimizer, variable, GRADIENTS[2:])
    third = 0.9 * values[1] + 0.1 * values[2]
    assert average_of(optimizer) == pytest.approx(0.9 * third + 0.1 * values[3], rel=1e-6)


def test_weights_loaded_after_build_do_not_matter():
    optimizer, variable = make(average_decay=0.9, dynamic_decay=False)
    optimizer.build([variable])
    variable.assign([100.0])
    with optimizer.averaged_weights():
        assert variable.numpy()[0] == 100.0
    values = train(optimizer, variable, GRADIENTS[:1])
    assert average_of(optimizer) == values[0]


def test_b30_swap_is_exact_and_does_not_spread_infinities():
    optimizer, variable = make()
    train(optimizer, variable)
    (average,) = optimizer.slots()['average'].values()
    for weight_value, average_value in [(0.1, 1e30), (np.inf, 0.3), (np.nan, 1 / 3)]:
        variable.assign([weight_value])
        average.assign([average_value])
        optimizer.swap_weights()
        np.testing.assert_array_equal(variable, np.float32([average_value]))
        np.testing.assert_array_equal(average, np.float32([weight_value]))
        optimizer.swap_weights()
        np.testing.assert_array_equal(variable, np.float32([weight_value]))
        np.testing.assert_array_equal(average, np.float32([average_value]))


def test_averaged_weights_come_back_after_an_error():
    optimizer, variable = make(average_decay=0.5)
    values = train(optimizer, variable)
    average = average_of(optimizer)
    assert average != values[-1]
    with pytest.raises(ZeroDivisionError), optimizer.averaged_weights():  # noqa: PT012
        assert variable.numpy()[0] == average
        raise ZeroDivisionError
    assert variable.numpy()[0] == values[-1]


def make_model():
    inputs = keras.Input((2,))
    x = keras.layers.BatchNormalization(momentum=0.5)(keras.layers.Dropout(0.5)(inputs))
    return keras.Model(inputs, keras.layers.Dense(1)(x))


@pytest.mark.parametrize('by', ['shadow_copy', 'keys'])
def test_all_variables_means_statistics_too_but_no_seeds(by):
    model = make_model()
    optimizer = ema_optimizer.ExponentialMovingAverage(
        optimizers.SGD(0.1), trainable_weights_only=False, average_decay=0.5, dynamic_decay=False
    )
    keys = variable_keys.variable_keys({'model': model})
    optimizer.set_variable_keys(keys)
    if by == 'shadow_copy':
        optimizer.shadow_copy(model)
        optimizer.shadow_copy(model)
    optimizer.build(model.trainable_variables)
    averages = optimizer.slots()['average']
    assert set(averages) == {key for key in keys if 'seed' not in key}
    x, expected = tf.constant([[1.0, 3.0], [3.0, 5.0]]), None
    for _ in range(2):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(x, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        mean = keys['model/batch_normalization/moving_mean'].numpy()
        expected = mean if expected is None else 0.5 * expected + 0.5 * mean
    np.testing.assert_allclose(
        averages['model/batch_normalization/moving_mean'], expected, rtol=1e-6
    )


def test_skipped_and_accumulated_steps_change_no_average():
    inner = optimizers.SGD(0.1, loss_scale='dynamic', gradient_accumulation_steps=2)
    optimizer = ema_optimizer.ExponentialMovingAverage(
        inner, average_decay=0.5, dynamic_decay=False
    )
    variable = tf.Variable([5.0])
    train(optimizer, variable, [1.0, 1.0, 1.0, np.inf])
    assert average_of(optimizer) == np.float32(4.9)
    train(optimizer, variable, [3.0])
    assert variable.numpy()[0] == pytest.approx(4.7)
    assert average_of(optimizer) == pytest.approx(4.8)
    assert int(optimizer.iterations) == 2


def test_answers_of_the_wrapped_optimizer():
    inner = optimizers.Adam(0.1, loss_scale=2.0)
    optimizer = ema_optimizer.ExponentialMovingAverage(inner)
    optimizer.build([tf.Variable([1.0], name='w')])
    assert float(optimizer.get_scaled_loss(tf.constant(3.0))) == 6.0
    assert [float(g) for g in optimizer.get_unscaled_gradients([tf.constant(3.0)])] == [1.5]
    optimizer.learning_rate = 0.5
    assert float(inner.learning_rate) == 0.5
    assert set(optimizer.checkpoint_variables()) == {
        *('iterations', 'loss_scale', 'good_steps', 'w/momentum', 'w/velocity', 'w/average')
    }
    assert optimizer.inner_optimizer is inner


def test_assign_average_vars():
    optimizer, variable = make(average_decay=0.5)
    train(optimizer, variable)
    optimizer.assign_average_vars([variable])
    assert variable.numpy()[0] == average_of(optimizer)


def test_errors():
    with pytest.raises(TypeError, match='expected a ReplicatedOptimizer; received SGD'):
        ema_optimizer.ExponentialMovingAverage(keras.optimizers.SGD(0.1))
    with pytest.raises(ValueError, match=r'average_decay: expected 0 to 1; received 1.5'):
        make(average_decay=1.5)
    with pytest.raises(ValueError, match=r'ema.clipnorm: set clipnorm of the optimizer'):
        make(clipnorm=1.0)
    with pytest.raises(RuntimeError, match=r'there are no averages yet; call shadow_copy\(model\)'):
        make()[0].swap_weights()
    optimizer, variable = make(trainable_weights_only=False)
    with pytest.raises(RuntimeError, match=r'call shadow_copy\(model\) or set_variable_keys'):
        optimizer.build([variable])


@pytest.mark.garden
@pytest.mark.parametrize('dynamic_decay', [True, False])
@pytest.mark.parametrize('start_step', [2, 4])
def test_averages_as_model_garden_once_they_have_begun(dynamic_decay, start_step):
    """There, averages begin at zero, and are the weights at every update before `start_step`."""
    from official.modeling import optimization as theirs

    from official_lite.modeling import optimization as ours

    params = {
        'optimizer': {'type': 'sgd', 'sgd': {'momentum': 0.9}},
        'learning_rate': {'type': 'constant', 'constant': {'learning_rate': 0.1}},
        'ema': {
            'average_decay': 0.6,
            'dynamic_decay': dynamic_decay,
            'start_step': start_step,
        },
    }
    averages = []
    for module in (ours, theirs):
        factory = module.OptimizerFactory(module.OptimizationConfig(params))
        optimizer = factory.build_optimizer(factory.build_learning_rate())
        variable = tf.Variable([5.0])
        optimizer.shadow_copy(types.SimpleNamespace(trainable_variables=[variable]))
        values = []
        for gradient in GRADIENTS * 2:
            optimizer.apply_gradients([(tf.constant([gradient]), variable)])
            trained = variable.numpy()
            optimizer.assign_average_vars([variable])
            values.append(variable.numpy()[0])
            variable.assign(trained)
        averages.append(values)
    np.testing.assert_allclose(*averages, rtol=1e-6)
