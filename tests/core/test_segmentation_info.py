"""What a data set of masks says about itself, and which values of masks are refused."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from official_lite import errors
from official_lite.core.segmentation_info import (
    SegmentationInfo,
    check_has_two_classes,
    check_label_values,
    check_plausible,
)


def _make_info(labels: tuple[int, ...], **changes: Any) -> SegmentationInfo:
    info = SegmentationInfo(
        num_examples=4,
        class_names=(),
        category_ids=(),
        num_boxes=750,
        boxes_per_class=(500, 250),
        max_label=max(labels, default=-1),
        fingerprint='',
        origin='data/images',
        declares_classes=False,
        labels=labels,
        label_examples=tuple(f'masks/{label}.png' for label in labels),
        num_ignored_pixels=250,
        max_height_px=20,
        max_width_px=30,
    )
    return dataclasses.replace(info, **changes)


def test_description() -> None:
    text = _make_info((0, 1), findings=('something is odd',), num_corrupt=1).describe('data')
    assert text.splitlines() == [
        'data: data/images',
        '  4 images with masks, at most 20 px high and 30 px wide, 25.0% of the pixels of no class',
        '  2 classes (label, name, pixels): 0 class_0 500; 1 class_1 250',
        '  ! 1 images cannot be used and are left out',
        '  ! something is odd',
    ]


def test_values_out_of_range_are_refused() -> None:
    check_label_values(_make_info((0, 1)), 2, 255)
    with pytest.raises(
        errors.DataError,
        match=r'masks/2\.png: masks have values that are no class: 2, 7; expected 0 to 1, because '
        r'num_classes is 2, or 255, the ignore_label; say which value is which class: '
        r'source\.png_pairs\.mask_values=\[0, 255\]',
    ):
        check_label_values(_make_info((0, 1, 2, 7)), 2, 255)
    with pytest.raises(errors.DataError, match=r'no class: 2, .*, \.\.\. \(18 values\)'):
        check_label_values(_make_info(tuple(range(20))), 2, 255)


def test_negative_values_are_refused() -> None:
    with pytest.raises(errors.DataError, match='no class: -3;'):
        check_label_values(_make_info((-3, 0)), 2, 255)


def test_black_and_white_without_a_map_is_refused() -> None:
    """0 and 255: the second is ignored, and one class is left."""
    with pytest.raises(
        errors.DataError,
        match=r'in all masks, the pixels that are not ignored have label 0; if an ignored value is '
        r'a class, say which value is which class',
    ):
        check_has_two_classes(_make_info((0,)))
    with pytest.raises(errors.DataError, match='not ignored have none at all'):
        check_has_two_classes(_make_info(()))
    check_has_two_classes(_make_info((0,), num_ignored_pixels=0))
    check_has_two_classes(_make_info((0, 1)))


def test_grey_levels_are_told_from_labels() -> None:
    check_plausible(_make_info(tuple(range(150))))
    check_plausible(_make_info((0, 3, 30)))
    with pytest.raises(
        errors.DataError,
        match=r'masks/128\.png: masks have values up to 128, but only 2 different ones: they look '
        r'like grey levels, not like labels',
    ):
        check_plausible(_make_info((0, 128)))
    check_plausible(_make_info((0, 128), declares_classes=True))
