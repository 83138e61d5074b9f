"""One number for a whole schedule: its peak, with which all of its values scale."""

from __future__ import annotations

from typing import Any

from official_lite.modeling import hyperparams
from official_lite.modeling.optimization.configs import learning_rate_config as lr_cfg
from official_lite.modeling.optimization.configs import optimization_config as opt_cfg

__all__ = ['find_peak', 'scale_to_peak']

_NO_LIMIT = lr_cfg.PowerDecayWithOffsetLrConfig().pre_offset_learning_rate


def find_peak(config: opt_cfg.LrConfig) -> float | None:
    """Returns the highest learning rate of the chosen schedule, None if it is not set.

    Of an exponential with a `decay_rate` above 1, and of a power above 0, the first one counts.
    """
    branch: Any = config.get()
    if branch is None:
        return None
    if isinstance(branch, lr_cfg.PowerDecayWithOffsetLrConfig):
        return _find_peak_with_offset(branch)
    if isinstance(branch, lr_cfg.CosineLrConfig):
        initial = branch.initial_learning_rate
        return None if initial is None else initial * max(1.0, branch.alpha)
    rates = _find_rates(branch)
    if rates.get('initial_learning_rate', 0) is None:
        return None  # the end of a schedule without a beginning is no peak
    return max(_flatten(rates), default=None)


def scale_to_peak(config: opt_cfg.OptimizationConfig, peak: float) -> dict[str, Any]:
    """Returns what to set, path -> value, so that the learning rate's highest value is `peak`.

    All rates of the chosen schedule keep their ratios, and so does that of the warm-up. Shares and
    exponents stay. Without a chosen schedule the rate becomes constant; one whose first rate is not
    set gets it.

    Args:
        config: The config of optimization; paths are relative to it.
        peak: The new highest learning rate.

    Raises:
        ConfigError: The schedule has a list of rates that is not set, or only zeros.
    """
    schedule = config.learning_rate
    if schedule.type is None:
        return {
            'learning_rate.type': 'constant',
            'learning_rate.constant.learning_rate': peak,
        }
    branch: Any = schedule.get()
    path = f'learning_rate.{schedule.type}'
    before = find_peak(schedule)
    rates = _find_rates(branch)
    if not before:
        name = _find_single(rates)
        if name is None:
            _fail(f'{path}.values')
        return {f'{path}.{name}': peak}
    changed = {f'{path}.{name}': _scale(value, peak, before) for name, value in rates.items()}
    warmup = getattr(config.warmup.get(), 'warmup_learning_rate', None)
    if warmup:
        name = f'warmup.{config.warmup.type}.warmup_learning_rate'
        changed[name] = _scale(warmup, peak, before)
    return {name: value for name, value in changed.items() if value is not None}


def _find_rates(branch: hyperparams.Config) -> dict[str, Any]:
    """Returns the fields of a schedule that are learning rates, of registered schedules too."""
    rates = {
        name: getattr(branch, name)
        for name in type(branch).__dataclass_fields__
        if name == 'values' or name.endswith('learning_rate')
    }
    if rates.get('pre_offset_learning_rate') == _NO_LIMIT:
        del rates['pre_offset_learning_rate']
    return rates


def _find_peak_with_offset(branch: lr_cfg.PowerDecayWithOffsetLrConfig) -> float | None:
    initial, limit = branch.initial_learning_rate, branch.pre_offset_learning_rate
    if limit == _NO_LIMIT or initial is None:
        return initial
    return limit if branch.offset > 0 else min(initial, limit)


def _find_single(rates: dict[str, Any]) -> str | None:
    """Returns the rate that a schedule begins with, if that is one number."""
    for name in ('initial_learning_rate', 'learning_rate'):
        if name in rates:
            return name
    return None


def _flatten(rates: dict[str, Any]) -> list[float]:
    found: list[float] = []
    for value in rates.values():
        found += value if isinstance(value, (list, tuple)) else [value]
    return [value for value in found if value is not None]


def _scale(value: Any, peak: float, before: float) -> Any:
    """Scales so that `before` itself becomes exactly `peak`, to the digits that a file would show."""
    if isinstance(value, (list, tuple)):
        return [_scale(item, peak, before) for item in value]
    return None if value is None else float(f'{peak * (value / before):.15g}')


def _fail(path: str) -> None:
    raise hyperparams.ConfigError(
        [
            hyperparams.Problem(
                path=f'trainer.optimizer_config.{path}',
                message='the schedule has no rate above 0 that could be scaled',
                hint='set its values first, or choose another schedule',
            )
        ]
    )
