"""What an installation brings along, and that the wheel holds what it should."""

from __future__ import annotations

import importlib.metadata
import pathlib
import tomllib
import zipfile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_MOST_DISTRIBUTIONS = 45


def distributions_needed(requirements: list[str]) -> set[str]:
    """The installed distributions that these requirements pull in, extras followed only where asked for."""
    found: set[str] = set()
    pending = [Requirement(text) for text in requirements]
    while pending:
        requirement = pending.pop()
        name = canonicalize_name(requirement.name)
        visit = f'{name}[{",".join(sorted(requirement.extras))}]'
        if visit in found:
            continue
        found.add(visit)
        for text in importlib.metadata.requires(name) or []:
            needed = Requirement(text)
            environments = [{'extra': extra} for extra in (requirement.extras or {''})]
            if needed.marker is None or any(needed.marker.evaluate(e) for e in environments):
                pending.append(needed)
    return {visit.split('[')[0] for visit in found}


def project(repo: pathlib.Path) -> dict:
    return tomllib.loads((repo / 'pyproject.toml').read_text())['project']


def test_at_most_45_distributions_without_extras(repo: pathlib.Path):
    needed = distributions_needed(project(repo)['dependencies'])
    assert {'tensorflow', 'keras', 'tensorboard', 'pycocotools'} <= needed
    assert len(needed) + 1 <= _MOST_DISTRIBUTIONS, sorted(needed)


def test_asked_for_packages_are_declared(repo: pathlib.Path):
    declared = project(repo)
    extras = declared['optional-dependencies']
    everything = declared['dependencies'] + [line for lines in extras.values() for line in lines]
    names = {canonicalize_name(Requirement(line).name) for line in everything}
    asked = {
        'tensorflow',
        'tf-models-official',
        'dataclasses-json',
        'pyyaml',
        'absl-py',
        'pytest',
        'tensorboard',
    }
    assert asked <= names
    assert 'tf-models-official==2.20.0' in extras['garden']


@pytest.mark.slow
def test_wheel_holds_configs_and_types(repo: pathlib.Path, tmp_path: pathlib.Path):
    import subprocess
    import sys

    subprocess.run(
        [sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '-w', tmp_path, repo],
        check=True,
    )
    (wheel,) = tmp_path.glob('*.whl')
    names = zipfile.ZipFile(wheel).namelist()
    assert any(name.endswith('experiments/retinanet/own_data.yaml') for name in names)
    assert 'official_lite/py.typed' in names
    assert not any(name.startswith('tests/') for name in names)
