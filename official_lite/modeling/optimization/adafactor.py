"""Adafactor with the switches of its first implementation in JAX: the `adafactor` of the configs."""

from collections.abc import Sequence
from typing import Any, Optional

import keras
import numpy as np
import tensorflow as tf

from official_lite.modeling.optimization import name_patterns, replicated_optimizer


class Adafactor(replicated_optimizer.ReplicatedOptimizer):
    """Adaptive steps with little state (https://arxiv.org/abs/1804.04235), as in flax and optax.

        d = 1 - (t - step_offset)^-decay_rate
        v = d * v + (1 - d) * (g^2 + epsilon1)
        u = g / sqrt(v)
        u /= max(1, rms(u) / clipping_threshold)
        u *= lr * max(rms(w), epsilon2)
        m = beta1 * m + (1 - beta1) * u
        w -= m + weight_decay * w

    t counts updates from 1, and t - step_offset is 1 at least. A variable whose two largest
    dimensions have `min_dim_size_to_factor` elements or more keeps, in place of v, its mean over
    the largest dimension (`row`) and over the second largest (`column`); v is then their outer
    product over the mean of `row` (the paper's algorithm 4). Without `multiply_by_parameter_scale`
    the factor max(rms(w), epsilon2) is left out; with `beta1` None, u takes the place of m.
    """

    def __init__(
        self,
        learning_rate: Any = 0.01,
        factored: bool = True,
        multiply_by_parameter_scale: bool = True,
        beta1: Optional[float] = None,
        decay_rate: float = 0.8,
        step_offset: int = 0,
        clipping_threshold: Optional[float] = 1.0,
        min_dim_size_to_factor: int = 128,
        epsilon1: float = 1e-30,
        epsilon2: float = 1e-3,
        weight_decay: Optional[float] = None,
        include_in_weight_decay: name_patterns.Patterns = None,
        name: str = 'Adafactor',
        **kwargs: Any,
    ) -> None:
        """Makes the optimizer.

        Args:
            learning_rate: Rate or schedule.
            factored: Whether large matrices keep `row` and `column` in place of v.
            multiply_by_parameter_scale: Whether steps are relative to the variable's size.
            beta1: Share of m that is kept; None for no m.
            decay_rate: The exponent of d.
            step_offset: Updates before t begins to count.
            clipping_threshold: Largest root mean square of u before it is scaled; None for none.
            min_dim_size_to_factor: Smallest of the two dimensions that are factored.
            epsilon1: Added to squared gradients.
            epsilon2: Smallest root mean square of a variable that counts.
            weight_decay: Share of a weight that each update takes off it, whatever the rate; None
                for none.
            include_in_weight_decay: Regular expressions over variable keys. Given, only what they
                match is decayed.
            name: Name of the optimizer.
            **kwargs: Arguments of `ReplicatedOptimizer`.
        """
        super().__init__(
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            include_in_weight_decay=include_in_weight_decay,
            name=name,
            **kwargs,
        )
        self.factored = factored
        self.multiply_by_parameter_scale = multiply_by_parameter_scale
        self.beta1 = beta1
        self.decay_rate = decay_rate
        self.step_offset = step_offset
        self.clipping_threshold = clipping_threshold
        self.min_dim_size_to_factor = min_dim_size_to_factor
        self.epsilon1, self.epsilon2 = epsilon1, epsilon2

    def build(self, variables: Sequence[Any]) -> None:
        if self.built:
            return
        variables = list(variables)
        super().build(variables)
        self._momentums = []
        if self.beta1 is not None:
            self._momentums = self.add_optimizer_variables(variables, 'momentum')
        # One list for each variable: [v], or [row, column].
        self._squares = [self._add_squares(variable) for variable in variables]

    def _add_squares(self, variable: Any) -> list[keras.Variable]:
        axes = self.factored_axes(variable.shape)
        if axes is None:
            return [self.add_variable_from_reference(variable, 'velocity')]
        slots = []
        for slot_name, axis in zip(('row', 'column'), axes, strict=True):
            shape = [size for i, size in enumerate(variable.shape) if i != axis]
            slot = self.add_variable(shape=shape, dtype=variable.dtype, name=slot_name)
            self.add_slot(slot_name, variable, slot)
            slots.append(slot)
        return slots

    def factored_axes(self, shape: Sequence[int]) -> Optional[tuple[int, int]]:
        """The largest and the second largest axis of a variable that is factored; else None."""
        if not self.factored or len(shape) < 2:
            return None
        *_, second, first = np.argsort(shape, kind='stable')
        return (int(first), int(second)) if shape[second] >= self.min_dim_size_to_factor else None

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        update = self._normalize(gradient, variable)
        if self.clipping_threshold is not None:
            update /= tf.maximum(1.0, root_mean_square(update) / self.clipping_threshold)
        update *= tf.cast(learning_rate, variable.dtype)
        if self.multiply_by_parameter_scale:
            update *= tf.maximum(root_mean_square(variable), self.epsilon2)
        if self.beta1 is not None:
            momentum = self._slot(self._momentums, variable)
            self.assign(momentum, self.beta1 * momentum.value + (1.0 - self.beta1) * update)
            update = tf.convert_to_tensor(momentum.value)
        # The decay is part of the update, of which a multiplier of the rate is a multiple.
        rate = (
            self.variable_weight_decay(variable) * self._rate_of(variable).learning_rate_multiplier
        )
        variable.assign_sub(update + rate * variable if rate else update)

    def _normalize(self, gradient: tf.Tensor, variable: tf.Variable) -> tf.Tensor:
        """The gradient over the root of its mean square so far; updates the latter."""
        square = tf.square(gradient) + self.epsilon1
        axes = self.factored_axes(variable.shape)
        slots = self._squares[self._get_variable_index(variable)]
        if axes is None:
            return gradient * tf.math.rsqrt(self._keep(slots[0], square))
        first, second = axes
        row = self._keep(slots[0], tf.reduce_mean(square, axis=first))
        column = self._keep(slots[1], tf.reduce_mean(square, axis=second))
        second_in_row = second - 1 if second > first else second
        row /= tf.reduce_mean(row, axis=second_in_row, keepdims=True)
        update = gradient * tf.expand_dims(tf.math.rsqrt(row), first)
        return update * tf.expand_dims(tf.math.rsqrt(column), second)

    def _keep(self, slot: keras.Variable, square: tf.Tensor) -> tf.Tensor:
        """Moves a running mean of squares; returns it."""
        t = tf.convert_to_tensor(self._iterations) + 1 - self.step_offset
        decay = 1.0 - tf.cast(tf.maximum(t, 1), square.dtype) ** -self.decay_rate
        self.assign(slot, decay * slot.value + (1.0 - decay) * square)
        return tf.convert_to_tensor(slot.value)

    def _decay_weights(self, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
        """Nothing: the decay is part of `update_step`, and not in proportion to the rate."""

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config['exclude_from_weight_decay']
        return config | {
            'factored': self.factored,
            'multiply_by_parameter_scale': self.multiply_by_parameter_scale,
            'beta1': self.beta1,
            'decay_rate': self.decay_rate,
            'step_offset': self.step_offset,
            'clipping_threshold': self.clipping_threshold,
            'min_dim_size_to_factor': self.min_dim_size_to_factor,
            'epsilon1': self.epsilon1,
            'epsilon2': self.epsilon2,
        }


def root_mean_square(x: Any) -> tf.Tensor:
    """sqrt(mean(x^2)) over all elements: scalar."""
    return tf.sqrt(tf.reduce_mean(tf.square(x)))
