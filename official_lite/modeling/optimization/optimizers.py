"""Update rules that Keras 3 lacks, or has with other numbers than TensorFlow's legacy optimizers.

Every class takes the arguments of `ReplicatedOptimizer` too. w is a variable, g its gradient, t
the number of the update from 1.
"""

import math
from collections.abc import Sequence
from typing import Any, Optional

import keras
import numpy as np
import tensorflow as tf

from official_lite.modeling import variable_keys
from official_lite.modeling.optimization import replicated_optimizer

ReplicatedOptimizer = replicated_optimizer.ReplicatedOptimizer

# With the numbers of Keras, whose corrections for the zero start are off by up to 1e-5 in the first
# steps, for lack of digits.
AdamExperimental = replicated_optimizer.replicated(keras.optimizers.Adam)
AdamW = replicated_optimizer.replicated(keras.optimizers.AdamW)


class SGD(ReplicatedOptimizer, keras.optimizers.SGD):
    """Gradient descent with momentum.

    v = momentum * v - lr * g; w += v, or with Nesterov's form w += momentum * v - lr * g. One kernel
    reads and writes each value once.
    """

    _shared_momentum: Optional[tf.Tensor] = None

    def _begin_update(self, is_applied: Optional[tf.Tensor]) -> None:
        super()._begin_update(is_applied)
        # One constant for all variables, of which there are hundreds: a step is traced faster.
        self._shared_momentum = tf.constant(self.momentum, tf.float32)

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        handle = variable_keys.to_tf_variable(variable).handle
        rate = tf.cast(learning_rate, variable.dtype)
        gradient = tf.cast(gradient, variable.dtype)
        if not self.momentum:
            tf.raw_ops.ResourceApplyGradientDescent(var=handle, alpha=rate, delta=gradient)
            return
        momentum = self._shared_momentum
        if momentum is None or momentum.dtype != variable.dtype:
            momentum = tf.constant(self.momentum, variable.dtype)
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=handle,
            accum=variable_keys.to_tf_variable(self._slot(self.momentums, variable)).handle,
            lr=rate,
            grad=gradient,
            momentum=momentum,
            use_nesterov=self.nesterov,
        )


class Adam(ReplicatedOptimizer, keras.optimizers.Adam):
    """Adam (https://arxiv.org/abs/1412.6980): m += (1 - beta_1) * (g - m); v += (1 - beta_2) * (g^2
    - v); w -= lr * sqrt(1 - beta_2^t) / (1 - beta_1^t) * m / (sqrt(v) + epsilon); with amsgrad, the
    largest v so far.
    """

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        m = self._slot(self._momentums, variable)
        v = self._slot(self._velocities, variable)
        step = tf.convert_to_tensor(self._iterations) + 1
        # Of the betas that the kernel computes with, whose distance from 1 has few digits.
        beta_1, beta_2 = (
            float(np.asarray(beta, variable.dtype.as_numpy_dtype))
            for beta in (self.beta_1, self.beta_2)
        )
        correction_1 = zero_start_correction(beta_1, step, variable.dtype)
        correction_2 = zero_start_correction(beta_2, step, variable.dtype)
        rate = tf.cast(learning_rate, variable.dtype) * tf.sqrt(correction_2) / correction_1
        if not self.amsgrad:
            self._apply_fused(variable, m, v, gradient, rate)
            return
        self.assign_add(m, (gradient - m.value) * (1 - beta_1))
        self.assign_add(v, (tf.square(gradient) - v.value) * (1 - beta_2))
        largest = self._slot(self._velocity_hats, variable)
        self.assign(largest, tf.maximum(largest.value, v.value))
        variable.assign_sub(rate * m.value / (tf.sqrt(largest.value) + self.epsilon))

    def _apply_fused(
        self,
        variable: tf.Variable,
        m: keras.Variable,
        v: keras.Variable,
        gradient: tf.Tensor,
        rate: tf.Tensor,
    ) -> None:
        """One kernel for the whole update, told that the rate is corrected already."""
        zero = tf.zeros([], variable.dtype)
        tf.raw_ops.ResourceApplyAdam(
            **{
                name: variable_keys.to_tf_variable(value).handle
                for name, value in (('var', variable), ('m', m), ('v', v))
            },
            beta1_power=zero,
            beta2_power=zero,
            lr=rate,
            beta1=tf.constant(self.beta_1, variable.dtype),
            beta2=tf.constant(self.beta_2, variable.dtype),
            epsilon=tf.constant(self.epsilon, variable.dtype),
            grad=gradient,
        )


class RMSprop(ReplicatedOptimizer, keras.optimizers.RMSprop):
    """RMSProp with the legacy place of epsilon.

    r = rho * r + (1 - rho) * g^2; if centered, a = rho * a + (1 - rho) * g and d = r - a^2, else d
    = r. Without momentum w -= lr * g / (sqrt(d) + epsilon); with momentum v = momentum * v + lr * g
    / sqrt(d + epsilon) and w -= v.
    """

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        if self.momentum > 0:
            super().update_step(gradient, variable, learning_rate)
            return
        rate = tf.cast(learning_rate, variable.dtype)
        velocity = self._slot(self._velocities, variable)
        self.assign(velocity, self.rho * velocity.value + (1 - self.rho) * tf.square(gradient))
        denominator = velocity.value
        if self.centered:
            average = self._slot(self._average_gradients, variable)
            self.assign(average, self.rho * average.value + (1 - self.rho) * gradient)
            denominator = denominator - tf.square(average.value)
        variable.assign_sub(rate * gradient / (tf.sqrt(denominator) + self.epsilon))


class Adagrad(ReplicatedOptimizer, keras.optimizers.Adagrad):
    """Adagrad with the legacy place of epsilon: a += g^2; w -= lr * g / (sqrt(a) + epsilon)."""

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        rate = tf.cast(learning_rate, variable.dtype)
        accumulator = self._slot(self._accumulators, variable)
        self.assign_add(accumulator, tf.square(gradient))
        variable.assign_sub(rate * gradient / (tf.sqrt(accumulator.value) + self.epsilon))


class KerasAdafactor(ReplicatedOptimizer, keras.optimizers.Adafactor):
    """Keras' Adafactor (https://arxiv.org/abs/1804.04235), with its factors noted as slots.

    The rule's limit of 1/sqrt(t) for the rate holds before multipliers of single variables, and
    again after them.
    """

    def _limited_rate(self, rate: Any) -> Any:
        if not self._rates:
            return rate
        step = tf.cast(tf.convert_to_tensor(self._iterations) + 1, tf.float32)
        return tf.minimum(tf.convert_to_tensor(rate), tf.math.rsqrt(step))

    def build(self, variables: Sequence[Any]) -> None:
        if self.built:
            return
        variables = list(variables)
        super().build(variables)
        for name, factors in (('row', self._r), ('column', self._c)):
            for variable, factor in zip(variables, factors, strict=True):
                if len(variable.shape) >= 2:
                    self.add_slot(name, variable, factor)


def zero_start_correction(beta: float, step: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """1 - beta^step to all digits of `dtype`: the weight of a running mean that began at 0."""
    if beta == 0:
        return tf.ones([], dtype)
    return -tf.math.expm1(tf.cast(step, dtype) * math.log(beta))
