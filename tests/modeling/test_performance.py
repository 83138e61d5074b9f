"""Precision of a run."""

import keras
import pytest
import tensorflow as tf

from official_lite.modeling import performance
from official_lite.modeling.optimization import ema_optimizer, optimizers


@pytest.fixture(autouse=True)
def restore_policy():
    before = keras.mixed_precision.global_policy()
    yield
    keras.mixed_precision.set_global_policy(before)


@pytest.mark.parametrize(
    ('dtype', 'compute'),
    [('bfloat16', 'bfloat16'), (tf.float16, 'float16'), (tf.float32, 'float32'), (None, 'float32')],
)
def test_policy(dtype, compute):
    performance.set_mixed_precision_policy(dtype)
    layer = keras.layers.Dense(1)
    assert (layer.compute_dtype, layer.variable_dtype) == (compute, 'float32')


def test_policy_errors():
    with pytest.raises(
        ValueError, match='Unexpected dtype: int8; expected one of float32, bfloat16'
    ):
        performance.set_mixed_precision_policy('int8')
    with pytest.raises(ValueError, match='loss_scale: expected None'):
        performance.set_mixed_precision_policy('float16', loss_scale='dynamic')


@pytest.mark.parametrize(
    ('loss_scale', 'scale'), [(None, 2.0**15), ('dynamic', 2.0**15), (128.0, 128.0)]
)
@pytest.mark.parametrize('averaged', [False, True])
def test_float16_scales_the_loss(loss_scale, scale, averaged):
    optimizer = optimizers.SGD(0.1)
    if averaged:
        optimizer = ema_optimizer.ExponentialMovingAverage(optimizer)
    assert performance.configure_optimizer(optimizer, True, loss_scale) is optimizer
    assert float(optimizer.get_scaled_loss(tf.constant(1.0))) == scale


def test_other_precisions_do_not():
    optimizer = performance.configure_optimizer(optimizers.SGD(0.1), False, 'dynamic')
    assert float(optimizer.get_scaled_loss(tf.constant(1.0))) == 1.0


def test_stock_keras_optimizer_cannot():
    with pytest.raises(
        TypeError, match='float16 needs an optimizer with loss scaling; received SGD'
    ):
        performance.configure_optimizer(keras.optimizers.SGD(0.1), use_float16=True)
