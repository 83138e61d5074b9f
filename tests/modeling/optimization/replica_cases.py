"""Five steps with every optimizer, on however many replicas a strategy has; run as a program it
writes an .npz file.

A program, because MirroredStrategy on logical CPUs wants a process of its own.
"""

import os
import sys
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from official_lite.modeling import variable_keys
from official_lite.modeling.optimization import (
    adafactor,
    ema_optimizer,
    keras_optimizers,
    lamb,
    lars,
    legacy_adamw,
    optimizers,
    replicated_optimizer,
    variable_rates,
)

NUM_STEPS = 5
BATCH = 4

CASES: dict[str, Any] = {
    'sgd': lambda: optimizers.SGD(0.1),
    'sgd_nesterov_clipped': lambda: optimizers.SGD(
        0.1, momentum=0.9, nesterov=True, decay=0.1, global_clipnorm=0.5
    ),
    'adam_clipnorm': lambda: optimizers.Adam(0.1, clipnorm=0.3),
    'adam_amsgrad_clipvalue': lambda: optimizers.Adam(0.1, amsgrad=True, clipvalue=0.1),
    'adamw': lambda: legacy_adamw.AdamWeightDecay(
        0.1, weight_decay_rate=0.1, exclude_from_weight_decay=['bias']
    ),
    'adamw_experimental': lambda: optimizers.AdamW(0.1, weight_decay=0.1, global_clipnorm=1.0),
    'rmsprop': lambda: optimizers.RMSprop(0.01, momentum=0.5),
    'rmsprop_centered': lambda: optimizers.RMSprop(0.01, centered=True, epsilon=1e-3),
    'adagrad': lambda: optimizers.Adagrad(0.1, epsilon=1e-2),
    'lamb': lambda: lamb.LAMB(0.1, weight_decay_rate=0.1, exclude_from_weight_decay=['bias']),
    'lars': lambda: lars.LARS(1.0, weight_decay_rate=0.1, exclude_from_weight_decay=['bias']),
    'lars_popular': lambda: lars.LARS(1.0, classic_momentum=False, nesterov=True),
    'adafactor_keras': lambda: optimizers.KerasAdafactor(0.1),
    'adafactor': lambda: adafactor.Adafactor(
        0.1, min_dim_size_to_factor=2, beta1=0.9, weight_decay=0.01, global_clipnorm=0.5
    ),
    'nadam': lambda: keras_optimizers.Nadam(0.1, weight_decay=0.1, gradient_accumulation_steps=2),
    'muon': lambda: keras_optimizers.Muon(0.1, clipnorm=0.3),
    'schedule_free_adamw': lambda: keras_optimizers.ScheduleFreeAdamW(0.1, clipvalue=0.5),
    'ftrl': lambda: replicated_optimizer.replicated(keras.optimizers.Ftrl)(0.1, clipvalue=0.5),
    'lion_by_name': lambda: replicated_optimizer.replicated(keras.optimizers.Lion)(0.01),
    'accumulated_clipped': lambda: optimizers.SGD(
        0.1, momentum=0.9, global_clipnorm=0.5, gradient_accumulation_steps=2
    ),
    'loss_scale_accumulated': lambda: optimizers.Adam(
        0.1, loss_scale='dynamic', gradient_accumulation_steps=2, clipnorm=0.3
    ),
    'lazy_ema': lambda: ema_optimizer.ExponentialMovingAverage(optimizers.Adam(0.1)),
    'rates_adamw': lambda: with_rates(
        legacy_adamw.AdamWeightDecay(0.1, weight_decay_rate=0.1), 0.1
    ),
    'rates_accumulated_lion': lambda: with_rates(
        replicated_optimizer.replicated(keras.optimizers.Lion)(
            0.1, weight_decay=0.1, gradient_accumulation_steps=2, global_clipnorm=0.5
        ),
        0.5,
    ),
    'rates_ema_sgd': lambda: ema_optimizer.ExponentialMovingAverage(
        with_rates(optimizers.SGD(0.1, momentum=0.9, loss_scale=8.0), 0.5)
    ),
    'ema_all': lambda: ema_optimizer.ExponentialMovingAverage(
        optimizers.SGD(0.1, momentum=0.9, loss_scale=8.0),
        trainable_weights_only=False,
        average_decay=0.5,
    ),
}
WORKER_CASES = (
    *('sgd_nesterov_clipped', 'adamw', 'nadam', 'schedule_free_adamw'),
    *('accumulated_clipped', 'loss_scale_accumulated', 'ema_all', 'rates_accumulated_lion'),
)
# Steps at which one example of the batch gives an infinite gradient; the last example is the last
# replica's.
INFINITE = {'loss_scale_accumulated': (1,), 'ema_all': (0, 2)}


def with_rates(optimizer: Any, multiplier: float) -> Any:
    """An optimizer whose kernel has another rate and half the decay, and whose bias a schedule."""
    kernel = variable_rates.VariableRate(multiplier, 0.5)
    bias = variable_rates.VariableRate(schedule=lambda step: 0.02 * tf.cast(step + 1, tf.float32))
    optimizer.set_variable_rates({'model/dense/kernel': kernel, 'model/dense/bias': bias})
    return optimizer


class Model(keras.Model):
    """A linear map, with a statistic as BatchNorm's: each replica has one of its own inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(2)
        self.seen = self.add_weight(name='seen', shape=(3,), initializer='zeros', trainable=False)

    def build(self, input_shape: Any) -> None:
        self.dense.build(input_shape)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        self.seen.assign(tf.reduce_mean(x, axis=0))
        return self.dense(x)


def make_data() -> tuple[np.ndarray, np.ndarray]:
    """Inputs [steps, batch, 3] and targets [steps, batch, 2], float32."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(NUM_STEPS, BATCH, 3)).astype(np.float32)
    return x, rng.normal(size=(NUM_STEPS, BATCH, 2)).astype(np.float32)


def run_case(strategy: tf.distribute.Strategy, name: str) -> dict[str, np.ndarray]:
    """Trains with one optimizer; returns all variables by key, the skipped steps told by
    `iterations`.
    """
    num_replicas = strategy.num_replicas_in_sync
    with strategy.scope():
        model = Model()
        model.build((None, 3))
        for variable in model.trainable_variables:
            values = np.linspace(-1.0, 1.0, int(np.prod(variable.shape)), dtype=np.float32)
            variable.assign(values.reshape(variable.shape))
        optimizer = CASES[name]()
        keys = variable_keys.variable_keys({'model': model})
        optimizer.set_variable_keys(keys)
        if not name.startswith('lazy'):
            optimizer.build(model.trainable_variables)

    def replica_step(x: tf.Tensor, y: tf.Tensor) -> None:
        size = x.shape[0] // num_replicas
        first = tf.distribute.get_replica_context().replica_id_in_sync_group * size
        x, y = x[first : first + size], y[first : first + size]
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(x) - y)) / num_replicas
            scaled = optimizer.get_scaled_loss(loss)
        gradients = tape.gradient(scaled, model.trainable_variables)
        gradients = optimizer.get_unscaled_gradients(gradients)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

    @tf.function
    def step(x: tf.Tensor, y: tf.Tensor) -> None:
        strategy.run(replica_step, args=(x, y))

    inputs, targets = make_data()
    for i, (x, y) in enumerate(zip(inputs, targets, strict=True)):
        if i in INFINITE.get(name, ()):
            y = y.copy()
            y[-1] = np.inf
        step(tf.constant(x), tf.constant(y))
    state = {key: v.numpy() for key, v in (keys | optimizer.checkpoint_variables()).items()}
    state['difference between replicas'] = compute_difference(strategy, keys)
    if isinstance(optimizer, keras_optimizers.ScheduleFreeAdamW):
        state |= swap_schedule_free(strategy, optimizer, keys)
    if isinstance(optimizer, ema_optimizer.ExponentialMovingAverage):
        state |= swap(strategy, optimizer, keys)
    return {f'{name}:{key}': value for key, value in state.items()}


def compute_difference(strategy: tf.distribute.Strategy, keys: dict[str, Any]) -> np.ndarray:
    """The largest difference of a trained weight between replicas."""
    locals_ = [read(strategy, v) for v in keys.values() if v.trainable]
    return np.float32(max(np.abs(values - values[:1]).max() for values in locals_))


def swap(strategy: Any, optimizer: Any, keys: dict[str, Any]) -> dict[str, np.ndarray]:
    """Weights while averages are in their place, and whether all came back to the last bit."""
    before = [read(strategy, v) for v in keys.values()]
    with optimizer.averaged_weights():
        averaged = optimizer.slots()['average']
        swapped = {f'swapped {key}': read(strategy, keys[key]) for key in averaged}
    after = [read(strategy, v) for v in keys.values()]
    came_back = all((a == b).all() for a, b in zip(before, after, strict=True))
    is_equal = all((values == values[:1]).all() for values in swapped.values())
    swapped = {key: values[0] for key, values in swapped.items()}
    return swapped | {'came back': np.bool_(came_back), 'equal averages': np.bool_(is_equal)}


def swap_schedule_free(strategy: Any, optimizer: Any, keys: dict[str, Any]) -> dict[str, Any]:
    """The averages on the first replica, and whether all came back to the last bit."""
    before = {key: read(strategy, v) for key, v in keys.items()}
    optimizer.swap_weights()
    swapped = {f'swapped {key}': read(strategy, v)[0] for key, v in keys.items() if v.trainable}
    optimizer.swap_weights()
    came_back = all((before[key] == read(strategy, v)).all() for key, v in keys.items())
    return swapped | {'came back': np.bool_(came_back)}


def read(strategy: tf.distribute.Strategy, variable: keras.Variable) -> np.ndarray:
    """Values on the replicas: [replicas, ...]."""
    return np.stack([v.numpy() for v in strategy.experimental_local_results(variable.value)])


def run_cases(strategy: tf.distribute.Strategy, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Several cases, one after the other."""
    return {k: v for name in names for k, v in run_case(strategy, name).items()}


def make_mirrored_strategy() -> tf.distribute.Strategy:
    """Two logical CPUs."""
    cpu = tf.config.list_physical_devices('CPU')[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    return tf.distribute.MirroredStrategy(
        ['CPU:0', 'CPU:1'], cross_device_ops=tf.distribute.ReductionToOneDevice()
    )


def main(path: str) -> None:
    """Runs on two logical CPUs, or as the worker that TF_CONFIG says, and writes the results."""
    if 'TF_CONFIG' in os.environ:
        results = run_cases(tf.distribute.MultiWorkerMirroredStrategy(), WORKER_CASES)
    else:
        results = run_cases(make_mirrored_strategy(), CASES)
    np.savez(path, **results)


if __name__ == '__main__':
    main(sys.argv[1])
