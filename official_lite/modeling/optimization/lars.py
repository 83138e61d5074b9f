"""LARS: momentum with a step per variable that is in proportion to the variable's norm."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from official_lite.modeling.optimization import lamb, name_patterns, replicated_optimizer


class LARS(replicated_optimizer.ReplicatedOptimizer):
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
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.momentum, self.eeta = momentum, eeta
        self.nesterov, self.classic_momentum = nesterov, classic_momentum
        self.weight_decay_rate = weight_decay_rate
        self._exclusions = name_patterns.Exclusions(
            exclude_from_weight_decay, exclude_from_layer_adaptation
        )

    def build(self, variables: Sequence[Any]) -> None:
        if self.built:
            return
        variables = list(variables)
        self._exclusions.check_used(self.pattern_keys(variables))
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
        return lamb.trust_ratio(variable, update, self.eeta)

    def own_weight_decay(self, variable: tf.Variable) -> float:
        key = self.variable_key(self._model_variable(variable))
        return self.weight_decay_rate if self._do_use_weight_decay(key) else 0.0

    def _decay_weights(self, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
        """Nothing: the decay is part of `update_step`."""

    # By Model Garden's names, for subclasses that override them.

    def _do_use_weight_decay(self, param_name: str) -> bool:
        """Whether the variable with this key decays."""
        return bool(self.weight_decay_rate) and self._exclusions.has_decay(param_name)

    def _do_layer_adaptation(self, param_name: str) -> bool:
        """Whether the step of the variable with this key adapts to its norm."""
        return self._exclusions.has_adaptation(param_name)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config['weight_decay'], config['include_in_weight_decay']
        return config | {
            'momentum': self.momentum,
            'eeta': self.eeta,
            'nesterov': self.nesterov,
            'classic_momentum': self.classic_momentum,
            'weight_decay_rate': self.weight_decay_rate,
            **self._exclusions.get_config(),
        }
