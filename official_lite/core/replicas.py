"""What several replicas need beyond `strategy.run`: equal statistics, different seeds, gathered logs.

Keras 3 leaves BatchNorm's moving statistics of each replica to themselves (keras#20703), and gives every
replica the same dropout mask.
"""

from __future__ import annotations

import contextlib
import functools
import pickle
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from official_lite.modeling import variable_keys

# Odd, so that the products with all replica numbers below 2**31 differ (Knuth's multiplicative hash).
_SEED_FACTOR = 2654435761
_SEED_MASK = 0x7FFFFFFF


def is_multi_worker(strategy: tf.distribute.Strategy) -> bool:
    """Whether other processes take part in every step."""
    return bool(strategy.extended._in_multi_worker_mode())


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes the files of the run."""
    return bool(strategy.extended.should_checkpoint)


def average_statistics(strategy: tf.distribute.Strategy, model: keras.Model) -> None:
    """Gives every replica the mean of all replicas' moving statistics.

    Statistics are the floating-point variables of `model` that were created as not trainable. Frozen weights
    are not among them. Called by all workers at the same time.
    """
    statistics = _statistics(model)
    if strategy.num_replicas_in_sync == 1 or not statistics:
        return

    def assign_means() -> None:
        context = tf.distribute.get_replica_context()
        with _own_device(strategy):
            values = [tf.identity(v) for v in statistics]
        means = context.all_reduce(tf.distribute.ReduceOp.MEAN, values)
        for variable, mean in zip(statistics, means):
            variable.assign(mean)

    tf.function(lambda: strategy.run(assign_means), autograph=False)()


def seed_replicas(strategy: tf.distribute.Strategy, variables: Iterable[Any]) -> None:
    """Makes the random numbers of the replicas differ, as a function of the seed and the replica's number.

    Replica 0 keeps its state. Call it once after the variables were created, and again after they were
    restored: all replicas must hold the same state before.

    Args:
        strategy: The strategy.
        variables: Variables among which the states of seed generators are found.
    """
    states = [v for v in map(variable_keys.to_tf_variable, variables) if is_seed_state(v)]
    if strategy.num_replicas_in_sync == 1 or not states:
        return

    def assign_seeds() -> None:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        offset = tf.cast(replica, tf.int64) * _SEED_FACTOR
        for state in states:
            seed, counter = tf.unstack(tf.cast(state, tf.int64))
            other = tf.bitwise.bitwise_and(seed + offset, tf.constant(_SEED_MASK, tf.int64))
            seed = tf.where(tf.equal(replica, 0), seed, other)
            state.assign(tf.cast(tf.stack([seed, counter]), state.dtype))

    tf.function(lambda: strategy.run(assign_seeds), autograph=False)()


def is_seed_state(variable: tf.Variable) -> bool:
    """Whether `variable` is the state of a `keras.random.SeedGenerator`: seed and counter."""
    return (
        'seed_generator_state' in variable.name
        and variable.dtype.is_integer
        and tuple(variable.shape) == (2,)
    )


def to_int(variable: Any) -> int:
    """The value of a variable that is the same on all replicas."""
    return int(variable.numpy())


def get_global_seed_state() -> tf.Variable:
    """The state of the generator from which Keras draws where no seed is given."""
    # Keras has no public way to it, and without it a resumed run would draw other numbers.
    from keras.src.random import seed_generator

    return variable_keys.to_tf_variable(seed_generator.global_seed_generator().state)


def local_results(strategy: tf.distribute.Strategy, values: Any) -> Any:
    """Each leaf of `values` as a tuple with one tensor for each local replica."""
    return tf.nest.map_structure(strategy.experimental_local_results, values)


def gather_from_workers(strategy: tf.distribute.Strategy, values: Any) -> Any:
    """`local_results` of all workers: tuples in the order of the replicas, equal on every worker.

    Args:
        strategy: The strategy; without other workers `values` is returned as it is.
        values: Structure whose leaves are tuples of tensors.
    """
    if not is_multi_worker(strategy):
        return values
    arrays = tf.nest.map_structure(np.asarray, values)
    gathered = [pickle.loads(text) for text in _all_gather_bytes(strategy, pickle.dumps(arrays))]
    return _concat_tuples(gathered)


def any_worker(strategy: tf.distribute.Strategy, flag: bool) -> bool:
    """Whether `flag` is true on any worker; called by all workers at the same time."""
    if not is_multi_worker(strategy):
        return flag
    return any(text == b'1' for text in _all_gather_bytes(strategy, b'1' if flag else b'0'))


def wait_for_workers(strategy: tf.distribute.Strategy) -> None:
    """Returns when all workers have called it, e.g. when the chief's files are there."""
    any_worker(strategy, False)


def _own_device(strategy: tf.distribute.Strategy) -> contextlib.AbstractContextManager[Any]:
    """The device of a worker's only replica: sums over workers refuse tensors that are on none."""
    devices = strategy.extended.worker_devices
    return tf.device(devices[0]) if len(devices) == 1 else contextlib.nullcontext()


def _statistics(model: keras.Model) -> list[tf.Variable]:
    variables = [variable_keys.to_tf_variable(v) for v in model.non_trainable_variables]
    return [v for v in variables if v.dtype.is_floating and not v.trainable]


def _all_gather_bytes(strategy: tf.distribute.Strategy, text: bytes) -> list[bytes]:
    """The bytes of every worker, in order; lengths may differ."""
    # Integers of 32 bits, because collectives on the CPU know no bytes.
    data = np.frombuffer(text, np.uint8).astype(np.int32)
    lengths = _all_gather(strategy, np.array([data.size], np.int32))[:, 0]
    rows = _all_gather(strategy, np.pad(data, (0, lengths.max() - data.size)))
    return [row[:length].astype(np.uint8).tobytes() for row, length in zip(rows, lengths)]


def _all_gather(strategy: tf.distribute.Strategy, row: np.ndarray) -> np.ndarray:
    """Vectors of the same length of all workers: int32 [workers, length]."""
    gathered = _gather_function(strategy)(tf.constant(row))
    return strategy.experimental_local_results(gathered)[0].numpy()


@functools.cache
def _gather_function(strategy: tf.distribute.Strategy) -> Any:
    """A function that sums matrices in which each worker has filled its own row."""
    per_worker = max(len(strategy.extended.worker_devices), 1)
    workers = strategy.num_replicas_in_sync // per_worker

    def gather(row: tf.Tensor) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        replica = tf.convert_to_tensor(context.replica_id_in_sync_group)
        is_own = tf.one_hot(replica // per_worker, workers, dtype=tf.int32)  # [workers]
        is_first = tf.cast(tf.equal(replica % per_worker, 0), tf.int32)
        with _own_device(strategy):
            matrix = is_first * is_own[:, tf.newaxis] * row[tf.newaxis, :]  # [workers, length]
        return context.all_reduce(tf.distribute.ReduceOp.SUM, matrix)

    def run(row: tf.Tensor) -> Any:
        return strategy.run(gather, args=(row,))

    signature = [tf.TensorSpec([None], tf.int32)]
    return tf.function(run, input_signature=signature, autograph=False)


def _concat_tuples(structures: Sequence[Any]) -> Any:
    """Structures with tuples of arrays as leaves, joined leaf by leaf."""
    first = structures[0]
    if isinstance(first, dict):
        return {key: _concat_tuples([s[key] for s in structures]) for key in first}
    if isinstance(first, tuple) and all(isinstance(v, np.ndarray) for v in first):
        return tuple(value for structure in structures for value in structure)
    if isinstance(first, list | tuple):
        return type(first)(_concat_tuples([s[i] for s in structures]) for i in range(len(first)))
    return first
