"""Which images are turned upright."""

from __future__ import annotations

import numpy as np
import pytest

from official_lite.vision.dataloaders import exif_orientation

STORED = (30, 40)
UPRIGHT = (40, 30)
UNKNOWN = (0, 0)
OTHER = (300, 400)


def decide(
    *images: tuple[int, tuple[int, int]],
    stored: tuple[int, int] = STORED,
    mode: exif_orientation.Orientation = 'auto',
    default: str = 'stored',
) -> exif_orientation.Turns:
    """Decides for images given as (orientation, annotated size)."""
    return exif_orientation.decide_turns(
        np.array([stored] * len(images), np.int64),
        np.array([size for _, size in images], np.int64),
        np.array([tag for tag, _ in images], np.int8),
        mode=mode,
        default=default,  # type: ignore[arg-type]
    )


def test_the_annotated_size_decides_for_each_image():
    turns = decide((6, UPRIGHT), (6, STORED), (1, STORED), (8, UPRIGHT))
    np.testing.assert_array_equal(turns.orientations, [6, 1, 1, 8])
    np.testing.assert_array_equal(turns.heights_px, [40, 30, 30, 40])
    np.testing.assert_array_equal(turns.widths_px, [30, 40, 40, 30])
    assert turns.findings == (
        'images with an EXIF orientation: 2 turned upright and 1 left as stored; the annotated '
        'sizes tell for 3 of them',
    )


@pytest.mark.parametrize(
    ('tells', 'expected'),
    [
        ((), 1),
        (((6, UPRIGHT),), 3),
        (((6, STORED),), 1),
        (((6, STORED), (6, STORED), (6, UPRIGHT)), 1),
        (((6, UPRIGHT), (8, UPRIGHT), (6, STORED)), 3),
    ],
)
def test_half_turns_follow_the_other_images(
    tells: tuple[tuple[int, tuple[int, int]], ...], expected: int
):
    assert decide((3, STORED), *tells).orientations[0] == expected


def test_the_default_is_for_what_nothing_tells():
    assert decide((6, UNKNOWN)).orientations[0] == 1
    assert decide((6, UNKNOWN), default='upright').orientations[0] == 6
    assert decide((6, OTHER), default='upright').orientations[0] == 6
    assert decide((5, (9, 9)), stored=(9, 9), default='upright').orientations[0] == 5
    nothing = exif_orientation.decide_turns(
        np.array([STORED]), None, np.array([8], np.int8), default='upright'
    )
    assert nothing.orientations[0] == 8
    assert nothing.findings == ('images with an EXIF orientation: 1 turned upright',)


def test_modes_decide_for_all():
    images = ((6, UPRIGHT), (6, STORED), (1, STORED))
    np.testing.assert_array_equal(decide(*images, mode='upright').orientations, [6, 6, 1])
    np.testing.assert_array_equal(decide(*images, mode='stored').orientations, [1, 1, 1])
    assert decide((1, STORED), mode='upright').findings == ()
