"""Sums and means over replicas: values, gradients, and how much of a graph they pass when traced."""

from __future__ import annotations

import subprocess
import sys

# On two logical CPUs, which want a process of their own.
PROGRAM = """
import numpy as np
import tensorflow as tf
from tensorflow.python.ops import op_selector

from official_lite.modeling import replica_reduction

cpu = tf.config.list_physical_devices('CPU')[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(['CPU:0', 'CPU:1'], tf.distribute.ReductionToOneDevice())
x = np.array([[0.3, -1.2], [0.9, 2.0]], np.float32)  # one row per replica
weights = np.array([[1.0, 2.0], [-3.0, 0.5]], np.float32)
MEAN = tf.distribute.ReduceOp.MEAN


def compute_long(x):
    for _ in range(100):
        x = x + 0.01 * tf.sin(x)
    return x


def compute_loss(total, mean, weights):
    return tf.reduce_sum(weights * total**2 * tf.exp(mean))


def step(x, weights):
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = compute_long(x)
            (total,) = replica_reduction.reduce_over_replicas([y])
            (mean,) = replica_reduction.reduce_over_replicas([y], MEAN)
            loss = compute_loss(total, mean, weights)
        gradient = tape.gradient(loss, x)
    return loss, gradient, outer.gradient(gradient, x)


def distribute(rows):
    return strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(rows[context.replica_id_in_sync_group])
    )


def compute_expected():
    rows = [tf.constant(row) for row in x]
    with tf.GradientTape() as outer:
        outer.watch(rows)
        with tf.GradientTape() as tape:
            tape.watch(rows)
            total = tf.add_n([compute_long(row) for row in rows])
            losses = [compute_loss(total, total / 2, row) for row in weights]
            loss = tf.add_n(losses)
        gradients = tape.gradient(loss, rows)
        both = tf.add_n([tf.reduce_sum(gradient) for gradient in gradients])
    return losses, gradients, outer.gradient(both, rows)


passed = []
walk = op_selector.get_backward_walk_ops


def count(*args, **kwargs):
    result = walk(*args, **kwargs)
    passed.append(len(result))
    return result


op_selector.get_backward_walk_ops = count
run = lambda *rows: strategy.run(step, rows)
for function in (run, tf.function(run)):
    results = function(distribute(x), distribute(weights))
    for expected, got in zip(compute_expected(), results, strict=True):
        got = strategy.experimental_local_results(got)
        np.testing.assert_allclose(np.stack(got), np.stack(expected), rtol=1e-4)
print('agrees', max(passed))
"""


def test_values_gradients_and_what_tracing_passes() -> None:
    """What `ReplicaContext.all_reduce` alone passes grows with the graph: here, of hundreds."""
    result = subprocess.run(
        [sys.executable, '-c', PROGRAM], capture_output=True, text=True, timeout=300, check=False
    )
    agrees, _, passed = result.stdout.strip().rpartition(' ')
    assert agrees == 'agrees', result.stderr[-3000:]
    assert int(passed) < 30
