"""Databases that a study is kept in: what is wrong with one is said before the first trial."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from official_lite import errors
from official_lite.tuning import storage
from tests.tuning import studies

optuna = pytest.importorskip('optuna')
sqlalchemy = pytest.importorskip('sqlalchemy')


def refuse(monkeypatch: pytest.MonkeyPatch, *raised: Exception) -> list[str]:
    """Raises these in turn where a database is opened, then opens it; returns the addresses."""
    left = list(raised)
    opened: list[str] = []
    real = optuna.storages.RDBStorage

    def open_database(url: str) -> Any:
        opened.append(url)
        if left:
            raise left.pop(0)
        return real(url)

    monkeypatch.setattr(optuna.storages, 'RDBStorage', open_database)
    monkeypatch.setattr(storage, '_SECS_BETWEEN_OPENINGS', 0.0)
    return opened


@pytest.mark.parametrize(
    ('dialect', 'driver', 'package'),
    [
        ('postgresql+psycopg2', 'psycopg2', r'psycopg2-binary'),
        ('postgresql+psycopg', 'psycopg', r'psycopg\[binary\]'),
        ('mysql', 'mysqldb', 'mysqlclient'),
        ('mysql+pymysql', 'pymysql', 'pymysql'),
    ],
)
def test_a_driver_that_is_not_installed_is_named_before_the_first_trial(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    dialect: str,
    driver: str,
    package: str,
) -> None:
    refuse(monkeypatch, ImportError('Failed to import DB access module'))
    with pytest.raises(
        errors.UsageError,
        match=rf'^--storage={dialect.replace("+", chr(92) + "+")}://me:\*\*\*@host/studies: the driver '
        rf"'{driver}' of this database is not installed; install it: pip install '{package}'$",
    ):
        studies.run(tmp_path, n_trials=1, storage_url=f'{dialect}://me:secret@host/studies')
    assert not (tmp_path / 'trials').exists()


@pytest.mark.parametrize('url', ['postgres://me:secret@host/studies', 'my sql://host'])
def test_what_is_no_address_is_refused(tmp_path: pathlib.Path, url: str) -> None:
    with pytest.raises(
        errors.UsageError,
        match=r'^--storage.*: no address of a database: .*; expected sqlite:///PATH',
    ) as caught:
        storage.open_storage(url, tmp_path)
    assert 'secret' not in str(caught.value)


def test_a_database_that_cannot_be_opened(tmp_path: pathlib.Path) -> None:
    url = f'sqlite:///{tmp_path}/absent/study.db'
    with pytest.raises(errors.UsageError, match=r'the database cannot be opened: .*unable to open'):
        storage.open_storage(url, tmp_path)


def test_tables_that_another_machine_is_making_are_waited_for(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cause = Exception('duplicate key value violates unique constraint "pg_type_typname_nsp_index"')
    error = sqlalchemy.exc.IntegrityError('CREATE TYPE studydirection', None, cause)
    opened = refuse(monkeypatch, error, error)
    storage.open_storage(f'sqlite:///{tmp_path}/study.db', tmp_path)
    assert len(opened) == 3
    refused = sqlalchemy.exc.OperationalError('', None, Exception('Connection refused'))
    opened = refuse(monkeypatch, refused)
    with pytest.raises(errors.UsageError, match=r'cannot be opened: .*Connection refused'):
        storage.open_storage(f'sqlite:///{tmp_path}/study.db', tmp_path)
    assert len(opened) == 1
