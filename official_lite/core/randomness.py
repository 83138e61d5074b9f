"""Random numbers that depend on nothing but who asks.

A key is an int32 tensor of shape [2]. It is made from the run's seed and folded with whatever tells
one use from another: epoch, index of the example, name of the operation. The same key gives the same
number on every machine, in any thread and after any restart.

    key = randomness.make_key(seed, epoch=epoch, index=index)
    do_flip = randomness.uniform(key, 'horizontal_flip') < 0.5
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import tensorflow as tf

__all__ = [
    'fold_in',
    'get_run_seed',
    'hash_name',
    'make_key',
    'set_run_seed',
    'shuffle_index',
    'uniform',
    'uniform_int',
]

_INT31_BITS = 31
_INT31_MASK = (1 << _INT31_BITS) - 1


_run_seed = 0


def set_run_seed(seed: int) -> None:
    """Sets the seed of what is made in this process without a seed of its own: `runtime.seed`."""
    global _run_seed
    _run_seed = seed


def get_run_seed() -> int:
    """The seed of the run in this process; 0 if none was set."""
    return _run_seed


def hash_name(name: str) -> int:
    """A number in [0, 2^31) that is the same for `name` in every process and Python version."""
    digest = hashlib.sha256(name.encode('utf-8')).digest()
    return int.from_bytes(digest[:4], 'big') & _INT31_MASK


def fold_in(key: tf.Tensor, data: int | str | tf.Tensor) -> tf.Tensor:
    """A new key from `key` and `data`.

    Args:
        key: int32 tensor of shape [2].
        data: A name, an integer of at most 62 bits, or an integer tensor of shape [].

    Returns:
        int32 tensor of shape [2].
    """
    if isinstance(data, str):
        data = hash_name(data)
    low, high = _split_number(data)
    # Both halves count, and folding with 1 then 2 differs from folding with 2 then 1.
    key = tf.stack([_draw_int32(key), low])  # as TensorFlow's stateless_fold_in, in two operations
    is_low_only = isinstance(high, int) and not high  # so in every name: saves operations
    return key if is_low_only else key + tf.stack([tf.zeros([], tf.int32), high])


def _draw_int32(key: tf.Tensor) -> tf.Tensor:
    """Any int32 [], by Philox on every device."""
    return tf.raw_ops.StatelessRandomUniformFullInt(shape=[], seed=key, dtype=tf.int32)


def _split_number(number: int | tf.Tensor) -> tuple[int | tf.Tensor, int | tf.Tensor]:
    """The lower 31 bits of a number, and those above them, int32."""
    if isinstance(number, int):
        return tf.constant(number & _INT31_MASK, tf.int32), number >> _INT31_BITS
    number = tf.cast(number, tf.int64)
    low = tf.cast(tf.bitwise.bitwise_and(number, _INT31_MASK), tf.int32)
    high = tf.cast(tf.bitwise.right_shift(number, tf.constant(_INT31_BITS, tf.int64)), tf.int32)
    return low, high


def make_key(
    seed: int,
    epoch: int | tf.Tensor | None = None,
    index: int | tf.Tensor | None = None,
    name: str | None = None,
) -> tf.Tensor:
    """The key of one operation on one example in one epoch; what is None is left out.

    Args:
        seed: The run's seed.
        epoch: Number of the pass over the data, from 0.
        index: The example's place in the data (not in the shuffled order), from 0.
        name: Name of the operation.

    Returns:
        int32 tensor of shape [2].
    """
    key = tf.constant([seed & _INT31_MASK, (seed >> _INT31_BITS) & _INT31_MASK], tf.int32)
    for data in (epoch, index, name):
        if data is not None:
            key = fold_in(key, data)
    return key


def uniform(
    key: tf.Tensor,
    name: str,
    shape: Sequence[int] = (),
    *,
    minval: float | tf.Tensor = 0.0,
    maxval: float | tf.Tensor = 1.0,
) -> tf.Tensor:
    """float32 numbers in [minval, maxval), drawn with `key` folded with `name`."""
    return tf.random.stateless_uniform(shape, fold_in(key, name), minval, maxval)


def uniform_int(
    key: tf.Tensor,
    name: str,
    shape: Sequence[int] = (),
    *,
    minval: int | tf.Tensor,
    maxval: int | tf.Tensor,
) -> tf.Tensor:
    """int32 numbers in [minval, maxval), drawn with `key` folded with `name`."""
    return tf.random.stateless_uniform(shape, fold_in(key, name), minval, maxval, tf.int32)


def shuffle_index(slot: tf.Tensor, num_examples: int, key: tf.Tensor) -> tf.Tensor:
    """Which example stands at place `slot` of the shuffled order; a permutation for every key.

    Args:
        slot: int64 tensor of shape [], in [0, num_examples).
        num_examples: Length of the order.
        key: int32 tensor of shape [2].

    Returns:
        int64 tensor of shape [], in [0, num_examples).
    """
    last = tf.constant(num_examples - 1, tf.int64)
    return tf.random.experimental.index_shuffle(tf.cast(slot, tf.int64), key, last)
