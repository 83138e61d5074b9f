"""Processes that are killed, and several that share a study."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from official_lite.tuning import records
from tests.tuning import studies

optuna = pytest.importorskip('optuna')

REPO = pathlib.Path(__file__).resolve().parent.parent.parent
_MOST_SECS = 200.0


def start(study_dir: pathlib.Path, num_trials: int, *args: str) -> subprocess.Popen[str]:
    """A process that runs the study."""
    return subprocess.Popen(
        [
            sys.executable,
            '-m',
            'tests.tuning.study_program',
            str(study_dir),
            str(num_trials),
            *args,
        ],
        cwd=REPO,
        env={**os.environ, 'PYTHONPATH': str(REPO)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    """Waits for its end, which has to be a good one."""
    said, _ = process.communicate(timeout=_MOST_SECS)
    assert process.returncode == 0, said
    return said


def load(study_dir: pathlib.Path, storage: str | None = None) -> list[records.TrialRecord]:
    """The trials that the storage has."""
    from official_lite.tuning import storage as storage_lib

    opened = storage_lib.open_storage(storage, study_dir)
    return records.list_records(optuna.load_study(storage=opened, study_name='study'))


def wait_for_trial(study_dir: pathlib.Path, number: int) -> None:
    """Waits until a trial has made its first evaluation."""
    path = study_dir / 'trials' / f'{number:05d}' / 'metrics.jsonl'
    end = time.monotonic() + _MOST_SECS
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_study_that_is_killed_goes_on_as_if_it_had_not_been(tmp_path: pathlib.Path) -> None:
    study_dir = tmp_path / 'killed'
    for number in (0, 2):
        process = start(study_dir, 5, '--delay=0.3', '--sampler=tpe')
        wait_for_trial(study_dir, number)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    running = [record for record in load(study_dir) if record.state == 'running']
    assert [record.number for record in running] == [2]
    finish(start(study_dir, 5, '--delay=0', '--sampler=tpe'))
    killed = load(study_dir)
    assert [record.state for record in killed] == ['complete'] * 5
    assert [record.num_starts for record in killed] == [2, 1, 2, 1, 1]
    whole = studies.run(tmp_path / 'study', n_trials=5, sampler={'type': 'tpe'}, study_name='study')
    assert [record.params for record in killed] == [record.params for record in whole.trials]
    assert [record.values for record in killed] == [record.values for record in whole.trials]
    assert not list((study_dir / 'workers').iterdir())  # nobody owns anything any more


def test_trials_end_with_the_process_that_started_them(tmp_path: pathlib.Path) -> None:
    process = start(tmp_path, 1, '--delay=0.5')
    wait_for_trial(tmp_path, 0)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    path = tmp_path / 'trials' / '00000' / 'metrics.jsonl'
    time.sleep(0.3)
    before = path.read_text()
    time.sleep(1.2)
    assert path.read_text() == before


# An empty database of a server, such as postgresql+psycopg2://postgres@localhost/studies.
DATABASE = 'OFFICIAL_LITE_TEST_DATABASE'


@pytest.mark.parametrize('kind', ['journal', 'sqlite', 'server'])
def test_two_processes_with_two_workers_each_share_a_study(
    tmp_path: pathlib.Path, kind: str
) -> None:
    if kind == 'server' and DATABASE not in os.environ:
        pytest.skip(f'{DATABASE} names no database')
    storage = {
        'journal': f'journal:{tmp_path}/log',
        'sqlite': f'sqlite:///{tmp_path}/study.db',
        'server': os.environ.get(DATABASE, ''),
    }[kind]
    args = (f'--storage={storage}', '--workers=2', '--delay=0.05')
    processes = [start(tmp_path / 'study', 12, *args) for _ in range(2)]
    said = [finish(process) for process in processes]
    trials = load(tmp_path / 'study', storage)
    assert [record.number for record in trials] == list(range(12))
    assert all(record.state == 'complete' for record in trials)
    assert len({str(record.params) for record in trials}) == 12
    folders = {path.name for path in (tmp_path / 'study' / 'trials').iterdir()}
    assert folders == {f'{number:05d}' for number in range(12)}
    assert all('complete' in text for text in said)


def test_a_living_worker_keeps_its_trials(tmp_path: pathlib.Path) -> None:
    first = start(tmp_path, 3, '--delay=0.5')
    wait_for_trial(tmp_path, 0)
    finish(start(tmp_path, 3, '--delay=0'))
    finish(first)
    trials = load(tmp_path)
    assert [record.num_starts for record in trials] == [1, 1, 1]
    assert all(record.state == 'complete' for record in trials)
