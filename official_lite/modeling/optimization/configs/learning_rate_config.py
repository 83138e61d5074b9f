"""Configs of learning-rate schedules and warm-up. Fields and defaults are Model Garden's.

Each `*_epochs` is another way to give the steps beside it, in passes over the training data; None
means that the steps count. Setting both is an error. In the formulas s is the step less `offset`.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, ClassVar, Optional

from official_lite.modeling import hyperparams
from official_lite.modeling.optimization.configs import epoch_fields

__all__ = [
    'ConstantLrConfig',
    'CosineLrConfig',
    'DirectPowerLrConfig',
    'ExponentialLrConfig',
    'LinearWarmupConfig',
    'PolynomialLrConfig',
    'PolynomialWarmupConfig',
    'PowerAndLinearDecayLrConfig',
    'PowerDecayWithOffsetLrConfig',
    'StepCosineLrConfig',
    'StepwiseLrConfig',
]


@dataclasses.dataclass
class _ScheduleConfig(hyperparams.Config):
    """What schedules check alike; has no fields."""

    def _check(self, report: hyperparams.Report) -> None:
        epoch_fields.check_epoch_fields(self, report)
        for name in ('initial_learning_rate', 'learning_rate', 'end_learning_rate'):
            value = getattr(self, name, None)
            if value is not None and value < 0:
                report(name, expected='0 or more')
        for name in ('decay_steps', 'total_decay_steps'):
            value = getattr(self, name, None)
            if value is not None and value < 1:
                report(name, expected='1 or more')


def _check_boundaries(config: Any, report: hyperparams.Report, values_beyond: int) -> None:
    """Boundaries must rise, and there must be `values_beyond` more values than boundaries."""
    for name in ('boundaries', 'boundaries_epochs'):
        steps = getattr(config, name)
        if steps is not None and any(b <= a for a, b in itertools.pairwise(steps)):
            report(name, expected='rising numbers')
    steps = config.boundaries if config.boundaries is not None else config.boundaries_epochs
    if steps is not None and config.values is not None:
        wanted = len(steps) + values_beyond
        if len(config.values) != wanted:
            report('values', expected=f'{wanted} values for {len(steps)} boundaries')


@dataclasses.dataclass
class ConstantLrConfig(_ScheduleConfig):
    """The same learning rate at every step.

    Attributes:
        name: Name of the schedule.
        learning_rate: The learning rate.
    """

    name: str = 'Constant'
    learning_rate: float = 0.1


@dataclasses.dataclass
class StepwiseLrConfig(_ScheduleConfig):
    """A constant learning rate between boundaries.

    Attributes:
        name: Name of the schedule.
        boundaries: Last step of each value but the last one. None means not set.
        values: One learning rate more than there are boundaries. None means not set.
        offset: Steps before the schedule begins.
        boundaries_epochs: The boundaries in epochs. None means that `boundaries` counts.
    """

    name: str = 'PiecewiseConstantDecay'
    boundaries: Optional[list[int]] = None
    values: Optional[list[float]] = None
    offset: int = 0
    boundaries_epochs: Optional[list[float]] = None

    _epoch_fields: ClassVar[dict[str, str]] = {'boundaries': 'boundaries_epochs'}

    def _check(self, report: hyperparams.Report) -> None:
        super()._check(report)
        _check_boundaries(self, report, values_beyond=1)


@dataclasses.dataclass
class ExponentialLrConfig(_ScheduleConfig):
    """`initial_learning_rate * decay_rate ** (s / decay_steps)`.

    Attributes:
        name: Name of the schedule.
        initial_learning_rate: Learning rate at the start. None means not set.
        decay_steps: Steps in which the rate falls by `decay_rate`. None means not set.
        decay_rate: Factor per `decay_steps`. None means not set.
        staircase: Whether the exponent is rounded down. None means no.
        offset: Steps before the schedule begins.
        decay_epochs: `decay_steps` in epochs. None means that the steps count.
    """

    name: str = 'ExponentialDecay'
    initial_learning_rate: Optional[float] = None
    decay_steps: Optional[int] = None
    decay_rate: Optional[float] = None
    staircase: Optional[bool] = None
    offset: int = 0
    decay_epochs: Optional[float] = None

    _epoch_fields: ClassVar[dict[str, str]] = {'decay_steps': 'decay_epochs'}


@dataclasses.dataclass
class PolynomialLrConfig(_ScheduleConfig):
    """`(initial - end) * (1 - s / decay_steps) ** power + end`.

    Attributes:
        name: Name of the schedule.
        initial_learning_rate: Learning rate at the start. None means not set.
        decay_steps: Steps until the end value. None means all of training.
        end_learning_rate: Learning rate at the end.
        power: Exponent; 1 is a straight line.
        cycle: Whether it starts again after `decay_steps`.
        offset: Steps before the schedule begins.
        decay_epochs: `decay_steps` in epochs. None means that the steps count.
    """

    name: str = 'PolynomialDecay'
    initial_learning_rate: Optional[float] = None
    decay_steps: Optional[int] = None
    end_learning_rate: float = 0.0001
    power: float = 1.0
    cycle: bool = False
    offset: int = 0
    decay_epochs: Optional[float] = None

    _epoch_fields: ClassVar[dict[str, str]] = {'decay_steps': 'decay_epochs'}
    _whole_training: ClassVar[tuple[str, ...]] = ('decay_steps',)


@dataclasses.dataclass
class CosineLrConfig(_ScheduleConfig):
    """Half a cosine wave from `initial_learning_rate` down to `alpha` times that.

    Attributes:
        name: Name of the schedule.
        initial_learning_rate: Learning rate at the start. None means not set.
        decay_steps: Steps of the half wave. None means all of training.
        alpha: Learning rate at the end, as a share of the first one.
        offset: Steps before the schedule begins.
        decay_epochs: `decay_steps` in epochs. None means that the steps count.
    """

    name: str = 'CosineDecay'
    initial_learning_rate: Optional[float] = None
    decay_steps: Optional[int] = None
    alpha: float = 0.0
    offset: int = 0
    decay_epochs: Optional[float] = None

    _epoch_fields: ClassVar[dict[str, str]] = {'decay_steps': 'decay_epochs'}
    _whole_training: ClassVar[tuple[str, ...]] = ('decay_steps',)


@dataclasses.dataclass
class DirectPowerLrConfig(_ScheduleConfig):
    """`initial_learning_rate * max(step, 1) ** power`.

    Attributes:
        name: Name of the schedule.
        initial_learning_rate: Learning rate at step 1. None means not set.
        power: Exponent; -0.5 falls with the root of the step.
    """

    name: str = 'DirectPowerDecay'
    initial_learning_rate: Optional[float] = None
    power: float = -0.5


@dataclasses.dataclass
class PowerAndLinearDecayLrConfig(_ScheduleConfig):
    """A power of the step, with a straight line down to 0 at the end.

    Attributes:
        name: Name of the schedule.
        initial_learning_rate: Learning rate at step 1. None means not set.
        total_decay_steps: Step at which it reaches 0. None means the end of training.
        power: Exponent; -0.5 falls with the root of the step.
        linear_decay_fraction: Share of the steps, at the end, that fall along the line. 0: there is
            no line, and the power goes on after `total_decay_steps`.
        offset: Steps before the schedule begins.
        total_decay_epochs: `total_decay_steps` in epochs. None means that the steps count.
    """

    name: str = 'PowerAndLinearDecay'
    initial_learning_rate: Optional[float] = None
    total_decay_steps: Optional[int] = None
    power: float = -0.5
    linear_decay_fraction: float = 0.1
    offset: int = 0
    total_decay_epochs: Optional[float] = None

    _epoch_fields: ClassVar[dict[str, str]] = {'total_decay_steps': 'total_decay_epochs'}
    _whole_training: ClassVar[tuple[str, ...]] = ('total_decay_steps',)

    def _check(self, report: hyperparams.Report) -> None:
        super()._check(report)
        if not 0 <= self.linear_decay_fraction <= 1:
            report('linear_decay_fraction', expected='0 to 1')


@dataclasses.dataclass
class PowerDecayWithOffsetLrConfig(_ScheduleConfig):
    """A power of the steps after `offset`.

    Attributes:
        name: Name of the schedule.
        initial_learning_rate: Learning rate one step after the offset. None means not set.
        power: Exponent; -0.5 falls with the root of the step.
        offset: Steps before the power counts.
        pre_offset_learning_rate: Learning rate until then, and an upper limit afterwards.
    """

    name: str = 'PowerDecayWithOffset'
    initial_learning_rate: Optional[float] = None
    power: float = -0.5
    offset: int = 0
    pre_offset_learning_rate: float = 1.0e6


@dataclasses.dataclass
class StepCosineLrConfig(_ScheduleConfig):
    """A half cosine wave between the values at consecutive boundaries; the last value stays.

    Attributes:
        name: Name of the schedule.
        boundaries: Steps, the first usually 0. None means not set.
        values: Learning rate at each of these steps. None means not set.
        offset: Steps before the schedule begins.
        boundaries_epochs: The boundaries in epochs. None means that `boundaries` counts.
    """

    name: str = 'StepCosineDecayWithOffset'
    boundaries: Optional[list[int]] = None
    values: Optional[list[float]] = None
    offset: int = 0
    boundaries_epochs: Optional[list[float]] = None

    _epoch_fields: ClassVar[dict[str, str]] = {'boundaries': 'boundaries_epochs'}

    def _check(self, report: hyperparams.Report) -> None:
        super()._check(report)
        _check_boundaries(self, report, values_beyond=0)


@dataclasses.dataclass
class _WarmupConfig(hyperparams.Config):
    """What warm-ups check alike; has no fields."""

    def _check(self, report: hyperparams.Report) -> None:
        epoch_fields.check_epoch_fields(self, report)
        steps = getattr(self, 'warmup_steps', None)
        if steps is not None and steps < 0:
            report('warmup_steps', expected='0 or more')


@dataclasses.dataclass
class LinearWarmupConfig(_WarmupConfig):
    """A straight line from `warmup_learning_rate` to the schedule's value at `warmup_steps`.

    Replaces the first steps of the schedule and does not shift the rest of it.

    Attributes:
        name: Name of the warm-up.
        warmup_learning_rate: Learning rate at step 0.
        warmup_steps: Length of the warm-up. None means not set.
        warmup_epochs: `warmup_steps` in epochs. None means that the steps count.
    """

    name: str = 'linear'
    warmup_learning_rate: float = 0
    warmup_steps: Optional[int] = None
    warmup_epochs: Optional[float] = None

    _epoch_fields: ClassVar[dict[str, str]] = {'warmup_steps': 'warmup_epochs'}

    def _check(self, report: hyperparams.Report) -> None:
        super()._check(report)
        if self.warmup_learning_rate < 0:
            report('warmup_learning_rate', expected='0 or more')


@dataclasses.dataclass
class PolynomialWarmupConfig(_WarmupConfig):
    """`(step / warmup_steps) ** power` times the schedule's value at `warmup_steps`.

    Attributes:
        name: Name of the warm-up.
        power: Exponent; 1 is a straight line.
        warmup_steps: Length of the warm-up. None means not set.
        warmup_epochs: `warmup_steps` in epochs. None means that the steps count.
    """

    name: str = 'polynomial'
    power: float = 1
    warmup_steps: Optional[int] = None
    warmup_epochs: Optional[float] = None

    _epoch_fields: ClassVar[dict[str, str]] = {'warmup_steps': 'warmup_epochs'}
