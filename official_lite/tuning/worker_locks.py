"""Who works on which trial, and which trials have lost their worker.

A worker is a process that starts trials. It holds a lock on a file of its own in the study's folder
as long as it lives. A running trial whose worker's lock is free has lost its worker (kill -9, a
machine that went down), and another one takes it over. A worker whose file is not there works in
another folder, on another machine: its trials are left alone.
"""

from __future__ import annotations

import datetime
import os
import pathlib
import socket
import uuid
from typing import TYPE_CHECKING

from official_lite.core import file_lock

if TYPE_CHECKING:
    import optuna

__all__ = ['WORKER_KEY', 'WorkerLock', 'adopt_orphans', 'list_running']

WORKER_KEY = 'worker'
_SUBDIR = 'workers'
_MOST_SECS_WITHOUT_NAME = 30.0


class WorkerLock:
    """This process's own lock. Use it as a context.

    Args:
        study_dir: The folder of the study.

    Attributes:
        name: Name of the worker: host, process and a random part.
    """

    def __init__(self, study_dir: pathlib.Path) -> None:
        self.name = f'{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}'
        self._lock = file_lock.FileLock(_get_path(study_dir, self.name))

    def __enter__(self) -> WorkerLock:
        self._lock.acquire(float('inf'))
        return self

    def __exit__(self, *error: object) -> None:
        """Ends the lock; the file stays, as a sign to those who take over what was left."""
        self._lock.release()

    def remove(self) -> None:
        """Removes the file of a worker that leaves no trial behind."""
        self._lock.path.unlink(missing_ok=True)


def adopt_orphans(
    study: optuna.Study, study_dir: pathlib.Path, worker: str
) -> list[optuna.trial.FrozenTrial]:
    """Takes over the running trials whose workers are gone, in order of their numbers.

    Args:
        study: The study.
        study_dir: Its folder.
        worker: Name of the worker that takes them over.
    """
    adopted = [trial for trial in list_running(study) if _has_no_owner(trial)]
    for trial in adopted:
        study._storage.set_trial_user_attr(trial._trial_id, WORKER_KEY, worker)
    owners = {trial.user_attrs.get(WORKER_KEY, '') for trial in list_running(study)}
    for owner in sorted(owners - {worker, ''}):
        lock = file_lock.FileLock(_get_path(study_dir, owner))
        if not lock.path.exists() or not lock.try_acquire():
            continue
        try:
            # Read again: another worker may have taken them over until the lock was free.
            for trial in list_running(study):
                if trial.user_attrs.get(WORKER_KEY) == owner:
                    study._storage.set_trial_user_attr(trial._trial_id, WORKER_KEY, worker)
                    adopted.append(trial)
        finally:
            lock.path.unlink(missing_ok=True)
            lock.release()
    return sorted(adopted, key=lambda trial: trial.number)


def _has_no_owner(trial: optuna.trial.FrozenTrial) -> bool:
    """Whether its worker ended between making the trial and putting its name on it."""
    if trial.user_attrs.get(WORKER_KEY) or trial.datetime_start is None:
        return False
    age = datetime.datetime.now() - trial.datetime_start
    return age.total_seconds() > _MOST_SECS_WITHOUT_NAME


def list_running(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """The running trials of a study."""
    import optuna

    return study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,))


def _get_path(study_dir: pathlib.Path, worker: str) -> pathlib.Path:
    return study_dir / _SUBDIR / f'{worker}.lock'
