"""Optuna's samplers and pruners, from their configs."""

from __future__ import annotations

import hashlib
import importlib.util
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from official_lite import errors
from official_lite.tuning import study_config
from official_lite.tuning.domains import Stored
from official_lite.tuning.search_space import SearchSpace

if TYPE_CHECKING:
    import optuna

__all__ = ['build_pruner', 'build_sampler', 'check_installed', 'describe_ignored']

# Sampler -> packages beside Optuna, each with the extra that has it.
_PACKAGES = {
    'cmaes': (('cmaes', 'tune'),),
    'gp': (('torch', 'tune-gp'), ('scipy', 'tune-gp')),
}


def check_installed(sampler: str) -> None:
    """Refuses a sampler whose packages are not there.

    Raises:
        UsageError: With the line that installs them.
    """
    for package, extra in (('optuna', 'tune'), *_PACKAGES.get(sampler, ())):
        if importlib.util.find_spec(package) is None:
            raise errors.UsageError(
                f'the sampler {sampler!r} needs {package!r}, which is not installed',
                where='sampler.type',
                hint=f"install it: pip install 'official-lite[{extra}]'",
            )


def describe_ignored(sampler: str, space: SearchSpace) -> str:
    """Which parameters a sampler draws at random because it does not model them; '' if none."""
    paths = {p.path for p in space.list_conditional()}
    reason = 'conditional parameters'
    if sampler == 'cmaes':
        paths |= {p.path for p in space.searched if not hasattr(p.domain, 'low')}
        reason = 'choices and conditional parameters'
    if sampler not in ('cmaes', 'gp', 'nsga2', 'nsga3') or not paths:
        return ''
    names = ', '.join(p.path for p in space.searched if p.path in paths)
    return f'The sampler {sampler} does not model {reason}; these are drawn at random: {names}'


def build_sampler(
    config: study_config.SamplerConfig, seed: int, grid: Sequence[dict[str, Stored]] = ()
) -> optuna.samplers.BaseSampler:
    """The sampler. What it chooses for a trial depends on seed, number and earlier trials alone.

    Args:
        config: Which one.
        seed: Its seed.
        grid: For `grid`: the points, in order.
    """
    from official_lite.tuning import optuna_samplers

    if config.type == 'grid':
        return optuna_samplers.PointSampler(grid)
    make = _make_factory(str(config.type), config.get())
    return optuna_samplers.SeededSampler(lambda number: make(_mix_seed(seed, number)))


def _make_factory(name: str, config: Any) -> Callable[[int], optuna.samplers.BaseSampler]:
    import optuna

    if name == 'random':
        return lambda seed: optuna.samplers.RandomSampler(seed=seed)
    if name == 'tpe':
        return lambda seed: optuna.samplers.TPESampler(
            n_startup_trials=config.n_startup_trials,
            multivariate=config.multivariate,
            group=config.multivariate,
            constant_liar=True,
            seed=seed,
        )
    if name in ('nsga2', 'nsga3'):
        cls = optuna.samplers.NSGAIISampler if name == 'nsga2' else optuna.samplers.NSGAIIISampler
        return lambda seed: cls(population_size=config.population_size, seed=seed)
    if name == 'cmaes':
        return lambda seed: optuna.samplers.CmaEsSampler(
            n_startup_trials=config.n_startup_trials,
            sigma0=config.sigma0,
            warn_independent_sampling=False,
            seed=seed,
        )
    return lambda seed: optuna.samplers.GPSampler(
        n_startup_trials=config.n_startup_trials, warn_independent_sampling=False, seed=seed
    )


def _mix_seed(seed: int, number: int) -> int:
    """A seed of 32 bits that differs for each trial."""
    digest = hashlib.sha256(f'{seed}/{number}'.encode()).digest()
    return int.from_bytes(digest[:4], 'little')


def build_pruner(config: study_config.PrunerConfig) -> optuna.pruners.BasePruner:
    """The pruner. It counts evaluations, not training steps."""
    import optuna

    chosen: Any = config.get()
    if config.type == 'median':
        return optuna.pruners.MedianPruner(
            n_startup_trials=chosen.n_startup_trials,
            n_warmup_steps=chosen.n_warmup_evaluations + 1,  # evaluations count from 1
        )
    if config.type == 'asha':
        return optuna.pruners.SuccessiveHalvingPruner(
            min_resource=chosen.min_evaluations, reduction_factor=chosen.reduction_factor
        )
    if config.type == 'hyperband':
        return optuna.pruners.HyperbandPruner(
            min_resource=chosen.min_evaluations,
            max_resource=chosen.max_evaluations or 'auto',
            reduction_factor=chosen.reduction_factor,
        )
    return optuna.pruners.NopPruner()


def silence_optuna() -> None:
    """Turns off what Optuna prints; the live table says it."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings('ignore', category=optuna.exceptions.ExperimentalWarning)
