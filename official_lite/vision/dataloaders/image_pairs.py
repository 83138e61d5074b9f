"""Images and their masks in two folders, or in one: which belong together."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np

from official_lite import errors
from official_lite.vision.dataloaders import image_finder, labelled_images

__all__ = ['ImagePairs', 'find_pairs']


@dataclasses.dataclass(frozen=True)
class ImagePairs:
    """Images and their masks.

    Attributes:
        images: Files of the images.
        masks: File of the mask of each; where it should be, if it is not there.
        names: What tells an image from the others wherever the data lies.
        origin: What the data is called in messages.
        missing: Numbers of the images without a mask.
        findings: What is noteworthy; one sentence each.
    """

    images: tuple[str, ...]
    masks: tuple[str, ...]
    names: tuple[str, ...]
    origin: str
    missing: tuple[int, ...] = ()
    findings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def select(self, keep: np.ndarray) -> ImagePairs:
        """Some of the pairs, by their numbers."""
        places = {int(number): place for place, number in enumerate(keep)}
        return dataclasses.replace(
            self,
            images=tuple(self.images[i] for i in keep),
            masks=tuple(self.masks[i] for i in keep),
            names=tuple(self.names[i] for i in keep),
            missing=tuple(places[i] for i in self.missing if i in places),
        )


def find_pairs(
    image_dir: str,
    mask_dir: str,
    *,
    image_suffix: str = '',
    mask_suffix: str = '',
    split: str = '',
    validation_share: float = 0.2,
    split_seed: int = 0,
) -> ImagePairs:
    """Finds images and the masks that have the same names, in the same folders below.

    Args:
        image_dir: Folder of the images.
        mask_dir: Folder of the masks.
        image_suffix: End of the images' names, before the file type, that is not shared.
        mask_suffix: End of the masks' names that is not shared.
        split: 'train' or 'validation', a part of the images; '' means all.
        validation_share: Share of the images that is 'validation'.
        split_seed: Which images those are.

    Raises:
        UsageError: There is no such folder, or nothing tells images from masks.
        DataError: There is no pair, or two files have the same name.
    """
    _check_folders(image_dir, mask_dir)
    is_one_folder = os.path.realpath(image_dir) == os.path.realpath(mask_dir)
    if is_one_folder and image_suffix == mask_suffix:
        raise errors.UsageError(
            'images and masks are in one folder, and nothing tells them apart',
            where='mask_suffix',
            expected='what the names of masks end in, before the file type',
            received=repr(mask_suffix),
        )
    # In one folder a name with the longer suffix ends in the shorter one too.
    foreign = (image_suffix, mask_suffix) if is_one_folder else ('', '')
    images = _find(image_dir, image_suffix, foreign[1])
    masks = _find(mask_dir, mask_suffix, foreign[0])
    if not set(images) & set(masks):
        raise errors.DataError(
            f'no image has a mask of the same name ({_excerpt(images)} and {_excerpt(masks)})',
            where=f'{image_dir}, {mask_dir}',
            hint='image_suffix and mask_suffix say what the ends of names differ in',
        )
    expected = {name: str(Path(mask_dir) / f'{name}{mask_suffix}.png') for name in images}
    pairs = _pair(images, masks, expected, origin=image_dir)
    return _split(pairs, split, validation_share, split_seed)


def _check_folders(image_dir: str, mask_dir: str) -> None:
    for where, folder in (('image_dir', image_dir), ('mask_dir', mask_dir)):
        if not folder or not os.path.isdir(folder):
            raise errors.UsageError(where=where, expected='a folder', received=repr(folder))


def _pair(
    images: dict[str, str], masks: dict[str, str], expected: dict[str, str], origin: str
) -> ImagePairs:
    """All images with their masks; a mask that is not there is where it is expected."""
    names = sorted(images)
    unused = sorted(set(masks) - set(images))
    return ImagePairs(
        images=tuple(images[name] for name in names),
        masks=tuple(masks.get(name, expected[name]) for name in names),
        names=tuple(names),
        origin=origin,
        missing=tuple(i for i, name in enumerate(names) if name not in masks),
        findings=(f'{len(unused)} masks have no image, the first: {masks[unused[0]]}',)
        if unused
        else (),
    )


def _find(folder: str, suffix: str, foreign_suffix: str) -> dict[str, str]:
    """Path of each image by its name: relative, without file type and suffix."""
    found: dict[str, str] = {}
    for path in image_finder.list_images(folder):
        stem = os.path.splitext(os.path.relpath(path, folder))[0]
        is_foreign = len(foreign_suffix) > len(suffix) and stem.endswith(foreign_suffix)
        if is_foreign or not stem.endswith(suffix):
            continue
        name = Path(stem[: len(stem) - len(suffix)]).as_posix()
        if name in found:
            raise errors.DataError(
                f'two files have the name {name!r}: {found[name]} and {path}', where=folder
            )
        found[name] = path
    return found


def _excerpt(found: dict[str, str]) -> str:
    if not found:
        return 'none'
    first = min(found)
    return f'{len(found)} files such as {os.path.basename(found[first])}'


def _split(pairs: ImagePairs, split: str, share: float, seed: int) -> ImagePairs:
    if not split:
        return pairs
    is_held_out = labelled_images.choose_validation(pairs.names, [0] * len(pairs), share, seed)
    wanted = is_held_out if split == 'validation' else ~is_held_out
    return dataclasses.replace(
        pairs.select(np.flatnonzero(wanted)), origin=f'{pairs.origin} ({split})'
    )
