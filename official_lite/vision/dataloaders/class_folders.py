"""A folder of images for each class, with or without folders for training and validation above."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from official_lite import errors
from official_lite.vision.dataloaders import image_finder
from official_lite.vision.dataloaders.labelled_images import (
    LabelledImages,
    choose_validation,
    sort_names,
)

__all__ = ['find_images']

_VALIDATION_NAMES = ('validation', 'val', 'valid')
_PARTS = ('train', 'validation')


def find_images(
    root: str,
    split: str = '',
    *,
    validation_share: float = 0.2,
    split_seed: int = 0,
    class_names: Sequence[str] = (),
) -> LabelledImages:
    """Finds the images of all classes, or of one split.

    Args:
        root: Has a folder for each class, or folders of splits that have those.
        split: See `configs.image_classification.FolderSource`.
        validation_share, split_seed: See `labelled_images.choose_validation`.
        class_names: The classes in the order of labels. Empty: all folders that hold images.

    Raises:
        UsageError: A folder is not there, or has no classes; a field is named by `where`.
        DataError: There is no image.
    """
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise errors.UsageError(
            f'the folder {root!r} does not exist' if not folder.exists() else f'{root!r} is a file',
            where='root',
            expected='a folder that has a folder of images for each class',
        )
    place = _find_split(folder, split)
    names = list(class_names) or _find_classes(place or folder)
    images = _list_images(place or folder, names, origin=f'{folder}{f":{split}" if split else ""}')
    if place is None:
        is_validation = choose_validation(
            images.names, [int(labels[0]) for labels in images.labels], validation_share, split_seed
        )
        wanted = is_validation if split == 'validation' else ~is_validation
        images = images.select(np.flatnonzero(wanted))
    if not images.paths:
        raise errors.DataError('there are no images', where=str(place or folder))
    return images


def _find_split(folder: Path, split: str) -> Path | None:
    """The folder of a split; None where the images below `folder` are to be divided."""
    if not split:
        return folder
    synonyms = _VALIDATION_NAMES if split in _VALIDATION_NAMES else (split,)
    for name in synonyms:
        if (folder / name).is_dir():
            return folder / name
    if split in _PARTS:
        other = next(
            (name for name in ('train', *_VALIDATION_NAMES) if (folder / name).is_dir()), ''
        )
        if not other:
            return None
        raise errors.UsageError(
            f'{folder} has a folder {other!r}, but none for this split',
            where='split',
            expected=f'one of the folders {_show(_list_folders(folder))}',
            received=repr(split),
        )
    raise errors.UsageError(
        where='split',
        expected=f"a folder below {folder}: {_show(_list_folders(folder))}; or 'train' or "
        "'validation' to divide the images",
        received=repr(split),
    )


def _list_folders(folder: Path) -> list[str]:
    return sorted(e.name for e in os.scandir(folder) if e.is_dir() and not e.name.startswith('.'))


def _find_classes(folder: Path) -> list[str]:
    names = [name for name in _list_folders(folder) if image_finder.list_images(folder / name)]
    if not names:
        found = image_finder.list_images(folder)
        raise errors.UsageError(
            f'{folder} has {len(found)} images but no folder of images',
            where='root',
            expected='a folder of images for each class',
        )
    if set(names) <= {'train', 'test', *_VALIDATION_NAMES}:
        raise errors.UsageError(
            f'{folder} has folders of splits ({_show(names)}), not of classes',
            where='split',
            expected='the name of one of them',
            received="''",
        )
    return sort_names(names)


def _list_images(folder: Path, class_names: Sequence[str], *, origin: str) -> LabelledImages:
    missing = [name for name in class_names if not (folder / name).is_dir()]
    if len(missing) == len(class_names):
        raise errors.UsageError(
            f'{folder} has none of the folders {_show(class_names)}',
            where='class_names',
            expected=f'folders of it: {_show(_list_folders(folder))}',
        )
    paths: list[str] = []
    labels: list[np.ndarray] = []
    for label, name in enumerate(class_names):
        found = image_finder.list_images(folder / name)
        paths += found
        labels += [np.array([label], np.int64)] * len(found)
    return LabelledImages(
        paths=tuple(paths),
        labels=tuple(labels),
        class_names=tuple(class_names),
        origin=origin,
        names=tuple(Path(path).relative_to(folder).as_posix() for path in paths),
        findings=_find_left_out(folder, class_names),
    )


def _find_left_out(folder: Path, class_names: Sequence[str]) -> tuple[str, ...]:
    others = [
        name
        for name in _list_folders(folder)
        if name not in class_names and image_finder.list_images(folder / name)
    ]
    if not others:
        return ()
    return (f'folders of images that are not in class_names are left out: {_show(others)}',)


def _show(names: Sequence[str]) -> str:
    shown = ', '.join(repr(name) for name in names[:8]) or 'none'
    return f'{shown}, ... ({len(names)} in all)' if len(names) > 8 else shown
