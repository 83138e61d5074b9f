"""Optimizers that know the learning rate and the weight decay of each variable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from official_lite.modeling.optimization import clipping_optimizer, name_patterns, variable_rates


class RatedOptimizer(clipping_optimizer.ClippingOptimizer):
    """A clipping optimizer with decay by time, patterns for weight decay, and rates of variables.

    Update rules may be adapted for each variable by `set_variable_rates`, or by overriding
    `variable_learning_rate` and `variable_weight_decay`.
    """

    def __init__(
        self,
        *args: Any,
        decay: float = 0.0,
        include_in_weight_decay: name_patterns.Patterns = None,
        exclude_from_weight_decay: name_patterns.Patterns = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._decay = decay
        self._decay_rule = name_patterns.WeightDecayRule(
            include_in_weight_decay, exclude_from_weight_decay
        )
        self._rates = variable_rates.VariableRates()

    def set_variable_rates(self, rates: Mapping[str, variable_rates.VariableRate]) -> None:
        """Says how variables' rates differ from the optimizer's, before `build`.

        Args:
            rates: Variable key (as `variable_key` returns it) to rate; others are as they were.

        Raises:
            ValueError: a multiplier is negative; at `build`: a key is that of no variable.
        """
        self._check_not_built('set_variable_rates')
        self._rates = variable_rates.VariableRates(rates)

    def build(self, variables: Sequence[Any]) -> None:
        """Creates the slots for the trainable variables of the model; see the base class."""
        if self.built:
            return
        variables = list(variables)
        keys = self.pattern_keys(variables)
        if self.weight_decay:
            self._decay_rule.check_used(keys)
        unknown = sorted(set(self._rates.keys) - set(keys))
        if unknown:
            raise ValueError(
                f'{self.name}: set_variable_rates(): no variable has a key of {unknown}'
            )
        super().build(variables)

    def _get_current_learning_rate(self) -> Any:
        return self._decayed_by_time(super()._get_current_learning_rate())

    def _decayed_by_time(self, rate: Any) -> Any:
        if not self._decay:
            return rate
        iterations = tf.cast(tf.convert_to_tensor(self._iterations), tf.float32)
        return tf.convert_to_tensor(rate) / (1.0 + self._decay * iterations)

    def _learning_rates(self) -> list[tf.Tensor]:
        """This step's learning rates by group of variables; the optimizer's own is the first."""
        return self._rates.compute(
            self._limited_rate(tf.convert_to_tensor(self.learning_rate)),
            lambda schedule: self._limited_rate(self._decayed_by_time(schedule(self._iterations))),
        )

    def _limited_rate(self, rate: Any) -> Any:
        """The rate that a rule makes of a schedule's rate, before any multiplier."""
        return rate

    def _rate_group(self, variable: tf.Variable) -> int:
        """Place of a variable in `_learning_rates()`."""
        if not self._rates:
            return 0
        return self._rates.group(self.variable_key(self._model_variable(variable)))

    def variable_learning_rate(self, variable: tf.Variable, learning_rate: tf.Tensor) -> tf.Tensor:
        """The learning rate for one variable; override for rates that differ between layers.

        `learning_rate` is that of the variable's group in `set_variable_rates`.
        """
        del variable
        return learning_rate

    def variable_weight_decay(self, variable: tf.Variable) -> float:
        """The rate of decoupled weight decay for one variable, 0 for none."""
        own = self.own_weight_decay(variable)
        return own * self._rate_of(variable).weight_decay_multiplier if own else 0.0

    def own_weight_decay(self, variable: tf.Variable) -> float:
        """The same before `set_variable_rates`: what the optimizer's arguments say."""
        return self.weight_decay if self.weight_decay and self._has_decay(variable) else 0.0

    def _has_decay(self, variable: tf.Variable) -> bool:
        """Whether neither the patterns nor Keras' `exclude_from_weight_decay()` except it."""
        key = self.variable_key(self._model_variable(variable))
        return self._decay_rule.applies_to(key) and self._use_weight_decay(variable)

    def rate_of_key(self, key: str) -> variable_rates.VariableRate:
        """What `set_variable_rates` said of the variable with this key."""
        return self._rates[key]

    def _rate_of(self, variable: tf.Variable) -> variable_rates.VariableRate:
        if not self._rates:
            return variable_rates.SAME
        return self._rates[self.variable_key(self._model_variable(variable))]

    def _decay_weights(self, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
        """Decoupled weight decay, w -= lr * wd * w (https://arxiv.org/abs/1711.05101)."""
        rate = self.variable_weight_decay(variable)
        if rate:
            factor = tf.cast(learning_rate, variable.dtype) * tf.cast(rate, variable.dtype)
            variable.assign_sub(variable * factor)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        if isinstance(config['learning_rate'], float):
            # The shortest number that is this float32: 0.1, not 0.10000000149.
            config['learning_rate'] = float(str(np.float32(config['learning_rate'])))
        return config | {'decay': self._decay, **self._decay_rule.get_config()}
