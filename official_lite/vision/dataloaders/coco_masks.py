"""Polygons and run lengths of COCO annotation files as masks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from official_lite import errors
from official_lite.vision.dataloaders import coco_annotations, table_source
from official_lite.vision.ops import run_lengths

__all__ = ['add_masks', 'make_box_mask']

# What float32 shares of an image may miss of whole pixels.
_ROUNDING_PX = 1e-2


def add_masks(
    annotations: coco_annotations.CocoAnnotations, path: str
) -> tuple[table_source.AnnotationTable, tuple[str, ...]]:
    """The annotations' table with masks.

    An object whose `segmentation` is missing or covers no pixel becomes a crowd of the size of its
    box: it is not trained on, and in evaluation neither right nor wrong.

    Args:
        annotations: Read with `has_segmentations`.
        path: Of the file, for messages.

    Returns:
        The table, and what was found; one sentence each.

    Raises:
        DataError: No object has a mask, or one has something else.
    """
    table, segmentations = annotations.table, annotations.segmentations or ()
    if len(segmentations) and not any(segmentations):
        raise errors.DataError(
            'there are no masks: no annotation has a segmentation',
            where=path,
            hint='task.model.include_mask=false trains boxes only',
        )
    image_numbers = np.repeat(np.arange(len(table)), np.diff(table.splits))
    masks, missing = [], []
    for row, segmentation in enumerate(segmentations):
        image = int(image_numbers[row])
        size = int(table.heights_px[image]), int(table.widths_px[image])
        counts = _encode(segmentation, size, f'{path}, image {annotations.file_names[image]}')
        if counts is None:
            missing.append(row)
            counts = make_box_mask(table.boxes[row], size)
        masks.append(counts)
    is_crowd = table.is_crowd.copy()
    is_crowd[missing] = True
    findings = _describe(missing, [annotations.file_names[image_numbers[r]] for r in missing[:1]])
    encoded = np.array(masks, np.object_)
    return dataclasses.replace(table, masks=encoded, is_crowd=is_crowd), findings


def _encode(segmentation: object, size: tuple[int, int], where: str) -> bytes | None:
    """The counts of a segmentation; None if there is no pixel of it."""
    if not segmentation:
        return None
    try:
        counts = run_lengths.encode_segmentation(segmentation, *size)
    except ValueError as error:
        raise errors.DataError(
            f'a segmentation cannot be used: {error}',
            where=where,
            expected='polygons [[x, y, x, y, ...], ...] or run lengths {size, counts}',
            received=repr(segmentation)[:100],
        ) from error
    return counts if run_lengths.compute_areas([counts], *size)[0] else None


def make_box_mask(box: np.ndarray, size: tuple[int, int]) -> bytes:
    """Counts of a mask that is the box, [4] yxyx normalised, in whole pixels."""
    height, width = size
    edges = np.asarray(box, np.float64) * [height, width, height, width]
    y0, x0 = np.minimum(np.floor(edges[:2] + _ROUNDING_PX).astype(int), [height - 1, width - 1])
    y1, x1 = np.maximum(np.ceil(edges[2:] - _ROUNDING_PX).astype(int), [y0 + 1, x0 + 1])
    rows, columns = min(int(y1), height) - int(y0), min(int(x1), width) - int(x0)
    window = np.ones([rows, columns], bool)
    return run_lengths.encode_window(window, int(y0), int(x0), height, width)


def _describe(missing: Sequence[int], names: Sequence[str]) -> tuple[str, ...]:
    if not missing:
        return ()
    return (
        f'{len(missing):,} objects have no mask and are ignored in training and evaluation, as '
        f'crowds are; the first on {names[0]}',
    )
