"""LARS: momentum with a step per variable that is in proportion to the variable's norm."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from official_lite.modeling.optimization import layer_adaptation, name_patterns


class LARS(layer_adaptation.LayerAdaptiveOptimizer):
    """Layer-wise adaptive rate scaling (https://arxiv.org/abs/1708.03888).

    With g the gradient plus weight_decay_rate * w, and classic momentum:

        trust = eeta * |w| / |g|
        v = momentum * v + lr * trust * g
        w -= v, or with Nesterov's form w -= momentum * v + lr * trust * g

    Without classic momentum:

        v = momentum * v + g
        u = v, or with Nesterov's form u = momentum * v + g
        w -= lr * trust * u, with trust = eeta * |w| / |u|

    The trust is 1 if a norm is 0, and for variables excluded from adaptation.
    """

    def __init__(
        self,
        learning_rate: Any = 0.01,
        momentum: float = 0.9,
        weight_decay_rate: float = 0.0,
        eeta: float = 0.001,
        nesterov: bool = False,
        classic_momentum: bool = True,
        exclude_from_weight_decay: name_patterns.Patterns = None,
        exclude_from_layer_adaptation: name_patterns.Patterns = None,
        name: str = 'LARS',
        **kwargs: Any,
    ) -> None:
        """Makes the optimizer.

        Args:
            learning_rate: Rate or schedule.
            momentum: Share of the last step that is kept.
            weight_decay_rate: The factor of the L2 term in the gradient, 0 for none.
            eeta: The coefficient of trust.
            nesterov: Whether to use Nesterov's form.
            classic_momentum: Whether the rate goes into the momentum, or multiplies it afterwards.
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
        self.momentum, self.eeta = momentum, eeta
        self.nesterov, self.classic_momentum = nesterov, classic_momentum

    def build(self, variables: Sequence[Any]) -> None:
        if self.built:
            return
        variables = list(variables)
        super().build(variables)
        self._momentums = self.add_optimizer_variables(variables, 'momentum')

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        key = self.variable_key(self._model_variable(variable))
        rate = tf.cast(learning_rate, variable.dtype)
        decay = self.variable_weight_decay(variable)
        if decay:
            gradient = gradient + decay * variable
        if self.classic_momentum:
            variable.assign_sub(
                self._momentum(variable, gradient * rate * self._trust(key, variable, gradient))
            )
        else:
            update = self._momentum(variable, gradient)
            variable.assign_sub(rate * self._trust(key, variable, update) * update)

    def _momentum(self, variable: tf.Variable, update: tf.Tensor) -> tf.Tensor:
        momentum = self._slot(self._momentums, variable)
        self.assign(momentum, self.momentum * momentum.value + update)
        return self.momentum * momentum.value + update if self.nesterov else momentum.value

    def _trust(self, key: str, variable: tf.Variable, update: tf.Tensor) -> tf.Tensor:
        if not self._do_layer_adaptation(key):
            return tf.ones([], variable.dtype)
        return layer_adaptation.trust_ratio(variable, update, self.eeta)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            'momentum': self.momentum,
            'eeta': self.eeta,
            'nesterov': self.nesterov,
            'classic_momentum': self.classic_momentum,
        }
