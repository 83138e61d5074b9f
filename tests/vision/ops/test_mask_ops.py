"""Masks in boxes, pasted and as run lengths, against pycocotools, OpenCV and Model Garden."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as mask_api

from official_lite.vision.ops import mask_ops, run_lengths


def _make_masks(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(seed).random(shape) > 0.4


def test_run_lengths_are_those_of_pycocotools() -> None:
    masks = _make_masks(0, (3, 7, 5))
    expected = mask_api.encode(np.asfortranarray(masks.transpose(1, 2, 0).astype(np.uint8)))
    counts = run_lengths.encode(masks)
    assert counts == [row['counts'] for row in expected]
    np.testing.assert_array_equal(run_lengths.decode(counts, 7, 5), masks)
    np.testing.assert_array_equal(run_lengths.compute_areas(counts, 7, 5), masks.sum((1, 2)))
    assert run_lengths.decode([], 7, 5).shape == (0, 7, 5)
    assert run_lengths.encode(masks[:0]) == []


@pytest.mark.parametrize('place', [(0, 0), (2, 3), (4, 6)])
@pytest.mark.parametrize('kind', ['random', 'full', 'empty'])
def test_a_window_is_encoded_as_the_whole_mask(place: tuple[int, int], kind: str) -> None:
    top, left = place
    window = {
        'random': _make_masks(1, (5, 4)),
        'full': np.ones([5, 4], bool),
        'empty': np.zeros([5, 4], bool),
    }[kind]
    whole = np.zeros([9, 10], bool)
    whole[top : top + 5, left : left + 4] = window
    encoded = run_lengths.encode_window(window, top, left, 9, 10)
    assert encoded == run_lengths.encode(whole[None])[0]


def test_runs_that_go_on_in_the_next_column_are_one() -> None:
    whole = np.ones([6, 3], bool)
    whole[0, 0] = whole[5, 2] = False
    assert run_lengths.encode_window(whole, 0, 0, 6, 3) == run_lengths.encode(whole[None])[0]


def test_segmentations_of_coco_files() -> None:
    square = [[2.0, 1.0, 6.0, 1.0, 6.0, 4.0, 2.0, 4.0], [0.0, 0.0, 1.0, 0.0, 1.0, 1.0]]
    expected = mask_api.merge(mask_api.frPyObjects(square, 5, 8))['counts']
    assert run_lengths.encode_segmentation(square, 5, 8) == expected
    runs = {'size': [2, 3], 'counts': [1, 2, 3]}
    counts = run_lengths.encode_segmentation(runs, 2, 3)
    np.testing.assert_array_equal(run_lengths.decode([counts], 2, 3), [[[0, 1, 0], [1, 0, 0]]])
    text = {'size': [2, 3], 'counts': counts.decode()}
    assert run_lengths.encode_segmentation(text, 2, 3) == counts


@pytest.mark.parametrize(
    ('segmentation', 'text'),
    [
        ([], 'neither polygons nor run lengths'),
        ('x', 'neither polygons nor run lengths'),
        ([[1, 2, 3, 4]], 'a polygon needs three points or more'),
        ([[1, 2, 3, 4, 5, 6, 7]], 'a polygon needs three points or more'),
        ({'size': [3, 2], 'counts': [6]}, r'run lengths of the size \[3, 2\]'),
        ({'size': [2, 3], 'counts': [5]}, r'counts are not 2 \* 3 pixels'),
    ],
)
def test_what_is_no_segmentation(segmentation: object, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        run_lengths.encode_segmentation(segmentation, 2, 3)


def _make_detections(seed: int, num: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-20, 90, [num, 2])
    sides = np.concatenate([rng.uniform(0.2, 60, [num - 2, 2]), [[0, 0], [150, 130]]])
    return rng.random([num, size, size]).astype(np.float32), np.concatenate([corners, sides], 1)


def test_pasting_by_hand() -> None:
    # A full mask of 2x2 in a box of 8x8: with its border 4x4 in 16x16. Values fall to 0.5 half way
    # between the border's centre (2) and the mask's (6): 4, so pixels 4 to 11 are in.
    pasted = mask_ops.paste_instance_masks(
        np.ones([1, 2, 2]), np.array([[10, 20, 7.9, 7.9]]), 50, 40
    )
    rows, columns = np.flatnonzero(pasted[0].any(1)), np.flatnonzero(pasted[0].any(0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (20, 27, 10, 17)
    assert pasted[0, 20:28, 10:18].mean() > 0.9


def test_encoded_masks_are_the_pasted_ones() -> None:
    masks, boxes = _make_detections(3, 20, 14)
    pasted = mask_ops.paste_instance_masks(masks, boxes, 80, 100)
    assert mask_ops.encode_pasted_masks(masks, boxes, 80, 100) == run_lengths.encode(pasted)


@pytest.mark.garden
def test_pasted_masks_are_model_gardens() -> None:
    from official.vision.ops import mask_ops as garden

    masks, boxes = _make_detections(4, 40, 28)
    expected = garden.paste_instance_masks(masks, boxes, 80, 100)
    actual = mask_ops.paste_instance_masks(masks, boxes, 80, 100)
    # OpenCV rounds the weights of an interpolation otherwise in the last place.
    assert np.mean(actual != expected) < 1e-5


def test_pasting_between_pixels_by_hand() -> None:
    # A full mask of 2x2 in 4 pixels from 1.5 on, so a pixel of the mask every 2: whole between 2.5 and
    # 4.5, and half that at its edges, 1.5 and 5.5.
    pasted = mask_ops.paste_instance_masks_v2(np.ones([1, 2, 2]), np.array([[1.5, 0, 4, 4]]), 4, 9)
    assert pasted.dtype == np.uint8
    np.testing.assert_array_equal(pasted[0, 1], [0, 0, 1, 1, 1, 0, 0, 0, 0])
    boxes = np.array([[0, 0, 0, 4], [20, 0, 4, 4], [-3, -3, 4, 4.0]])
    assert not mask_ops.paste_instance_masks_v2(np.ones([3, 2, 2]), boxes, 4, 9)[:2].any()


@pytest.mark.garden
def test_masks_pasted_between_pixels_are_model_gardens() -> None:
    from official.vision.ops import mask_ops as garden

    masks, boxes = _make_detections(5, 40, 28)
    expected = garden.paste_instance_masks_v2(masks, boxes, 80, 100)
    actual = mask_ops.paste_instance_masks_v2(masks, boxes, 80, 100)
    assert actual.mean() > 0.01
    # OpenCV knows places between two pixels in steps of 1/32.
    assert np.mean(actual != expected) < 1e-3
