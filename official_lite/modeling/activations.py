"""Activation functions by the names that Model Garden's configs use."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from typing import Union

import keras
import tensorflow as tf

Activation = Callable[[tf.Tensor], tf.Tensor]


def gelu(x: tf.Tensor) -> tf.Tensor:
    """Gaussian error linear unit in its tanh approximation (https://arxiv.org/abs/1606.08415)."""
    # Not `tf.nn.gelu`, whose `tf.pow` takes half of a vision transformer's training step on CPUs.
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)
    return 0.5 * x * (1.0 + tf.tanh(inner))


def exact_gelu(x: tf.Tensor) -> tf.Tensor:
    """Gaussian error linear unit, `x * Phi(x)` (https://arxiv.org/abs/1606.08415).

    What Model Garden's convolutional blocks compute under the name `gelu`; its other layers, and
    `gelu` here, use the tanh approximation.
    """
    return tf.nn.gelu(x, approximate=False)


def simple_swish(x: tf.Tensor) -> tf.Tensor:
    """`x * sigmoid(x)` without a custom gradient."""
    return x * tf.sigmoid(x)


def hard_swish(x: tf.Tensor) -> tf.Tensor:
    """`x * relu6(x + 3) / 6` (https://arxiv.org/abs/1905.02244)."""
    return x * tf.nn.relu6(x + 3.0) * (1.0 / 6.0)


def hard_sigmoid(x: tf.Tensor) -> tf.Tensor:
    """`relu6(x + 3) / 6`, with the factor 0.16667 that released MobileNets were trained with."""
    return tf.nn.relu6(x + 3.0) * 0.16667


def mish(x: tf.Tensor) -> tf.Tensor:
    """`x * tanh(softplus(x))` (https://arxiv.org/abs/1908.08681)."""
    return x * tf.tanh(tf.math.softplus(x))


def identity(x: tf.Tensor) -> tf.Tensor:
    """Returns `x`."""
    return tf.identity(x)


_ACTIVATIONS: dict[str, Activation] = {
    'elu': tf.nn.elu,
    'exact_gelu': exact_gelu,
    'gelu': gelu,
    'hard_sigmoid': hard_sigmoid,
    'hard_swish': hard_swish,
    'identity': identity,
    'leaky_relu': tf.nn.leaky_relu,
    'linear': identity,
    'mish': mish,
    'relu': tf.nn.relu,
    'relu6': tf.nn.relu6,
    'sigmoid': tf.sigmoid,
    'silu': tf.nn.silu,
    'simple_swish': simple_swish,
    'softplus': tf.math.softplus,
    'swish': tf.nn.silu,
    'tanh': tf.tanh,
}


def get_activation(identifier: Union[str, Activation, None]) -> Activation:
    """Finds an activation function.

    One name is one function everywhere. (In Model Garden `gelu` is exact in some layers and
    approximate in others.)

    Args:
        identifier: A name, in any case, or a function, which is returned as it is, or None for the
            identity.

    Returns:
        A function from a tensor to a tensor of the same shape and dtype.

    Raises:
        ValueError: If there is no activation of that name.
    """
    if identifier is None:
        return identity
    if callable(identifier):
        return identifier
    name = str(identifier).lower()
    if name in _ACTIVATIONS:
        return _ACTIVATIONS[name]
    try:
        return keras.activations.get(name)
    except ValueError:
        nearest = difflib.get_close_matches(name, _ACTIVATIONS, n=1)
        hint = f' Did you mean {nearest[0]!r}?' if nearest else ''
        raise ValueError(
            f'Unknown activation. Expected one of {sorted(_ACTIVATIONS)} or a Keras activation. '
            f'Received: {identifier!r}.{hint}'
        ) from None
