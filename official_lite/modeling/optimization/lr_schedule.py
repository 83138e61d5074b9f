"""Learning-rate schedules, with Model Garden's names and numbers; warm-ups are in `warmups`.

Throughout, s is the step and s' = max(s - offset, 0): before its offset a schedule has its first
value. (Model Garden's extrapolates there: a cosine with an offset of half its length begins at half
its rate and rises.) A schedule maps a step (int, or scalar tensor or variable of any integer type)
to a scalar float32 tensor.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import keras
import tensorflow as tf

# Model Garden's users look for them here.
from official_lite.modeling.optimization.warmups import LinearWarmup as LinearWarmup
from official_lite.modeling.optimization.warmups import PolynomialWarmUp as PolynomialWarmUp

Schedule: TypeAlias = keras.optimizers.schedules.LearningRateSchedule

_serializable = keras.saving.register_keras_serializable(package='official_lite')


class _WithOffset:
    """Calls the schedule that follows it among the base classes with s' in place of s."""

    def __init__(self, *args: Any, offset: int = 0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.offset = offset

    def __call__(self, step: Any) -> tf.Tensor:
        return super().__call__(_steps_since(step, self.offset))  # type: ignore[misc]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'offset': self.offset}  # type: ignore[misc]


@_serializable
class PiecewiseConstantDecayWithOffset(
    _WithOffset, keras.optimizers.schedules.PiecewiseConstantDecay
):
    """`values[i]` for boundaries[i-1] < s' <= boundaries[i].

    A boundary belongs to the value before it.
    """

    base_lr_class = keras.optimizers.schedules.PiecewiseConstantDecay

    def __init__(
        self,
        boundaries: Sequence[int],
        values: Sequence[float],
        name: str = 'PiecewiseConstant',
        *,
        offset: int = 0,
    ) -> None:
        """Makes the schedule.

        Args:
            boundaries: Strictly increasing steps.
            values: Learning rates, one more than `boundaries`.
            name: Name of the schedule.
            offset: Steps before s' begins to count.

        Raises:
            ValueError: the lengths do not fit or `boundaries` do not increase.
        """
        if len(values) != len(boundaries) + 1:
            raise ValueError(
                f'stepwise learning rate: expected one value more than boundaries; received '
                f'{len(values)} values {list(values)} for {len(boundaries)} boundaries '
                f'{list(boundaries)}'
            )
        _check_increasing('stepwise', boundaries)
        super().__init__(
            boundaries=[float(b) for b in boundaries],
            values=[float(v) for v in values],
            name=name,
            offset=offset,
        )


@_serializable
class PolynomialDecayWithOffset(_WithOffset, keras.optimizers.schedules.PolynomialDecay):
    """(lr - end) (1 - min(s', steps) / steps)^power + end; `cycle` restarts instead of ending."""

    base_lr_class = keras.optimizers.schedules.PolynomialDecay

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str = 'PolynomialDecay',
        *,
        offset: int = 0,
    ) -> None:
        """Makes the schedule; the arguments are those of the formula."""
        super().__init__(
            initial_learning_rate=initial_learning_rate,
            decay_steps=decay_steps,
            end_learning_rate=end_learning_rate,
            power=power,
            cycle=cycle,
            name=name,
            offset=offset,
        )


@_serializable
class ExponentialDecayWithOffset(_WithOffset, keras.optimizers.schedules.ExponentialDecay):
    """lr * rate^(s' / steps); with `staircase` the exponent is rounded down."""

    base_lr_class = keras.optimizers.schedules.ExponentialDecay

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        decay_rate: float,
        staircase: bool = False,
        name: str = 'ExponentialDecay',
        *,
        offset: int = 0,
    ) -> None:
        """Makes the schedule; the arguments are those of the formula."""
        super().__init__(
            initial_learning_rate=initial_learning_rate,
            decay_steps=decay_steps,
            decay_rate=decay_rate,
            staircase=staircase,
            name=name,
            offset=offset,
        )


@_serializable
class CosineDecayWithOffset(_WithOffset, keras.optimizers.schedules.CosineDecay):
    """lr * ((1 - alpha) * (1 + cos(pi * min(s', steps) / steps)) / 2 + alpha).

    From SGDR (https://arxiv.org/abs/1608.03983), without restarts.
    """

    base_lr_class = keras.optimizers.schedules.CosineDecay

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        alpha: float = 0.0,
        name: str = 'CosineDecay',
        *,
        offset: int = 0,
    ) -> None:
        """Makes the schedule; the arguments are those of the formula."""
        super().__init__(
            initial_learning_rate=initial_learning_rate,
            decay_steps=decay_steps,
            alpha=alpha,
            name=name,
            offset=offset,
        )

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return {k: v for k, v in config.items() if k not in ('warmup_target', 'warmup_steps')}


@_serializable
class DirectPowerDecay(Schedule):
    """lr * max(s, 1)^power."""

    def __init__(
        self, initial_learning_rate: float, power: float = 1.0, name: str = 'DirectPowerDecay'
    ) -> None:
        super().__init__()
        self.initial_learning_rate = initial_learning_rate
        self.power = power
        self.name = name

    def __call__(self, step: Any) -> tf.Tensor:
        return self.initial_learning_rate * tf.maximum(_to_float(step), 1.0) ** self.power

    def get_config(self) -> dict[str, Any]:
        return {
            'initial_learning_rate': self.initial_learning_rate,
            'power': self.power,
            'name': self.name,
        }


@_serializable
class PowerAndLinearDecay(Schedule):
    """lr * max(s', 1)^power * clip((total - s') / (total * fraction), 0, 1).

    The last `linear_decay_fraction` of `total_decay_steps` goes linearly to 0; a fraction of 0
    leaves that factor out.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        total_decay_steps: int,
        power: float = 1.0,
        linear_decay_fraction: float = 0.1,
        offset: int = 0,
        name: str = 'PowerAndLinearDecay',
    ) -> None:
        super().__init__()
        self.initial_learning_rate = initial_learning_rate
        self.total_decay_steps = total_decay_steps
        self.power = power
        self.linear_decay_fraction = linear_decay_fraction
        self.offset = offset
        self.name = name

    def __call__(self, step: Any) -> tf.Tensor:
        step = _steps_since(step, self.offset)
        rate = self.initial_learning_rate * tf.maximum(step, 1.0) ** self.power
        linear_steps = self.total_decay_steps * self.linear_decay_fraction
        if linear_steps > 0:
            rate *= tf.clip_by_value((self.total_decay_steps - step) / linear_steps, 0.0, 1.0)
        return rate

    def get_config(self) -> dict[str, Any]:
        return {
            'initial_learning_rate': self.initial_learning_rate,
            'total_decay_steps': self.total_decay_steps,
            'power': self.power,
            'linear_decay_fraction': self.linear_decay_fraction,
            'offset': self.offset,
            'name': self.name,
        }


@_serializable
class PowerDecayWithOffset(Schedule):
    """A constant for s <= offset, then min(lr * max(s', 1)^power, the constant).

    Without an offset nothing comes before it: step 0 then has the rate of step 1. (In Model Garden
    it has pre_offset_learning_rate, one million by default.)
    """

    def __init__(
        self,
        initial_learning_rate: float,
        power: float = 1.0,
        offset: int = 0,
        pre_offset_learning_rate: float = 1.0e6,
        name: str = 'PowerDecayWithOffset',
    ) -> None:
        super().__init__()
        self.initial_learning_rate = initial_learning_rate
        self.power = power
        self.offset = offset
        self.pre_offset_learning_rate = pre_offset_learning_rate
        self.name = name

    def __call__(self, step: Any) -> tf.Tensor:
        since = _steps_since(step, self.offset)
        rate = self.initial_learning_rate * tf.maximum(since, 1.0) ** self.power
        rate = tf.minimum(rate, self.pre_offset_learning_rate)
        if self.offset <= 0:
            return rate
        return tf.where(since > 0, rate, self.pre_offset_learning_rate)

    def get_config(self) -> dict[str, Any]:
        return {
            'initial_learning_rate': self.initial_learning_rate,
            'power': self.power,
            'offset': self.offset,
            'pre_offset_learning_rate': self.pre_offset_learning_rate,
            'name': self.name,
        }


@_serializable
class StepCosineDecayWithOffset(Schedule):
    """Half a cosine from each value at its boundary to the next value at the next boundary.

    `values[0]` holds until `boundaries[0]`, and the last value from the last boundary on, where
    Model Garden's is NaN.
    """

    def __init__(
        self,
        boundaries: Sequence[int],
        values: Sequence[float],
        offset: int = 0,
        name: str = 'StepCosineDecayWithOffset',
    ) -> None:
        """Makes the schedule.

        Args:
            boundaries: Strictly increasing steps; the first is usually 0.
            values: Learning rates at these steps, as many as `boundaries`.
            offset: Steps before s' begins to count.
            name: Name of the schedule.

        Raises:
            ValueError: no values, unequal lengths, or `boundaries` that do not increase.
        """
        super().__init__()
        if not values or len(boundaries) != len(values):
            raise ValueError(
                'step_cosine_with_offset learning rate: expected as many boundaries as values, at '
                f'least one; received {len(boundaries)} boundaries {list(boundaries)} and '
                f'{len(values)} values {list(values)}'
            )
        _check_increasing('step_cosine_with_offset', boundaries)
        self.boundaries = list(boundaries)
        self.values = list(values)
        self.offset = offset
        self.name = name

    def __call__(self, step: Any) -> tf.Tensor:
        step = _steps_since(step, self.offset)
        rate = tf.constant(self.values[0], tf.float32)
        for i in range(len(self.values) - 1):
            start, end = self.boundaries[i], self.boundaries[i + 1]
            progress = tf.clip_by_value((step - start) / (end - start), 0.0, 1.0)
            weight = (1.0 + tf.cos(math.pi * progress)) / 2.0
            segment = self.values[i + 1] + (self.values[i] - self.values[i + 1]) * weight
            rate = tf.where(step >= start, segment, rate)
        return rate

    def get_config(self) -> dict[str, Any]:
        return {
            'boundaries': self.boundaries,
            'values': self.values,
            'offset': self.offset,
            'name': self.name,
        }


def _to_float(step: Any) -> tf.Tensor:
    return tf.cast(tf.convert_to_tensor(step), tf.float32)


def _steps_since(step: Any, offset: int) -> tf.Tensor:
    return tf.maximum(_to_float(step) - offset, 0.0)


def _check_increasing(schedule: str, boundaries: Sequence[int]) -> None:
    if any(b <= a for a, b in itertools.pairwise(boundaries)):
        raise ValueError(
            f'{schedule} learning rate: expected strictly increasing boundaries; '
            f'received {list(boundaries)}'
        )
