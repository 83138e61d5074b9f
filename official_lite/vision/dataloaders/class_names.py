"""Class names that come from a list, from a file or from the data."""

from __future__ import annotations

import os
from collections.abc import Sequence

from official_lite import errors

__all__ = ['make_source_ids', 'read_class_names', 'read_names_file']

_MAX_DIGITS = 18  # of a number that fits into 64 bits


def read_class_names(class_names: Sequence[str]) -> tuple[str, ...]:
    """The names of a config.

    Args:
        class_names: The names in the order of their labels, or the path of a text file that has one
            in each line.

    Raises:
        UsageError: A name is empty or occurs twice.
    """
    names = tuple(name.strip() for name in class_names)
    if len(names) == 1 and os.path.isfile(names[0]):
        names = read_names_file(names[0])
    for number, name in enumerate(names):
        if not name:
            raise errors.UsageError(f'name {number + 1} is empty', where='class_names')
        if name in names[:number]:
            raise errors.UsageError(
                f'the name {name!r} occurs twice', where='class_names', expected='different names'
            )
    return names


def read_names_file(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """The lines of a text file, empty ones at its end left out.

    Raises:
        DataError: The file is no text, or is empty.
    """
    try:
        with open(path, encoding='utf-8') as file:
            lines = file.read().rstrip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise errors.DataError(f'the file cannot be read ({error})', where=str(path)) from error
    if not lines:
        raise errors.DataError('no names in the file', where=str(path))
    return tuple(line.strip() for line in lines)


def make_source_ids(stems: Sequence[str]) -> list[int]:
    """Numbers of images: their file names where all are different numbers, else 1, 2, 3, ...

    Args:
        stems: Names of the image files without suffix.
    """
    names = [os.path.basename(stem) for stem in stems]
    if all(name.isascii() and name.isdigit() and len(name) <= _MAX_DIGITS for name in names):
        numbers = [int(name) for name in names]
        if len(set(numbers)) == len(numbers):
            return numbers
    return list(range(1, len(names) + 1))
