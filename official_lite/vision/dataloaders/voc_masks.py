"""Masks of Pascal VOC: pictures whose pixels are numbers of objects.

`SegmentationObject/NAME.png` has 0 for the background, k for the k-th object of
`Annotations/NAME.xml`, and 255 for what belongs to none, such as the objects' outlines.
Source: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/, section 'Segmentation'.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from official_lite import errors
from official_lite.vision.dataloaders import coco_masks
from official_lite.vision.ops import run_lengths

__all__ = ['OBJECT_FOLDER', 'find_segmented', 'read_masks']

OBJECT_FOLDER = 'SegmentationObject'
_NUM_THREADS = 8
# A mask that fills less than this of the common box of the two is probably another object's.
_MIN_OVERLAP = 0.3


def find_segmented(folder: Path | None, stems: Sequence[str]) -> np.ndarray:
    """int64, numbers of the images that have a picture of objects.

    Raises:
        DataError: None has.
    """
    found = [
        number
        for number, stem in enumerate(stems)
        if folder is not None and (folder / f'{stem}.png').is_file()
    ]
    if not found:
        raise errors.DataError(
            f'there are no masks: no {OBJECT_FOLDER}/*.png for any image',
            where=str(folder or OBJECT_FOLDER),
            hint='task.model.include_mask=false trains boxes only',
        )
    return np.array(found, np.int64)


def read_masks(
    paths: Sequence[str],
    image_numbers: np.ndarray,
    object_numbers: np.ndarray,
    boxes: np.ndarray,
    sizes_px: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Masks of objects.

    Args:
        paths: The picture of each image.
        image_numbers: int64 [n], of each object its image, ascending.
        object_numbers: int64 [n], which of the annotation file's objects it is, from 0.
        boxes: float32 [n, 4], yxyx normalised.
        sizes_px: int64 [images, 2], height and width.

    Returns:
        Run lengths, bytes [n]; bool [n], which objects have no pixel (their mask is the box); and
        what was found, one sentence each.

    Raises:
        DataError: A picture cannot be read, or has another size than its image.
    """
    splits = np.searchsorted(image_numbers, np.arange(len(paths) + 1))

    def read(number: int) -> list[bytes]:
        rows = slice(int(splits[number]), int(splits[number + 1]))
        return _read_picture(paths[number], object_numbers[rows] + 1, sizes_px[number])

    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        masks = [counts for found in pool.map(read, range(len(paths))) for counts in found]
    is_empty = np.zeros([len(masks)], bool)
    is_elsewhere = np.zeros([len(masks)], bool)
    for row, counts in enumerate(masks):
        size = (int(sizes_px[image_numbers[row]][0]), int(sizes_px[image_numbers[row]][1]))
        box = coco_masks.make_box_mask(boxes[row], size)
        is_empty[row] = not run_lengths.compute_areas([counts], *size)[0]
        is_elsewhere[row] = not is_empty[row] and _compute_overlap(counts, box, size) < _MIN_OVERLAP
        if is_empty[row]:
            masks[row] = box
    names = [paths[int(number)] for number in image_numbers]
    findings = (
        *_describe(is_empty, names, 'have no mask and are ignored, as crowds are'),
        *_describe(is_elsewhere, names, 'have a mask that is hardly within their box'),
    )
    return np.array(masks, np.object_), is_empty, findings


def _read_picture(path: str, values: np.ndarray, size: np.ndarray) -> list[bytes]:
    try:
        with Image.open(path) as image:
            picture = np.asarray(image)
    except OSError as error:
        raise errors.DataError(f'the masks cannot be read ({error})', where=path) from error
    if picture.ndim != 2 or picture.shape != tuple(size.tolist()):
        raise errors.DataError(
            'not a picture of object numbers',
            where=path,
            expected=f'one channel of {size[0]}x{size[1]} (height x width), as the image has',
            received=f'shape {picture.shape}',
        )
    return run_lengths.encode(picture[None] == values[:, None, None])


def _compute_overlap(counts: bytes, box: bytes, size: tuple[int, int]) -> float:
    """Intersection of a mask's own box and another box, over their union."""
    rows, columns = (
        np.flatnonzero(run_lengths.decode([counts], *size)[0].any(axis)) for axis in (1, 0)
    )
    y0, y1, x0, x1 = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    own = np.array([y0 / size[0], x0 / size[1], y1 / size[0], x1 / size[1]])
    encoded = coco_masks.make_box_mask(own, size)
    return float(run_lengths.compute_ious([encoded], [box], *size)[0, 0])


def _describe(is_such: np.ndarray, names: Sequence[str], text: str) -> tuple[str, ...]:
    numbers = np.flatnonzero(is_such)
    if not len(numbers):
        return ()
    return (f'{len(numbers):,} objects {text}; the first in {names[int(numbers[0])]}',)
