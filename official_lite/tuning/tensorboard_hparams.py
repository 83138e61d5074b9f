"""TensorBoard's HParams dashboard of a study: the searched values that vary, and the objectives.

Written without TensorFlow: `tensorboard --logdir=STUDY_DIR/tensorboard`.
"""

from __future__ import annotations

import pathlib
import time
from collections.abc import Mapping, Sequence

from official_lite.tuning import records, trial_files
from official_lite.tuning.search_space import SearchSpace, shorten_paths
from official_lite.tuning.study_config import Objective

__all__ = ['TENSORBOARD_SUBDIR', 'list_varying', 'save_hparams']

TENSORBOARD_SUBDIR = 'tensorboard'
_EVENTS_FILE = 'events.out.tfevents.study'
# Beside the curve of a metric stands the one value of it that counts.
_RESULT_PREFIX = 'objective/'
_MOST_DISCRETE = 10

_Scalar = bool | float | str


def save_hparams(
    study_dir: pathlib.Path,
    trials: Sequence[records.TrialRecord],
    space: SearchSpace,
    objectives: Sequence[Objective],
) -> pathlib.Path | None:
    """Writes events with the hyperparameters and evaluations of each trial that has a result.

    Args:
        study_dir: Folder of the study.
        trials: Its trials.
        space: What was searched.
        objectives: What was optimised.

    Returns:
        The folder; None if no trial has metrics.
    """
    shown = [record for record in trials if record.metrics]
    if not shown:
        return None
    paths = list_varying(shown, space)
    names = shorten_paths(paths)
    values = {names[path]: _read_values(shown, path) for path in paths}
    folder = study_dir / TENSORBOARD_SUBDIR
    _write_config(folder, values, objectives)
    for record in shown:
        params = {n: found[record.number] for n, found in values.items() if record.number in found}
        _write_trial(folder, record, params, objectives)
    return folder


def list_varying(trials: Sequence[records.TrialRecord], space: SearchSpace) -> list[str]:
    """Searched paths that do not have the same value in all of these trials."""
    return [
        parameter.path
        for parameter in space.searched
        if len({repr(record.params.get(parameter.path)) for record in trials}) > 1
    ]


def _read_values(trials: Sequence[records.TrialRecord], path: str) -> dict[int, _Scalar]:
    """The values of one parameter by number of the trial, all of one type."""
    found = {r.number: r.params[path] for r in trials if path in r.params}
    for kind in (bool, (int, float)):
        is_bool = kind is bool
        if all(isinstance(v, kind) and isinstance(v, bool) == is_bool for v in found.values()):
            return {n: v if isinstance(v, bool) else float(v or 0) for n, v in found.items()}
    return {number: str(value) for number, value in found.items()}


def _write_config(
    folder: pathlib.Path,
    values: Mapping[str, Mapping[int, _Scalar]],
    objectives: Sequence[Objective],
) -> None:
    from tensorboard.plugins.hparams import summary_v2

    hparams = []
    for name, found in values.items():
        distinct = sorted(set(found.values()))
        numbers = [value for value in distinct if isinstance(value, float)]
        if len(numbers) > _MOST_DISCRETE:
            hparams.append(
                summary_v2.HParam(name, summary_v2.RealInterval(numbers[0], numbers[-1]))
            )
        else:
            hparams.append(summary_v2.HParam(name, summary_v2.Discrete(distinct)))
    metrics = [
        summary_v2.Metric(f'{_RESULT_PREFIX}{o.metric}', display_name=o.metric) for o in objectives
    ]
    _write_events(folder, [(0, summary_v2.hparams_config_pb(hparams, metrics))])


def _write_trial(
    folder: pathlib.Path,
    record: records.TrialRecord,
    params: Mapping[str, _Scalar],
    objectives: Sequence[Objective],
) -> None:
    from tensorboard.plugins.hparams import summary_v2

    started = record.started.timestamp() if record.started else time.time()
    name = f'trial_{record.number:05d}'
    summaries = [(0, summary_v2.hparams_pb(dict(params), trial_id=name, start_time_secs=started))]
    evaluations = trial_files.load_evaluations(pathlib.Path(record.model_dir))
    for evaluation in evaluations:
        for objective in objectives:
            if objective.metric in evaluation.metrics:
                value = evaluation.metrics[objective.metric]
                summaries.append((evaluation.step, _make_scalar(objective.metric, value)))
    for objective in objectives:
        if objective.metric in record.metrics:
            tag = f'{_RESULT_PREFIX}{objective.metric}'
            value = record.metrics[objective.metric]
            summaries.append((record.step or 0, _make_scalar(tag, value)))
    _write_events(folder / name, summaries)


def _make_scalar(name: str, value: float) -> object:
    from tensorboard.compat.proto import summary_pb2

    return summary_pb2.Summary(
        value=[summary_pb2.Summary.Value(tag=name, simple_value=float(value))]
    )


def _write_events(folder: pathlib.Path, summaries: Sequence[tuple[int, object]]) -> None:
    """Writes an event file, in place of the earlier one."""
    from tensorboard.compat.proto import event_pb2
    from tensorboard.summary.writer import record_writer

    folder.mkdir(parents=True, exist_ok=True)
    now = time.time()
    with open(folder / _EVENTS_FILE, 'wb') as file:
        writer = record_writer.RecordWriter(file)
        header = event_pb2.Event(wall_time=now, file_version='brain.Event:2')
        writer.write(header.SerializeToString())
        for step, summary in summaries:
            event = event_pb2.Event(wall_time=now, step=step, summary=summary)
            writer.write(event.SerializeToString())
        writer.flush()
