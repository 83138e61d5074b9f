"""What looks wrong in a data set, found in its annotations."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from official_lite.core.data_info import DataInfo
from official_lite.vision.dataloaders import folder_source, table_source

__all__ = ['Finding', 'find_problems']

_NUM_EXAMPLES = 5
# Boxes below this on the network's input hardly cover one cell of the finest level (8 px).
_TINY_PX = 4.0
# Boxes above this share of the image are often a mark on the image, not an object.
_HUGE_SHARE = 0.95
# Rounding moves boxes by so much, as a share of the image; more is outside.
_OUTSIDE_SHARE = 1e-3
_EXTREME_RATIO = 10.0
_MANY_BOXES = 100
# Two boxes that overlap by more are taken for the same object, marked twice.
_SAME_IOU = 0.9
_BLOCK = 256  # boxes compared with all others of their image at once


@dataclasses.dataclass(frozen=True)
class Finding:
    """One kind of thing that looks wrong.

    Attributes:
        kind: Short name, for programs.
        count: How often.
        message: What it is, with the number.
        examples: Where, for some.
        hint: What it does to training, or what to do.
    """

    kind: str
    count: int
    message: str
    examples: tuple[str, ...] = ()
    hint: str = ''

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON has them."""
        return {**dataclasses.asdict(self), 'examples': list(self.examples)}


def find_problems(
    table: table_source.AnnotationTable,
    info: DataInfo,
    scales: np.ndarray,
    describe: Callable[[int], str],
) -> list[Finding]:
    """Looks for what training would suffer from.

    Args:
        table: The annotations.
        info: Counts and classes.
        scales: float [num_images, 2], by which height and width of each image are multiplied to fit
            into the network's input.
        describe: Names an example by its number.
    """
    finder = _Finder(table, info, scales, describe)
    # What reading the source has brought up; of classes the finder tells more.
    of_classes = folder_source.find_class_findings(
        info.class_names, info.category_ids, info.boxes_per_class
    )
    told = [Finding('on_reading', 1, text) for text in info.findings if text not in of_classes]
    return [*told, *finder.find_in_boxes(), *finder.find_in_images(), *finder.find_in_classes()]


class _Finder:
    def __init__(
        self,
        table: table_source.AnnotationTable,
        info: DataInfo,
        scales: np.ndarray,
        describe: Callable[[int], str],
    ) -> None:
        self._table = table
        self._info = info
        self._scales = scales
        self._describe = describe
        self._images = np.repeat(np.arange(len(table)), np.diff(table.splits))  # [boxes]

    def find_in_boxes(self) -> list[Finding]:
        table = self._table
        sizes = np.stack([table.heights_px, table.widths_px], axis=-1)[self._images]
        sides_px = (table.boxes[:, 2:] - table.boxes[:, :2]) * sizes
        input_px = sides_px * self._scales[self._images]
        is_degenerate = np.any(sides_px <= 0, axis=1)
        is_outside = np.any(table.boxes < -_OUTSIDE_SHARE, axis=1)
        is_outside |= np.any(table.boxes > 1 + _OUTSIDE_SHARE, axis=1)
        is_tiny = ~is_degenerate & (input_px.min(axis=1, initial=np.inf) < _TINY_PX)
        shares = np.prod(np.maximum(table.boxes[:, 2:] - table.boxes[:, :2], 0), axis=1)
        ratios = np.maximum(sides_px[:, 1], 1e-6) / np.maximum(sides_px[:, 0], 1e-6)
        is_extreme = ~is_degenerate & (np.maximum(ratios, 1 / ratios) > _EXTREME_RATIO)
        return [
            *self._report_dropped(),
            *self._report_boxes(
                'degenerate', is_degenerate, 'have no area', 'no anchor can match them; remove them'
            ),
            *self._report_boxes(
                'outside',
                is_outside,
                'leave their image',
                'pixels of another size of the image, or x and y exchanged?',
            ),
            *self._report_boxes(
                'tiny',
                is_tiny,
                f'have a side below {_TINY_PX:g} px on the network input',
                'hard to learn: raise task.model.input_size, or leave them out',
            ),
            *self._report_boxes(
                'huge',
                shares > _HUGE_SHARE,
                f'cover more than {_HUGE_SHARE:.0%} of their image',
                'marks of a whole image?',
            ),
            *self._report_boxes(
                'extreme_ratio',
                is_extreme,
                f'are more than {_EXTREME_RATIO:g} times as long as wide',
                'anchors reach them only with such aspect_ratios',
            ),
            *self._report_boxes(
                'duplicate',
                self._find_duplicates(),
                f'repeat a box of their class in their image (IoU {_SAME_IOU:g} or more)',
                'remove the copies: each is an object of its own to training and evaluation',
            ),
        ]

    def _report_dropped(self) -> list[Finding]:
        count = self._info.num_dropped_boxes
        if not count or self._info.findings:  # which tell it with the reason
            return []
        message = f'boxes without area in their image, left out on reading: {count}'
        return [Finding('dropped', count, message)]

    def _report_boxes(self, kind: str, which: np.ndarray, what: str, hint: str) -> list[Finding]:
        rows = np.flatnonzero(which)
        if not len(rows):
            return []
        examples = tuple(self._describe_box(int(row)) for row in rows[:_NUM_EXAMPLES])
        share = len(rows) / len(which)
        message = f'boxes that {what}: {len(rows)} ({share:.1%})'
        return [Finding(kind, len(rows), message, examples, hint)]

    def _describe_box(self, row: int) -> str:
        table = self._table
        image = int(self._images[row])
        height, width = float(table.heights_px[image]), float(table.widths_px[image])
        y0, x0, y1, x1 = (float(side) for side in table.boxes[row])
        name = self._info.class_names[int(table.labels[row]) - 1]
        corners = f'x {x0 * width:.1f}..{x1 * width:.1f}, y {y0 * height:.1f}..{y1 * height:.1f}'
        return f'{self._describe(image)}: {name} at {corners} px'

    def _find_duplicates(self) -> np.ndarray:
        """bool [boxes]: those that nearly cover an earlier one of their class in their image."""
        table = self._table
        is_copy = np.zeros(len(table.labels), bool)
        for start, stop in zip(table.splits, table.splits[1:]):
            for first in range(start + 1, stop, _BLOCK):  # what comes before the first is no copy
                rows = slice(first, min(first + _BLOCK, stop))
                boxes, labels = table.boxes[start : rows.stop], table.labels[start : rows.stop]
                is_same = _compute_iou(table.boxes[rows], boxes) >= _SAME_IOU
                is_same &= table.labels[rows][:, None] == labels
                is_copy[rows] = np.tril(is_same, first - start - 1).any(axis=1)
        return is_copy

    def find_in_images(self) -> list[Finding]:
        counts = np.diff(self._table.splits)
        _, firsts = np.unique(self._table.source_ids, return_index=True)
        is_repeated = np.ones(len(self._table), bool)
        is_repeated[firsts] = False
        return [
            *self._report_images(
                'empty',
                counts == 0,
                'have no objects',
                'fine if that is true of them: the background is learned from them',
            ),
            *self._report_images(
                'crowded',
                counts > _MANY_BOXES,
                f'have more than {_MANY_BOXES} boxes',
                'parser.max_num_instances and max_num_detections limit what counts',
            ),
            *self._report_images(
                'repeated_id',
                is_repeated,
                'have the id of another image',
                'evaluation would mix them up; regenerate_source_id numbers TFRecords anew',
            ),
        ]

    def _report_images(self, kind: str, which: np.ndarray, what: str, hint: str) -> list[Finding]:
        rows = np.flatnonzero(which)
        if not len(rows):
            return []
        examples = tuple(self._describe(int(row)) for row in rows[:_NUM_EXAMPLES])
        message = f'images that {what}: {len(rows)} ({len(rows) / len(which):.1%})'
        return [Finding(kind, len(rows), message, examples, hint)]

    def find_in_classes(self) -> list[Finding]:
        info = self._info
        unused = [
            f'{name} (label {label}, id {id_})'
            for label, (name, id_, count) in enumerate(
                zip(info.class_names, info.category_ids, info.boxes_per_class), start=1
            )
            if not count
        ]
        repeated = [n for n, k in collections.Counter(_normalise(info)).items() if k > 1]
        return [
            *_report_classes(
                'unused_class',
                unused,
                'classes that never occur',
                'each still takes an output of the model, and its AP is not defined',
            ),
            *_report_classes(
                'repeated_name',
                repeated,
                'class names that occur more than once (case and spaces aside)',
                'they are different classes to the model; merge them if they mean the same',
            ),
        ]


def _compute_iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU of each box, float [n, 4], with each of the others, float [m, 4]: float64 [n, m]."""
    boxes, others = boxes.astype(np.float64)[:, None], others.astype(np.float64)[None]
    low = np.maximum(boxes[..., :2], others[..., :2])
    high = np.minimum(boxes[..., 2:], others[..., 2:])
    common = np.prod(np.maximum(high - low, 0), axis=-1)
    areas, other_areas = (np.prod(b[..., 2:] - b[..., :2], axis=-1) for b in (boxes, others))
    return common / np.maximum(areas + other_areas - common, 1e-12)


def _normalise(info: DataInfo) -> list[str]:
    return [' '.join(name.lower().split()) for name in info.class_names]


def _report_classes(kind: str, names: Sequence[str], what: str, hint: str) -> list[Finding]:
    if not names:
        return []
    return [Finding(kind, len(names), f'{what}: {len(names)}', tuple(names[:_NUM_EXAMPLES]), hint)]
