"""What is not random equals Model Garden; what is random depends on its key."""

from __future__ import annotations

import inspect
import io
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from official_lite.core import randomness
from official_lite.vision.ops import preprocess_ops
from tests.vision.ops.distributions import measure_difference

RNG = np.random.default_rng(0)


def make_image(height: int, width: int) -> np.ndarray:
    return RNG.integers(0, 256, [height, width, 3], np.uint8)


def make_boxes(count: int) -> np.ndarray:
    corners = np.sort(RNG.uniform(-0.1, 1.1, [count, 2, 2]), axis=1)
    return corners.reshape(count, 4).astype(np.float32)


def assert_equal(ours: Any, theirs: Any) -> None:
    ours, theirs = tf.nest.flatten(ours), tf.nest.flatten(theirs)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


SIZES = [(37, 53), (53, 37), (64, 64), (16, 100), (5, 3)]


@pytest.fixture(scope='module')
def garden() -> Any:
    return pytest.importorskip('official.vision.ops.preprocess_ops')


@pytest.mark.garden
@pytest.mark.parametrize('size', SIZES)
def test_resizing_equals_model_gardens(garden: Any, size: tuple[int, int]):
    image = make_image(*size)
    for desired, keep, centered in [
        ((40, 40), True, False),
        ((33, 61), True, True),
        ((33, 61), False, False),
        ((80, 20), False, True),
    ]:
        padded = preprocess_ops.compute_padded_size(desired, 32)
        assert padded == garden.compute_padded_size(desired, 32)
        for padding in (padded, None):
            arguments = {'keep_aspect_ratio': keep, 'centered_crop': centered}
            ours = preprocess_ops.resize_and_crop_image(image, desired, padding, **arguments)
            theirs = garden.resize_and_crop_image(image, desired, padding, **arguments)
            assert_equal(ours, theirs)
    for short, long in [(20, 100), (60, 70)]:
        padded = [128, 128]
        ours = preprocess_ops.resize_and_crop_image_v2(image, short, long, padded)
        assert_equal(ours, garden.resize_and_crop_image_v2(image, short, long, padded))
    for wanted, bound in [((20, 30), None), (24, None), (24, 30), (min(size), None)]:
        ours = preprocess_ops.resize_image(image, wanted, bound)
        theirs = garden.resize_image(image, wanted, bound)
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-7)


@pytest.mark.garden
@pytest.mark.parametrize('size', SIZES)
def test_boxes_masks_and_pixels_equal_model_gardens(garden: Any, size: tuple[int, int]):
    image, boxes = make_image(*size), make_boxes(7) * [*size, *size]
    boxes = boxes.astype(np.float32)
    scale, offset = tf.constant([1.7, 0.9]), tf.constant([3.0, 1.0])
    for output in ([40, 30], tf.constant([40.0, 30.0])):
        ours = preprocess_ops.resize_and_crop_boxes(boxes, scale, output, offset)
        assert_equal(ours, garden.resize_and_crop_boxes(tf.constant(boxes), scale, output, offset))
    for count in (0, 3):
        masks = tf.constant(RNG.integers(0, 2, [count, *size, 1], np.uint8))
        for centered in (False, True):
            ours = preprocess_ops.resize_and_crop_masks(masks, scale, [40, 30], offset, centered)
            theirs = garden.resize_and_crop_masks(masks, scale, [40, 30], offset, centered)
            assert_equal(ours, theirs)
    assert_equal(preprocess_ops.normalize_image(image), garden.normalize_image(image))
    floats = image.astype(np.float32)
    arguments = (preprocess_ops.MEAN_RGB, preprocess_ops.STDDEV_RGB)
    assert_equal(
        preprocess_ops.normalize_image(floats, *arguments),
        garden.normalize_image(floats, *arguments),
    )
    assert arguments == (garden.MEAN_RGB, garden.STDDEV_RGB)
    for fraction in (0.875, 0.5):
        ours = preprocess_ops.center_crop_image(tf.constant(image), fraction)
        assert_equal(ours, garden.center_crop_image(tf.constant(image), fraction))
    for length in (3, 7, 12):
        for constant in (-1, 0.5):
            ours = preprocess_ops.clip_or_pad_to_fixed_size(tf.constant(boxes), length, constant)
            theirs = garden.clip_or_pad_to_fixed_size(tf.constant(boxes), length, constant)
            assert_equal(ours, theirs)
    padded_size = tf.constant([33, 64])
    assert_equal(
        preprocess_ops.compute_padded_size(padded_size, 32),
        garden.compute_padded_size(padded_size, 32),
    )


@pytest.mark.garden
def test_jitter_is_distributed_as_model_gardens(garden: Any):
    """Scales and offsets of 1,500 draws of each; what follows from them is exact."""
    image = tf.zeros([40, 60, 3])

    def draw(module: Any, index: tf.Tensor) -> tf.Tensor:
        arguments: dict[str, Any] = {'aug_scale_min': 0.5, 'aug_scale_max': 2.0}
        if module is preprocess_ops:
            arguments['seed'] = randomness.make_key(0, epoch=0, index=index)
        return module.resize_and_crop_image(image, [50, 50], None, **arguments)[1]

    def draw_many(module: Any) -> np.ndarray:
        dataset = tf.data.Dataset.range(1500).map(lambda i: draw(module, i)).batch(1500)
        return next(iter(dataset)).numpy()

    ours, theirs = draw_many(preprocess_ops), draw_many(garden)
    np.testing.assert_array_equal(ours[:, :2], theirs[:, :2])
    for quantile in (0.05, 0.25, 0.5, 0.75, 0.95):
        for row in (2, 3):  # scale, offset
            expected = np.quantile(theirs[:, row], quantile, axis=0)
            tolerance = 0.05 if row == 2 else 2.5
            np.testing.assert_allclose(
                np.quantile(ours[:, row], quantile, axis=0), expected, atol=tolerance
            )


def test_jitter_by_hand():
    key = randomness.make_key(0, epoch=0, index=4)
    image = tf.constant(make_image(30, 50))
    resized, info = preprocess_ops.resize_and_crop_image(
        image, [40, 40], [64, 64], aug_scale_min=1.5, aug_scale_max=1.5001, seed=key
    )
    # Scale 1.5 of 40 is 60: 50 wide becomes 60 wide, 30 high 36 high; 20 too wide.
    np.testing.assert_allclose(info[:3], [[30, 50], [40, 40], [1.2, 1.2]], rtol=1e-6)
    assert info[3, 0] == 0
    assert 0 <= info[3, 1] <= 20
    whole = tf.image.resize(image, [36, 60])
    left = int(info[3, 1])
    np.testing.assert_array_equal(resized[:36, :40], whole[:, left : left + 40])
    np.testing.assert_array_equal(resized[36:], 0)
    np.testing.assert_array_equal(resized[:, 40:], 0)
    boxes = preprocess_ops.resize_and_crop_boxes(
        tf.constant([[0.0, 0, 30, 50]]), info[2], info[1], info[3]
    )
    np.testing.assert_allclose(boxes, [[0, 0, 36, 40]], rtol=1e-6)


def test_flips_move_image_boxes_and_masks_together():
    image = tf.constant(make_image(4, 6))
    boxes = tf.constant([[0.0, 0.1, 0.5, 0.4]])
    masks = tf.constant(RNG.integers(0, 2, [2, 4, 6], np.uint8))
    flipped = preprocess_ops.random_horizontal_flip(image, boxes, masks, prob=1.0)
    np.testing.assert_array_equal(flipped[0], image[:, ::-1])
    np.testing.assert_allclose(flipped[1], [[0, 0.6, 0.5, 0.9]], rtol=1e-6)
    np.testing.assert_array_equal(flipped[2], masks[:, :, ::-1])
    flipped = preprocess_ops.random_vertical_flip(image, boxes, masks, prob=1.0)
    np.testing.assert_array_equal(flipped[0], image[::-1])
    np.testing.assert_allclose(flipped[1], [[0.5, 0.1, 1.0, 0.4]], rtol=1e-6)
    np.testing.assert_array_equal(flipped[2], masks[:, ::-1])
    image_only = preprocess_ops.random_horizontal_flip(image, prob=0.0)
    np.testing.assert_array_equal(image_only[0], image)
    assert image_only[1:] == (None, None)


def draw_flips(seed: int, num_draws: int = 400) -> np.ndarray:
    image = tf.constant([[[0], [1]]])

    def draw(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        key = randomness.make_key(seed, epoch=0, index=index)
        across = preprocess_ops.random_horizontal_flip(image, seed=key)[0][0, 0, 0]
        down = preprocess_ops.random_vertical_flip(tf.transpose(image, [1, 0, 2]), seed=key)[0]
        return across, down[0, 0, 0]

    dataset = tf.data.Dataset.range(num_draws).map(draw).batch(num_draws)
    return np.stack([tensor.numpy() for tensor in next(iter(dataset))])


def test_d17_random_operations_are_not_correlated_and_follow_the_seed():
    """Upstream every flip draws from operation seed 1, whatever the run's seed."""
    flips = draw_flips(seed=0)
    assert abs(flips.mean() - 0.5) < 0.06  # 3.4 standard errors of 800 draws
    assert abs(np.corrcoef(*flips)[0, 1]) < 0.17
    np.testing.assert_array_equal(flips, draw_flips(seed=0))
    assert 0.3 < (flips != draw_flips(seed=1)).mean() < 0.7


def test_crops_stay_inside_and_follow_their_key():
    image = tf.constant(make_image(40, 60))
    key = randomness.make_key(0, epoch=0, index=0)
    crop = preprocess_ops.random_crop_image(image, area_range=(0.2, 0.5), seed=key)
    np.testing.assert_array_equal(
        crop, preprocess_ops.random_crop_image(image, area_range=(0.2, 0.5), seed=key)
    )
    share = crop.shape[0] * crop.shape[1] / 2400
    assert 0.18 < share < 0.52
    buffer = io.BytesIO()
    Image.fromarray(image.numpy()).save(buffer, 'JPEG')
    encoded, shape = tf.constant(buffer.getvalue()), tf.constant([40, 60, 3])
    from_bytes = preprocess_ops.random_crop_image_v2(
        encoded, shape, area_range=(0.2, 0.5), seed=key
    )
    assert from_bytes.shape == crop.shape  # the same window
    assert preprocess_ops.center_crop_image_v2(encoded, shape).shape == [35, 35, 3]
    assert preprocess_ops.random_crop_image(image).shape[2] == 3  # without a key


def test_jpeg_quality_changes_some_images():
    image = tf.constant(make_image(16, 16))
    changed = 0
    for index in range(20):
        key = randomness.make_key(0, epoch=0, index=index)
        worse = preprocess_ops.random_jpeg_quality(image, 20, 40, 0.6, seed=key)
        assert worse.dtype == tf.uint8
        changed += int(tf.reduce_any(worse != image))
    assert 6 <= changed <= 18  # 12 expected
    np.testing.assert_array_equal(
        preprocess_ops.random_jpeg_quality(image, prob_to_apply=-1.0), image
    )


# ---- what is random ------------------------------------------------------------------------------

KEYS = [randomness.make_key(11, index=index) for index in range(300)]


def make_places(height: int = 40, width: int = 60) -> tf.Tensor:
    """Each pixel's value is its row and column."""
    rows, columns = np.mgrid[:height, :width]
    return tf.constant(np.stack([rows, columns, rows], -1), tf.uint8)


def test_d17_no_function_has_a_fixed_seed() -> None:
    for name in preprocess_ops.__all__:
        function = getattr(preprocess_ops, name)
        if callable(function) and name.startswith(('random_', 'color_')):
            assert inspect.signature(function).parameters['seed'].default is None, name
    image = make_places()
    # There, two functions flip the same images: both have the operation seed 1.
    horizontal, vertical = [], []
    for key in KEYS[:100]:
        horizontal.append(preprocess_ops.random_horizontal_flip(image, seed=key)[0][0, 0, 1] > 0)
        vertical.append(preprocess_ops.random_vertical_flip(image, seed=key)[0][0, 0, 0] > 0)
    assert 0.3 < np.mean(np.array(horizontal) == np.array(vertical)) < 0.7


def test_color_jitter_is_three_factors_in_order() -> None:
    image = tf.constant(np.random.default_rng(0).integers(0, 256, [9, 8, 3]), tf.uint8)
    key = KEYS[0]
    assert_equal(preprocess_ops.color_jitter(image, seed=key), image)
    jittered = preprocess_ops.color_jitter(image, 0.4, 0.3, 0.2, seed=key)
    expected = preprocess_ops.random_brightness(image, 0.4, key)
    expected = preprocess_ops.random_contrast(expected, 0.3, key)
    assert_equal(jittered, preprocess_ops.random_saturation(expected, 0.2, key))
    grey = tf.fill([1, 1, 3], tf.constant(100, tf.uint8))
    drawn = [int(preprocess_ops.random_brightness(grey, 0.5, key)[0, 0, 0]) for key in KEYS]
    assert min(drawn) >= 50
    assert max(drawn) <= 150
    np.testing.assert_allclose(np.mean(drawn), 99.5, atol=5)
    np.testing.assert_allclose(np.std(drawn), 100 / np.sqrt(12), atol=3)
    with pytest.raises(ValueError, match=r'Expected `contrast` to be 0 or more\. Received: -1'):
        preprocess_ops.random_contrast(image, -1)


@pytest.mark.garden
def test_saturation_equals_model_gardens(garden: Any) -> None:
    image = tf.constant(np.random.default_rng(0).integers(0, 256, [9, 8, 3]), tf.uint8)
    for factor in (0.0, 0.4, 1.0, 1.7):
        assert_equal(preprocess_ops._saturation(image, factor), garden._saturation(image, factor))


def test_flips_take_regions_along() -> None:
    boxes = tf.constant([[0.1, 0.2, 0.5, 0.6]])
    regions = tf.constant([[0.3, 0.0, 0.4, 0.1]])
    masks = make_places()[:, :, :1]
    num_flipped = 0
    for key in [*KEYS[:30], None]:
        image, flipped, mask, moved = preprocess_ops.random_horizontal_flip_with_roi(
            make_places(), boxes, masks, regions, seed=key
        )
        is_flipped = bool(image[0, 0, 1] > 0)
        num_flipped += is_flipped
        left = [0.4, 0.2][not is_flipped]
        np.testing.assert_allclose(flipped[0, 1], left, atol=1e-6)
        np.testing.assert_allclose(moved[0, 1], [0.0, 0.9][is_flipped], atol=1e-6)
        assert mask.shape == (40, 60, 1)
    assert 5 < num_flipped < 25


def test_crops_take_boxes_and_labels_along() -> None:
    image = make_places()
    boxes = np.array([[0.1, 0.1, 0.4, 0.3], [0.5, 0.5, 0.9, 0.9], [0.2, 0.6, 0.5, 0.9]], np.float32)
    crop = tf.function(preprocess_ops.random_crop_image_with_boxes_and_labels)
    num_cropped = 0
    for key in KEYS[:80]:
        pixels, moved, labels = (
            np.asarray(x)
            for x in crop(image, boxes, tf.range(3), 0.3, (0.5, 2.0), (0.0, 1.4, 0.2, 0.1), 50, key)
        )
        if pixels.shape == (40, 60, 3):
            assert len(labels) == 3
            continue
        num_cropped += 1
        low, high = pixels[0, 0, :2].astype(float), pixels[-1, -1, :2].astype(float) + 1
        height, width = high - low
        assert 0.5 <= height / width <= 2.0
        before = boxes * [40, 60, 40, 60]
        centres = (before[:, :2] + before[:, 2:]) / 2
        is_inside = ((centres > low) & (centres < high)).all(1)
        np.testing.assert_array_equal(labels, np.nonzero(is_inside)[0])
        expected = np.clip((before - np.tile(low, 2)) / np.tile(high - low, 2), 0, 1)
        np.testing.assert_allclose(moved, expected[is_inside], atol=1e-5)
    assert num_cropped > 25
    nothing = tf.zeros([0, 4]), tf.zeros([0], tf.int32)
    kept = crop(image, *nothing, 0.3, (0.5, 2.0), (0.0, 1.4, 0.2, 0.1), 50, KEYS[0])
    assert kept[0].shape == image.shape


@pytest.mark.garden
def test_crops_with_boxes_are_distributed_as_model_gardens(garden: Any) -> None:
    given = (
        make_places(),
        tf.constant([[0.1, 0.1, 0.4, 0.3], [0.5, 0.5, 0.9, 0.9], [0.2, 0.6, 0.5, 0.9]]),
        tf.range(3),
    )
    shapes = [[None, None, 3], [None, 4], [None]]
    specs = [tf.TensorSpec(shape, x.dtype) for shape, x in zip(shapes, given)]

    def measure(module: Any) -> np.ndarray:
        @tf.function(input_signature=specs)
        def crop(image: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
            pixels, moved, _ = module.random_crop(image, boxes, labels, 0.3, *_DETR)
            corner = tf.cast(pixels[0, 0, :2], tf.int32)
            return tf.concat([tf.shape(pixels)[:2], corner, tf.shape(moved)[:1]], 0)

        return np.stack([crop(*given).numpy() for _ in range(400)])

    tf.random.set_seed(4)
    first, second = measure(preprocess_ops), measure(garden)
    for column in range(5):
        assert measure_difference(first[:, column], second[:, column]) < 1


_DETR = ((0.5, 2.0), (0.0, 1.4, 0.2, 0.1), 50)


def test_jpeg_quality_has_its_probability() -> None:
    image = make_places()
    changed = [
        (preprocess_ops.random_jpeg_quality(image, 20, 60, 0.4, key).numpy() != image.numpy()).any()
        for key in KEYS[:150]
    ]
    assert abs(np.mean(changed) - 0.4) < 0.12
