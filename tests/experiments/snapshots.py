"""The resolved config of every experiment, as a YAML file each: a change of any value shows.

`python -m tests.experiments.snapshots` writes them anew.
"""

from __future__ import annotations

import pathlib

from official_lite import manifest
from official_lite.core import exp_factory

FOLDER = pathlib.Path(__file__).parent / 'snapshots'
COMMAND = 'python -m tests.experiments.snapshots'


def list_names() -> list[str]:
    """Returns the built-in experiments; a plugin that happens to be installed does not count."""
    return sorted(manifest.EXPERIMENTS)


def render(name: str) -> str:
    """Returns what the snapshot of this experiment should hold."""
    return f'# Written by `{COMMAND}`.\n{exp_factory.get_exp_config(name).to_yaml()}'


def write_all() -> None:
    """Writes every snapshot and removes those of experiments that are gone."""
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.glob('*.yaml'):
        path.unlink()
    for name in list_names():
        (FOLDER / f'{name}.yaml').write_text(render(name), encoding='utf-8')
        print(FOLDER / f'{name}.yaml')


if __name__ == '__main__':
    write_all()
