"""Binary masks as COCO's compressed run lengths (https://cocodataset.org/#format-results).

A mask of any size is a few hundred bytes: `counts`, the text that pycocotools writes. It stands for
a mask together with the mask's height and width, which are given besides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

__all__ = [
    'compute_areas',
    'compute_ious',
    'decode',
    'encode',
    'encode_segmentation',
    'encode_window',
    'to_coco',
]


def encode(masks: np.ndarray) -> list[bytes]:
    """The counts of masks, bool or numbers [n, height, width]; what is not 0 is the object."""
    if not len(masks):
        return []
    columns = np.asfortranarray((masks != 0).astype(np.uint8).transpose(1, 2, 0))
    return [bytes(encoded['counts']) for encoded in mask_api.encode(columns)]


def decode(counts: Sequence[bytes], height: int, width: int) -> np.ndarray:
    """Masks of counts: uint8 [n, height, width], 0 and 1."""
    if not len(counts):
        return np.zeros([0, height, width], np.uint8)
    columns = mask_api.decode([to_coco(text, height, width) for text in counts])
    return np.ascontiguousarray(columns.transpose(2, 0, 1))


def to_coco(counts: bytes, height: int, width: int) -> dict[str, Any]:
    """COCO's dictionary of a mask."""
    return {'size': [int(height), int(width)], 'counts': bytes(counts)}


def compute_areas(counts: Sequence[bytes], height: int, width: int) -> np.ndarray:
    """Pixels of each mask, float64 [n]."""
    # One by one: of more than 255 at a time pycocotools makes an OverflowError.
    areas = [mask_api.area(to_coco(text, height, width)) for text in counts]
    return np.array(areas, np.float64)


def compute_ious(
    counts: Sequence[bytes], others: Sequence[bytes], height: int, width: int
) -> np.ndarray:
    """Intersection over union of each mask with each of the others, float64 [n, m]."""
    first, second = ([to_coco(text, height, width) for text in texts] for texts in (counts, others))
    ious = mask_api.iou(first, second, [0] * len(second)) if first and second else []
    return np.asarray(ious, np.float64).reshape(len(first), len(second))


def encode_segmentation(segmentation: Any, height: int, width: int) -> bytes:
    """Counts of a `segmentation` of a COCO annotation.

    Args:
        segmentation: Polygons, [[x, y, x, y, ...], ...] in pixels; or run lengths {'size', 'counts'},
            a list of numbers or compressed.
        height, width: Of the image, pixels.

    Raises:
        ValueError: It is something else, or of another size; says what.
    """
    if isinstance(segmentation, dict):
        return _encode_runs(segmentation, height, width)
    if not isinstance(segmentation, list) or not segmentation:
        raise ValueError('neither polygons nor run lengths')
    for polygon in segmentation:
        is_fine = isinstance(polygon, list) and len(polygon) >= 6 and len(polygon) % 2 == 0
        if not is_fine or not all(isinstance(v, (int, float)) for v in polygon):
            raise ValueError('a polygon needs three points or more, [x, y, x, y, x, y, ...]')
    merged = mask_api.merge(mask_api.frPyObjects(segmentation, height, width))
    return bytes(merged['counts'])


def _encode_runs(runs: dict[str, Any], height: int, width: int) -> bytes:
    counts, size = runs.get('counts'), runs.get('size')
    if list(size or ()) != [height, width]:
        raise ValueError(f'run lengths of the size {size}, and the image has [{height}, {width}]')
    if isinstance(counts, str):
        return counts.encode()
    if isinstance(counts, bytes):
        return counts
    if not isinstance(counts, list) or sum(counts) != height * width:
        raise ValueError(f'run lengths whose counts are not {height} * {width} pixels together')
    return bytes(mask_api.frPyObjects({'size': size, 'counts': counts}, height, width)['counts'])


def encode_window(window: np.ndarray, top: int, left: int, height: int, width: int) -> bytes:
    """Counts of a mask that is 0 outside of a window; the whole mask is never made.

    Args:
        window: bool [rows, columns], wholly inside of the mask.
        top, left: Where the window's first pixel is.
        height, width: Of the mask.
    """
    rows, columns = window.shape
    edges = np.zeros([columns, rows + 1], np.int8)
    edges[:, :-1] = window.T
    changes = np.diff(edges, axis=1, prepend=0)  # [columns, rows + 1]: 1 begins a run, -1 ends it
    starts = _to_flat(np.nonzero(changes > 0), top, left, height)
    ends = _to_flat(np.nonzero(changes < 0), top, left, height)
    # A run that fills a column to its foot goes on at the head of the next one.
    joined = np.flatnonzero(starts[1:] == ends[:-1])
    starts, ends = np.delete(starts, joined + 1), np.delete(ends, joined)
    bounds = np.stack([starts, ends], axis=-1).reshape(-1)
    counts = np.diff(bounds, prepend=0, append=height * width)
    if len(counts) > 1 and not counts[-1]:
        counts = counts[:-1]  # an object in the last pixel has nothing after it
    runs = {'size': [int(height), int(width)], 'counts': counts.tolist()}
    return bytes(mask_api.frPyObjects(runs, int(height), int(width))['counts'])


def _to_flat(places: tuple[np.ndarray, ...], top: int, left: int, height: int) -> np.ndarray:
    """Positions in a mask read column by column."""
    column, row = places
    return (left + column).astype(np.int64) * height + top + row
