"""What detection losses share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

import tensorflow as tf

from official_lite.modeling import replica_reduction


def multi_level_flatten(
    multi_level_inputs: Mapping[str, tf.Tensor], last_dim: Optional[int] = None
) -> tf.Tensor:
    """Joins the values of all levels.

    Args:
        multi_level_inputs: Tensors [batch, ...] by level.
        last_dim: Size of the last dimension of the result, or None for none.

    Returns:
        [batch, values], or [batch, values, last_dim].
    """
    flat = []
    for values in multi_level_inputs.values():
        batch = values.shape[0] or tf.shape(values)[0]
        flat.append(tf.reshape(values, [batch, -1] if last_dim is None else [batch, -1, last_dim]))
    return tf.concat(flat, axis=1)


def get_num_replicas() -> int:
    """Number of replicas that train together."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def sum_over_replicas(value: tf.Tensor) -> tf.Tensor:
    """Sum of a tensor over all replicas, where called in one; otherwise the tensor."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return value
    return replica_reduction.reduce_over_replicas([value])[0]


def compute_normalizer(box_weights: tf.Tensor) -> tf.Tensor:
    """What a replica divides its sums by: (positives over all replicas + 1) / replicas.

    A train step that then divides the loss by the number of replicas, and sums gradients over them,
    gets what one device gets from the whole batch, however positives are spread.

    Args:
        box_weights: 1 for positive anchors, else 0, of any shape.

    Returns:
        float32 scalar.
    """
    positives = sum_over_replicas(tf.reduce_sum(tf.cast(box_weights, tf.float32)))
    return (positives + 1.0) / get_num_replicas()
