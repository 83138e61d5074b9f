"""Warm-ups: what a learning rate is before its schedule, with Model Garden's names and numbers.

s is the step. A warm-up maps a step (int, or scalar tensor or variable of any integer type) to a
scalar float32 tensor.
"""

from __future__ import annotations

from typing import Any, TypeAlias, Union

import keras
import tensorflow as tf

Schedule: TypeAlias = keras.optimizers.schedules.LearningRateSchedule

_serializable = keras.saving.register_keras_serializable(package='official_lite')


class _Warmup(Schedule):
    """Replaces the first `warmup_steps` of a schedule; it does not shift the rest."""

    def __init__(
        self, after_warmup_lr_sched: Union[Schedule, float], warmup_steps: int, name: str
    ) -> None:
        super().__init__()
        if warmup_steps < 0:
            raise ValueError(f'warmup_steps: expected 0 or more; received {warmup_steps}')
        self.after_warmup_lr_sched = after_warmup_lr_sched
        self.warmup_steps = warmup_steps
        self.name = name

    def __call__(self, step: Any) -> tf.Tensor:
        after = self._after(step)
        if self.warmup_steps == 0:
            return after
        step = tf.cast(tf.convert_to_tensor(step), tf.float32)
        return tf.where(step < self.warmup_steps, self._during(step), after)

    def _during(self, step: tf.Tensor) -> tf.Tensor:
        raise NotImplementedError

    def _after(self, step: Any) -> tf.Tensor:
        schedule = self.after_warmup_lr_sched
        rate = schedule(step) if callable(schedule) else schedule
        return tf.cast(rate, tf.float32)

    def get_config(self) -> dict[str, Any]:
        schedule = self.after_warmup_lr_sched
        if callable(schedule):
            schedule = keras.optimizers.schedules.serialize(schedule)
        return {
            'after_warmup_lr_sched': schedule,
            'warmup_steps': self.warmup_steps,
            'name': self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> _Warmup:
        """Makes the warm-up from what `get_config` returned."""
        after = config['after_warmup_lr_sched']
        if isinstance(after, dict):
            after = keras.optimizers.schedules.deserialize(after)
        return cls(**{**config, 'after_warmup_lr_sched': after})


@_serializable
class LinearWarmup(_Warmup):
    """w0 + s / warmup_steps * (target - w0) for s < warmup_steps.

    The target is the schedule's rate at `warmup_steps`.
    """

    def __init__(
        self,
        after_warmup_lr_sched: Union[Schedule, float],
        warmup_steps: int,
        warmup_learning_rate: float = 0.0,
        name: str = 'linear',
    ) -> None:
        """Makes the schedule.

        Args:
            after_warmup_lr_sched: The schedule (or constant rate) from `warmup_steps` on.
            warmup_steps: Length of the warm-up; 0 for none.
            warmup_learning_rate: The rate at step 0.
            name: Name of the schedule.

        Raises:
            ValueError: `warmup_steps` is negative.
        """
        super().__init__(after_warmup_lr_sched, warmup_steps, name)
        self.warmup_learning_rate = warmup_learning_rate

    def _during(self, step: tf.Tensor) -> tf.Tensor:
        start, target = self.warmup_learning_rate, self._after(self.warmup_steps)
        return start + step / self.warmup_steps * (target - start)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'warmup_learning_rate': self.warmup_learning_rate}


@_serializable
class PolynomialWarmUp(_Warmup):
    """target * (max(s, 1) / warmup_steps)^power for s < warmup_steps; target as in LinearWarmup."""

    def __init__(
        self,
        after_warmup_lr_sched: Union[Schedule, float],
        warmup_steps: int,
        power: float = 1.0,
        name: str = 'PolynomialWarmup',
    ) -> None:
        super().__init__(after_warmup_lr_sched, warmup_steps, name)
        self.power = power

    def _during(self, step: tf.Tensor) -> tf.Tensor:
        progress = tf.maximum(step, 1.0) / self.warmup_steps
        return self._after(self.warmup_steps) * progress**self.power

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'power': self.power}
