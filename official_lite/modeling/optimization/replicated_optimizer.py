"""What all optimizers have in common: a step that is right on any number of replicas.

Keras clips each replica's gradients before it sums them, looks for an overflow on the first
replica only, and cannot accumulate gradients under MirroredStrategy (keras#20582). So the whole
step happens here, in this order:

1. sum of the gradients over the replicas (all-reduce);
2. with loss scaling: are they all finite? If not, the step is skipped on every replica;
3. with gradient accumulation: mean over the micro steps, and nothing more until the last of them;
   the norm of all gradients together is noted here (`gradient_norm`);
4. gradient transformers and clipping;
5. for each variable: decoupled weight decay, the update rule, the constraint;
6. the iteration counter.

The rules themselves are Keras' or our own `update_step`s.
"""

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Optional

import keras
import tensorflow as tf

from official_lite.modeling import replica_reduction
from official_lite.modeling import variable_keys as keys_lib
from official_lite.modeling.optimization import clipping_optimizer, rated_optimizer

GradientsAndVariables = clipping_optimizer.GradientsAndVariables
GradientsTransform = clipping_optimizer.GradientsTransform

# What Keras optimizers do in a way that does not work, or not rightly, under tf.distribute.
_KERAS_FEATURES = {
    'use_ema': 'wrap the optimizer in ExponentialMovingAverage',
    'ema_overwrite_frequency': 'wrap the optimizer in ExponentialMovingAverage',
    'loss_scale_factor': 'use loss_scale',
}


class ReplicatedOptimizer(rated_optimizer.RatedOptimizer):
    """Goes before a Keras optimizer: `class SGD(ReplicatedOptimizer, keras.optimizers.SGD)`.

    Make it, and call `build`, under `strategy.scope()`; call `apply_gradients` in replica context
    (inside `strategy.run`, or without a strategy) with each replica's own gradients. They are
    summed, so each replica's loss is divided by the number of replicas.

    What it can do lies in the classes that it is made of, each in a file of its own: keys of the
    state, loss scaling, accumulation, clipping, and rates of each variable.

    Args:
        *args: Arguments of the Keras optimizer.
        loss_scale: 'dynamic', a fixed number, or None for no loss scaling.
        gradient_accumulation_steps: Calls of `apply_gradients` for one update, with the mean of
            their gradients. None or 1: each.
        clipnorm: Largest norm of each gradient.
        clipvalue: Largest absolute value of an element of a gradient.
        global_clipnorm: Largest norm of all gradients together.
        gradient_clip_norm: The same, before the other kinds of clipping.
        gradient_transformers: Applied in order to the list of (gradient, variable) of an update,
            before clipping.
        decay: The rate is divided by 1 + decay * number of updates so far.
        include_in_weight_decay: Regular expressions over variable keys. Given, the optimizer's
            `weight_decay` is for what they match only.
        exclude_from_weight_decay: Regular expressions of what does not decay; not used when there
            are patterns to include.
        gradient_aggregator: Used instead of the sum over the replicas: list of (gradient, variable)
            to the same.
        jit_compile: Compile the update rule of each variable with XLA; in a `tf.function`, and not
            with several replicas.
        **kwargs: More arguments of the Keras optimizer.

    Raises:
        ValueError: an argument is out of range, or a feature of Keras optimizers is asked for that
            fails under tf.distribute.
        PatternError: a pattern is no regular expression; at `build`, with weight decay: none of the
            patterns of a list matches any variable.

    Attributes:
        gradient_norm: Global norm of the gradients of the last update, float32 variable: of their
            sum over the replicas, the mean over micro steps, before transformers and clipping.
    """

    def __init__(
        self,
        *args: Any,
        gradient_aggregator: Optional[GradientsTransform] = None,
        jit_compile: bool = False,
        **kwargs: Any,
    ) -> None:
        _refuse_keras_features(kwargs)
        kwargs.setdefault('name', type(self).__name__)
        super().__init__(*args, **kwargs)
        self._gradient_aggregator = gradient_aggregator
        self.jit_compile = jit_compile
        self._check_jit_compile()

    def apply_gradients(
        self, grads_and_vars: Iterable[tuple[Any, Any]], name: Optional[str] = None, **kwargs: Any
    ) -> keras.Variable:
        """Does one step (see the top of this file).

        Args:
            grads_and_vars: Pairs of this replica's gradient (unscaled; None for a variable that the
                loss does not depend on) and variable.
            name: Not used; for callers of TensorFlow's optimizers.
            **kwargs: skip_gradients_aggregation=True, or experimental_aggregate_gradients=False, as
                older code has it: the gradients have been summed over the replicas already.

        Returns:
            The number of updates so far.

        Raises:
            ValueError: no variable has a gradient, or one is not among those the optimizer was
                built with.
            RuntimeError: called outside of replica context.
        """
        del name
        self.apply_step(grads_and_vars, is_summed=is_summed(**kwargs))
        return self._iterations

    def apply(self, grads: Sequence[Any], trainable_variables: Any = None) -> None:
        """Like `apply_gradients`; the variables are by default those of `build`."""
        self.apply_step(self.pair_up(grads, trainable_variables))

    def pair_up(self, grads: Sequence[Any], trainable_variables: Any) -> list[tuple[Any, Any]]:
        """Pairs of gradient and variable; None stands for the variables of `build`."""
        variables = (
            self._trainable_variables if trainable_variables is None else trainable_variables
        )
        return list(zip(grads, variables, strict=True))

    @tf.autograph.experimental.do_not_convert
    def apply_step(
        self, grads_and_vars: Iterable[tuple[Any, Any]], *, is_summed: bool = False
    ) -> Optional[tf.Tensor]:
        """Does one step.

        Returns:
            Whether it changed the variables (scalar bool); None means that it always does.
        """
        _check_replica_context()
        pairs = self._prepare(grads_and_vars)
        if not is_summed:
            pairs = self._sum_over_replicas(pairs)
        is_finite = self._check_finite(pairs)
        pairs, accumulated, is_applied = self._accumulate(pairs, is_finite)
        norm = self._note_norm(pairs, is_applied)
        pairs = self._transform(pairs, norm)
        self._begin_update(is_applied)
        tf.__internal__.distribute.interim.maybe_merge_call(
            self._update_all,
            self._distribution_strategy,
            pairs,
            accumulated,
            self._learning_rates(),
            is_applied,
        )
        self._iterations.assign_add(1 if is_applied is None else tf.cast(is_applied, tf.int64))
        return is_applied

    def _begin_update(self, is_applied: Optional[tf.Tensor]) -> None:
        """Updates what a rule keeps for all variables together, on each replica alike.

        Args:
            is_applied: As `apply_step` returns it: if it is False, nothing may change.
        """

    def _prepare(self, grads_and_vars: Iterable[tuple[Any, Any]]) -> GradientsAndVariables:
        """Dense gradients in the dtype of their variables; builds the optimizer if need be."""
        pairs = list(grads_and_vars)
        if not self.built:
            self.build_lazily(self, [variable for _, variable in pairs])
        self._check_variables_are_known([variable for _, variable in pairs])
        missing = [self.variable_key(v) for g, v in pairs if g is None]
        if len(missing) == len(pairs):
            raise ValueError(f'no variable has a gradient; received None for {missing}')
        if missing:
            warnings.warn(
                f'no gradients for {missing}: the loss does not depend on them', stacklevel=4
            )
        variables = [(g, keys_lib.to_tf_variable(v)) for g, v in pairs if g is not None]
        return [(tf.cast(tf.convert_to_tensor(g), v.dtype), v) for g, v in variables]

    def _sum_over_replicas(self, pairs: GradientsAndVariables) -> GradientsAndVariables:
        if self._gradient_aggregator is not None:
            return list(self._gradient_aggregator(pairs))
        context = tf.distribute.get_replica_context()
        if context.num_replicas_in_sync == 1:
            return pairs
        gradients = replica_reduction.reduce_over_replicas([g for g, _ in pairs])
        return [(g, v) for g, (_, v) in zip(gradients, pairs, strict=True)]

    def _update_all(
        self,
        strategy: tf.distribute.Strategy,
        pairs: GradientsAndVariables,
        accumulated: list[tf.Tensor],
        learning_rates: list[tf.Tensor],
        is_applied: Optional[tf.Tensor],
    ) -> None:
        for i, (gradient, variable) in enumerate(pairs):
            total = accumulated[i] if accumulated else None
            rate = learning_rates[self._rate_group(variable)]
            args = (gradient, total, rate, is_applied)
            strategy.extended.update(variable, self._update_one, args=args, group=False)

    def _update_one(
        self,
        variable: tf.Variable,
        gradient: tf.Tensor,
        accumulated: Optional[tf.Tensor],
        learning_rate: tf.Tensor,
        is_applied: Optional[tf.Tensor],
    ) -> None:
        """Updates one variable on one device; a condition in here is around nothing collective."""
        self._keep_sum(variable, accumulated)
        if is_applied is None:
            self._apply_rule(variable, gradient, learning_rate)
            return

        def update() -> tf.Tensor:
            self._apply_rule(variable, gradient, learning_rate)
            return tf.constant(True)

        tf.cond(is_applied, update, lambda: tf.constant(False))

    def _apply_rule(
        self, variable: tf.Variable, gradient: tf.Tensor, learning_rate: tf.Tensor
    ) -> None:
        learning_rate = self.variable_learning_rate(variable, learning_rate)
        self._decay_weights(variable, learning_rate)
        self._compiled_rule(variable)(gradient, learning_rate)
        constraint = self._model_variable(variable).constraint
        if constraint is not None:
            variable.assign(constraint(variable))

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        config = super().get_config()
        for name in ('use_ema', 'ema_momentum', 'ema_overwrite_frequency', 'loss_scale_factor'):
            config.pop(name, None)
        return config | {'jit_compile': self.jit_compile}

    def _all_reduce_sum_gradients(self, grads_and_vars: Iterable[Any]) -> list[Any]:
        """The identity: `apply_step` has summed already, should Keras' code ever get here."""
        return list(grads_and_vars)

    def _compiled_rule(self, variable: tf.Variable) -> Callable[[tf.Tensor, tf.Tensor], None]:
        def rule(gradient: tf.Tensor, learning_rate: tf.Tensor) -> None:
            self.update_step(gradient, variable, learning_rate)

        is_compiled = self.jit_compile and not tf.executing_eagerly()
        return tf.function(rule, jit_compile=True) if is_compiled else rule

    def build_lazily(self, optimizer: keras.optimizers.Optimizer, variables: list[Any]) -> None:
        """Builds `optimizer`, this one or its wrapper, from inside of `strategy.run`."""

        def build(strategy: tf.distribute.Strategy) -> None:
            with tf.init_scope(), strategy.scope():
                optimizer.build(variables)

        tf.__internal__.distribute.interim.maybe_merge_call(build, self._distribution_strategy)

    def _check_jit_compile(self) -> None:
        if self.jit_compile and self._distribution_strategy.num_replicas_in_sync > 1:
            raise ValueError(
                f'{self.name}: jit_compile does not work with '
                f'{self._distribution_strategy.num_replicas_in_sync} replicas; '
                'set jit_compile=false, or runtime.enable_xla'
            )


def replicated(optimizer_cls: type[keras.optimizers.Optimizer]) -> type[ReplicatedOptimizer]:
    """A class with the update rule of a Keras optimizer class and the step of this file."""
    if issubclass(optimizer_cls, ReplicatedOptimizer):
        return optimizer_cls
    namespace = {'__doc__': optimizer_cls.__doc__, '__module__': __name__}
    return type(optimizer_cls.__name__, (ReplicatedOptimizer, optimizer_cls), namespace)


def is_summed(
    skip_gradients_aggregation: bool = False, experimental_aggregate_gradients: bool = True
) -> bool:
    """Whether a caller of `apply_gradients` says that the gradients are summed already."""
    return skip_gradients_aggregation or not experimental_aggregate_gradients


def _check_replica_context() -> None:
    if tf.distribute.in_cross_replica_context():
        raise RuntimeError(
            'apply_gradients() was called in cross-replica context; expected replica context: '
            'call it inside strategy.run()'
        )


def _refuse_keras_features(kwargs: dict[str, Any]) -> None:
    for name, instead in _KERAS_FEATURES.items():
        if kwargs.pop(name, None):
            raise ValueError(f'{name} does not work under tf.distribute: {instead}')
