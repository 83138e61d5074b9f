"""A table (CSV) with an image file and its class, or classes, in each row."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from official_lite import errors
from official_lite.vision.dataloaders.labelled_images import (
    LabelledImages,
    choose_validation,
    sort_names,
)

__all__ = ['find_images']

_DELIMITERS = ',;\t'
_PARTS = ('train', 'validation')


def find_images(
    file: str,
    image_dir: str = '',
    *,
    image_column: str = '',
    label_column: str = '',
    label_separator: str = '',
    split_column: str = '',
    split: str = '',
    validation_share: float = 0.2,
    split_seed: int = 0,
    class_names: Sequence[str] = (),
) -> LabelledImages:
    """Reads a table, or one split of it.

    The arguments are those of `configs.image_classification.CsvSource`.

    Raises:
        UsageError: The table or a column is not there; a field is named by `where`.
        DataError: A row cannot be used, or there is none.
    """
    path = Path(file).expanduser()
    header, rows = _read(path, file)
    image = _find_column(header, image_column, 0, 'image_column')
    label = _find_column(header, label_column, 1, 'label_column')
    folder = Path(image_dir).expanduser() if image_dir else path.parent
    names, texts = [row[image] for row in rows], [row[label] for row in rows]
    for number, (name, text) in enumerate(zip(names, texts)):
        # Several names may be none at all: an image that shows nothing of interest.
        if not name or not (text or label_separator):
            empty = header[image] if not name else header[label]
            raise errors.DataError(f'{empty!r} is empty', where=_place(path, number))
    classes = [_split_names(text, label_separator) for text in texts]
    known = list(class_names) or sort_names([name for found in classes for name in found])
    images = LabelledImages(
        paths=tuple(str(folder / name) for name in names),
        labels=tuple(_to_labels(classes, known, path)),
        class_names=tuple(known),
        origin=f'{path}{f":{split}" if split else ""}',
        names=tuple(names),
    )
    if split:
        images = images.select(
            _choose_rows(
                header,
                rows,
                names,
                texts,
                split_column=split_column,
                split=split,
                validation_share=validation_share,
                split_seed=split_seed,
            )
        )
    if not images.paths:
        raise errors.DataError('the table has no rows', where=images.origin)
    return images


def _read(path: Path, file: str) -> tuple[list[str], list[list[str]]]:
    """Names of columns, and rows."""
    if not path.is_file():
        raise errors.UsageError(
            f'there is no file {file!r}' if not path.exists() else f'{file!r} is a folder',
            where='file',
            expected='a CSV file',
        )
    try:
        text = path.read_text(encoding='utf-8-sig')
    except (OSError, UnicodeDecodeError) as error:
        raise errors.DataError(f'the table cannot be read ({error})', where=str(path)) from error
    lines = text.splitlines()
    first = lines[0] if lines else ''
    delimiter = max(_DELIMITERS, key=first.count)
    header, *rows = [
        [field.strip() for field in row] for row in csv.reader(lines, delimiter=delimiter) if row
    ] or [[]]
    if len(header) < 2:
        raise errors.DataError(
            f'the first row has {len(header)} columns',
            where=str(path),
            expected='names of two or more columns, separated by commas, semicolons or tabs',
        )
    for number, row in enumerate(rows):
        if len(row) != len(header):
            raise errors.DataError(
                f'the row has {len(row)} fields',
                where=_place(path, number),
                expected=f'{len(header)}, as the first row',
            )
    return header, rows


def _place(path: Path, number: int) -> str:
    return f'{path}, row {number + 1} (counted from 1, after the names of columns)'


def _find_column(header: Sequence[str], name: str, default: int, field: str) -> int:
    if not name:
        return default
    if name not in header:
        raise errors.UsageError(
            where=field, expected=f'one of {", ".join(header)}', received=repr(name)
        )
    return header.index(name)


def _split_names(text: str, separator: str) -> list[str]:
    if not separator:
        return [text]
    return [name.strip() for name in text.split(separator) if name.strip()]


def _to_labels(
    classes: Sequence[Sequence[str]], known: Sequence[str], path: Path
) -> list[np.ndarray]:
    labels = {name: label for label, name in enumerate(known)}
    result = []
    for number, names in enumerate(classes):
        unknown = next((name for name in names if name not in labels), None)
        if unknown is not None:
            raise errors.DataError(
                f'the class {unknown!r} is not known',
                where=_place(path, number),
                expected=f'one of {", ".join(known[:8])}{", ..." if len(known) > 8 else ""}',
                hint='classes are those of the training data; class_names of the source lists them',
            )
        result.append(np.array([labels[name] for name in names], np.int64))
    return result


def _choose_rows(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    names: Sequence[str],
    groups: Sequence[Any],
    *,
    split_column: str,
    split: str,
    validation_share: float,
    split_seed: int,
) -> np.ndarray:
    """int64, numbers of the rows of a split."""
    if split_column:
        column = _find_column(header, split_column, 0, 'split_column')
        values = [row[column] for row in rows]
        if split not in values:
            listed = ', '.join(sorted(set(values))[:8])
            raise errors.UsageError(
                where='split', expected=f'one of {listed}', received=repr(split)
            )
        return np.flatnonzero([value == split for value in values])
    if split not in _PARTS:
        raise errors.UsageError(
            where='split',
            expected="'train' or 'validation' without split_column",
            received=repr(split),
        )
    is_validation = choose_validation(names, groups, validation_share, split_seed)
    return np.flatnonzero(is_validation if split == 'validation' else ~is_validation)
