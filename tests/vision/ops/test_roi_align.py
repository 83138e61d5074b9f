"""RoIAlign against its definition, point by point, in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from official_lite.vision.ops import roi_align

SIZES = {2: (24, 40), 3: (12, 20), 4: (6, 10)}
BOXES = np.array(
    [
        [[10.0, 20, 60, 90], [0, 0, 96, 160], [5, 150, 9, 159], [40, 40, 40, 40]],
        [[80, 3, 96, 160], [1, 1, 2, 2], [0, 0, 0, 0], [-1, -1, -1, -1]],
    ],
    np.float32,
)


def _make_features(dtype: type = np.float32) -> dict[str, tf.Tensor]:
    random = np.random.default_rng(0)
    return {
        str(level): tf.constant(random.normal(size=(2, *size, 3)).astype(dtype))
        for level, size in SIZES.items()
    }


def _read(feature: np.ndarray, y: float, x: float) -> np.ndarray:
    """Bilinear interpolation; pixels beyond the last are as the last."""
    y, x = max(y, 0.0), max(x, 0.0)
    result = np.zeros(feature.shape[-1])
    for row in (int(np.floor(y)), int(np.floor(y)) + 1):
        for column in (int(np.floor(x)), int(np.floor(x)) + 1):
            weight = max(1 - abs(y - row), 0) * max(1 - abs(x - column), 0)
            inside = min(row, feature.shape[0] - 1), min(column, feature.shape[1] - 1)
            result += weight * feature[inside]
    return result


def _align(features: dict[str, tf.Tensor], size: int, offset: float) -> np.ndarray:
    result = np.zeros((*BOXES.shape[:2], size, size, 3))
    for image, row in enumerate(BOXES):
        for index, (ymin, xmin, ymax, xmax) in enumerate(row):
            side = max(np.sqrt((ymax - ymin) * (xmax - xmin)), 1e-4)
            level = int(np.clip(np.floor(np.log2(side / 224.0)) + 4, 2, 4))
            feature = features[str(level)].numpy()[image]
            for i in range(size):
                for j in range(size):
                    y = (ymin + (i + offset) * (ymax - ymin) / size) / 2**level
                    x = (xmin + (j + offset) * (xmax - xmin) / size) / 2**level
                    result[image, index, i, j] = _read(feature, y, x)
    return result


@pytest.mark.parametrize(('size', 'offset'), [(7, 0.5), (2, 0.25), (1, 0.5)])
def test_values(size: int, offset: float) -> None:
    features = _make_features()
    got = roi_align.multilevel_crop_and_resize(features, tf.constant(BOXES), size, offset)
    assert got.shape == (2, 4, size, size, 3)
    np.testing.assert_allclose(got, _align(features, size, offset), atol=2e-5)


def test_levels_double_with_the_side() -> None:
    sides = np.array([0.0, 55.9, 56.1, 111.9, 112.1, 223.9, 224.1, 5000.0], np.float32)
    boxes = np.stack([0 * sides, 0 * sides, sides, sides], axis=-1)
    levels = roi_align.compute_box_levels(tf.constant(boxes), 2, 6)
    np.testing.assert_array_equal(levels, [2, 2, 2, 2, 3, 3, 4, 6])


def test_gradient_is_what_was_read() -> None:
    """The features' gradient of a weighted sum is the weights, spread by interpolation."""
    features = _make_features()
    boxes = tf.constant(BOXES)
    weights = tf.random.stateless_normal([2, 4, 3, 3, 3], [1, 2])
    with tf.GradientTape() as tape:
        tape.watch([features, boxes])
        crops = roi_align.multilevel_crop_and_resize(features, boxes, 3)
        loss = tf.reduce_sum(crops * weights)
    gradients, of_boxes = tape.gradient(loss, [features, boxes])
    total = sum(float(tf.reduce_sum(gradients[level] * features[level])) for level in features)
    np.testing.assert_allclose(total, loss, rtol=1e-4)  # it is linear in the features
    assert of_boxes is None


@pytest.mark.parametrize('size', [1, 2, 7])
def test_gradient_equals_the_derivative_of_the_definition(size: int) -> None:
    """It is linear in the features: each pixel's gradient is what a map of that pixel alone gives."""
    features = _make_features()
    boxes = tf.constant(BOXES)
    weights = tf.random.stateless_normal([2, 4, size, size, 3], [1, 2])

    @tf.function
    def compute() -> dict[str, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(features)
            crops = roi_align.multilevel_crop_and_resize(features, boxes, size)
            loss = tf.reduce_sum(crops * weights)
        return tape.gradient(loss, features)

    gradients = compute()
    random = np.random.default_rng(1)
    for level, (height, width) in SIZES.items():
        for _ in range(6):
            image, y, x = (int(random.integers(n)) for n in (2, height, width))
            alone = {str(i): np.zeros((2, *s, 3), np.float32) for i, s in SIZES.items()}
            alone[str(level)][image, y, x] = 1.0
            maps = {name: tf.constant(values) for name, values in alone.items()}
            expected = np.sum(_align(maps, size, 0.5) * weights, axis=(0, 1, 2, 3))
            np.testing.assert_allclose(gradients[str(level)][image, y, x], expected, atol=1e-4)


def test_gradient_is_the_same_every_time() -> None:
    """TensorFlow's own loses what two threads add to one pixel at once: up to 5% of a gradient."""
    random = np.random.default_rng(0)
    features = {'2': tf.constant(random.normal(size=(2, 80, 80, 128)), tf.float32)}
    corners = random.uniform(0, 150, (2, 150, 2))
    boxes = tf.constant(np.concatenate([corners, corners + 100], axis=-1), tf.float32)
    weights = tf.constant(random.normal(size=(2, 150, 7, 7, 128)), tf.float32)

    @tf.function
    def compute() -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(features)
            crops = roi_align.multilevel_crop_and_resize(features, boxes)
        return tape.gradient(crops, features, weights)['2']

    first = compute()
    for _ in range(10):
        np.testing.assert_array_equal(compute(), first)


def test_dynamic_shapes_and_bfloat16() -> None:
    features = {level: tf.cast(x, tf.bfloat16) for level, x in _make_features().items()}

    @tf.function(
        input_signature=[
            {level: tf.TensorSpec([None, None, None, 3], tf.bfloat16) for level in features},
            tf.TensorSpec([None, None, 4]),
        ]
    )
    def align(features: dict[str, tf.Tensor], boxes: tf.Tensor) -> tf.Tensor:
        return roi_align.multilevel_crop_and_resize(features, boxes, 2)

    got = align(features, tf.constant(BOXES))
    assert got.dtype == tf.bfloat16
    exact = {level: tf.cast(x, tf.float32) for level, x in features.items()}
    np.testing.assert_allclose(tf.cast(got, tf.float32), _align(exact, 2, 0.5), atol=2e-2)
    assert align(features, tf.zeros([2, 0, 4])).shape == (2, 0, 2, 2, 3)
