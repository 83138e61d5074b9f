"""Are the objectives metrics that evaluations report? Asked before the first trial where a config can tell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from official_lite import errors
from official_lite.core import config_definitions as cfg
from official_lite.core import metric_names
from official_lite.modeling import hyperparams
from official_lite.tuning.search_space import SearchSpace
from official_lite.tuning.space_variants import iterate_variants
from official_lite.tuning.study_config import Objective

__all__ = ['MetricError', 'check_objectives', 'find_metric_error', 'is_about_monitored']

_MONITORED = 'trainer.best_checkpoint_eval_metric'


class MetricError(errors.UsageError):
    """An objective is not among the metrics of an evaluation."""


def check_objectives(
    objectives: Sequence[Objective], config: hyperparams.Config, space: SearchSpace
) -> None:
    """Refuses metrics that no trial would report; says nothing where the task does not tell its metrics.

    Raises:
        MetricError: An objective is none of them.
        ConfigError: The metric that decides which checkpoint is best is none of them.
    """
    if not isinstance(config, cfg.ExperimentConfig):
        return
    reported = metric_names.list_metric_paths(config)
    if reported is None:
        return
    if find_metric_error(objectives, reported) is not None:
        # What is searched may decide what is reported, such as `evaluation.top_k`.
        reported = tuple(dict.fromkeys([*reported, *_iterate_further(config, space)]))
    error = find_metric_error(objectives, reported)
    if error is not None:
        raise error
    base = next(iterate_variants(config, space.parameters))
    problem = metric_names.find_monitored_problem(base)  # type: ignore[arg-type]
    hyperparams.errors.raise_problems([problem] if problem is not None else [])


def _iterate_further(config: cfg.ExperimentConfig, space: SearchSpace) -> Iterator[str]:
    for variant in iterate_variants(config, space.parameters):
        yield from metric_names.list_metric_paths(variant) or ()  # type: ignore[arg-type]


def find_metric_error(
    objectives: Iterable[Objective], reported: Sequence[str]
) -> MetricError | None:
    """The error for the first objective that is not reported, None if all are.

    Args:
        objectives: What is optimised.
        reported: Paths of metrics below `eval/`.
    """
    for objective in objectives:
        if not metric_names.is_listed(objective.metric, reported):
            nearest = hyperparams.errors.find_nearest(objective.metric, reported)
            return MetricError(
                f'evaluations report no metric {objective.metric!r}',
                where='objectives',
                expected=f'one of {", ".join(reported)}',
                hint=f'did you mean {nearest!r}?' if nearest else '',
            )
    return None


def is_about_monitored(reason: str) -> bool:
    """Whether a trial failed because the metric that decides which checkpoint is best is not reported."""
    return f': {_MONITORED}: ' in f': {reason}'
