"""What runs on a disk were and what came of them, read without TensorFlow."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

from official_lite import errors
from official_lite.core import hyperparameter_files, metric_paths, run_files
from official_lite.core.hyperparameters import Hyperparameters, flatten
from official_lite.modeling.hyperparams import yaml_files

__all__ = ['ABSENT', 'RunRecord', 'find_runs', 'find_varying', 'load_run']

# What one of two runs has where only the other one has a value.
ABSENT = '(absent)'
_EVAL = 'eval/'
_BEST_INFO = 'info.json'
_BEST_STEP = 'best_ckpt_global_step'
_LOSS = 'eval/loss'
# Fields that say how a run reports, not what it learns.
_BORING = ('trainer.log_hyperparameters_to',)


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """One run.

    Attributes:
        path: Its folder, or what else was named.
        hyperparameters: Its hyperparameters.
        started: When it was last started, ISO 8601 in UTC; '' if not known.
        step: The last step that it logged, or None.
        metric: Name of the metric that decides which evaluation is best; '' if there is none.
        best_step: Step of the best evaluation, or None.
        best: All metrics of that evaluation by path (`eval/AP`).
    """

    path: str
    hyperparameters: Hyperparameters
    started: str = ''
    step: int | None = None
    metric: str = ''
    best_step: int | None = None
    best: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def best_value(self) -> float | None:
        """The best value of the metric."""
        return self.best.get(self.metric)

    @functools.cached_property
    def is_lower_better(self) -> bool:
        """Whether small values of the metric are good ones."""
        named = self.hyperparameters.get('trainer.best_checkpoint_eval_metric')
        comparison = self.hyperparameters.get('trainer.best_checkpoint_metric_comp')
        return self.metric == _LOSS if not named else comparison == 'lower'

    def to_dict(self) -> dict[str, Any]:
        """Returns all of it as JSON can hold it."""
        return {
            'path': self.path,
            'experiment': self.hyperparameters.experiment,
            'started': self.started,
            'step': self.step,
            'metric': self.metric,
            'best_step': self.best_step,
            'best': dict(self.best),
            'hyperparameters': self.hyperparameters.flat(),
        }


def load_run(path: str) -> RunRecord:
    """Reads a run.

    Args:
        path: Its folder, or anything that `load_hyperparameters` takes.

    Raises:
        UsageError: As `load_hyperparameters`.
    """
    found = hyperparameter_files.load_hyperparameters(path)
    folder = path if run_files.is_dir(path) else os.path.dirname(path)
    named = str(found.get('trainer.best_checkpoint_eval_metric') or '')
    metric = metric_paths.validation_path(named) if named else ''
    lines = list(_read_metrics(run_files.join(folder, run_files.METRICS_FILE)))
    evaluations = [line for line in lines if any(name.startswith(_EVAL) for name in line)]
    evaluations = evaluations or _read_best_info(run_files.join(folder, _BEST_INFO))
    if not metric and any(_LOSS in line for line in evaluations):
        metric = _LOSS
    record = RunRecord(
        path=path,
        hyperparameters=found,
        started=str(run_files.load_run_info(folder).get('started', '')),
        step=int(lines[-1]['step']) if lines else None,
        metric=metric,
    )
    best = _choose_best(evaluations, metric, record.is_lower_better)
    if best is None:
        return record
    metrics = {name: float(v) for name, v in best.items() if name.startswith(_EVAL)}
    return dataclasses.replace(record, best=metrics, best_step=int(best['step']))


def find_runs(root: str) -> tuple[list[RunRecord], list[str]]:
    """Reads all runs in a folder and below it, in the order of their paths.

    A run is a folder with a params.yaml and with a run.json or a metrics.jsonl.

    Returns:
        The runs, and why others cannot be read.

    Raises:
        UsageError: There is no such folder.
    """
    if not os.path.isdir(root):
        raise errors.UsageError('there is no such folder', where=root)
    runs, problems = [], []
    marks = {run_files.RUN_FILE, run_files.METRICS_FILE}
    for folder, subfolders, names in os.walk(root):
        subfolders.sort()
        if run_files.PARAMS_FILE in names and marks & set(names):
            try:
                runs.append(load_run(folder))
            except errors.OfficialLiteError as error:
                problems.append(str(error))
    return runs, problems


def find_varying(runs: list[RunRecord]) -> list[str]:
    """Returns the paths of the hyperparameters that are not the same in all runs, in their order."""
    paths = dict.fromkeys(path for run in runs for path in run.hyperparameters)
    return [
        path
        for path in paths
        if path not in _BORING
        and len({repr(run.hyperparameters.get(path, ABSENT)) for run in runs}) > 1
    ]


def _read_metrics(path: str) -> Iterator[dict[str, Any]]:
    """Yields the whole lines of a metrics.jsonl, without what is no number."""
    if not run_files.exists(path):
        return
    for line in yaml_files.read_text(path).splitlines():
        try:
            values = json.loads(line)
        except ValueError:
            continue  # cut off by a crash
        if isinstance(values, dict) and 'step' in values:
            yield {name: value for name, value in values.items() if value is not None}


def _read_best_info(path: str) -> list[dict[str, Any]]:
    """Returns the evaluation in the info.json of a best export, if there is one."""
    if not run_files.exists(path):
        return []
    try:
        values = json.loads(yaml_files.read_text(path))
    except ValueError:
        return []
    flat = {name.replace('.', '/'): value for name, value in flatten(values)}
    step = flat.pop(_BEST_STEP, None)
    if step is None:
        return []
    metrics = {metric_paths.validation_path(k): v for k, v in flat.items() if v is not None}
    return [{'step': int(step), **metrics}]


def _choose_best(
    evaluations: list[dict[str, Any]], metric: str, is_lower_better: bool
) -> dict[str, Any] | None:
    """Returns the evaluation with the best value, the last one where the metric is unknown."""
    known = [line for line in evaluations if math.isfinite(line.get(metric, math.nan))]
    if not known:
        return evaluations[-1] if evaluations else None
    return (min if is_lower_better else max)(known, key=lambda line: line[metric])
