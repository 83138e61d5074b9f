"""Where a study is kept, and whether the one that is there is this one."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from official_lite import errors
from official_lite.core import file_lock
from official_lite.modeling import hyperparams
from official_lite.tuning import study_config
from official_lite.tuning.domains import Stored
from official_lite.tuning.search_space import SearchSpace

if TYPE_CHECKING:
    import optuna

__all__ = ['JOURNAL_FILE', 'describe_identity', 'has_results', 'open_storage', 'open_study']

JOURNAL_FILE = 'journal.log'
_JOURNAL_PREFIX = 'journal:'
_MOST_DIFFERENCES = 12
_OPENING_LOCK = 'storage.lock'
# Driver of a database, as SQLAlchemy calls it -> its package, where that has another name.
_DRIVERS = {
    'psycopg': 'psycopg[binary]',
    'psycopg2': 'psycopg2-binary',
    'mysqldb': 'mysqlclient',
    'mysqlconnector': 'mysql-connector-python',
}
_MOST_OPENINGS = 10
_SECS_BETWEEN_OPENINGS = 0.5
_ALREADY_THERE = ('already exists', 'duplicate')
_IDENTITY = ('objectives', 'space', 'config')


def open_storage(text: str | None, study_dir: pathlib.Path) -> optuna.storages.BaseStorage:
    """The storage that `--storage` names.

    Args:
        text: `journal:PATH`; a database such as `sqlite:///study.db` or `mysql://...`; None is a
            journal in the folder of the study.
        study_dir: That folder.

    Raises:
        UsageError: It cannot be opened.
    """
    import optuna
    from optuna.storages import journal

    if text and '://' in text and not text.startswith(_JOURNAL_PREFIX):
        return _open_database(text, study_dir)
    path = pathlib.Path(text.removeprefix(_JOURNAL_PREFIX)) if text else study_dir / JOURNAL_FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _drop_torn_line(path)
        return optuna.storages.JournalStorage(journal.JournalFileBackend(str(path)))
    except OSError as error:
        raise errors.UsageError(
            f'the journal cannot be opened: {error.strerror}', where=f'--storage={path}'
        ) from error


def _open_database(text: str, study_dir: pathlib.Path) -> optuna.storages.BaseStorage:
    import optuna
    import sqlalchemy

    driver = ''
    where = '--storage'
    try:
        url = sqlalchemy.engine.make_url(text)
        where = f'--storage={url.render_as_string(hide_password=True)}'
        driver = url.get_dialect().driver
        # Two processes that make the tables of a new database at once disturb each other.
        with file_lock.FileLock(study_dir / _OPENING_LOCK):
            return _make_tables(lambda: optuna.storages.RDBStorage(text))
    except sqlalchemy.exc.ArgumentError as error:
        raise errors.UsageError(
            f'no address of a database: {error}',
            where=where,
            expected='sqlite:///PATH, or postgresql or mysql://USER:PASSWORD@HOST:PORT/DATABASE',
        ) from error
    except ImportError as error:
        raise errors.UsageError(
            f'the driver {driver!r} of this database is not installed',
            where=where,
            hint=f"install it: pip install '{_DRIVERS.get(driver, driver)}'",
        ) from error
    except Exception as error:  # of the database's own driver
        raise errors.UsageError(f'the database cannot be opened: {error}', where=where) from error


def _make_tables(
    open_database: Callable[[], optuna.storages.BaseStorage],
) -> optuna.storages.BaseStorage:
    """Opens a database, again while somebody on another machine is making its tables."""
    import sqlalchemy

    for _ in range(_MOST_OPENINGS - 1):
        try:
            return open_database()
        except sqlalchemy.exc.DBAPIError as error:
            if not any(word in str(error).lower() for word in _ALREADY_THERE):
                raise
            time.sleep(_SECS_BETWEEN_OPENINGS)
    return open_database()


def _drop_torn_line(path: pathlib.Path) -> None:
    """Removes the end of a line that was not written whole; nothing could be added after it."""
    from optuna.storages import journal

    if not path.exists():
        return
    lock = journal.JournalFileSymlinkLock(str(path))  # the one that writers take
    lock.acquire()
    try:
        content = path.read_bytes()
        if content and not content.endswith(b'\n'):
            with path.open('r+b') as file:
                file.truncate(content.rfind(b'\n') + 1)
    finally:
        lock.release()


def open_study(
    storage: optuna.storages.BaseStorage,
    name: str,
    objectives: Sequence[study_config.Objective],
    *,
    sampler: optuna.samplers.BaseSampler,
    pruner: optuna.pruners.BasePruner,
    identity: Mapping[str, Any],
    first: Mapping[str, Stored] | None = None,
) -> optuna.Study:
    """Makes the study, or opens the one that is there.

    Args:
        storage: Where it is kept.
        name: Its name in there.
        objectives: What is optimised.
        sampler: Chooses values.
        pruner: Ends trials.
        identity: What has to stay the same for results to be comparable; see `describe_identity`.
        first: Values of the first trial of a new study.

    Raises:
        UsageError: The study that is there is another one.
    """
    import optuna

    directions = [optuna.study.StudyDirection[o.direction.upper()] for o in objectives]
    try:
        study = optuna.create_study(
            storage=storage, study_name=name, directions=directions, sampler=sampler, pruner=pruner
        )
    except optuna.exceptions.DuplicatedStudyError:
        study = optuna.load_study(storage=storage, study_name=name, sampler=sampler, pruner=pruner)
        _check_identity(study, study.directions == directions, identity)
    else:
        if first is not None:
            study.enqueue_trial(dict(first))
    for key in _IDENTITY:
        study.set_user_attr(key, identity[key])
    return study


def describe_identity(
    config: hyperparams.Config, space: SearchSpace, objectives: Sequence[study_config.Objective]
) -> dict[str, Any]:
    """What makes results of a study comparable, as JSON: its config, search space and objectives.

    Of the config what somebody chose, so that a new release with new fields goes on with a study.
    """
    return {
        'objectives': [str(objective) for objective in objectives],
        'space': {p.path: repr(p.domain) for p in space.parameters},
        'config': {path: repr(value) for path, value, source in config.leaves() if source.is_given},
    }


def _check_identity(
    study: optuna.Study, has_same_directions: bool, identity: Mapping[str, Any]
) -> None:
    """Refuses another study. Names of metrics may change as long as no trial has a result."""
    saved = study.user_attrs
    if any(key not in saved for key in _IDENTITY):
        return  # its maker ended before it could say what it is
    differences = []
    if saved['objectives'] != identity['objectives'] and (
        has_results(study) or not has_same_directions
    ):
        differences.append(f'objectives: {saved["objectives"]} -> {identity["objectives"]}')
    for key in ('space', 'config'):
        before, now = saved[key], identity[key]
        for path in {**before, **now}:
            if before.get(path) != now.get(path):
                old, new = before.get(path, '(absent)'), now.get(path, '(absent)')
                differences.append(f'{key}: {path}: {old} -> {new}')
    if differences:
        more = len(differences) - _MOST_DIFFERENCES
        lines = [f'  {line}' for line in differences[:_MOST_DIFFERENCES]]
        raise errors.UsageError(
            '\n'.join(
                ['there is another study, which differs:', *lines]
                + ([f'  and {more} more'] if more > 0 else [])
            ),
            where=f'study {study.study_name!r}',
            hint='choose another --study_dir (with a database also another --study_name), or take '
            'these changes back',
        )


def has_results(study: optuna.Study) -> bool:
    """Whether a trial is complete."""
    import optuna

    states = (optuna.trial.TrialState.COMPLETE,)
    return bool(study.get_trials(deepcopy=False, states=states))
