"""The files that a study leaves: trials.csv and best.yaml."""

from __future__ import annotations

import csv
import io
import pathlib
from collections.abc import Sequence

from official_lite.modeling import hyperparams
from official_lite.tuning import config_files, records, trial_files
from official_lite.tuning.live_table import format_params
from official_lite.tuning.search_space import SearchSpace
from official_lite.tuning.study_config import Objective

__all__ = ['BEST_FILE', 'TRIALS_FILE', 'save_best', 'save_trials']

TRIALS_FILE = 'trials.csv'
BEST_FILE = 'best.yaml'


def save_trials(
    study_dir: pathlib.Path,
    trials: Sequence[records.TrialRecord],
    space: SearchSpace,
    objectives: Sequence[Objective],
) -> pathlib.Path:
    """Writes trials.csv: a line for each trial with its values, its metrics, its time and its end."""
    paths = [parameter.path for parameter in space.searched]
    metrics = sorted({name for record in trials for name in record.metrics})
    names = [f'objective/{objective.metric}' for objective in objectives]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    details = ('step', 'wall_secs', 'num_starts', 'exit_code', 'exit_reason', 'model_dir')
    heading = ['number', 'state', *names, *paths, *details, *(f'eval/{m}' for m in metrics)]
    writer.writerow(heading)
    for record in trials:
        row = [
            record.number,
            record.state,
            *(record.values or ('',) * len(names)),
            *(record.params.get(path, '') for path in paths),
            *(getattr(record, name) for name in details),
            *(record.metrics.get(name, '') for name in metrics),
        ]
        writer.writerow('' if cell is None else cell for cell in row)
    path = study_dir / TRIALS_FILE
    trial_files.write_atomically(path, text.getvalue())
    return path


def save_best(
    study_dir: pathlib.Path,
    trials: Sequence[records.TrialRecord],
    objectives: Sequence[Objective],
    *,
    base: hyperparams.Config,
    space: SearchSpace,
    experiment: str,
    imports: Sequence[str],
) -> list[pathlib.Path]:
    """Writes the config of the best trial as best.yaml, which runs as `--config_file`.

    With several objectives best.yaml is the one that is best by the first of them, and there is a
    `best_NUMBER.yaml` for each that no other one dominates.

    Returns:
        The files, none if no trial is complete.
    """
    best = records.find_best(trials, objectives)
    targets = [(study_dir / BEST_FILE, record) for record in best[:1]]
    if len(objectives) > 1:
        targets += [(study_dir / f'best_{record.number:05d}.yaml', record) for record in best]
        for path in set(study_dir.glob('best_[0-9]*.yaml')) - {path for path, _ in targets}:
            path.unlink()  # no longer on the front
    for path, record in targets:
        params = record.params
        config = space.build_config(base, lambda parameter, p=params: p[parameter.path])  # type: ignore[misc]
        reached = ', '.join(
            f'{objective.metric} {value:.6g}'
            for objective, value in zip(objectives, record.values or ())
        )
        chosen = format_params(record.params, {})
        header = f'# Trial {record.number} of {len(trials)}: {reached}\n# {chosen}\n'
        config_files.save_config(
            path, config, experiment=experiment, imports=imports, header=header
        )
    return [path for path, _ in targets]
