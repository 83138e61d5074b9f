"""LAMB: Adam with a step per variable that is in proportion to the variable's norm."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from official_lite.modeling.optimization import layer_adaptation, name_patterns, optimizers


class LAMB(layer_adaptation.LayerAdaptiveOptimizer):
    """Layer-wise adaptive moments (https://arxiv.org/abs/1904.00962).

        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g^2
        u = m / (1 - beta_1^t) / (sqrt(v / (1 - beta_2^t)) + epsilon) + weight_decay_rate * w
        w -= lr * |w| / |u| * u

    The ratio is 1 if a norm is 0, and for variables excluded from adaptation.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-6,
        weight_decay_rate: float = 0.0,
        exclude_from_weight_decay: name_patterns.Patterns = None,
        exclude_from_layer_adaptation: name_patterns.Patterns = None,
        name: str = 'LAMB',
        **kwargs: Any,
    ) -> None:
        """Makes the optimizer.

        Args:
            learning_rate: Rate or schedule.
            beta_1: Decay of the mean of the gradients.
            beta_2: Decay of the mean of their squares.
            epsilon: Added to the root of the latter.
            weight_decay_rate: The factor of weight decay, 0 for none.
            exclude_from_weight_decay: Regular expressions over variable keys.
            exclude_from_layer_adaptation: The same; None or empty takes those of
                `exclude_from_weight_decay`.
            name: Name of the optimizer.
            **kwargs: Arguments of `ReplicatedOptimizer`.
        """
        super().__init__(
            learning_rate=learning_rate,
            weight_decay_rate=weight_decay_rate,
            exclude_from_weight_decay=exclude_from_weight_decay,
            exclude_from_layer_adaptation=exclude_from_layer_adaptation,
            name=name,
            **kwargs,
        )
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def build(self, variables: Sequence[Any]) -> None:
        if self.built:
            return
        variables = list(variables)
        super().build(variables)
        self._momentums, self._velocities = self.add_optimizer_variables(
            variables, ['momentum', 'velocity']
        )

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        key = self.variable_key(self._model_variable(variable))
        update = self._adam_update(gradient, variable)
        rate = self.variable_weight_decay(variable)
        if rate:
            update += rate * variable
        ratio = (
            layer_adaptation.trust_ratio(variable, update)
            if self._do_layer_adaptation(key)
            else 1.0
        )
        variable.assign_sub(ratio * tf.cast(learning_rate, variable.dtype) * update)

    def _adam_update(self, gradient: tf.Tensor, variable: tf.Variable) -> tf.Tensor:
        m = self._slot(self._momentums, variable)
        v = self._slot(self._velocities, variable)
        self.assign(m, self.beta_1 * m.value + (1 - self.beta_1) * gradient)
        self.assign(v, self.beta_2 * v.value + (1 - self.beta_2) * tf.square(gradient))
        step = tf.convert_to_tensor(self._iterations) + 1
        m_hat = m.value / optimizers.zero_start_correction(self.beta_1, step, variable.dtype)
        v_hat = v.value / optimizers.zero_start_correction(self.beta_2, step, variable.dtype)
        return m_hat / (tf.sqrt(v_hat) + self.epsilon)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            'beta_1': self.beta_1,
            'beta_2': self.beta_2,
            'epsilon': self.epsilon,
        }
