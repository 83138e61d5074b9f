"""Model Garden's helpers of layers, under its names. The package itself needs none of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Union

import keras
import tensorflow as tf

from official_lite.modeling import activations

__all__ = [
    'assert_rank',
    'clone_initializer',
    'cross_replica_concat',
    'get_activation',
    'get_replica_id',
    'get_shape_list',
    'safe_mean',
    'serialize_activation',
    'serialize_constraint',
    'serialize_initializer',
    'serialize_layer',
    'serialize_regularizer',
]


def get_activation(
    identifier: Union[str, activations.Activation, None],
    use_keras_layer: bool = False,
    **kwargs: Any,
) -> Any:
    """Finds an activation; see `activations.get_activation`.

    Args:
        identifier: A name, in any case, or a function, or None for the identity.
        use_keras_layer: Whether to return a `keras.layers.Activation`.
        **kwargs: Arguments of the activation, such as `alpha` of leaky_relu and `approximate` of
            gelu.

    Returns:
        A layer, or a function from a tensor, which may be symbolic (`keras.Input`), to a tensor of
        the same shape and dtype.

    Raises:
        ValueError: If there is no activation of that name.
    """
    found = activations.get_activation(identifier)
    if str(identifier).lower() == 'gelu' and 'approximate' in kwargs:
        found = tf.nn.gelu

    def activate(x: Any) -> Any:
        return found(x, **kwargs)

    if use_keras_layer:
        return keras.layers.Activation(activate if kwargs else found)

    def activate_any(x: Any) -> Any:
        is_symbolic = isinstance(x, keras.KerasTensor)
        return keras.layers.Activation(activate)(x) if is_symbolic else activate(x)

    return activate_any


def get_shape_list(
    tensor: Any, expected_rank: Union[int, Sequence[int], None] = None, name: str | None = None
) -> list[Any]:
    """Returns the sides of a tensor: ints where they are known, int32 scalars where not (None where
    the tensor is symbolic, as Keras 3 has it).

    Raises:
        ValueError: If the tensor has none of the expected ranks.
    """
    if expected_rank is not None:
        assert_rank(tensor, expected_rank, name)
    return list(keras.ops.shape(tensor))


def assert_rank(
    tensor: Any, expected_rank: Union[int, Sequence[int]], name: str | None = None
) -> None:
    """Checks the number of dimensions.

    Raises:
        ValueError: If the tensor has none of the expected ranks.
    """
    expected = [expected_rank] if isinstance(expected_rank, int) else list(expected_rank)
    if len(tensor.shape) not in expected:
        raise ValueError(
            f'{name or "tensor"}: expected {" or ".join(map(str, expected))} dimensions, received '
            f'shape {tuple(tensor.shape)}'
        )


def safe_mean(losses: tf.Tensor) -> tf.Tensor:
    """Returns the mean as a scalar of the same dtype; 0 of no elements."""
    return tf.math.divide_no_nan(tf.reduce_sum(losses), tf.cast(tf.size(losses), losses.dtype))


def get_replica_id() -> Any:
    """Returns the number of the replica that runs this.

    Raises:
        RuntimeError: Outside of a replica.
    """
    context = tf.distribute.get_replica_context()
    if context is None:
        raise RuntimeError('get_replica_id: expected a replica, received a cross-replica context')
    return context.replica_id_in_sync_group


def cross_replica_concat(
    value: tf.Tensor, axis: int, name: str = 'cross_replica_concat'
) -> tf.Tensor:
    """Concatenates a tensor of all replicas in the order of their numbers.

    Args:
        value: The replica's tensor, of a known batch size.
        axis: Along which dimension.
        name: Scope of the operations.

    Raises:
        RuntimeError: The batch size is not known.
    """
    with tf.name_scope(name):
        if value.shape[0] is None:
            raise RuntimeError(f'{name}: expected a known batch size, received {value.shape}')
        return tf.distribute.get_replica_context().all_gather(value, axis=axis)


def clone_initializer(initializer: Any) -> Any:
    """Returns a copy of an initialiser that draws on its own; names and dicts as they are."""
    if isinstance(initializer, keras.initializers.Initializer):
        return type(initializer).from_config(initializer.get_config())
    return initializer


serialize_activation = keras.activations.serialize
serialize_constraint = keras.constraints.serialize
serialize_initializer = keras.initializers.serialize
serialize_layer = keras.layers.serialize
serialize_regularizer = keras.regularizers.serialize
