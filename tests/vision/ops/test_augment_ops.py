"""Single operations of augmentation: values by hand, by PIL, and Model Garden's."""

from __future__ import annotations

from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
import tensorflow as tf

from official_lite.vision.ops import augment, augment_operations

REPLACE = [128] * 3


def make_image(height: int = 23, width: int = 31, seed: int = 0) -> tf.Tensor:
    """Random colours, each channel in another range."""
    random = np.random.default_rng(seed)
    channels = [random.integers(low, high, [height, width]) for low, high in _RANGES]
    return tf.constant(np.stack(channels, -1), tf.uint8)


_RANGES = ((0, 256), (10, 200), (100, 140))

_LEVELS = [0, 0.5, 1, 2, 3, 4.2, 5, 6, 7, 8, 9, 10]
_DETERMINISTIC = [
    'AutoContrast',
    'Equalize',
    'Invert',
    'Grayscale',
    'Posterize',
    'Solarize',
    'SolarizeAdd',
    'Color',
    'Contrast',
    'Brightness',
    'Sharpness',
]
_GEOMETRIC = ['Rotate', 'ShearX', 'ShearY', 'TranslateX', 'TranslateY']


@pytest.fixture(name='garden', scope='module')
def fixture_garden() -> Any:
    return pytest.importorskip('official.vision.ops.augment')


def assert_equal(ours: Any, theirs: Any) -> None:
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)


# ---- against Model Garden ------------------------------------------------------------------------


@pytest.mark.garden
@pytest.mark.parametrize('name', _DETERMINISTIC)
def test_operations_equal_model_gardens_at_all_magnitudes(garden: Any, name: str) -> None:
    compute = augment.level_to_arg(100, 250)[name]
    theirs = garden.level_to_arg(100, 250)[name]
    # The largest, the smallest and the plainest image that an operation might stumble over.
    images = [make_image(), make_image(3, 40, 1), tf.fill([9, 8, 3], tf.constant(77, tf.uint8))]
    for level in _LEVELS:
        assert compute(level) == theirs(level)
        for image in images:
            expected = garden.NAME_TO_FUNC[name](image, *theirs(level))
            assert_equal(augment.NAME_TO_FUNC[name](image, *compute(level)), expected)


@pytest.mark.garden
@pytest.mark.parametrize('name', _DETERMINISTIC)
def test_operations_in_policies_equal_model_gardens(garden: Any, name: str) -> None:
    """There the argument is a tensor, in a graph."""
    operation = augment_operations.get_operation(name)
    strength = augment_operations.Strength(100, 250)

    @tf.function
    def apply(image: tf.Tensor, argument: tf.Tensor) -> tf.Tensor:
        return operation.apply(image, None, augment_operations.Call(argument))[0]

    image = make_image()
    for level in _LEVELS:
        argument = np.float32(operation.compute_argument(level, strength))
        arguments = garden.level_to_arg(100, 250)[name](level)
        assert_equal(apply(image, argument), garden.NAME_TO_FUNC[name](image, *arguments))


@pytest.mark.garden
@pytest.mark.parametrize('name', _GEOMETRIC)
def test_geometry_equals_model_gardens(garden: Any, name: str) -> None:
    for argument in _geometric_arguments(name):
        for image in (make_image(), make_image(40, 17, 2)):
            expected = garden.NAME_TO_FUNC[name](image, argument, REPLACE)
            assert_equal(augment.NAME_TO_FUNC[name](image, argument, REPLACE), expected)


def _geometric_arguments(name: str) -> list[float]:
    largest = {'Rotate': 30.0, 'ShearX': 0.3, 'ShearY': 0.3}.get(name, 25.0)
    return [sign * largest * level / 10 for level in _LEVELS for sign in (-1, 1)]


@pytest.mark.garden
@pytest.mark.parametrize('name', _GEOMETRIC)
def test_geometry_of_boxes_equals_model_gardens(garden: Any, name: str) -> None:
    image = make_image(230, 310)
    corners = np.random.default_rng(5).uniform(size=[15, 2, 2]).astype(np.float32)
    boxes = np.sort(corners, axis=1).reshape([15, 4])
    for argument in _geometric_arguments(name):
        _, theirs = garden.NAME_TO_FUNC[f'{name}_BBox'](image, boxes, argument, REPLACE)
        pixels, ours = augment.NAME_TO_FUNC[f'{name}_BBox'](image, boxes, argument, REPLACE)
        assert_equal(pixels, augment.NAME_TO_FUNC[name](image, argument, REPLACE))
        left = np.all(ours[:, 2:] > ours[:, :2], axis=1)
        assert left.sum() > 10
        np.testing.assert_allclose(ours[left], theirs.numpy()[left], atol=1e-7)


@pytest.mark.garden
def test_blend_filter_and_rectangles_equal_model_gardens(garden: Any) -> None:
    first, second = make_image(), make_image(seed=4)
    for factor in (0.0, 0.3, 1.0, 1.9):
        assert_equal(augment.blend(first, second, factor), garden.blend(first, second, factor))
    for shape, sigma, padding in (((3, 3), 0.7, 'REFLECT'), ((5, 2), (1.0, 2.0), 'CONSTANT')):
        ours = augment.gaussian_filter2d(first, shape, sigma, padding, 9)
        assert_equal(ours, garden.gaussian_filter2d(first, shape, sigma, padding, 9))
    boxes = tf.constant([[0.2, 0.1, 0.7, 0.9]])
    arguments = (first, boxes, 3.0, 5.0, REPLACE)
    ours = augment.translate_y_only_bboxes(*arguments)[0]
    assert_equal(ours, garden.translate_y_only_bboxes(*arguments)[0])


@pytest.mark.garden
def test_policies_are_model_gardens(garden: Any) -> None:
    theirs = garden.AutoAugment().available_policies
    assert set(augment.POLICIES) == set(theirs)
    for name, policy in theirs.items():
        expected = [[(n.replace('_Noise', '_Blur'), *rest) for n, *rest in sub] for sub in policy]
        assert augment.POLICIES[name] == expected, name


# ---- by hand -------------------------------------------------------------------------------------


def test_equalize_and_posterize_equal_pils() -> None:
    image = make_image(60, 50)
    picture = PIL.Image.fromarray(image.numpy())
    assert_equal(augment.equalize(image), PIL.ImageOps.equalize(picture))
    assert_equal(augment.posterize(image, 3), PIL.ImageOps.posterize(picture, 3))
    assert_equal(augment.solarize(image, 100), PIL.ImageOps.solarize(picture, 100))
    assert_equal(augment.invert(image), PIL.ImageOps.invert(picture))


def test_autocontrast_stretches_each_channel() -> None:
    image = tf.constant([[[10, 5, 0], [60, 5, 255], [110, 5, 51]]], tf.uint8)
    expected = [[[0, 5, 0], [127, 5, 255], [255, 5, 51]]]
    np.testing.assert_array_equal(augment.autocontrast(image), expected)


def test_solarize_add_and_brightness_clip() -> None:
    image = tf.constant([[[0, 100, 127], [128, 200, 255]]], tf.uint8)
    added = augment.solarize_add(image, 110)
    np.testing.assert_array_equal(added, [[[110, 210, 237], [128, 200, 255]]])
    np.testing.assert_array_equal(augment.solarize_add(image, -110)[0, 0], [0, 0, 17])
    bright = augment.brightness(image, 1.5)
    np.testing.assert_array_equal(bright, [[[0, 150, 190], [192, 255, 255]]])


def test_a_threshold_of_256_inverts_as_in_model_garden() -> None:
    image = make_image()
    assert_equal(augment.solarize(image, 256), augment.invert(image))


def test_sharpness_leaves_the_border_and_works_on_tiny_images() -> None:
    image = make_image(5, 6)
    smooth = augment.sharpness(image, 0.0).numpy()
    border = np.ones([5, 6], bool)
    border[1:-1, 1:-1] = False
    np.testing.assert_array_equal(smooth[border], image.numpy()[border])
    window = image.numpy()[1:4, 2:5].astype(float)
    expected = (window.sum((0, 1)) + 4 * window[1, 1]) / 13
    np.testing.assert_allclose(smooth[2, 3], np.floor(expected), atol=1)
    assert_equal(augment.sharpness(make_image(2, 1), 1.9), make_image(2, 1))


def test_translations_mirror_or_fill() -> None:
    image = tf.constant([[[1] * 3, [2] * 3, [3] * 3, [4] * 3]], tf.uint8)
    moved = augment.translate_x(image, 1, REPLACE)
    np.testing.assert_array_equal(moved[0, :, 0], [2, 3, 4, 4])
    filled = augment.translate_x(image, -1, REPLACE, fill_mode='constant')
    np.testing.assert_array_equal(filled[0, :, 0], [128, 1, 2, 3])
    np.testing.assert_array_equal(filled[0, 0], [128] * 3)


def test_boxes_move_with_the_image() -> None:
    """The object is white; its box stays tight around it, whatever is done."""
    pixels = np.zeros([80, 100, 3], np.uint8)
    pixels[30:50, 40:70] = 255
    image, box = tf.constant(pixels), tf.constant([[30 / 80, 40 / 100, 50 / 80, 70 / 100]])
    for name in ('Rotate', 'ShearX', 'ShearY', 'TranslateX', 'TranslateY'):
        for argument in {'Rotate': (-20, 20), 'ShearX': (-0.3, 0.3), 'ShearY': (-0.3, 0.3)}.get(
            name, (-9, 9)
        ):
            function = augment.NAME_TO_FUNC[f'{name}_BBox']
            moved, boxes = function(image, box, argument, REPLACE)
            rows, columns = np.nonzero(moved.numpy()[..., 0] > 127)
            expected = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
            found = boxes.numpy()[0] * [80, 100, 80, 100]
            np.testing.assert_allclose(found, expected, atol=2.01, err_msg=f'{name} {argument}')
            assert not np.array_equal(boxes, box)


def test_a_box_that_leaves_the_image_is_empty() -> None:
    """Model Garden's becomes a strip of 5% of the image, where nothing is."""
    boxes = tf.constant([[0.0, 0.0, 0.2, 0.2], [0.0, 0.5, 1.0, 1.0]])
    _, moved = augment.translate_bbox(make_image(50, 50), boxes, 20, REPLACE, True)
    np.testing.assert_allclose(moved, [[0, 0, 0.2, 0], [0, 0.1, 1, 0.6]], atol=1e-6)


def test_only_boxes_move_their_content() -> None:
    image = tf.constant(np.arange(100, dtype=np.uint8).reshape([10, 10, 1]).repeat(3, -1))
    boxes = tf.constant([[0.2, 0.3, 0.5, 0.6]])  # rows 2 to 5, columns 3 to 6
    moved, same = augment.translate_y_only_bboxes(image, boxes, 3.0, 1.0, REPLACE)
    expected = image.numpy().copy()
    expected[2:6, 3:7] = image.numpy()[[3, 4, 5, 5], 3:7]
    np.testing.assert_array_equal(moved, expected)
    np.testing.assert_array_equal(same, boxes)
    none, _ = augment.translate_y_only_bboxes(image, boxes, 0.0, 1.0, REPLACE)
    np.testing.assert_array_equal(none, image)
    with pytest.raises(ValueError, match=r'rank 3\. Received: rank 4'):
        augment.translate_y_only_bboxes(image[None], boxes, 3.0, 1.0, REPLACE)


def test_operations_work_on_videos() -> None:
    """Geometry and filters treat each frame alone; statistics are those of the whole video."""
    video = tf.stack([make_image(), make_image(seed=1)])
    for name in ('Rotate', 'ShearX', 'TranslateY'):
        moved = augment.NAME_TO_FUNC[name](video, 0.2, REPLACE)
        assert_equal(moved[1], augment.NAME_TO_FUNC[name](video[1], 0.2, REPLACE))
    assert_equal(augment.sharpness(video, 0.3)[1], augment.sharpness(video[1], 0.3))
    flat = tf.reshape(video, [-1, 31, 3])
    assert_equal(tf.reshape(augment.equalize(video), [-1, 31, 3]), augment.equalize(flat))
    assert augment.cutout_video(video, seed=tf.constant([1, 2])).shape == video.shape


@pytest.mark.parametrize(
    ('call', 'error', 'match'),
    [
        (lambda: augment.to_4d(tf.zeros([2])), TypeError, 'rank 2, 3 or 4. Received: rank 1'),
        (lambda: augment.translate(make_image(), [[[1, 1]]]), TypeError, 'rank 1 or 2. Received: '),
        (lambda: augment.sharpness(tf.zeros([2, 2]), 0.5), ValueError, 'Bad image rank: 2'),
        (lambda: augment.cutout(tf.zeros([2, 2]), 1), ValueError, 'Bad image rank: 2'),
        (
            lambda: augment.gaussian_filter2d(make_image(), 'ab'),
            TypeError,
            'one or two integers. Received: ab',
        ),
        (lambda: augment.gaussian_filter2d(make_image(), 3, -1.0), ValueError, 'sigma should be'),
        (
            lambda: augment.gaussian_filter2d(make_image(), 3, padding='wrap'),
            ValueError,
            "Expected padding to be one of .* Received: 'wrap'",
        ),
        (lambda: augment_operations.get_operation('Shear'), KeyError, "'Shear' is no operation. T"),
    ],
)
def test_errors(call: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        call()


# ---- random ones ---------------------------------------------------------------------------------

KEYS = tf.constant(np.random.default_rng(9).integers(0, 2**31, [400, 2]), tf.int32)


def draw(function: Any, keys: tf.Tensor = KEYS) -> list[np.ndarray]:
    compiled = tf.function(function)
    return [np.asarray(compiled(key)) for key in keys]


def test_b13_noise_is_noise_and_differs_between_images() -> None:
    image = tf.fill([40, 40, 3], tf.constant(128, tf.uint8))
    drawn = [x.astype(float) for x in draw(lambda key: augment.gaussian_noise(image, 1, 5, key))]
    stddevs = np.array([x.std() for x in drawn])
    # Uniform in 1% to 5% of 255; rounding adds 1/12 to the variance.
    np.testing.assert_allclose(np.sqrt(stddevs**2 - 1 / 12).mean(), 0.03 * 255, rtol=0.05)
    assert stddevs.min() < 3.3
    assert stddevs.max() > 12
    assert abs(np.mean([x.mean() for x in drawn]) - 128) < 0.1
    # Neighbours are independent.
    residual = drawn[0] - 128
    assert abs(np.corrcoef(residual[1:].ravel(), residual[:-1].ravel())[0, 1]) < 0.1


def test_b13_blur_has_another_sigma_for_each_image_in_one_graph() -> None:
    image = tf.constant(np.eye(3, dtype=np.uint8)[:, :, None].repeat(3, -1) * 200)
    centres = [x[1, 1, 0] for x in draw(lambda key: augment.gaussian_blur(image, seed=key))]
    assert len(set(centres)) > 30
    low = augment.gaussian_filter2d(image, 3, 2.0)[1, 1, 0]
    assert low <= min(centres) <= low + 2
    assert max(centres) == 200


def test_cutout_covers_a_square_around_a_uniform_place() -> None:
    image = tf.fill([20, 30, 3], tf.constant(255, tf.uint8))
    masks = [x[..., 0] == 7 for x in draw(lambda key: augment.cutout(image, 4, 7, key))]
    for mask in masks[:50]:
        rows, columns = np.nonzero(mask)
        inside = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert inside.all()
        assert inside.shape[0] <= 8 >= inside.shape[1]
    assert max(mask.sum() for mask in masks) == 64
    # The expected area: an interval [c - 4, c + 4) cut at the ends, for a uniform c.
    expected = 1.0
    for length in (20, 30):
        expected *= np.mean([min(c + 4, length) - max(c - 4, 0) for c in range(length)])
    np.testing.assert_allclose(np.mean([mask.sum() for mask in masks]), expected, rtol=0.04)


def test_directions_are_even() -> None:
    signs = draw(lambda key: augment_operations.negate_at_random(3.0, key))
    assert {float(x) for x in signs} == {-3.0, 3.0}
    assert abs(np.mean(signs)) < 3 * 3 / np.sqrt(len(signs))
