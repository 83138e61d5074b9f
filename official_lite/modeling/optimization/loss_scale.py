"""Loss scaling for float16, as in mixed-precision training (https://arxiv.org/abs/1710.03740).

The loss is multiplied by a scale before the gradients are taken, so that small ones do not vanish
in float16, and they are divided by it afterwards. A dynamic scale halves whenever a gradient is not
finite on any replica (that step is skipped on all of them) and doubles after 2,000 good steps in a
row.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, Union

import keras
import tensorflow as tf

DynamicOrFixed = Union[Literal['dynamic'], float, None]

# Defaults of tf_keras.mixed_precision.LossScaleOptimizer.
INITIAL_SCALE = 2.0**15
GROWTH_STEPS = 2000


class LossScale:
    """The scale of the loss and its state."""

    def __init__(
        self,
        loss_scale: Union[Literal['dynamic'], float],
        add_variable: Callable[..., keras.Variable],
    ) -> None:
        """Creates the state.

        Args:
            loss_scale: 'dynamic', or a fixed scale.
            add_variable: `keras.optimizers.Optimizer.add_variable`, which creates a scalar.

        Raises:
            ValueError: the scale is neither 'dynamic' nor positive.
        """
        self.is_dynamic = loss_scale == 'dynamic'
        initial = INITIAL_SCALE if loss_scale == 'dynamic' else _check_scale(loss_scale)
        self.scale = add_variable(
            shape=(),
            initializer=keras.initializers.Constant(initial),
            dtype='float32',
            aggregation='only_first_replica',
            name='loss_scale',
        )
        self.good_steps = add_variable(
            shape=(),
            initializer='zeros',
            dtype='int64',
            aggregation='only_first_replica',
            name='good_steps',
        )

    def variables(self) -> dict[str, keras.Variable]:
        """The state by name."""
        return {'loss_scale': self.scale, 'good_steps': self.good_steps}

    def scaled_loss(self, loss: tf.Tensor) -> tf.Tensor:
        """`loss` times the scale, in the dtype of `loss`."""
        loss = tf.convert_to_tensor(loss)
        return loss * tf.cast(tf.convert_to_tensor(self.scale), loss.dtype)

    def unscaled_gradients(self, gradients: Sequence[Any]) -> list[Any]:
        """Each gradient (tensor, IndexedSlices or None) divided by the scale."""
        inverse = 1.0 / tf.convert_to_tensor(self.scale)
        return [_multiply(gradient, inverse) for gradient in gradients]

    def update(self, is_finite: tf.Tensor) -> None:
        """Takes note, in replica context, of whether a step's gradients were finite."""
        if not self.is_dynamic:
            return
        scale = tf.convert_to_tensor(self.scale)
        good_steps = tf.convert_to_tensor(self.good_steps) + 1
        doubled = tf.where(tf.math.is_finite(scale * 2.0), scale * 2.0, scale)
        is_due = good_steps >= GROWTH_STEPS
        after_good_step = tf.where(is_due, doubled, scale)
        after_bad_step = tf.maximum(scale / 2.0, 1.0)
        self.scale.assign(tf.where(is_finite, after_good_step, after_bad_step))
        keep = tf.logical_and(is_finite, tf.logical_not(is_due))
        self.good_steps.assign(tf.where(keep, good_steps, 0))


def all_finite(gradients: Sequence[tf.Tensor]) -> tf.Tensor:
    """Whether every element of every gradient is finite: scalar bool."""
    return tf.reduce_all([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients])


def _multiply(gradient: Any, factor: tf.Tensor) -> Any:
    if gradient is None:
        return None
    if isinstance(gradient, tf.IndexedSlices):
        values = gradient.values * tf.cast(factor, gradient.values.dtype)
        return tf.IndexedSlices(values, gradient.indices, gradient.dense_shape)
    return gradient * tf.cast(factor, gradient.dtype)


def _check_scale(loss_scale: object) -> float:
    if isinstance(loss_scale, int | float) and loss_scale > 0 and loss_scale is not True:
        return float(loss_scale)
    raise ValueError(
        f"loss_scale: expected 'dynamic' or a positive number; received {loss_scale!r}"
    )
