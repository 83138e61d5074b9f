"""Boxes: hand-made values, and Model Garden's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from official_lite.vision.ops import box_ops, image_normalization


def _random_boxes(shape: tuple[int, ...], seed: int, scale: float = 100.0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    low = generator.uniform(-0.1 * scale, 0.7 * scale, (*shape, 2))
    return np.concatenate([low, low + generator.uniform(0.1, 0.4 * scale, (*shape, 2))], -1).astype(
        np.float32
    )


def test_coder_by_hand() -> None:
    anchors = tf.constant([[0.0, 0.0, 10.0, 20.0]])
    boxes = tf.constant([[5.0, 10.0, 25.0, 20.0]])
    deltas = box_ops.encode_boxes(boxes, anchors)
    np.testing.assert_allclose(deltas, [[1.0, 0.25, math.log(2.0), math.log(0.5)]], rtol=1e-6)
    np.testing.assert_allclose(box_ops.decode_boxes(deltas, anchors), boxes, rtol=1e-6)
    weighted = box_ops.encode_boxes(boxes, anchors, [10.0, 10.0, 5.0, 5.0])
    np.testing.assert_allclose(weighted, deltas * [[10.0, 10.0, 5.0, 5.0]], rtol=1e-6)


def test_decoded_sides_are_limited() -> None:
    box = box_ops.decode_boxes(
        tf.constant([[0.0, 0.0, 50.0, -50.0]]), tf.constant([[0.0, 0, 16, 16]])
    )
    np.testing.assert_allclose(box, [[-492.0, 8.0, 508.0, 8.0]], rtol=1e-5)


def test_forms_flips_and_clipping() -> None:
    boxes = np.float32([[1, 2, 5, 8]])
    np.testing.assert_array_equal(box_ops.yxyx_to_xywh(boxes), [[2, 1, 6, 4]])
    np.testing.assert_array_equal(box_ops.yxyx_to_cycxhw(boxes), [[3, 5, 4, 6]])
    np.testing.assert_array_equal(box_ops.cycxhw_to_yxyx(tf.constant([[3.0, 5, 4, 6]])), boxes)
    np.testing.assert_allclose(box_ops.normalize_boxes(boxes, (10, 20)), [[0.1, 0.1, 0.5, 0.4]])
    np.testing.assert_allclose(
        box_ops.denormalize_boxes([[0.1, 0.1, 0.5, 0.4]] * tf.ones([1, 4]), (10, 20)), boxes
    )
    normalized = tf.constant([[0.1, 0.2, 0.4, 0.9]])
    np.testing.assert_allclose(
        box_ops.horizontal_flip_boxes(normalized), [[0.1, 0.1, 0.4, 0.8]], rtol=1e-5
    )
    np.testing.assert_allclose(
        box_ops.vertical_flip_boxes(normalized), [[0.6, 0.2, 0.9, 0.9]], rtol=1e-5
    )
    clipped = box_ops.clip_boxes(tf.constant([[-3.0, 4, 30, 50]]), (20, 40))
    np.testing.assert_array_equal(clipped, [[0, 4, 20, 40]])
    indices = box_ops.get_non_empty_box_indices(
        tf.constant([[0.0, 0, 1, 1], [2, 2, 2, 5], [1, 1, 3, 2]])
    )
    np.testing.assert_array_equal(indices, [0, 2])


def test_refuses_other_shapes() -> None:
    with pytest.raises(
        ValueError, match=r'4 values in the last dimension. Received: shape \(2, 3\)'
    ):
        box_ops.encode_boxes(tf.zeros([2, 3]), tf.zeros([2, 4]))


def test_normalisation_of_images() -> None:
    image = np.uint8([[[0, 128, 255]]])
    expected = (image / 255.0 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(image_normalization.normalize_if_uint8(image), expected, rtol=1e-5)
    floats = np.float32([[[0.5, 1.0, 2.0]]])
    np.testing.assert_array_equal(image_normalization.normalize_if_uint8(floats), floats)
    assert image_normalization.normalize_if_uint8(image, 'bfloat16').dtype == tf.bfloat16


@pytest.mark.garden
def test_equals_model_garden() -> None:
    from official.vision.ops import box_ops as garden

    boxes, anchors = (_random_boxes((3, 50), seed) for seed in (0, 1))
    boxes[:, 40:] = -1.0
    for weights in (None, [10.0, 10.0, 5.0, 5.0]):
        deltas = garden.encode_boxes(boxes[:, :40], anchors[:, :40], weights)
        got = box_ops.encode_boxes(boxes[:, :40], tf.constant(anchors[:, :40]), weights)
        np.testing.assert_allclose(got, deltas, rtol=1e-5, atol=1e-5)
        expected = garden.decode_boxes(deltas * 3.0, tf.constant(anchors[:, :40]), weights)
        got = box_ops.decode_boxes(deltas * 3.0, tf.constant(anchors[:, :40]), weights)
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(
        box_ops.bbox_overlap(tf.constant(anchors), tf.constant(boxes)),
        garden.bbox_overlap(tf.constant(anchors), tf.constant(boxes)),
        atol=1e-6,
    )
    shape = np.float32([[60.0, 40.0], [50.0, 90.0], [20.0, 20.0]])[:, None]
    np.testing.assert_allclose(
        box_ops.clip_boxes(anchors, shape), garden.clip_boxes(tf.constant(anchors), shape)
    )
