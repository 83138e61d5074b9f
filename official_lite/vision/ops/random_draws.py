"""Random numbers for operations on images, from whatever kind of seed the caller has.

A `seed` of the functions in this package is one of

- a key of `official_lite.core.randomness` (int32 tensor of shape [2]): the same numbers for the same
  key, always and everywhere, and other ones for each name;
- an int: TensorFlow's operation seed, again another one for each name;
- None: TensorFlow's global generator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from official_lite.core import randomness

__all__ = ['Seed', 'coin', 'fold_in', 'gamma', 'is_key', 'normal', 'uniform', 'uniform_int']

Seed: TypeAlias = Any  # a key, an int or None; TensorFlow has no types of its own
Shape: TypeAlias = Any  # ints, or an integer tensor

_NUM_SEEDS = 2**31


def is_key(seed: Seed) -> bool:
    """Whether `seed` is a key, and draws from it are stateless."""
    return tf.is_tensor(seed) or isinstance(seed, np.ndarray)


def fold_in(seed: Seed, data: str | int | tf.Tensor) -> Seed:
    """A seed for one of several uses of `seed`; with None, and of an int by a tensor, the same."""
    if is_key(seed):
        return randomness.fold_in(seed, data)
    if seed is None or tf.is_tensor(data):
        return seed
    return (seed + (randomness.hash_name(data) if isinstance(data, str) else data)) % _NUM_SEEDS


def uniform(
    seed: Seed, name: str, shape: Shape = (), *, minval: Any = 0.0, maxval: Any = 1.0
) -> tf.Tensor:
    """float32 numbers in [minval, maxval)."""
    if is_key(seed):
        return randomness.uniform(seed, name, shape, minval=minval, maxval=maxval)
    return tf.random.uniform(shape, minval, maxval, seed=fold_in(seed, name))


def uniform_int(
    seed: Seed, name: str, shape: Shape = (), *, minval: Any = 0, maxval: Any
) -> tf.Tensor:
    """int32 numbers in [minval, maxval); `minval` where that is empty."""
    maxval = tf.maximum(tf.cast(maxval, tf.int32), tf.cast(minval, tf.int32) + 1)
    if is_key(seed):
        return randomness.uniform_int(seed, name, shape, minval=minval, maxval=maxval)
    return tf.random.uniform(shape, minval, maxval, tf.int32, seed=fold_in(seed, name))


def normal(seed: Seed, name: str, shape: Shape = ()) -> tf.Tensor:
    """float32 numbers of mean 0 and standard deviation 1."""
    if is_key(seed):
        return tf.random.stateless_normal(shape, randomness.fold_in(seed, name))
    return tf.random.normal(shape, seed=fold_in(seed, name))


def gamma(seed: Seed, name: str, shape: Sequence[int] | tf.Tensor, *, alpha: float) -> tf.Tensor:
    """float32 numbers of the gamma distribution of shape `alpha` and rate 1."""
    if is_key(seed):
        return tf.random.stateless_gamma(shape, randomness.fold_in(seed, name), alpha)
    return tf.random.gamma(shape, alpha, seed=fold_in(seed, name))


def coin(seed: Seed, name: str, prob: float | tf.Tensor, shape: Shape = ()) -> tf.Tensor:
    """Bools that are True with probability `prob`: never at 0, always at 1."""
    return uniform(seed, name, shape) < prob
