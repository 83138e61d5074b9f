"""AutoAugment, RandAugment, SSD's crops and random erasing: what is drawn, and how often."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from official_lite.vision.ops import augment, augment_operations, image_augment, ssd_crop
from tests.vision.ops.distributions import assert_frequencies, measure_difference

KEYS = tf.constant(np.random.default_rng(7).integers(0, 2**31, [1500, 2]), tf.int32)


def make_image() -> tf.Tensor:
    return tf.constant(np.random.default_rng(2).integers(20, 230, [24, 26, 3]), tf.uint8)


def draw(function: Any, count: int) -> Any:
    """`function` of as many keys, stacked."""
    compiled = tf.function(lambda: tf.map_fn(function, KEYS[:count], _spec(function)))
    return tf.nest.map_structure(np.asarray, compiled())


def _spec(function: Any) -> Any:
    outputs = tf.function(function).get_concrete_function(KEYS[0]).structured_outputs
    return tf.nest.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype), outputs)


# ---- AutoAugment ---------------------------------------------------------------------------------


def test_sub_policies_and_steps_have_their_probabilities() -> None:
    image = make_image()
    policy = augment.AutoAugment(
        policies=[
            [('Invert', 0.3, 0), ('Posterize', 1.0, 5)],
            [('Grayscale', 0.6, 0), ('Solarize', 0.5, 4)],
        ]
    )
    outcomes = {
        'invert, posterize': (augment.posterize(augment.invert(image), 2), 0.15),
        'posterize': (augment.posterize(image, 2), 0.35),
        'grey, solarize': (augment.solarize(augment.grayscale(image), 102), 0.15),
        'grey': (augment.grayscale(image), 0.15),
        'solarize': (augment.solarize(image, 102), 0.1),
        'nothing': (image, 0.1),
    }
    names = {np.asarray(pixels).tobytes(): name for name, (pixels, _) in outcomes.items()}
    drawn = draw(lambda key: policy.distort(image, key), 1500)
    counts = Counter(names[pixels.tobytes()] for pixels in drawn)
    assert_frequencies(counts, {name: prob for name, (_, prob) in outcomes.items()})


def test_floats_are_clipped_and_keep_their_type() -> None:
    image = tf.constant([[[-5.0, 100.7, 300.0]]])
    policy = augment.AutoAugment(policies=[[('Invert', 1.0, 0), ('Invert', 0.0, 0)]])
    distorted = policy.distort(image)
    assert distorted.dtype == tf.float32
    np.testing.assert_array_equal(distorted, [[[255, 155, 0]]])


@pytest.mark.parametrize('name', list(augment.POLICIES))
def test_every_policy_keeps_shapes_with_boxes(name: str) -> None:
    image, boxes = make_image(), tf.constant([[0.1, 0.2, 0.6, 0.9], [0.5, 0.5, 0.9, 0.8]])
    policy = augment.AutoAugment(name)
    drawn, moved = draw(lambda key: policy.distort_with_boxes(image, boxes, key), 40)
    assert drawn.shape == (40, 24, 26, 3)
    assert moved.shape == (40, 2, 4)
    assert moved.min() >= 0
    assert moved.max() <= 1
    has_geometry = any(
        step[0].removesuffix('_BBox') in augment_operations.GEOMETRIC
        for sub_policy in augment.POLICIES[name]
        for step in sub_policy
    )
    assert (moved != boxes.numpy()).any() == has_geometry


def test_what_comes_from_outside_is_mirrored_or_grey() -> None:
    image = tf.fill([24, 26, 3], tf.constant(7, tf.uint8))
    boxes = tf.constant([[0.1, 0.2, 0.6, 0.9]])
    for name in augment_operations.GEOMETRIC:
        policies = [[(name, 1.0, 8), (name, 1.0, 8)]]
        mirrored = augment.AutoAugment(policies=policies, translate_const=9)
        grey = augment.AutoAugment(policies=policies, translate_const=9, fill_mode='constant')
        assert (mirrored.distort(image, KEYS[0]).numpy() == 7).all()
        for pixels in (grey.distort(image, KEYS[0]), grey.distort_with_boxes(image, boxes)[0]):
            assert set(np.unique(pixels)) == {7, 128}
        # By default grey where boxes move along: mirrored objects would have none.
        pixels = mirrored.distort_with_boxes(image, boxes, KEYS[0])[0]
        np.testing.assert_array_equal(pixels, grey.distort_with_boxes(image, boxes, KEYS[0])[0])
        mirrored = augment.AutoAugment(policies=policies, translate_const=9, fill_mode='reflect')
        assert (mirrored.distort_with_boxes(image, boxes, KEYS[0])[0].numpy() == 7).all()


@pytest.mark.parametrize(
    ('policies', 'error', 'match'),
    [
        ([[[('Invert', 0.1, 1)]]], ValueError, r'Expected \(:, :, 3\) but got \(1, 1, 1, 3\)'),
        ([[('Invert', 0.1)]], ValueError, r'Expected \(:, :, 3\) but got \(1, 1, 2\)'),
        ([[('Invrt', 0.1, 1)]], KeyError, "'Invrt' is no operation. There are: AutoContrast, "),
        ([[('Invert', 1.1, 1)]], ValueError, 'Invert: expected a probability of 0 to 1. Received'),
        ([[('Invert', 1.0, 11)]], ValueError, 'Invert: expected a magnitude of 0 to 10. Received'),
    ],
)
def test_wrong_policies_are_refused(policies: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        augment.AutoAugment(policies=policies)


def test_unknown_names_are_refused_with_a_list() -> None:
    with pytest.raises(
        ValueError, match=r'Invalid augmentation_name: v1\. There are: detection_v0'
    ):
        augment.AutoAugment('v1')
    with pytest.raises(KeyError, match="'Rot' is no operation"):
        augment.RandAugment(exclude_ops=['Rot'])


# ---- RandAugment ---------------------------------------------------------------------------------


def _list_outcomes(magnitude: float) -> dict[bytes, str]:
    """What each operation makes of the image: two pictures where the direction is drawn."""
    image = make_image()
    strength = augment_operations.Strength(40, 5)
    outcomes = {image.numpy().tobytes(): 'nothing'}
    for name in augment.RandAugment().available_ops:
        operation = augment_operations.get_operation(name)
        argument = operation.compute_argument(magnitude, strength)
        for number in range(12 if name in augment_operations.GEOMETRIC else 1):
            call = augment_operations.Call(np.float32(argument), seed=KEYS[number])
            outcomes[operation.apply(image, None, call)[0].numpy().tobytes()] = name
    return outcomes


def test_b14_operations_are_drawn_alike_and_always_applied() -> None:
    """The published algorithm has no probability of single operations."""
    image, outcomes = make_image(), _list_outcomes(7)
    policy = augment.RandAugment(1, 7, translate_const=5)
    drawn = draw(lambda key: policy.distort(image, key), 1500)
    counts = Counter(outcomes.get(pixels.tobytes(), 'Cutout') for pixels in drawn)
    names = [*policy.available_ops, 'nothing']
    assert len(names) == 17
    assert_frequencies(counts, dict.fromkeys(names, 1 / 17))


def test_layers_follow_each_other_and_prob_to_apply_gates_each() -> None:
    image = make_image()
    rest = [name for name in augment.RandAugment().available_ops if name != 'Invert']
    twice = augment.RandAugment(2, exclude_ops=rest, prob_to_apply=0.6)
    drawn = draw(lambda key: twice.distort(image, key), 1000)
    inverted = np.mean([np.array_equal(x, 255 - image.numpy()) for x in drawn])
    # One of two layers inverts: each with 0.6 * 1/2.
    assert abs(inverted - 2 * 0.3 * 0.7) < 0.05
    never = augment.RandAugment(2, prob_to_apply=0.0)
    assert (draw(lambda key: never.distort(image, key), 20) == image.numpy()).all()


def test_b14_magnitude_std_has_its_value() -> None:
    image = tf.fill([4, 4, 3], tf.constant(100, tf.uint8))
    rest = [name for name in augment.RandAugment().available_ops if name != 'Brightness']
    for std in (0.5, 2.0):
        policy = augment.RandAugment(1, 5, exclude_ops=rest, magnitude_std=std)
        drawn = draw(lambda key, p=policy: p.distort(image, key), 1500)[:, 0, 0, 0]
        drawn = drawn[drawn != 100]  # nothing, or brightness 1
        # Brightness is 0.1 + 0.18 of the magnitude.
        np.testing.assert_allclose(drawn.std(), 18 * std, rtol=0.12)
        np.testing.assert_allclose(drawn.mean(), 100, atol=3)


def test_detection_names_are_model_gardens_and_do_the_same() -> None:
    plain, named = augment.RandAugment(), augment.RandAugment.build_for_detection()
    assert 'Rotate_BBox' in named.available_ops
    assert [name.removesuffix('_BBox') for name in named.available_ops] == plain.available_ops
    image, boxes = make_image(), tf.constant([[0.1, 0.2, 0.6, 0.9]])
    for key in KEYS[:6]:
        first = plain.distort_with_boxes(image, boxes, key)
        second = named.distort_with_boxes(image, boxes, key)
        tf.nest.map_structure(np.testing.assert_array_equal, first, second)
    without = augment.RandAugment(exclude_ops=['Rotate_BBox', 'Invert']).available_ops
    assert set(plain.available_ops) - set(without) == {'Rotate', 'Invert'}


def test_operations_are_traced_once() -> None:
    def count(layers: int) -> int:
        policy = augment.RandAugment(layers)
        function = tf.function(policy.distort)
        definition = function.get_concrete_function(
            tf.TensorSpec([None, None, 3], tf.uint8), tf.TensorSpec([2], tf.int32)
        ).graph.as_graph_def()
        return sum(len(f.node_def) for f in definition.library.function)

    assert count(1) == count(5)
    assert count(1) < 1500


# ---- against Model Garden, in distribution -------------------------------------------------------


@pytest.mark.garden
@pytest.mark.parametrize('name', ['v0', 'vit', 'randaugment'])
def test_policies_are_distributed_as_model_gardens(name: str) -> None:
    garden = pytest.importorskip('official.vision.ops.augment')
    image = make_image()
    if name == 'randaugment':
        ours, theirs = (m.RandAugment(2, 9, 4, 5) for m in (augment, garden))
    else:
        ours, theirs = (m.AutoAugment(name, None, 4, 5) for m in (augment, garden))
    tf.random.set_seed(5)
    distort = tf.function(
        lambda: tf.map_fn(lambda _: theirs.distort(image), tf.range(500), tf.uint8)
    )
    first, second = draw(lambda key: ours.distort(image, key), 500), distort().numpy()
    for measure in (np.mean, np.std, lambda x, axis: x[:, 0, 0, 0], lambda x, axis: x[:, 4, 7, 1]):
        values = [measure(x.astype(float), axis=(1, 2, 3)) for x in (first, second)]
        assert measure_difference(*values) < 1


@pytest.mark.garden
def test_ssd_crops_are_distributed_as_model_gardens() -> None:
    garden = pytest.importorskip('official.vision.ops.augment')
    boxes = tf.constant([[0.1, 0.1, 0.4, 0.3], [0.3, 0.5, 0.9, 0.9]])
    image = tf.zeros([60, 90, 1], tf.uint8)
    tf.random.set_seed(3)

    def measure(policy: Any, key: Any) -> tf.Tensor:
        arguments = (image, boxes) if key is None else (image, boxes, key)
        crop, moved = policy.distort_with_boxes(*arguments)
        return tf.concat([tf.cast(tf.shape(crop)[:2], tf.float32), moved[0], moved[1]], 0)

    ours, theirs = augment.SSDRandomCrop(), garden.SSDRandomCrop()
    first = draw(lambda key: measure(ours, key), 600)
    second = tf.function(
        lambda: tf.map_fn(lambda _: measure(theirs, None), tf.range(600), tf.float32)
    )().numpy()
    for column in range(10):
        assert measure_difference(first[:, column], second[:, column]) < 1


# ---- SSD's crops ---------------------------------------------------------------------------------


def test_crops_cover_some_object_and_boxes_follow() -> None:
    """Each pixel's value is its place, so that the crop says where it is from."""
    rows, columns = np.mgrid[:60, :90]
    image = tf.constant(np.stack([rows, columns], -1), tf.uint8)
    boxes = np.array([[0.1, 0.1, 0.5, 0.4], [0.5, 0.6, 0.9, 0.9]], np.float32)
    case = ssd_crop.CropCase(min_object_covered=0.7, min_box_overlap=0.5, prob_to_apply=1.0)
    policy = augment.SSDRandomCrop([case], (0.5, 2.0), (0.1, 0.5))
    distort = tf.function(policy.distort_with_boxes)
    num_dropped = 0
    for key in KEYS[:60]:
        crop, moved = (np.asarray(x) for x in distort(image, boxes, key))
        low, high = crop[0, 0].astype(float), crop[-1, -1].astype(float) + 1
        pixels = boxes * [60, 90, 60, 90]
        inside = np.clip(pixels, np.tile(low, 2), np.tile(high, 2))
        shares = np.prod(inside[:, 2:] - inside[:, :2], 1) / np.prod(
            pixels[:, 2:] - pixels[:, :2], 1
        )
        assert shares.max() > 0.65  # of 0.7, in whole pixels
        expected = (inside - np.tile(low, 2)) / np.tile(high - low, 2)
        is_there = moved.any(1)
        num_dropped += (~is_there).sum()
        assert (shares[is_there] > 0.45).all()
        assert (shares[~is_there] < 0.55).all()
        np.testing.assert_allclose(moved[is_there], expected[is_there], atol=1e-5)
    assert num_dropped > 10
    np.testing.assert_array_equal(policy.distort(image, KEYS[0])[0, 0].shape, [2])


def test_no_way_of_cropping_is_refused() -> None:
    with pytest.raises(ValueError, match=r'one way of cropping or more\. Received: none'):
        augment.SSDRandomCrop([])


# ---- random erasing ------------------------------------------------------------------------------


def test_erased_rectangles_lie_anywhere_alike() -> None:
    """Model Garden's lean to the top left: the middle is drawn where the corner belongs."""
    image = tf.zeros([24, 36, 1])
    erasing = augment.RandomErasing(probability=1.0)
    masks = draw(lambda key: erasing.distort(image, key), 1000)[..., 0] != 0
    shares = masks.mean(0)
    # The same for all mirror images of a pixel.
    for mirrored in (shares[::-1], shares[:, ::-1]):
        assert np.abs(shares - mirrored).max() < 0.09
    rows = masks.any(2)
    heights = rows.sum(1)
    tops = rows.argmax(1)
    np.testing.assert_allclose(tops.mean(), ((24 - heights) / 2).mean(), atol=0.5)
    areas = masks.mean((1, 2))
    # Sides are even numbers of pixels, so that areas are not exact.
    np.testing.assert_allclose(areas.mean(), (0.02 + 1 / 3) / 2, rtol=0.1)
    assert areas.min() > 0.008


def test_erasing_has_its_probability_count_and_noise() -> None:
    image = tf.zeros([40, 40, 3])
    erasing = augment.RandomErasing(probability=0.3)
    erased = draw(lambda key: erasing.distort(image, key), 800)
    assert abs((erased != 0).any((1, 2, 3)).mean() - 0.3) < 0.05
    noise = erased[erased != 0]
    assert abs(noise.mean()) < 0.01
    assert abs(noise.std() - 1) < 0.01
    many = augment.RandomErasing(1.0, 0.01, 0.01, 1.0, 1.0, min_count=2, max_count=4)
    counts = (draw(lambda key: many.distort(image, key), 600)[..., 0] != 0).sum((1, 2)) / 16
    assert counts.max() == 4
    assert abs(counts.mean() - 3) < 0.15  # a little less: rectangles overlap


def test_noise_in_uint8_images_is_that_of_normalised_ones() -> None:
    image = tf.zeros([60, 60, 3], tf.uint8)
    erasing = augment.RandomErasing(1.0, 0.3, 0.3)
    noise = np.concatenate(
        [x[(x != 0).any(-1)] for x in draw(lambda k: erasing.distort(image, k), 60)]
    )
    normalised = (noise / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(normalised.mean(0), 0, atol=0.06)
    np.testing.assert_allclose(normalised.std(0), 1, atol=0.06)  # clipped at 0 and 255


def test_what_does_not_fit_is_not_erased() -> None:
    image = tf.ones([4, 400, 3])
    erasing = augment.RandomErasing(1.0, 0.3, 0.3, 1.0, 1.0)
    assert (draw(lambda key: erasing.distort(image, key), 10) == 1).all()


def test_d17_operations_do_not_share_their_draws() -> None:
    """A key gives each operation numbers of its own; so does an int, and None gives new ones."""
    image = make_image()
    policy = augment.RandAugment(4)
    assert isinstance(policy, image_augment.ImageAugment)
    tf.random.set_seed(1)
    first, second = (policy.distort(image) for _ in range(2))
    assert not np.array_equal(first, second)
    tf.random.set_seed(1)
    np.testing.assert_array_equal(policy.distort(image), first)
