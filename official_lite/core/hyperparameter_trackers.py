"""Writers for MLflow and Weights & Biases, which are installed as extras.

A run of theirs that is open already is used and left open; otherwise the folder gets one of its own,
whose id is kept there, so that a run that goes on is one run for them too.
"""

from __future__ import annotations

import math
import os
import pathlib
import re
import time
from collections.abc import Mapping
from typing import Any

from official_lite.core import hyperparameter_writers as writers
from official_lite.core.hyperparameters import Hyperparameters

__all__ = ['MlflowWriter', 'WandbWriter']

_MLFLOW_ID = 'mlflow_run_id'
_WANDB_ID = 'wandb_run_id'
_PROJECT = 'official_lite'
# What MLflow takes: names of these characters, values of this length, so many in one call.
_MLFLOW_NAME = re.compile(r'[^\w./ :-]')
_MLFLOW_LONGEST = 6000
_MLFLOW_MOST = 100


class MlflowWriter:
    """Logs to MLflow: parameters, metrics by step, the best ones as `best/NAME`.

    Without MLFLOW_TRACKING_URI, what MLflow keeps goes into `mlruns` in the folder.
    """

    def __init__(self, folder: str) -> None:
        """Connects to nothing yet."""
        self._folder = folder
        self._client: Any = None
        self._run_id = ''
        self._is_own = False

    def begin(self, hyperparameters: Hyperparameters) -> None:
        import mlflow

        active = mlflow.active_run()
        uri = os.environ.get('MLFLOW_TRACKING_URI') or None
        if active is None and uri is None:
            # MLflow calls this store old, and wants to be told that it is meant.
            os.environ.setdefault('MLFLOW_ALLOW_FILE_STORE', 'true')
            uri = (pathlib.Path(self._folder).absolute() / 'mlruns').as_uri()
        self._client = mlflow.MlflowClient(tracking_uri=None if active else uri)
        self._is_own = active is None
        self._run_id = active.info.run_id if active else self._find_or_create(hyperparameters)
        self._log_parameters(hyperparameters.flat())

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        from mlflow import entities

        now = int(time.time() * 1000)
        metrics = [
            entities.Metric(_MLFLOW_NAME.sub('_', name), value, now, step)
            for name, value in writers.numbers(values).items()
            if math.isfinite(value)
        ]
        self._client.log_batch(self._run_id, metrics=metrics)

    def end(self, best: Mapping[str, Any]) -> None:
        if self._client is None:
            return
        if best:
            self.write(0, {f'best/{name}': value for name, value in best.items()})
        if self._is_own:
            self._client.set_terminated(self._run_id)

    def _find_or_create(self, hyperparameters: Hyperparameters) -> str:
        known = _read(self._folder, _MLFLOW_ID)
        if known:
            self._client.update_run(known, status='RUNNING')
            return known
        name = hyperparameters.experiment or _PROJECT
        found = self._client.get_experiment_by_name(name)
        experiment = self._client.create_experiment(name) if found is None else found.experiment_id
        title = os.path.basename(os.path.abspath(self._folder))
        run = self._client.create_run(experiment, run_name=title)
        _write(self._folder, _MLFLOW_ID, run.info.run_id)
        return str(run.info.run_id)

    def _log_parameters(self, flat: Mapping[str, Any]) -> None:
        """Logs what is new: MLflow refuses to change a parameter."""
        from mlflow import entities

        known = self._client.get_run(self._run_id).data.params
        new = [
            entities.Param(_MLFLOW_NAME.sub('_', name), str(value)[:_MLFLOW_LONGEST])
            for name, value in flat.items()
            if _MLFLOW_NAME.sub('_', name) not in known
        ]
        for start in range(0, len(new), _MLFLOW_MOST):
            self._client.log_batch(self._run_id, params=new[start : start + _MLFLOW_MOST])


class WandbWriter:
    """Logs to Weights & Biases: the tree as the run's config, values by step, the best as summary.

    WANDB_MODE=offline and its other variables work as ever.
    """

    def __init__(self, folder: str) -> None:
        """Connects to nothing yet."""
        self._folder = folder
        self._run: Any = None
        self._is_own = False

    def begin(self, hyperparameters: Hyperparameters) -> None:
        import wandb

        self._is_own = wandb.run is None
        self._run = wandb.run
        if self._run is None:
            os.makedirs(self._folder, exist_ok=True)
            known = _read(self._folder, _WANDB_ID)
            self._run = wandb.init(
                project=os.environ.get('WANDB_PROJECT') or hyperparameters.experiment or _PROJECT,
                name=os.path.basename(os.path.abspath(self._folder)),
                dir=self._folder,
                id=known or None,
                resume='allow',
            )
            _write(self._folder, _WANDB_ID, self._run.id)
        self._run.config.update(hyperparameters.tree(), allow_val_change=True)

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        self._run.log(writers.numbers(values), step=step)

    def end(self, best: Mapping[str, Any]) -> None:
        if self._run is None:
            return
        for name, value in writers.numbers(best).items():
            self._run.summary[f'best/{name}'] = value
        if self._is_own:
            self._run.finish()


def _read(folder: str, name: str) -> str:
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        return ''
    with open(path, encoding='utf-8') as file:
        return file.read().strip()


def _write(folder: str, name: str, text: str) -> None:
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), 'w', encoding='utf-8') as file:
        file.write(text + '\n')
