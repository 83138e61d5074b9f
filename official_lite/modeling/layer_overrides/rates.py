"""From overrides and layer-wise decay to the rates of variables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Optional

import keras

from official_lite.modeling.layer_overrides import layerwise_decay, plan, selection
from official_lite.modeling.optimization import accumulated_schedule, optimizer_factory
from official_lite.modeling.optimization.configs import optimization_config as opt_cfg
from official_lite.modeling.optimization.variable_rates import SAME, VariableRate


def build_rates(
    model: keras.Model,
    layers: selection.Layers,
    what: plan.Plan,
    config: Optional[opt_cfg.OptimizationConfig],
) -> dict[str, VariableRate]:
    """Rates of the trained variables that have others than the optimizer's, by key.

    Args:
        model: The model; what is not trained is known by now.
        layers: Its layers.
        what: What overrides set.
        config: The optimizer's config, or None.

    Raises:
        LayerOverrideError: there is no backbone for `layerwise_lr_decay`.
        OptimizationError: a schedule cannot be built.
    """
    decay = None if config is None else getattr(config, 'layerwise_lr_decay', None)
    depths = {} if decay is None else layerwise_decay.compute_multipliers(layers, decay)
    schedules = _Schedules(what, config)
    trained = {id(v) for v in model.trainable_variables}
    rates = {}
    for key, variable in layers.variables.items():
        if id(variable) in trained:
            rate = VariableRate(
                _get(what, 'learning_rate_multiplier', key, 1.0) * depths.get(key, 1.0),
                _get(what, 'weight_decay_multiplier', key, 1.0),
                schedules.get(key),
            )
            if rate != SAME:
                rates[key] = rate
    return rates


class _Schedules:
    """Schedules by the overrides that ask for them, each made once."""

    def __init__(self, what: plan.Plan, config: Optional[opt_cfg.OptimizationConfig]) -> None:
        self._what = what
        self._config = config or opt_cfg.OptimizationConfig()
        self._made: dict[tuple[str, str], Callable[[Any], Any]] = {}

    def get(self, key: str) -> Optional[Callable[[Any], Any]]:
        rate = self._what.get('learning_rate', {}).get(key)
        warmup = self._what.get('warmup', {}).get(key)
        if rate is None and warmup is None:
            return None
        places = ('' if rate is None else rate.where, '' if warmup is None else warmup.where)
        if places not in self._made:
            own = self._config
            self._made[places] = self._build(
                own.learning_rate if rate is None else rate.value,
                own.warmup if warmup is None else warmup.value,
                places[0] or places[1],
            )
        return self._made[places]

    def _build(
        self, learning_rate: opt_cfg.LrConfig, warmup: opt_cfg.WarmupConfig, where: str
    ) -> Callable[[Any], Any]:
        if learning_rate.type is None:
            raise selection.LayerOverrideError(
                'there is no learning rate that it could warm up to',
                where=where,
                hint='set learning_rate beside it',
            )
        rate = optimizer_factory.build_learning_rate(learning_rate, warmup)
        if not callable(rate):
            return lambda step: rate
        steps_per_update = self._config.gradient_accumulation_steps
        if steps_per_update == 1:
            return rate
        return accumulated_schedule.AccumulatedSchedule(rate, steps_per_update)


def _get(what: plan.Plan, name: str, key: str, default: float) -> float:
    assignment = what.get(name, {}).get(key)
    return default if assignment is None else float(assignment.value)
