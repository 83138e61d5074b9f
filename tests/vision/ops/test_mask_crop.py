"""Masks seen through other boxes."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from official_lite.vision.ops import mask_crop

BOXES = np.array([[[10.0, 20, 50, 100], [0, 0, 8, 8]], [[5, 5, 25, 15], [0, 0, 0, 0]]])
TARGETS = np.array([[[15.0, 30, 60, 90], [0, 0, 8, 8]], [[0, 0, 40, 40], [1, 1, 2, 2]]])


def _crop(masks: np.ndarray, size: int, offset: float) -> np.ndarray:
    """Point by point: the mask's pixels lie at 0, 1, ... of its box, with 0 around."""
    result = np.zeros((*BOXES.shape[:2], size, size))
    height, width = masks.shape[2:]
    for place in np.ndindex(*BOXES.shape[:2]):
        (y0, x0, y1, x1), (t0, s0, t1, s1) = BOXES[place], TARGETS[place]
        if y1 == y0:
            continue
        for i, j in np.ndindex(size, size):
            y = (t0 + (i + offset) / size * (t1 - t0) - y0) * height / (y1 - y0)
            x = (s0 + (j + offset) / size * (s1 - s0) - x0) * width / (x1 - x0)
            for row, column in np.ndindex(height, width):
                weight = max(1 - abs(y - row), 0) * max(1 - abs(x - column), 0)
                result[place][i, j] += weight * masks[place][row, column]
    return result


@pytest.mark.parametrize('offset', [0.5, 0.0])
def test_values_with_masks_that_are_not_square(offset: float) -> None:
    """Model Garden multiplies columns by the height and heights by the width."""
    masks = np.random.default_rng(0).uniform(size=(2, 2, 6, 9)).astype(np.float32)
    got = mask_crop.crop_mask_in_target_box(
        tf.constant(masks), tf.constant(BOXES), tf.constant(TARGETS), 5, offset
    )
    np.testing.assert_allclose(got, _crop(masks, 5, offset), atol=1e-5)


def test_a_whole_mask_is_1_inside() -> None:
    masks = tf.ones([1, 1, 8, 8], tf.uint8)
    boxes = tf.constant([[[10.0, 10, 20, 20]]])
    got = mask_crop.crop_mask_in_target_box(masks, boxes, tf.constant([[[0.0, 0, 30, 30]]]), 3, 0.5)
    np.testing.assert_allclose(got[0, 0], [[0, 0, 0], [0, 1, 0], [0, 0, 0]], atol=1e-6)


@pytest.mark.garden
def test_square_masks_are_model_gardens() -> None:
    from official.vision.ops import spatial_transform_ops

    masks = np.random.default_rng(1).uniform(size=(2, 2, 7, 7)).astype(np.float32)
    arguments = (tf.constant(masks), tf.constant(BOXES[:, :1]), tf.constant(TARGETS[:, :1]), 4)
    arguments = (arguments[0][:, :1], *arguments[1:])
    expected = spatial_transform_ops.crop_mask_in_target_box(*arguments, sample_offset=0.5)
    got = mask_crop.crop_mask_in_target_box(*arguments, sample_offset=0.5)
    np.testing.assert_allclose(got, expected, atol=1e-5)
