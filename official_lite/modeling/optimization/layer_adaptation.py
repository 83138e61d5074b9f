"""What LAMB and LARS share: steps in proportion to the norms of variables, and who is excluded."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from official_lite.modeling.optimization import name_patterns, replicated_optimizer


class LayerAdaptiveOptimizer(replicated_optimizer.ReplicatedOptimizer):
    """An optimizer whose weight decay and adaptation leave out variables by patterns.

    Args:
        weight_decay_rate: The factor of weight decay, 0 for none.
        exclude_from_weight_decay: Regular expressions over variable keys.
        exclude_from_layer_adaptation: The same; None or empty takes those of
            `exclude_from_weight_decay`.
        **kwargs: Arguments of `ReplicatedOptimizer`.
    """

    def __init__(
        self,
        *,
        weight_decay_rate: float,
        exclude_from_weight_decay: name_patterns.Patterns,
        exclude_from_layer_adaptation: name_patterns.Patterns,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.weight_decay_rate = weight_decay_rate
        self._exclusions = name_patterns.Exclusions(
            exclude_from_weight_decay, exclude_from_layer_adaptation
        )

    def build(self, variables: Sequence[Any]) -> None:
        if not self.built:
            self._exclusions.check_used(self.pattern_keys(variables))
            super().build(variables)

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
            'weight_decay_rate': self.weight_decay_rate,
            **self._exclusions.get_config(),
        }


def trust_ratio(variable: tf.Variable, update: tf.Tensor, coefficient: float = 1.0) -> tf.Tensor:
    """coefficient * |variable| / |update|, or 1 where one of these norms is 0: scalar."""
    w_norm, u_norm = tf.norm(variable), tf.norm(update)
    is_defined = tf.logical_and(w_norm > 0, u_norm > 0)
    ratio = tf.math.divide_no_nan(coefficient * w_norm, u_norm)
    return tf.where(is_defined, ratio, tf.ones_like(ratio))
