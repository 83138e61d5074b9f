"""Optimizers of Keras 3 that need more than `replicated()`: state or choices beyond one variable."""

from collections.abc import Sequence
from typing import Any, Optional

import keras
import tensorflow as tf

from official_lite.modeling import variable_keys as keys_lib
from official_lite.modeling.optimization import (
    ema_optimizer,
    name_patterns,
    optimizers,
    replicated_optimizer,
)

ReplicatedOptimizer = replicated_optimizer.ReplicatedOptimizer


class Nadam(ReplicatedOptimizer, keras.optimizers.Nadam):
    """Adam with Nesterov's momentum (https://cs229.stanford.edu/proj2015/054_report.pdf)."""

    _u_product: keras.Variable

    def build(self, variables: Sequence[Any]) -> None:
        if self.built:
            return
        super().build(variables)
        # Keras' own cannot be assigned to by several replicas.
        self._untrack_variable(self._u_product)
        self._u_product = self.add_variable(
            shape=(), initializer='ones', aggregation='only_first_replica', name='u_product'
        )

    def _named_scalars(self) -> dict[str, keras.Variable]:
        scalars = super()._named_scalars()
        return scalars | {'u_product': self._u_product} if self.built else scalars

    def _begin_update(self, is_applied: Optional[tf.Tensor]) -> None:
        """The product over the steps of beta_1 * (1 - 0.96^t / 2)."""
        product = tf.convert_to_tensor(self._u_product.value)
        step = tf.cast(tf.convert_to_tensor(self._iterations) + 1, product.dtype)
        new = product * self.beta_1 * (1.0 - 0.5 * 0.96**step)
        self.assign(
            self._u_product, new if is_applied is None else tf.where(is_applied, new, product)
        )


class Muon(ReplicatedOptimizer, keras.optimizers.Muon):
    """Orthogonalized momentum for matrices, AdamW for the rest (https://arxiv.org/abs/2502.16982).

    The choice goes by variable keys; see `MuonConfig`.
    """

    def __init__(
        self,
        *args: Any,
        exclude_layers: name_patterns.Patterns = None,
        flatten_kernels: bool = False,
        **kwargs: Any,
    ) -> None:
        """Makes the optimizer.

        Args:
            *args: Arguments of `keras.optimizers.Muon`.
            exclude_layers: Regular expressions over the keys of variables that AdamW gets.
            flatten_kernels: Whether kernels with more than two dimensions are Muon's too, as
                matrices of [all other dimensions, outputs].
            **kwargs: Arguments of `keras.optimizers.Muon` and `ReplicatedOptimizer`.

        Raises:
            PatternError: a pattern is no regular expression; at `build`: none matches any variable.
        """
        super().__init__(*args, **kwargs)
        self.flatten_kernels = flatten_kernels
        self._excluded = name_patterns.NamePatterns('exclude_layers', exclude_layers)
        self.exclude_layers = self._excluded.patterns

    def build(self, variables: Sequence[Any]) -> None:
        if not self.built:
            variables = list(variables)
            self._excluded.check_used(self.pattern_keys(variables))
        super().build(variables)

    def _should_use_adamw(self, variable: Any) -> bool:
        rank = len(variable.shape)
        is_kernel = self.flatten_kernels and rank > 2 and variable.shape[-1] > 1
        key = self.variable_key(variable)
        is_embedding = self.exclude_embeddings and 'embedding' in key.lower()
        return not (rank == 2 or is_kernel) or is_embedding or self._excluded.match(key)

    def own_weight_decay(self, variable: tf.Variable) -> float:
        is_adamw = self._should_use_adamw(self._model_variable(variable))
        rate = self.adam_weight_decay if is_adamw else self.weight_decay
        return rate if rate and self._has_decay(variable) else 0.0

    def _muon_update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, lr: tf.Tensor, m: keras.Variable
    ) -> None:
        lr = tf.cast(lr, variable.dtype)
        if len(variable.shape) == 2:
            super()._muon_update_step(gradient, variable, lr, m)
            return
        self.assign(m, self.momentum * m.value + gradient)
        update = gradient + self.momentum * m.value if self.nesterov else m.value
        matrix = tf.reshape(update, [-1, variable.shape[-1]])  # [all other dimensions, outputs]
        matrix = self.lr_adjust(lr * self.zeropower_via_newtonschulz5(matrix, self.ns_steps))
        variable.assign_sub(tf.reshape(matrix, variable.shape))

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return config | {
            'exclude_layers': self.exclude_layers or None,
            'flatten_kernels': self.flatten_kernels,
        }


class ScheduleFreeAdamW(ReplicatedOptimizer, keras.optimizers.ScheduleFreeAdamW):
    """AdamW that averages its weights in place of a schedule (https://arxiv.org/abs/2405.15682).

        z -= lr * (g / (sqrt(v / (1 - beta_2^t)) + epsilon) + weight_decay * y)
        x += (z - x) / t
        y = (1 - beta_1) * z + beta_1 * x

    The model has y, at which gradients are taken. The state is z (`momentum`), v (`velocity`) and x
    (`average`); `swap_weights` puts x in the place of y for evaluation and export.

    The numbers are the paper's. Keras 3.15 under TensorFlow takes x out of y with the new z, takes
    weight decay off y and not off z, and evaluates y.
    """

    slots_like_weights = ('average', 'momentum')

    def build(self, variables: Sequence[Any]) -> None:
        if self.built:
            return
        variables = list(variables)
        super().build(variables)
        self._averages = self.add_optimizer_variables(variables, 'average')

    def _apply_rule(
        self, variable: tf.Variable, gradient: tf.Tensor, learning_rate: tf.Tensor
    ) -> None:
        # Weights may have been loaded after `build`: all begins at what they are at the first step.
        is_first = tf.equal(tf.convert_to_tensor(self._iterations), 0)
        for slots in (self._momentums, self._averages):
            slot = self._slot(slots, variable)
            self.assign(slot, tf.where(is_first, variable, slot.value))
        super()._apply_rule(variable, gradient, learning_rate)

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        z = self._slot(self._momentums, variable)
        v = self._slot(self._velocities, variable)
        x = self._slot(self._averages, variable)
        step = tf.convert_to_tensor(self._iterations) + 1
        rate = tf.cast(learning_rate, variable.dtype)
        self.assign_add(v, (tf.square(gradient) - v.value) * (1.0 - self.beta_2))
        correction = optimizers.zero_start_correction(self.beta_2, step, variable.dtype)
        direction = gradient / (tf.sqrt(v.value / correction) + self.epsilon)
        self.assign_sub(z, rate * (direction + self.variable_weight_decay(variable) * variable))
        self.assign_add(x, (z.value - x.value) / tf.cast(step, variable.dtype))
        variable.assign((1.0 - self.beta_1) * z.value + self.beta_1 * x.value)

    def _decay_weights(self, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
        """Nothing: the decay is part of `update_step`."""

    def swap_weights(self) -> None:
        """Exchanges y and x, exactly, outside of replica context; nothing before the first step."""
        if int(self._iterations.numpy()) == 0:
            return
        with self.strategy.scope():
            for pair in zip(self._trainable_variables, self._averages, strict=True):
                weight, average = map(keys_lib.to_tf_variable, pair)
                self.strategy.extended.update(
                    weight, ema_optimizer.exchange, args=(average,), group=False
                )
