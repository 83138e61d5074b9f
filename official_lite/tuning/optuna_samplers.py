"""Two samplers in Optuna's terms; importing this imports Optuna."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import optuna

from official_lite.tuning.domains import Stored

__all__ = ['PointSampler', 'SeededSampler']

BaseSampler = optuna.samplers.BaseSampler
Distribution = optuna.distributions.BaseDistribution
Trial = optuna.trial.FrozenTrial


class SeededSampler(BaseSampler):
    """Makes a new sampler for each trial, from its number.

    A sampler that is kept draws one random sequence in each process: after a restart the same values
    again, and in each of several workers the same as in the others.

    Args:
        make: Returns the sampler for a trial's number.
    """

    def __init__(self, make: Callable[[int], BaseSampler]) -> None:
        self._make = make
        self._sampler = make(0)

    def before_trial(self, study: optuna.Study, trial: Trial) -> None:
        """Makes the sampler of this trial."""
        self._sampler = self._make(trial.number)
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: Trial
    ) -> dict[str, Distribution]:
        """As the sampler does."""
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: Trial, search_space: dict[str, Distribution]
    ) -> dict[str, Any]:
        """As the sampler does."""
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: Trial, param_name: str, param_distribution: Distribution
    ) -> Any:
        """As the sampler does."""
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: optuna.Study,
        trial: Trial,
        state: optuna.trial.TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """As the sampler does."""
        self._make(trial.number).after_trial(study, trial, state, values)


class PointSampler(BaseSampler):
    """Gives the n-th trial the n-th point of a list.

    Optuna's own grid sampler has no conditional parameters; and numbers of trials are unique among all
    workers, so that no point is tried twice.

    Args:
        points: Stored values by path, those of the parameters that count in this point.
    """

    def __init__(self, points: Sequence[dict[str, Stored]]) -> None:
        self._points = points

    def infer_relative_search_space(
        self, study: optuna.Study, trial: Trial
    ) -> dict[str, Distribution]:
        """Nothing: each value is independent."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: Trial, search_space: dict[str, Distribution]
    ) -> dict[str, Any]:
        """Nothing."""
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: Trial, param_name: str, param_distribution: Distribution
    ) -> Any:
        """The value of the trial's point; past the end of the list that of the last one."""
        return self._points[min(trial.number, len(self._points) - 1)][param_name]
