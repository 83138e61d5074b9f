"""What is known of each trial, in a form of its own, for tables, files and plots."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from official_lite.tuning.domains import Stored
from official_lite.tuning.study_config import Objective

if TYPE_CHECKING:
    import optuna

__all__ = ['SURPLUS', 'TrialRecord', 'find_best', 'list_records']

# Names of user attributes of Optuna's trials.
METRICS_KEY = 'metrics'
STEP_KEY = 'step'
WALL_SECS_KEY = 'wall_secs'
REASON_KEY = 'exit_reason'
EXIT_CODE_KEY = 'exit_code'
NUM_STARTS_KEY = 'num_starts'
MODEL_DIR_KEY = 'model_dir'
# Reason of a trial that another worker made unnecessary between two looks at the study.
SURPLUS = 'not needed'


@dataclasses.dataclass(frozen=True)
class TrialRecord:
    """One trial.

    Attributes:
        number: Its number in the study.
        state: `complete`, `pruned`, `failed`, `running` or `waiting`.
        params: What Optuna chose, by path; those that counted in this trial only.
        values: The objectives; None as long as it has none.
        metrics: All numbers of the evaluation that counts (of the newest one while it runs).
        step: Training step of that evaluation.
        wall_secs: Time that it has run, over all starts.
        exit_reason: Why it ended.
        exit_code: Exit code of its process; negative for a signal.
        num_starts: How often it was started.
        model_dir: Its folder.
        started: When it was made.
    """

    number: int
    state: str
    params: Mapping[str, Stored]
    values: tuple[float, ...] | None = None
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
    step: int | None = None
    wall_secs: float = 0.0
    exit_reason: str = ''
    exit_code: int | None = None
    num_starts: int = 0
    model_dir: str = ''
    started: datetime.datetime | None = None

    @property
    def is_complete(self) -> bool:
        """Whether it counts as a result."""
        return self.state == 'complete' and self.values is not None


_STATES = {'FAIL': 'failed'}


def list_records(study: optuna.Study) -> list[TrialRecord]:
    """All trials of a study in order, without those that were not needed."""
    records = [_to_record(trial) for trial in study.get_trials(deepcopy=False)]
    return [record for record in records if record.exit_reason != SURPLUS]


def _to_record(trial: optuna.trial.FrozenTrial) -> TrialRecord:
    attributes: Mapping[str, Any] = trial.user_attrs
    values = trial.values if trial.state.name == 'COMPLETE' else None
    return TrialRecord(
        number=trial.number,
        state=_STATES.get(trial.state.name, trial.state.name.lower()),
        params=dict(trial.params),
        values=None if values is None else tuple(values),
        metrics=attributes.get(METRICS_KEY, {}),
        step=attributes.get(STEP_KEY),
        wall_secs=attributes.get(WALL_SECS_KEY, 0.0),
        exit_reason=attributes.get(REASON_KEY, ''),
        exit_code=attributes.get(EXIT_CODE_KEY),
        num_starts=attributes.get(NUM_STARTS_KEY, 0),
        model_dir=attributes.get(MODEL_DIR_KEY, ''),
        started=trial.datetime_start,
    )


def find_best(records: Sequence[TrialRecord], objectives: Sequence[Objective]) -> list[TrialRecord]:
    """The best complete trial; with several objectives all that no other one dominates.

    Of equal ones the first; in order of the first objective, the best in front.
    """
    complete = [record for record in records if record.is_complete]
    best = [
        record
        for record in complete
        if not any(_dominates(other, record, objectives) for other in complete)
    ]
    ordered = sorted(best, key=lambda record: _sort_key(record, objectives))
    return ordered[:1] if len(objectives) == 1 else ordered


def _sort_key(record: TrialRecord, objectives: Sequence[Objective]) -> tuple[float, int]:
    value = (record.values or (0.0,))[0]
    return (-value if objectives[0].direction == 'maximize' else value, record.number)


def _dominates(a: TrialRecord, b: TrialRecord, objectives: Sequence[Objective]) -> bool:
    pairs = list(zip(a.values or (), b.values or (), objectives))
    is_worse = any(objective.is_better(y, x) for x, y, objective in pairs)
    return not is_worse and any(objective.is_better(x, y) for x, y, objective in pairs)
