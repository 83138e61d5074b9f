"""Batch normalisation on TensorFlow's fused kernel."""

from __future__ import annotations

from typing import Any, Optional, Union

import keras
import tensorflow as tf

from official_lite.modeling import global_norm, replica_reduction

# TensorFlow's Python wrapper of the fused kernel never passes less than this, because older cuDNN
# versions refuse it.
MIN_FUSED_EPSILON = 1.001e-5


@keras.saving.register_keras_serializable(package='official_lite')
class BatchNormalization(keras.layers.Layer):
    """Batch normalisation over all axes but the last one.

    Keras 3 computes batch normalisation on TensorFlow from elementary operations; this layer runs
    the fused kernel, in the numbers of `tf_keras.layers.BatchNormalization`, which Model Garden
    uses. With training batch moments `m` and `v`:

        y = gamma * (x - m) / sqrt(v + epsilon) + beta
        moving_mean     <- momentum * moving_mean     + (1 - momentum) * m
        moving_variance <- momentum * moving_variance + (1 - momentum) * v'

    where `v' = v` if `synchronized`, and `v' = v * n / (n - 1)` (Bessel's correction over the `n`
    values of a channel) for unsynchronised layers on inputs of rank 4 or 5: `tf_keras` runs the
    fused kernel in exactly these cases, and statistics of trained models depend on it. Statistics
    and affine parameters are float32 whatever the compute dtype.

    Under several replicas, `synchronized` normalises with the moments of the global batch. Without
    it each replica uses its own moments, and the moving statistics take their mean over replicas,
    so that they are the same everywhere.

    `trainable = False` puts the layer into inference mode.

    Source: Ioffe and Szegedy, https://arxiv.org/abs/1502.03167.

    Args:
        momentum: Share of the old moving statistics that is kept by a training step.
        epsilon: Added to the variance.
        synchronized: Whether moments are those of the batch over all replicas.
        center: Whether there is a `beta`.
        scale: Whether there is a `gamma`.
        axis: Axis of the channels: the last one, -1 or its positive form.
    """

    def __init__(
        self,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        *,
        synchronized: bool = False,
        center: bool = True,
        scale: bool = True,
        axis: int = -1,
        beta_initializer: Union[str, keras.initializers.Initializer] = 'zeros',
        gamma_initializer: Union[str, keras.initializers.Initializer] = 'ones',
        beta_regularizer: Optional[keras.regularizers.Regularizer] = None,
        gamma_regularizer: Optional[keras.regularizers.Regularizer] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.momentum = float(momentum)
        self.epsilon = float(epsilon)
        self.synchronized = synchronized
        self.center = center
        self.scale = scale
        self.axis = axis
        self.beta_initializer = keras.initializers.get(beta_initializer)
        self.gamma_initializer = keras.initializers.get(gamma_initializer)
        self.beta_regularizer = keras.regularizers.get(beta_regularizer)
        self.gamma_regularizer = keras.regularizers.get(gamma_regularizer)

    def build(self, input_shape: tuple[Optional[int], ...]) -> None:
        rank = len(input_shape)
        if self.axis not in (-1, rank - 1):
            raise ValueError(
                'BatchNormalization normalises the last axis. '
                f'Expected axis=-1 or {rank - 1} for inputs of shape {tuple(input_shape)}. '
                f'Received: axis={self.axis}'
            )
        channels = input_shape[-1]
        if channels is None:
            raise ValueError(
                'BatchNormalization needs a known number of channels. '
                f'Received: input_shape={tuple(input_shape)}'
            )
        self.gamma = self._add(
            'gamma', channels, self.gamma_initializer, self.gamma_regularizer, self.scale
        )
        self.beta = self._add(
            'beta', channels, self.beta_initializer, self.beta_regularizer, self.center
        )
        self.moving_mean = self._add_statistic('moving_mean', channels, 'zeros')
        self.moving_variance = self._add_statistic('moving_variance', channels, 'ones')
        self._unbiased_moving_variance = rank in (4, 5) and not self.synchronized

    def _add(
        self,
        name: str,
        channels: int,
        initializer: keras.initializers.Initializer,
        regularizer: Optional[keras.regularizers.Regularizer],
        is_wanted: bool,
    ) -> Optional[keras.Variable]:
        if not is_wanted:
            return None
        return self.add_weight(
            name=name,
            shape=(channels,),
            initializer=initializer,
            regularizer=regularizer,
            dtype='float32',
            autocast=False,
        )

    def _add_statistic(self, name: str, channels: int, initializer: str) -> keras.Variable:
        return self.add_weight(
            name=name,
            shape=(channels,),
            initializer=initializer,
            dtype='float32',
            trainable=False,
            autocast=False,
            # Every replica writes the same value, see _update_moving_statistics.
            aggregation='only_first_replica',
        )

    def compute_output_shape(
        self, input_shape: tuple[Optional[int], ...]
    ) -> tuple[Optional[int], ...]:
        return tuple(input_shape)

    def call(self, inputs: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        if not (training and self.trainable):
            return self._normalize_with_moving_statistics(inputs)
        context = tf.distribute.get_replica_context()
        num_replicas = 1 if context is None else context.num_replicas_in_sync
        if self.synchronized and num_replicas > 1:
            return self._normalize_synchronized(inputs)
        if num_replicas == 1 and self._unbiased_moving_variance:
            return self._normalize_and_update(inputs)
        outputs, mean, variance = self._fused(inputs)
        if not self._unbiased_moving_variance:
            variance = _remove_bessel_correction(variance, inputs)
        if num_replicas > 1:
            mean, variance = replica_reduction.reduce_over_replicas(
                [mean, variance], tf.distribute.ReduceOp.MEAN
            )
        self._update_moving_statistics(mean, variance)
        return outputs

    def _affine(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Scale and offset, each float32 [channels]."""
        shape = self.moving_mean.shape
        gamma = tf.ones(shape) if self.gamma is None else tf.convert_to_tensor(self.gamma)
        beta = tf.zeros(shape) if self.beta is None else tf.convert_to_tensor(self.beta)
        return gamma, beta

    def _kernel_epsilon(self) -> float:
        # Elsewhere the incumbent does not run the kernel, and so takes epsilon as it is.
        is_clamped = self._unbiased_moving_variance
        return max(self.epsilon, MIN_FUSED_EPSILON) if is_clamped else self.epsilon

    def _normalize_and_update(self, inputs: tf.Tensor) -> tf.Tensor:
        """Normalises with the batch's moments; the kernel itself moves the statistics."""
        statistics = (self.moving_mean, self.moving_variance)
        old = [tf.convert_to_tensor(variable) for variable in statistics]
        outputs, *new = self._fused(inputs, *old, is_training=True)
        for variable, value in zip(statistics, new, strict=True):
            variable.assign(value)
        return outputs

    def _fused(
        self,
        inputs: tf.Tensor,
        mean: Optional[tf.Tensor] = None,
        variance: Optional[tf.Tensor] = None,
        *,
        is_training: Optional[bool] = None,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Runs the kernel, with the batch's own moments in training.

        Args:
            inputs: Of any rank, channels last.
            mean: Moving mean, float32 [channels]. None: the kernel returns the batch's.
            variance: Moving variance, likewise.
            is_training: None means if no mean is given.

        Returns:
            Normalised inputs; mean and variance with Bessel's correction (both float32 [channels])
            of the batch, or in training the new moving ones if moving ones were given.
        """
        gamma, beta = self._affine()
        if is_training is None:
            is_training = mean is None
        moves = is_training and mean is not None
        if mean is None or variance is None:
            mean = variance = tf.zeros([0], tf.float32)
        inputs_4d = (
            inputs if len(inputs.shape) == 4 else tf.reshape(inputs, [-1, 1, 1, inputs.shape[-1]])
        )
        result = tf.raw_ops.FusedBatchNormV3(
            x=inputs_4d,
            scale=gamma,
            offset=beta,
            mean=mean,
            variance=variance,
            epsilon=self._kernel_epsilon(),
            exponential_avg_factor=1.0 - self.momentum if moves else 1.0,
            data_format='NHWC',
            is_training=is_training,
        )
        outputs = result.y
        if len(inputs.shape) != 4:
            outputs = tf.ensure_shape(tf.reshape(outputs, tf.shape(inputs)), inputs.shape)
        return outputs, result.batch_mean, result.batch_variance

    def _normalize_with_moving_statistics(self, inputs: tf.Tensor) -> tf.Tensor:
        mean = tf.convert_to_tensor(self.moving_mean)
        variance = tf.convert_to_tensor(self.moving_variance)
        return self._fused(inputs, mean, variance)[0]

    def fold(self, kernel: tf.Tensor, bias: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Kernel and bias of one layer that does what a layer and this one do outside of training.

        Args:
            kernel: Kernel of the layer before this one, float32 [..., channels].
            bias: Its bias, float32 [channels].

        Returns:
            float32 [..., channels] and [channels].
        """
        gamma, beta = self._affine()
        mean, variance = (
            tf.convert_to_tensor(variable) for variable in (self.moving_mean, self.moving_variance)
        )
        scale = gamma * tf.math.rsqrt(variance + self._kernel_epsilon())
        return kernel * scale, (bias - mean) * scale + beta

    def _normalize_synchronized(self, inputs: tf.Tensor) -> tf.Tensor:
        outputs, mean, variance = global_norm.normalize_over_replicas(
            inputs, *self._affine(), self.epsilon
        )
        self._update_moving_statistics(mean, variance)
        return outputs

    def _update_moving_statistics(self, mean: tf.Tensor, variance: tf.Tensor) -> None:
        """Moves the statistics towards `mean` and `variance`, which are equal on all replicas."""
        for variable, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            old = tf.convert_to_tensor(variable)
            variable.assign(old - (old - value) * (1.0 - self.momentum))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            'momentum': self.momentum,
            'epsilon': self.epsilon,
            'synchronized': self.synchronized,
            'center': self.center,
            'scale': self.scale,
            'axis': self.axis,
            'beta_initializer': keras.initializers.serialize(self.beta_initializer),
            'gamma_initializer': keras.initializers.serialize(self.gamma_initializer),
            'beta_regularizer': keras.regularizers.serialize(self.beta_regularizer),
            'gamma_regularizer': keras.regularizers.serialize(self.gamma_regularizer),
        }


def _remove_bessel_correction(variance: tf.Tensor, inputs: tf.Tensor) -> tf.Tensor:
    """Turns the kernel's sample variance [channels] into the population variance."""
    count = tf.cast(tf.size(inputs) // tf.size(variance), variance.dtype)
    return variance * (count - 1.0) / tf.maximum(count, 1.0)
