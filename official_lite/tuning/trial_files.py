"""The folder of a trial: its log, and the evaluations that it has made."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Mapping, Sequence

from official_lite.tuning.study_config import Objective

__all__ = [
    'CONFIG_FILE',
    'LOG_FILE',
    'Evaluation',
    'find_last_words',
    'get_size_bytes',
    'get_trial_dir',
    'load_evaluations',
    'pick_evaluation',
    'write_atomically',
]

CONFIG_FILE = 'config.yaml'
LOG_FILE = 'trial.log'
_METRICS_FILE = 'metrics.jsonl'
_PREFIX = 'eval/'
_TAIL_BYTES = 20_000
_LONGEST_WORDS = 500


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """One evaluation of a trial.

    Attributes:
        step: The training step.
        metrics: Numbers by name (`AP`, `loss/cls`); NaN for what is not finite.
    """

    step: int
    metrics: Mapping[str, float]

    def get_values(self, objectives: Sequence[Objective]) -> tuple[float, ...] | None:
        """The values of the objectives; None if one of them is no number."""
        values = tuple(self.metrics.get(objective.metric, math.nan) for objective in objectives)
        return None if any(math.isnan(value) for value in values) else values


def get_trial_dir(study_dir: pathlib.Path, number: int) -> pathlib.Path:
    """The model_dir of a trial."""
    return study_dir / 'trials' / f'{number:05d}'


def write_atomically(path: pathlib.Path, text: str) -> None:
    """Writes a file that is never half there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}')
    temporary.write_text(text, encoding='utf-8')
    os.replace(temporary, path)


def get_size_bytes(trial_dir: pathlib.Path) -> int:
    """How much a trial has written about its metrics, to see whether there is something new."""
    try:
        return (trial_dir / _METRICS_FILE).stat().st_size
    except OSError:
        return 0


def load_evaluations(trial_dir: pathlib.Path) -> list[Evaluation]:
    """The evaluations that a trial has written so far, in order."""
    try:
        lines = (trial_dir / _METRICS_FILE).read_text(encoding='utf-8').splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            content = json.loads(line)
        except ValueError:
            continue  # the last line, while it is being written
        metrics = {
            name.removeprefix(_PREFIX): value
            for name, value in content.items()
            if name.startswith(_PREFIX)
        }
        if metrics:
            numbers = {k: math.nan if v is None else float(v) for k, v in metrics.items()}
            found.append(Evaluation(int(content['step']), numbers))
    return found


def pick_evaluation(
    evaluations: Sequence[Evaluation], objectives: Sequence[Objective], which: str
) -> Evaluation | None:
    """The evaluation that counts: the last, or the best by the first objective.

    Returns:
        None if none has all objectives as numbers.
    """
    usable = [e for e in evaluations if e.get_values(objectives) is not None]
    if not usable or which == 'last':
        return usable[-1] if usable and usable[-1] is evaluations[-1] else None
    best = usable[0]
    for evaluation in usable[1:]:
        metric = objectives[0].metric
        if objectives[0].is_better(evaluation.metrics[metric], best.metrics[metric]):
            best = evaluation
    return best


def find_last_words(trial_dir: pathlib.Path) -> str:
    """What the end of a trial's log says of why it ended, '' if nothing."""
    try:
        with (trial_dir / LOG_FILE).open('rb') as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = file.read().decode('utf-8', 'replace').splitlines()
    except OSError:
        return ''
    said = [line.strip() for line in lines if line.strip()]
    begins = [index for index, line in enumerate(said) if line.startswith('error: ')]
    words = ' '.join(said[begins[-1] :]) if begins else said[-1] if said else ''
    return words.removeprefix('error: ')[:_LONGEST_WORDS]
