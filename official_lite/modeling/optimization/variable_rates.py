"""Learning rates and weight decay that differ between the variables of one model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Optional

import tensorflow as tf

Schedule = Callable[[Any], Any]  # Number of updates so far to learning rate.


@dataclasses.dataclass(frozen=True)
class VariableRate:
    """How one variable's rates differ from those of the optimizer.

    Attributes:
        learning_rate_multiplier: Factor of the learning rate, and with it of the whole update.
        weight_decay_multiplier: Factor of the optimizer's weight decay.
        schedule: Number of updates to learning rate, in place of the optimizer's. None: the
            optimizer's.
    """

    learning_rate_multiplier: float = 1.0
    weight_decay_multiplier: float = 1.0
    schedule: Optional[Schedule] = None


SAME = VariableRate()


class VariableRates:
    """The rates of all variables, in groups of one learning rate each.

    A group's learning rate is computed once in a step; without rates there is one group, with the
    tensor of the optimizer's own learning rate and no operation more.
    """

    def __init__(self, rates: Optional[Mapping[str, VariableRate]] = None) -> None:
        """Makes the groups.

        Args:
            rates: Variable key to rate; what has none is `SAME`.

        Raises:
            ValueError: a multiplier is negative.
        """
        self._rates = {key: rate for key, rate in (rates or {}).items() if rate != SAME}
        for key, rate in self._rates.items():
            for name in ('learning_rate_multiplier', 'weight_decay_multiplier'):
                if getattr(rate, name) < 0:
                    raise ValueError(f'{key}: {name}: expected 0 or more; received {rate}')
        self._groups: dict[tuple[Optional[Schedule], float], int] = {(None, 1.0): 0}
        for rate in self._rates.values():
            self._groups.setdefault(_group_of(rate), len(self._groups))

    def __bool__(self) -> bool:
        return bool(self._rates)

    def __getitem__(self, key: str) -> VariableRate:
        return self._rates.get(key, SAME)

    @property
    def keys(self) -> list[str]:
        """Keys of the variables whose rates differ."""
        return list(self._rates)

    def group(self, key: str) -> int:
        """Place of a variable's learning rate in what `compute` returns."""
        return self._groups[_group_of(self[key])]

    def compute(self, own: tf.Tensor, schedule_rate: Callable[[Schedule], Any]) -> list[tf.Tensor]:
        """The learning rates of this step: float32 scalars, one for each group.

        Args:
            own: The optimizer's learning rate.
            schedule_rate: The rate that a schedule has now.
        """
        by_schedule: dict[Schedule, Any] = {}
        rates = [own]
        for schedule, multiplier in list(self._groups)[1:]:
            rate = own
            if schedule is not None:
                if schedule not in by_schedule:
                    by_schedule[schedule] = tf.convert_to_tensor(schedule_rate(schedule))
                rate = by_schedule[schedule]
            rates.append(rate if multiplier == 1.0 else rate * multiplier)
        return rates


def _group_of(rate: VariableRate) -> tuple[Optional[Schedule], float]:
    return rate.schedule, float(rate.learning_rate_multiplier)
