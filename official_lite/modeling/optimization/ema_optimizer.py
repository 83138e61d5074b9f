"""Exponential moving averages of a model's weights."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Optional

import keras
import tensorflow as tf

from official_lite.modeling import variable_keys as keys_lib
from official_lite.modeling.optimization import replicated_optimizer, variable_rates


class ExponentialMovingAverage(keras.optimizers.Optimizer):
    """An optimizer that also keeps averages of the weights, to evaluate and export with.

    After the update with number t, each average becomes d * average + (1 - d) * weight. Until
    update `start_step`, and at the first one, d is 0: the average is the weight itself, and has no
    bias towards where it began. After that d is `average_decay`, or min(average_decay, (1 + k) /
    (10 + k)) with k = t - start_step if the decay is dynamic. A step that the wrapped optimizer
    skips or accumulates changes no average.

        optimizer = ExponentialMovingAverage(optimizer)
        optimizer.shadow_copy(model)
        ...
        with optimizer.averaged_weights():
            ...  # The model has the averages; afterwards its own weights again, to the last bit.
    """

    def __init__(
        self,
        optimizer: replicated_optimizer.ReplicatedOptimizer,
        trainable_weights_only: bool = True,
        average_decay: float = 0.99,
        start_step: int = 0,
        dynamic_decay: bool = True,
        name: str = 'ExponentialMovingAverage',
        **kwargs: Any,
    ) -> None:
        """Wraps an optimizer, under the strategy that it was made under.

        Args:
            optimizer: What updates the weights.
            trainable_weights_only: Whether averages are kept of the trainable weights only, or of
                the statistics of BatchNorm and all other floating-point variables too.
            average_decay: Decay of the average, 0 to 1.
            start_step: The update from which it is an average of several.
            dynamic_decay: Whether the decay rises to `average_decay`.
            name: Name of the optimizer.
            **kwargs: clipnorm, clipvalue, global_clipnorm: None; they belong to the wrapped
                optimizer.

        Raises:
            TypeError: `optimizer` is not a ReplicatedOptimizer.
            ValueError: an argument is out of range.
        """
        _check_arguments(optimizer, average_decay, start_step, kwargs)
        super().__init__(learning_rate=0.0, name=name)
        self._optimizer = optimizer
        self._trainable_weights_only = trainable_weights_only
        self._average_decay = average_decay
        self._start_step = start_step
        self._dynamic_decay = dynamic_decay
        self._pairs = _Pairs()
        self.built: bool = False

    # The averages.

    def shadow_copy(self, model: Any) -> None:
        """Creates the averages of a model's weights, if there are none yet.

        Args:
            model: Keras model, built.
        """
        if self.has_shadow_copy:
            return
        weights = model.trainable_variables if self._trainable_weights_only else model.variables
        self._create_averages(weights)

    @property
    def has_shadow_copy(self) -> bool:
        """Whether the averages have been created."""
        return bool(self._pairs.weights)

    def swap_weights(self) -> None:
        """Exchanges weights and averages, exactly, outside of replica context.

        A second call restores both to the last bit.

        Before the first update the averages are set to the weights first.

        Raises:
            RuntimeError: there are no averages, or it is called in replica context of several
                replicas.
        """
        self._check_can_swap()
        with self._optimizer.strategy.scope():
            if int(self.iterations.numpy()) == 0:
                self._for_each_pair(_copy)
            self._for_each_pair(exchange)

    @contextlib.contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """The model has the averages inside of this context, and its own weights again after it."""
        self.swap_weights()
        try:
            yield
        finally:
            self.swap_weights()

    def assign_average_vars(self, var_list: Sequence[Any]) -> None:
        """Overwrites the trainable ones of some variables of the model with their averages."""
        wanted = {keys_lib.identity(v) for v in var_list if v.trainable}
        with self._optimizer.strategy.scope():
            self._for_each_pair(lambda weight, average: weight.assign(average), wanted)

    def _create_averages(self, weights: Sequence[Any]) -> None:
        self._optimizer.check_strategy()
        for weight in weights:
            if not tf.as_dtype(weight.dtype).is_floating:
                continue
            average = self._optimizer.add_variable_from_reference(weight, 'average')
            self._pairs.weights.append(weight)
            self._pairs.averages.append(average)
        self._for_each_pair(_copy)

    def _for_each_pair(self, function: Any, wanted: Optional[set[int]] = None) -> None:
        strategy = self._optimizer.strategy
        for weight, average in zip(self._pairs.weights, self._pairs.averages, strict=True):
            if wanted is None or keys_lib.identity(weight) in wanted:
                weight, average = map(keys_lib.to_tf_variable, (weight, average))
                strategy.extended.update(weight, function, args=(average,), group=False)

    def _check_can_swap(self) -> None:
        if not self.has_shadow_copy:
            raise RuntimeError(f'{self.name}: there are no averages yet; call shadow_copy(model)')
        context = tf.distribute.get_replica_context()
        if context is not None and context.num_replicas_in_sync > 1:
            raise RuntimeError(f'{self.name}: swap_weights() expects cross-replica context')

    # The step.

    def build(self, variables: Sequence[Any]) -> None:
        """Builds the wrapped optimizer, and creates the averages if `shadow_copy` has not done so.

        Raises:
            RuntimeError: averages of all variables are wanted, but nobody has said which there are.
        """
        if self.built:
            return
        self._optimizer.build(variables)
        self.built = True
        if self.has_shadow_copy:
            return
        known = self._optimizer.known_variables
        if not self._trainable_weights_only and not known:
            raise RuntimeError(
                f'{self.name}: call shadow_copy(model) or set_variable_keys(keys) before build(), '
                'to say which variables there are beside the trainable ones'
            )
        self._create_averages(list(variables if self._trainable_weights_only else known))

    def apply_gradients(
        self, grads_and_vars: Iterable[tuple[Any, Any]], name: Optional[str] = None, **kwargs: Any
    ) -> keras.Variable:
        """Like the wrapped optimizer's; then updates the averages."""
        del name
        self.apply_step(grads_and_vars, is_summed=replicated_optimizer.is_summed(**kwargs))
        return self._optimizer.iterations

    def apply(self, grads: Sequence[Any], trainable_variables: Any = None) -> None:
        """Like `apply_gradients`, with gradients and variables apart."""
        self.apply_step(self._optimizer.pair_up(grads, trainable_variables))

    @tf.autograph.experimental.do_not_convert
    def apply_step(
        self, grads_and_vars: Iterable[tuple[Any, Any]], *, is_summed: bool = False
    ) -> Optional[tf.Tensor]:
        """Does one step, averages included; returns what `ReplicatedOptimizer.apply_step` does."""
        pairs = list(grads_and_vars)
        if not self.built:
            self._optimizer.build_lazily(self, [variable for _, variable in pairs])
        is_applied = self._optimizer.apply_step(pairs, is_summed=is_summed)
        tf.__internal__.distribute.interim.maybe_merge_call(
            self._update_averages,
            self._optimizer.strategy,
            self._current_weights(),
            self._decay(is_applied),
        )
        return is_applied

    def _current_weights(self) -> list[Any]:
        """The weights to average. Statistics may differ between replicas: their mean is taken."""
        weights = [keys_lib.to_tf_variable(weight) for weight in self._pairs.weights]
        context = tf.distribute.get_replica_context()
        local = [i for i, weight in enumerate(weights) if not weight.trainable]
        if context.num_replicas_in_sync == 1 or not local:
            return weights
        # The reduction asks for a device: an identity has one, a read variable may have none.
        values = [tf.identity(weights[i]) for i in local]
        means = context.all_reduce(tf.distribute.ReduceOp.MEAN, values)
        for i, mean in zip(local, means, strict=True):
            weights[i] = mean
        return weights

    def _decay(self, is_applied: Optional[tf.Tensor]) -> tf.Tensor:
        """The factor of the old averages at this step: scalar float32."""
        step = tf.cast(tf.convert_to_tensor(self.iterations), tf.float32)
        decay = tf.constant(self._average_decay, tf.float32)
        if self._dynamic_decay:
            k = tf.maximum(step - self._start_step, 0.0)
            decay = tf.minimum(decay, (1.0 + k) / (10.0 + k))
        is_weight = tf.logical_or(step < self._start_step, step <= 1.0)
        decay = tf.where(is_weight, 0.0, decay)
        return decay if is_applied is None else tf.where(is_applied, decay, 1.0)

    def _update_averages(
        self, strategy: tf.distribute.Strategy, weights: list[Any], decay: tf.Tensor
    ) -> None:
        averages = map(keys_lib.to_tf_variable, self._pairs.averages)
        for average, weight in zip(averages, weights, strict=True):
            strategy.extended.update(average, _average, args=(weight, decay), group=False)

    # What the wrapped optimizer answers.

    @property
    def inner_optimizer(self) -> replicated_optimizer.ReplicatedOptimizer:
        """The optimizer that updates the weights."""
        return self._optimizer

    @property
    def slots_like_weights(self) -> tuple[str, ...]:
        """Those of the wrapped optimizer, the averages among them."""
        return self._optimizer.slots_like_weights

    @property
    def gradient_norm(self) -> tf.Variable:
        """That of the wrapped optimizer."""
        return self._optimizer.gradient_norm

    @property
    def norm_is_noted(self) -> tf.Variable:
        """That of the wrapped optimizer."""
        return self._optimizer.norm_is_noted

    @property
    def iterations(self) -> Any:
        return self._optimizer.iterations

    @property
    def learning_rate(self) -> Any:
        return self._optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self._optimizer.learning_rate = value

    @property
    def variables(self) -> list[keras.Variable]:
        return self._optimizer.variables

    def set_variable_keys(self, keys: Mapping[str, Any]) -> None:
        self._optimizer.set_variable_keys(keys)

    def slots(self) -> dict[str, dict[str, keras.Variable]]:
        """Those of the wrapped optimizer, and `average`."""
        return self._optimizer.slots()

    def scalars(self) -> dict[str, keras.Variable]:
        return self._optimizer.scalars()

    def checkpoint_variables(self) -> dict[str, keras.Variable]:
        return self._optimizer.checkpoint_variables()

    def set_variable_rates(self, rates: Mapping[str, variable_rates.VariableRate]) -> None:
        self._optimizer.set_variable_rates(rates)

    def set_loss_scale(self, loss_scale: Any) -> None:
        self._optimizer.set_loss_scale(loss_scale)

    def set_gradient_accumulation_steps(self, num_steps: Optional[int]) -> None:
        self._optimizer.set_gradient_accumulation_steps(num_steps)

    def get_scaled_loss(self, loss: tf.Tensor) -> tf.Tensor:
        return self._optimizer.get_scaled_loss(loss)

    def get_unscaled_gradients(self, gradients: Sequence[Any]) -> list[Any]:
        return self._optimizer.get_unscaled_gradients(gradients)

    def scale_loss(self, loss: tf.Tensor) -> tf.Tensor:
        return self._optimizer.scale_loss(loss)

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor; the optimizer as Keras serializes it."""
        return {
            'optimizer': keras.optimizers.serialize(self._optimizer),
            'trainable_weights_only': self._trainable_weights_only,
            'average_decay': self._average_decay,
            'start_step': self._start_step,
            'dynamic_decay': self._dynamic_decay,
            'name': self.name,
        }


class _Pairs:
    """Weights and their averages, in an object of its own that Keras does not look into."""

    def __init__(self) -> None:
        self.weights: list[Any] = []
        self.averages: list[keras.Variable] = []


def _copy(weight: tf.Variable, average: tf.Variable) -> None:
    average.assign(weight)


def exchange(weight: tf.Variable, average: tf.Variable) -> None:
    """Exchanges the values of two variables on one device."""
    value = tf.identity(weight)
    weight.assign(average)
    average.assign(value)


def _average(average: tf.Variable, weight: Any, decay: tf.Tensor) -> None:
    """d * average + (1 - d) * weight, which is exact for 0 and for 1."""
    decay = tf.cast(decay, average.dtype)
    average.assign(decay * average + (1.0 - decay) * weight)


def _check_arguments(
    optimizer: Any, average_decay: float, start_step: int, kwargs: dict[str, Any]
) -> None:
    if not isinstance(optimizer, replicated_optimizer.ReplicatedOptimizer):
        raise TypeError(
            'ExponentialMovingAverage: expected a ReplicatedOptimizer; '
            f'received {type(optimizer).__name__}'
        )
    if not 0.0 <= average_decay <= 1.0:
        raise ValueError(f'average_decay: expected 0 to 1; received {average_decay}')
    if start_step < 0:
        raise ValueError(f'start_step: expected 0 or more; received {start_step}')
    for name, value in kwargs.items():
        if name not in ('clipnorm', 'clipvalue', 'global_clipnorm'):
            raise TypeError(f'ExponentialMovingAverage has no argument {name!r}')
        if value is not None:
            raise ValueError(f'ema.{name}: set {name} of the optimizer, not of its average')
