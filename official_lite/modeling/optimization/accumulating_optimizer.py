"""Optimizers that take the mean of several micro steps' gradients for one update."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

import keras
import tensorflow as tf

from official_lite.modeling.optimization import loss_scaled_optimizer

GradientsAndVariables = loss_scaled_optimizer.GradientsAndVariables


class AccumulatingOptimizer(loss_scaled_optimizer.LossScaledOptimizer):
    """A loss-scaled optimizer that accumulates gradients in slots of its own."""

    def __init__(
        self, *args: Any, gradient_accumulation_steps: Optional[int] = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._gradient_sums: list[keras.Variable] = []
        self._num_micro_steps = 1
        self._micro_step: Optional[keras.Variable] = None
        self.set_gradient_accumulation_steps(gradient_accumulation_steps)

    def set_gradient_accumulation_steps(self, num_steps: Optional[int]) -> None:
        """Sets the number of calls of `apply_gradients` for one update, before `build`."""
        self._check_not_built('set_gradient_accumulation_steps')
        num_steps = 1 if num_steps is None else num_steps
        if num_steps < 1:
            raise ValueError(
                f'gradient_accumulation_steps: expected 1 or more; received {num_steps}'
            )
        self._forget({} if self._micro_step is None else {'micro_step': self._micro_step})
        self._num_micro_steps = num_steps
        self._micro_step = None
        if num_steps > 1:
            self._micro_step = self.add_variable(
                shape=(), dtype='int64', aggregation='only_first_replica', name='micro_step'
            )

    def build(self, variables: Sequence[Any]) -> None:
        """Creates the slots for the trainable variables of the model; see the base class."""
        if self.built:
            return
        variables = list(variables)
        super().build(variables)
        if self._num_micro_steps > 1:
            self._gradient_sums = self.add_optimizer_variables(variables, 'gradient_accumulator')

    def _named_scalars(self) -> dict[str, keras.Variable]:
        scalars = super()._named_scalars()
        return scalars if self._micro_step is None else scalars | {'micro_step': self._micro_step}

    def _accumulate(
        self, pairs: GradientsAndVariables, is_finite: Optional[tf.Tensor]
    ) -> tuple[GradientsAndVariables, list[tf.Tensor], Optional[tf.Tensor]]:
        """Returns mean gradients, new sums, and whether the variables change now (None: always).

        A micro step that is not finite does not count.
        """
        if self._micro_step is None:
            return pairs, [], is_finite
        counts = tf.constant(True) if is_finite is None else is_finite
        step = tf.convert_to_tensor(self._micro_step)
        is_last = tf.equal(step, self._num_micro_steps - 1)
        is_applied = tf.logical_and(counts, is_last)
        means, accumulated = [], []
        for gradient, variable in pairs:
            old = tf.convert_to_tensor(self._slot(self._gradient_sums, variable).value)
            total = old + gradient
            means.append((total / self._num_micro_steps, variable))
            total = tf.where(is_last, tf.zeros_like(total), total)
            accumulated.append(tf.where(counts, total, old))
        next_step = tf.math.floormod(step + 1, self._num_micro_steps)
        self._micro_step.assign(tf.where(counts, next_step, step))
        return means, accumulated, is_applied

    def _keep_sum(self, variable: tf.Variable, accumulated: Optional[tf.Tensor]) -> None:
        """Sets the sum of one variable's gradients, on one device; None: there is none."""
        if accumulated is not None:
            self.assign(self._slot(self._gradient_sums, variable), accumulated)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {'gradient_accumulation_steps': self._num_micro_steps}
