"""Resizing of uint8 images equals the float functions, rounded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from official_lite.core import randomness
from official_lite.vision.ops import preprocess_ops, uint8_images


def make_image(height: int, width: int) -> tf.Tensor:
    rng = np.random.default_rng(height * width)
    return tf.constant(rng.integers(0, 256, [height, width, 3], np.uint8))


@pytest.mark.parametrize('size', [(30, 50), (50, 30), (40, 56), (90, 61), (7, 100)])
@pytest.mark.parametrize('keep_aspect_ratio', [True, False])
@pytest.mark.parametrize('scales', [(1.0, 1.0), (0.5, 2.0), (1.5, 1.5)])
def test_equals_the_float_function(
    size: tuple[int, int], keep_aspect_ratio: bool, scales: tuple[float, float]
):
    image = make_image(*size)
    for index in range(5):
        options: dict[str, Any] = {
            'aug_scale_min': scales[0],
            'aug_scale_max': scales[1],
            'keep_aspect_ratio': keep_aspect_ratio,
        }
        key = randomness.make_key(3, index=index)
        found, info = uint8_images.resize_and_crop(image, [40, 56], key=key, **options)
        expected, expected_info = preprocess_ops.resize_and_crop_image(
            image, [40, 56], None, seed=key, **options
        )
        np.testing.assert_array_equal(info, expected_info)
        np.testing.assert_array_equal(found, np.floor(expected.numpy() + 0.5))
        assert found.dtype == tf.uint8


def test_an_image_of_the_right_size_is_left_alone():
    image = make_image(40, 56)
    found, info = uint8_images.resize_and_crop(image, [40, 56])
    np.testing.assert_array_equal(found, image)
    np.testing.assert_array_equal(info, [[40, 56], [40, 56], [1, 1], [0, 0]])


def test_halves_are_rounded_upwards():
    image = tf.constant([[[0], [1]]], tf.uint8)
    resized = uint8_images.resize(image, tf.constant([1, 4]))
    assert resized.numpy().ravel().tolist() == [0, 0, 1, 1]  # of 0, 0.25, 0.75, 1
    assert uint8_images.round_to_uint8(tf.constant([0.5, 1.49, 254.5])).numpy().tolist() == [
        1,
        1,
        255,
    ]


@pytest.mark.parametrize('size', [(4, 5), (6, 5), (4, 8), (6, 8)])
@pytest.mark.parametrize('in_graph', [False, True])
def test_padding_has_the_colour(size: tuple[int, int], in_graph: bool):
    image = make_image(*size)
    pad = tf.function(uint8_images.pad_bottom_right) if in_graph else uint8_images.pad_bottom_right
    found = pad(image, (6, 8), (9, 8, 7)).numpy()
    expected = np.empty([6, 8, 3], np.uint8)
    expected[:] = (9, 8, 7)
    expected[: size[0], : size[1]] = image
    np.testing.assert_array_equal(found, expected)
