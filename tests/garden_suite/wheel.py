"""Finds the sources of tf-models-official: installed, or downloaded as a wheel."""

from __future__ import annotations

import importlib.metadata
import pathlib
import subprocess
import sys
import zipfile

GARDEN_VERSION = '2.20.0'


class GardenNotFoundError(Exception):
    """There is no tf-models-official of the expected version, and none could be fetched."""


def find_installed() -> pathlib.Path | None:
    """Returns the directory that holds `official/`, or None.

    Only metadata is read, because importing `official` takes seconds.
    """
    try:
        distribution = importlib.metadata.distribution('tf-models-official')
    except importlib.metadata.PackageNotFoundError:
        return None
    if distribution.version != GARDEN_VERSION:
        return None
    return pathlib.Path(str(distribution.locate_file('official'))).parent


def download(directory: pathlib.Path) -> pathlib.Path:
    """Downloads and unpacks the wheel, without its dependencies, below `directory`.

    Raises:
        GardenNotFoundError: pip could not fetch it.
    """
    requirement = f'tf-models-official=={GARDEN_VERSION}'
    command = [sys.executable, '-m', 'pip', 'download', '--no-deps', '--quiet']
    result = subprocess.run(
        [*command, '--dest', str(directory), requirement],
        capture_output=True,
        text=True,
        check=False,
    )
    wheels = sorted(directory.glob('tf_models_official-*.whl'))
    if result.returncode or not wheels:
        raise GardenNotFoundError(f'pip could not fetch {requirement}: {result.stderr.strip()}')
    unpacked = directory / 'wheel'
    with zipfile.ZipFile(wheels[0]) as archive:
        archive.extractall(unpacked)
    return unpacked


def find_garden(scratch: pathlib.Path) -> pathlib.Path:
    """Returns the directory that holds `official/`; downloads into `scratch` when needed."""
    return find_installed() or download(scratch)
