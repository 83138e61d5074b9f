"""Finds the image files that annotations name."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path

from official_lite import errors

__all__ = ['IMAGE_SUFFIXES', 'ImageFinder', 'is_image_name', 'list_images', 'walk']

# What TensorFlow or Pillow decodes.
IMAGE_SUFFIXES = (
    *('.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.bmp', '.dib', '.gif', '.webp'),
    *('.tif', '.tiff', '.jp2', '.ppm', '.pgm', '.mpo', '.avif'),
)


def walk(folder: str | Path) -> Iterator[tuple[str, list[str]]]:
    """(folder, names of its files) of a folder and those below, through links, hidden ones left out.

    A folder that links lead to twice, perhaps in a circle, comes once.
    """
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else sorted(n for n in folders if not n.startswith('.'))
        if real not in seen:
            seen.add(real)
            yield place, names


def list_images(folder: str | Path) -> list[str]:
    """Paths of the image files in a folder and in those below, sorted; hidden ones are left out."""
    return sorted(
        os.path.join(place, name)
        for place, names in walk(folder)
        for name in names
        if is_image_name(name)
    )


def is_image_name(name: str) -> bool:
    """Whether a file of this name is an image."""
    return name.lower().endswith(IMAGE_SUFFIXES) and not os.path.basename(name).startswith('.')


class ImageFinder:
    """Finds images in a folder, and by their name in the folders below."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, file_name: str) -> str:
        """The image's path; where it should be, if it is nowhere."""
        expected = str(self._folder / file_name)
        if os.path.isfile(expected):
            return expected
        return self._pick(self._by_name, os.path.basename(file_name), file_name) or expected

    def find_stem(self, stem: str) -> str | None:
        """The image of this path without suffix, or of this name in a folder below; None if none."""
        found = self._by_relative_stem.get(os.path.normpath(stem), [])
        if len(found) == 1:
            return found[0]
        return self._pick(self._by_stem, os.path.basename(stem), stem)

    def _pick(self, table: dict[str, list[str]], key: str, asked: str) -> str | None:
        found = table.get(key, [])
        if len(found) > 1:
            raise errors.DataError(
                f'there are {len(found)} files of this name below {self._folder}: {found[0]}, '
                f'{found[1]}',
                where=asked,
                hint='give the path of the image, not only its name, in the annotations',
            )
        return found[0] if found else None

    @functools.cached_property
    def _by_name(self) -> dict[str, list[str]]:
        paths: dict[str, list[str]] = {}
        for folder, names in walk(self._folder):
            for name in names:
                paths.setdefault(name, []).append(os.path.join(folder, name))
        return paths

    @functools.cached_property
    def _images(self) -> list[str]:
        return list_images(self._folder)

    @functools.cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        paths: dict[str, list[str]] = {}
        for path in self._images:
            paths.setdefault(os.path.splitext(os.path.basename(path))[0], []).append(path)
        return paths

    @functools.cached_property
    def _by_relative_stem(self) -> dict[str, list[str]]:
        paths: dict[str, list[str]] = {}
        for path in self._images:
            relative = os.path.relpath(path, self._folder)
            paths.setdefault(os.path.splitext(relative)[0], []).append(path)
        return paths
