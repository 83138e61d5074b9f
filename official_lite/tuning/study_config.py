"""The settings of a study: sampler, pruner, objectives, and when it ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal, Optional

from official_lite import errors
from official_lite.core import metric_paths
from official_lite.modeling import hyperparams

__all__ = ['Objective', 'PrunerConfig', 'SamplerConfig', 'StudyConfig', 'parse_objectives']

_DIRECTIONS = {
    'max': 'maximize',
    'maximize': 'maximize',
    'higher': 'maximize',
    'min': 'minimize',
    'minimize': 'minimize',
    'lower': 'minimize',
}


@dataclasses.dataclass(frozen=True)
class Objective:
    """A metric of the evaluation, and which values of it are better.

    Attributes:
        metric: Its name as evaluations report it, such as `AP`, `loss` or `per_class/dog`.
        direction: `maximize` or `minimize`.
    """

    metric: str
    direction: str = 'maximize'

    def __post_init__(self) -> None:
        if self.direction not in _DIRECTIONS:
            raise errors.UsageError(
                'no such direction',
                where=f'objective {self.metric}',
                expected='max or min',
                received=repr(self.direction),
            )
        object.__setattr__(self, 'direction', _DIRECTIONS[self.direction])

    def __str__(self) -> str:
        return f'{self.metric}:{self.direction[:3]}'

    def is_better(self, value: float, than: float | None) -> bool:
        """Whether `value` beats another one, or is the first."""
        if than is None:
            return True
        return value > than if self.direction == 'maximize' else value < than


def parse_objectives(texts: Sequence[str], config: hyperparams.Config) -> tuple[Objective, ...]:
    """Objectives from `METRIC:max` or `METRIC:min`.

    Args:
        texts: What was given; empty means the metric that decides which checkpoint is best.
        config: The experiment. Its best-checkpoint metric needs no direction.

    Raises:
        UsageError: A direction is missing or wrong, or nothing names a metric.
    """
    trainer = getattr(config, 'trainer', None)
    best = getattr(trainer, 'best_checkpoint_eval_metric', '').replace('|', '/')
    if not texts and not best:
        raise errors.UsageError(
            'nothing says which metric to search by',
            where='--objective',
            expected='METRIC:max or METRIC:min',
            hint='the experiment sets no trainer.best_checkpoint_eval_metric',
        )
    found = []
    for text in texts or [best]:
        metric, colon, direction = text.replace('|', '/').rpartition(':')
        if not colon:
            metric, direction = direction, ''
            if metric == best:
                direction = getattr(trainer, 'best_checkpoint_metric_comp', 'higher')
        if not direction or not metric or direction not in _DIRECTIONS:
            raise errors.UsageError(
                'a metric and whether it is to be high or low are needed',
                where=f'--objective={text}',
                expected=f'{metric or "METRIC"}:max or {metric or "METRIC"}:min',
            )
        found.append(
            Objective(metric_paths.validation_path(metric).removeprefix('eval/'), direction)
        )
    names = [objective.metric for objective in found]
    if len(set(names)) < len(names):
        raise errors.UsageError('a metric is named twice', where='--objective')
    return tuple(found)


@dataclasses.dataclass
class GridConfig(hyperparams.Config):
    """Every combination, once. A range needs `step` or `num_points`."""


@dataclasses.dataclass
class RandomConfig(hyperparams.Config):
    """Independent random values."""


@dataclasses.dataclass
class TPEConfig(hyperparams.Config):
    """Tree-structured Parzen estimator: Bayesian, knows conditional parts.

    Attributes:
        n_startup_trials: Random trials before the estimator is asked.
        multivariate: Whether values are modelled together (of each set of parameters that occurs)
            instead of one by one.
    """

    n_startup_trials: int = 10
    multivariate: bool = False

    def _check(self, report: hyperparams.Report) -> None:
        _check_counts(self, report, 'n_startup_trials')


@dataclasses.dataclass
class NSGAIIConfig(hyperparams.Config):
    """Evolution, for one to three objectives.

    Attributes:
        population_size: Trials of one generation.
    """

    population_size: int = 20

    def _check(self, report: hyperparams.Report) -> None:
        if self.population_size < 2:
            report('population_size', expected='2 or more')


@dataclasses.dataclass
class NSGAIIIConfig(NSGAIIConfig):
    """Evolution, for many objectives."""


@dataclasses.dataclass
class CMAESConfig(hyperparams.Config):
    """Covariance matrix adaptation: numbers only; choices and conditional parts are random.

    Attributes:
        n_startup_trials: Random trials first.
        sigma0: Standard deviation at first, in the scale of the range. None: a sixth of it.
    """

    n_startup_trials: int = 1
    sigma0: Optional[float] = None

    def _check(self, report: hyperparams.Report) -> None:
        _check_counts(self, report, 'n_startup_trials')
        if self.sigma0 is not None and not self.sigma0 > 0:
            report('sigma0', expected='more than 0, or null')


@dataclasses.dataclass
class GPConfig(hyperparams.Config):
    """Gaussian process: conditional parts are random.

    Attributes:
        n_startup_trials: Random trials first.
    """

    n_startup_trials: int = 10

    def _check(self, report: hyperparams.Report) -> None:
        _check_counts(self, report, 'n_startup_trials')


@dataclasses.dataclass
class SamplerConfig(hyperparams.OneOfConfig):
    """How values are chosen.

    Attributes:
        type: The sampler.
        grid: Every combination.
        random: Random values.
        tpe: Bayesian.
        nsga2: Evolution, several objectives.
        nsga3: Evolution, many objectives.
        cmaes: Evolution strategy on numbers.
        gp: Gaussian process.
    """

    type: Optional[str] = 'tpe'
    grid: GridConfig = dataclasses.field(default_factory=GridConfig)
    random: RandomConfig = dataclasses.field(default_factory=RandomConfig)
    tpe: TPEConfig = dataclasses.field(default_factory=TPEConfig)
    nsga2: NSGAIIConfig = dataclasses.field(default_factory=NSGAIIConfig)
    nsga3: NSGAIIIConfig = dataclasses.field(default_factory=NSGAIIIConfig)
    cmaes: CMAESConfig = dataclasses.field(default_factory=CMAESConfig)
    gp: GPConfig = dataclasses.field(default_factory=GPConfig)


@dataclasses.dataclass
class NoPrunerConfig(hyperparams.Config):
    """Every trial runs to its end."""


@dataclasses.dataclass
class MedianConfig(hyperparams.Config):
    """Ends a trial that is worse than the median of earlier ones at the same evaluation.

    Attributes:
        n_startup_trials: Trials that have to be complete before any is ended early.
        n_warmup_evaluations: Evaluations of each trial that are not looked at.
    """

    n_startup_trials: int = 5
    n_warmup_evaluations: int = 0

    def _check(self, report: hyperparams.Report) -> None:
        _check_counts(self, report, 'n_startup_trials', 'n_warmup_evaluations')


@dataclasses.dataclass
class ASHAConfig(hyperparams.Config):
    """Asynchronous successive halving: at each rung only the best part goes on.

    Attributes:
        min_evaluations: Evaluations before the first rung.
        reduction_factor: One in so many goes on.
    """

    min_evaluations: int = 1
    reduction_factor: int = 3

    def _check(self, report: hyperparams.Report) -> None:
        if self.min_evaluations < 1:
            report('min_evaluations', expected='1 or more')
        if self.reduction_factor < 2:
            report('reduction_factor', expected='2 or more')


@dataclasses.dataclass
class HyperbandConfig(ASHAConfig):
    """Successive halving with several trade-offs between the number of trials and their length.

    Attributes:
        max_evaluations: Evaluations of a whole trial. None: those of the first complete one.
    """

    max_evaluations: Optional[int] = None

    def _check(self, report: hyperparams.Report) -> None:
        super()._check(report)
        if self.max_evaluations is not None and self.max_evaluations < self.min_evaluations:
            report('max_evaluations', expected='min_evaluations or more')


@dataclasses.dataclass
class PrunerConfig(hyperparams.OneOfConfig):
    """Which trials end early.

    Attributes:
        type: The pruner.
        none: No trial.
        median: Those below the median.
        asha: Those that are not among the best at a rung.
        hyperband: The same, with several trade-offs.
    """

    type: Optional[str] = 'none'
    none: NoPrunerConfig = dataclasses.field(default_factory=NoPrunerConfig)
    median: MedianConfig = dataclasses.field(default_factory=MedianConfig)
    asha: ASHAConfig = dataclasses.field(default_factory=ASHAConfig)
    hyperband: HyperbandConfig = dataclasses.field(default_factory=HyperbandConfig)


@dataclasses.dataclass
class StudyConfig(hyperparams.Config):
    """A study: how to search, by which metric, and for how long.

    Attributes:
        sampler: How values are chosen.
        pruner: Which trials end early.
        objectives: Metrics, as `AP:max`. Empty: the one that decides which checkpoint is best.
        objective_value: Which evaluation of a trial counts: the `best` one by the first objective,
            or the `last`.
        n_trials: Trials in all, those of earlier calls and failed ones included. None: no limit; a
            grid ends by itself.
        timeout_mins: Minutes after which this call ends; running trials save and go on with the
            next call. None: no limit.
        seed: Seed of the sampler. What a trial gets depends on it, the trial's number and the
            trials before it.
        workers: Trials at a time on this machine.
        try_default: Whether the first trial has the values of the config itself.
        max_failures_in_a_row: Failed trials in a row after which the study ends. None: no limit.
    """

    sampler: SamplerConfig = dataclasses.field(default_factory=SamplerConfig)
    pruner: PrunerConfig = dataclasses.field(default_factory=PrunerConfig)
    objectives: list[str] = dataclasses.field(default_factory=list)
    objective_value: Literal['best', 'last'] = 'best'
    n_trials: Optional[int] = None
    timeout_mins: Optional[float] = None
    seed: int = 0
    workers: int = 1
    try_default: bool = False
    max_failures_in_a_row: Optional[int] = 10

    def _check(self, report: hyperparams.Report) -> None:
        _check_counts(self, report, 'seed')
        if self.workers < 1:
            report('workers', expected='1 or more')
        if self.n_trials is not None and self.n_trials < 1:
            report('n_trials', expected='1 or more, or null')
        if self.max_failures_in_a_row is not None and self.max_failures_in_a_row < 1:
            report('max_failures_in_a_row', expected='1 or more, or null')
        if self.timeout_mins is not None and not self.timeout_mins > 0:
            report('timeout_mins', expected='more than 0, or null')
        for name in ('sampler', 'pruner'):
            choice = getattr(self, name)
            if choice.type is None:
                names = ', '.join(type(choice).branches())
                report(f'{name}.type', expected=f'one of {names}')
        if self.n_trials is None and self.timeout_mins is None and self.sampler.type != 'grid':
            report('n_trials', expected='a number, or timeout_mins', hint='--n_trials=20')
        if self.sampler.type == 'grid' and self.try_default:
            report('try_default', expected='false: a grid is the same with and without it')
        if len(self.objectives) > 1:
            self._check_several(report)

    def _check_several(self, report: hyperparams.Report) -> None:
        if self.pruner.type != 'none':
            report('pruner.type', expected='none, because there are several objectives')
        if self.sampler.type == 'cmaes':
            report('sampler.type', expected='one for several objectives, such as nsga2')


def _check_counts(config: hyperparams.Config, report: hyperparams.Report, *names: str) -> None:
    for name in names:
        if getattr(config, name) < 0:
            report(name, expected='0 or more')
