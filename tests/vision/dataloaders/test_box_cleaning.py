"""Boxes cut at the edges of their images, dropped and reported; worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from official_lite.vision.dataloaders import box_cleaning


def clean(
    boxes: Sequence[Sequence[float]],
    image_numbers: Sequence[int] | None = None,
    labels: Sequence[int] | None = None,
    areas: Sequence[float] | None = None,
    num_images: int = 1,
) -> box_cleaning.CleanBoxes:
    """Cleans boxes on images of 20 x 40; `describe` names them by number."""
    count = len(boxes)
    raw = box_cleaning.RawBoxes(
        image_numbers=np.array(image_numbers or [0] * count, np.int64),
        boxes_px=np.array(boxes, np.float64).reshape(-1, 4),
        labels=np.array(labels or [1] * count, np.int64),
        is_crowd=np.arange(count) % 2 == 1,
        areas=np.array(areas or [np.nan] * count, np.float64),
    )
    sizes: dict[str, Any] = {
        'heights_px': np.full([num_images], 20),
        'widths_px': np.full([num_images], 40),
    }
    ids = np.arange(7, 7 + num_images)
    return box_cleaning.clean_boxes(raw, **sizes, source_ids=ids, describe=lambda i: f'#{i}')


def test_boxes_become_shares_and_keep_order():
    cleaned = clean(
        [[2, 4, 10, 20], [0, 0, 20, 40], [5, 10, 15, 30]],
        image_numbers=[0, 2, 2],
        labels=[3, 1, 2],
        areas=[50, np.nan, 0],
        num_images=4,
    )
    table = cleaned.table
    np.testing.assert_allclose(
        table.boxes, [[0.1, 0.1, 0.5, 0.5], [0, 0, 1, 1], [0.25, 0.25, 0.75, 0.75]]
    )
    np.testing.assert_array_equal(table.splits, [0, 1, 1, 3, 3])
    np.testing.assert_array_equal(table.labels, [3, 1, 2])
    np.testing.assert_array_equal(table.is_crowd, [False, True, False])
    np.testing.assert_array_equal(table.areas, [50, 800, 200])  # an area of 0 is none
    np.testing.assert_array_equal(table.source_ids, [7, 8, 9, 10])
    assert table.boxes.dtype == table.areas.dtype == np.float32
    assert cleaned.findings == ()


def test_what_is_cut_and_what_is_dropped():
    boxes = [
        [-5, -6, 10, 10],  # cut
        [3, 3, 3, 9],  # no area
        [9, 9, 3, 20],  # no area: upside down
        [0, 50, 5, 60],  # outside
        [19, 39.5, 25, 45],  # cut, half a pixel is left
        [-1, 0, 20.5, 40],  # by rounding
    ]
    cleaned = clean(boxes)
    np.testing.assert_array_equal(cleaned.kept, [0, 4, 5])
    assert cleaned.num_boxes == 3
    np.testing.assert_allclose(
        cleaned.table.boxes * [20, 40, 20, 40],
        [[0, 0, 10, 10], [19, 39.5, 20, 40], [0, 0, 20, 40]],
        rtol=1e-6,
    )
    np.testing.assert_allclose(cleaned.table.areas, [100, 0.5, 800])
    assert cleaned.findings == (
        '2 boxes have no area and are left out, the first: #1',
        '1 box lies outside of its image and is left out: #3',
        '2 boxes leave their images, by up to 6 px, and are cut at the edge, the first: #0',
        '1 box has a side of less than 1 px: #4',
    )


def test_repeated_objects_stay_and_are_reported():
    box, other = [1, 1, 5, 5], [1, 1, 5, 6]
    cleaned = clean(
        [box, box, other, box, box],
        image_numbers=[0, 0, 0, 0, 1],
        labels=[1, 1, 1, 2, 1],
        num_images=2,
    )
    assert cleaned.num_boxes == 5
    assert cleaned.findings == (
        '1 box is there twice, with the same class, and counted each time: #1',
    )


def test_no_boxes():
    cleaned = clean([], num_images=3)
    assert cleaned.table.boxes.shape == (0, 4)
    np.testing.assert_array_equal(cleaned.table.splits, [0, 0, 0, 0])
    assert cleaned.findings == ()
