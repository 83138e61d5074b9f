"""The values of every experiment are those that were stored."""

from __future__ import annotations

import pytest

from tests.experiments import snapshots


def test_there_is_a_snapshot_of_every_experiment_and_no_other() -> None:
    stored = sorted(path.stem for path in snapshots.FOLDER.glob('*.yaml'))
    assert stored == snapshots.list_names(), f'run `{snapshots.COMMAND}`'


@pytest.mark.parametrize('name', snapshots.list_names())
def test_values_are_those_of_the_snapshot(name: str) -> None:
    stored = (snapshots.FOLDER / f'{name}.yaml').read_text(encoding='utf-8')
    assert snapshots.render(name) == stored, f'if meant, run `{snapshots.COMMAND}`'
