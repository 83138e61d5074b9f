"""From boxes as people write them to a table that can be trained on, and what was found on the way.

One set of rules for every format: a box is cut at the edge of its image; one without area, or
wholly outside, is left out; everything else stays, and what looks wrong is reported.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from official_lite.vision.dataloaders import table_source

__all__ = ['CleanBoxes', 'RawBoxes', 'clean_boxes']

# Further than this outside of the image, a box is reported; less is rounding.
_TOLERANCE_PX = 1.5
_MIN_SIDE_PX = 1.0 - 1e-3

Describe = Callable[[int], str]


@dataclasses.dataclass(frozen=True)
class RawBoxes:
    """The objects of all images as they were read, image after image.

    Attributes:
        image_numbers: int64 [n], ascending.
        boxes_px: float64 [n, 4], yxyx in pixels of the annotated image, finite.
        labels: int64 [n], from 1.
        is_crowd: bool [n].
        areas: float64 [n], square pixels; nan where the box's area is meant.
    """

    image_numbers: np.ndarray
    boxes_px: np.ndarray
    labels: np.ndarray
    is_crowd: np.ndarray
    areas: np.ndarray


@dataclasses.dataclass(frozen=True)
class CleanBoxes:
    """What became of them.

    Attributes:
        table: The boxes that can be used.
        kept: int64, their numbers among those that came.
        findings: What was left out, changed or looks wrong; one sentence each.
    """

    table: table_source.AnnotationTable
    kept: np.ndarray
    findings: tuple[str, ...]

    @property
    def num_boxes(self) -> int:
        """Number of boxes that can be used."""
        return len(self.kept)


def clean_boxes(
    raw: RawBoxes,
    *,
    heights_px: np.ndarray,
    widths_px: np.ndarray,
    source_ids: np.ndarray,
    describe: Describe,
) -> CleanBoxes:
    """Cuts boxes at the edges of their images and drops those of which nothing is left.

    Args:
        raw: The boxes.
        heights_px, widths_px: int64 [num_images], at least 1.
        source_ids: int64 [num_images].
        describe: Names an object by its number in `raw`, for the findings.
    """
    sizes = np.stack([heights_px, widths_px], axis=-1).astype(np.float64)
    limits = np.tile(sizes[raw.image_numbers], 2)  # [n, 4]
    boxes = np.clip(raw.boxes_px, 0.0, limits)
    has_area = np.all(raw.boxes_px[:, 2:] > raw.boxes_px[:, :2], axis=-1)
    is_inside = np.all(boxes[:, 2:] > boxes[:, :2], axis=-1)
    kept = np.flatnonzero(has_area & is_inside)
    findings = [
        _find(~has_area, 'has no area and is', 'have no area and are', 'left out', describe),
        _find(
            has_area & ~is_inside,
            'lies outside of its image and is',
            'lie outside of their images and are',
            'left out',
            describe,
        ),
        _find_cut(raw.boxes_px - boxes, has_area & is_inside, describe),
        _find_tiny(boxes, kept, describe),
        _find_repeated(raw, kept, describe),
    ]
    counts = np.bincount(raw.image_numbers[kept], minlength=len(heights_px))
    sides = boxes[kept, 2:] - boxes[kept, :2]
    areas = raw.areas[kept]
    is_given = np.isfinite(areas) & (areas > 0)
    table = table_source.AnnotationTable(
        splits=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        boxes=(boxes[kept] / limits[kept]).astype(np.float32),
        labels=raw.labels[kept].astype(np.int64),
        is_crowd=raw.is_crowd[kept].astype(bool),
        areas=np.where(is_given, areas, sides.prod(-1)).astype(np.float32),
        heights_px=np.asarray(heights_px, np.int64),
        widths_px=np.asarray(widths_px, np.int64),
        source_ids=np.asarray(source_ids, np.int64),
    )
    return CleanBoxes(table, kept, tuple(text for text in findings if text))


def _find(is_such: np.ndarray, one: str, many: str, fate: str, describe: Describe) -> str:
    """'3 boxes <many> <fate>, the first: ...'; '' if there are none."""
    numbers = np.flatnonzero(is_such)
    if not len(numbers):
        return ''
    if len(numbers) == 1:
        return f'1 box {one} {fate}: {describe(int(numbers[0]))}'
    return f'{len(numbers):,} boxes {many} {fate}, the first: {describe(int(numbers[0]))}'


def _find_cut(excess: np.ndarray, is_used: np.ndarray, describe: Describe) -> str:
    worst = np.abs(excess).max(-1, initial=0.0)
    is_cut = is_used & (worst > _TOLERANCE_PX)
    far = worst[is_cut].max(initial=0.0)
    return _find(
        is_cut,
        f'leaves its image by {far:.0f} px and is',
        f'leave their images, by up to {far:.0f} px, and are',
        'cut at the edge',
        describe,
    )


def _find_tiny(boxes: np.ndarray, kept: np.ndarray, describe: Describe) -> str:
    is_tiny = np.zeros([len(boxes)], bool)
    is_tiny[kept] = ((boxes[kept, 2:] - boxes[kept, :2]) < _MIN_SIDE_PX).any(-1)
    return _find(is_tiny, 'has a side', 'have a side', 'of less than 1 px', describe)


def _find_repeated(raw: RawBoxes, kept: np.ndarray, describe: Describe) -> str:
    columns = [raw.image_numbers[kept], raw.labels[kept], *raw.boxes_px[kept].T]
    rows = np.stack([column.astype(np.float64) for column in columns], axis=-1)
    order = np.lexsort(rows.T[::-1])  # stable: of equal rows the first comes first
    is_same = np.zeros([len(rows)], bool)
    is_same[1:] = (rows[order][1:] == rows[order][:-1]).all(-1)
    is_repeated = np.zeros([len(raw.labels)], bool)
    is_repeated[kept[order[is_same]]] = True
    return _find(
        is_repeated,
        'is there twice, with the same class, and',
        'are there twice or more, with the same class, and',
        'counted each time',
        describe,
    )
