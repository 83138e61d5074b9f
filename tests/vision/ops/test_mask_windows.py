"""Windows of masks are those of TensorFlow's own operation."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from official_lite.vision.ops import mask_windows


@pytest.mark.parametrize('dtype', [np.uint8, np.float32])
def test_equals_crop_and_resize(dtype: type) -> None:
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 2, [6, 23, 40]).astype(dtype)
    corners = rng.uniform(-0.2, 0.6, [6, 2])
    boxes = np.concatenate([corners, corners + rng.uniform(0.01, 0.8, [6, 2])], 1)
    boxes[0] = [0, 0, 1, 1]
    boxes = tf.constant(boxes, tf.float32)
    expected = tf.image.crop_and_resize(masks[..., None], boxes, tf.range(6), [9, 9])[..., 0]
    np.testing.assert_allclose(mask_windows.crop_masks(masks, boxes, 9), expected, atol=1e-5)


def test_no_masks() -> None:
    windows = mask_windows.crop_masks(tf.zeros([0, 5, 6], tf.uint8), tf.zeros([0, 4]), 7)
    assert windows.shape == (0, 7, 7)
