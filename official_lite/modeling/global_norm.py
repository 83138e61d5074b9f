"""Batch normalisation with the moments of the batch over all replicas."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from official_lite.modeling import replica_reduction


def normalize_over_replicas(
    inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Normalises with the moments of the global batch; called in a replica.

    The gradient is written out: with `h = (x - m) / sqrt(v + epsilon)` and means over all values of a
    channel on all replicas,

        dx = gamma / sqrt(v + epsilon) * (dy - mean(dy) - h * mean(dy * h))

    which takes a quarter of the operations that automatic differentiation does. It is the first
    derivative only: the moments are constants to those that differentiate it again.

    Source: Ioffe and Szegedy, https://arxiv.org/abs/1502.03167, section 3.

    Args:
        inputs: floating [..., channels], this replica's part; it may be empty.
        gamma: Scale, float32 [channels].
        beta: Offset, float32 [channels].
        epsilon: Added to the variance.

    Returns:
        Outputs, as `inputs`; mean and population variance of the global batch, float32 [channels]
        each, equal on all replicas, without gradients.
    """

    @tf.custom_gradient
    def normalize(
        inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor
    ) -> tuple[tuple[tf.Tensor, ...], Callable[..., tuple[tf.Tensor, ...]]]:
        mean, variance, total = _compute_global_moments(tf.cast(inputs, tf.float32))
        rate = tf.math.rsqrt(variance + epsilon)
        outputs = (tf.cast(inputs, tf.float32) - mean) * (gamma * rate) + beta

        def compute_gradients(upstream: tf.Tensor, *_: tf.Tensor) -> tuple[tf.Tensor, ...]:
            dy = tf.cast(upstream, tf.float32)
            normalized = (tf.cast(inputs, tf.float32) - mean) * rate
            axes = list(range(len(inputs.shape) - 1))
            sums = tf.stack([tf.reduce_sum(dy, axes), tf.reduce_sum(dy * normalized, axes)])
            (global_sums,) = replica_reduction.reduce_over_replicas([sums])  # [2, channels]
            means = tf.unstack(global_sums / total)
            dx = (dy - means[0] - normalized * means[1]) * (gamma * rate)
            dbeta, dgamma = tf.unstack(sums)
            return tf.cast(dx, inputs.dtype), dgamma, dbeta

        return (tf.cast(outputs, inputs.dtype), mean, variance), compute_gradients

    return normalize(inputs, gamma, beta)


def _compute_global_moments(values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Mean and population variance over the batch of all replicas.

    One collective gathers each replica's count, mean and squared deviations (Chan et al., 1979),
    which does not lose digits as a sum of squares does when the mean is large.

    Args:
        values: float32 [..., channels], this replica's part.

    Returns:
        Mean and variance, float32 [channels] each, and the number of values of a channel, a scalar,
        equal on all replicas.
    """
    axes = list(range(len(values.shape) - 1))
    channels = values.shape[-1]
    count = tf.cast(tf.reduce_prod(tf.shape(values)[:-1]), tf.float32)
    mean = tf.reduce_sum(values, axes) / tf.maximum(count, 1.0)
    deviations = tf.reduce_sum(tf.math.squared_difference(values, mean), axes)
    row = tf.concat([count[None], mean, deviations], axis=0)  # [1 + 2 * channels]
    context = tf.distribute.get_replica_context()
    place = tf.one_hot(context.replica_id_in_sync_group, context.num_replicas_in_sync)
    # [replicas, 1 + 2 * channels]
    (rows,) = replica_reduction.reduce_over_replicas([place[:, None] * row])
    counts, means, all_deviations = tf.split(rows, [1, channels, channels], axis=1)
    total = tf.reduce_sum(counts)
    global_mean = tf.reduce_sum(counts * means, axis=0) / total
    between = tf.reduce_sum(counts * tf.square(means - global_mean), axis=0)
    return global_mean, (tf.reduce_sum(all_deviations, axis=0) + between) / total, total
