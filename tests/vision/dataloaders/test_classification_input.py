"""The parser of image classification, beside Model Garden's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from official_lite.core import randomness
from official_lite.vision.dataloaders import classification_input
from official_lite.vision.ops import jpeg_windows
from tests.vision.dataloaders import data_makers

SIZE = [20, 28]
DEVIATION = np.array([0.229, 0.224, 0.225])
MEAN = np.array([0.485, 0.456, 0.406])


def make_jpeg(height: int, width: int, *, channels: int = 3) -> bytes:
    """A smooth JPEG."""
    coarse = np.random.default_rng(height).uniform(0, 255, [5, 6, channels])
    pixels = tf.cast(tf.image.resize(coarse, [height, width], 'bicubic'), tf.uint8)
    return tf.io.encode_jpeg(pixels).numpy()


def make_record(image: bytes, label: Any = 3) -> dict[str, tf.Tensor]:
    return {
        'image/encoded': tf.constant(image),
        'image/class/label': tf.constant(label, tf.int64),
    }


def parse(image: bytes, key: Any = None, *, is_training: bool = True, **options: Any) -> np.ndarray:
    parser = classification_input.Parser(SIZE, 5, **options)
    arguments = (make_record(image), key) if is_training else (make_record(image),)
    return parser.parse_fn(is_training)(*arguments)[0].numpy()


def make_garden_parser(**options: Any) -> Any:
    from official.vision.dataloaders import classification_input as garden

    return garden.Parser(SIZE, 5, **options)


def assert_equals_normalised(image: np.ndarray, reference: tf.Tensor, levels: float = 0.51):
    """`image` is the reference, rounded to grey levels."""
    ours = (image / 255.0 - MEAN) / DEVIATION
    np.testing.assert_allclose(ours, reference, atol=levels / 255 / DEVIATION.min())


@pytest.mark.garden
@pytest.mark.parametrize('size', [(60, 90), (90, 60), (33, 33), (21, 200)])
@pytest.mark.parametrize('options', [{}, {'aug_crop': False}, {'decode_jpeg_only': False}])
def test_evaluation_images_equal_model_gardens(size: tuple[int, int], options: Any):
    image = make_jpeg(*size)
    reference, label = make_garden_parser(**options)._parse_eval_data(make_record(image))
    found = parse(image, is_training=False, **options)
    assert found.dtype == np.uint8
    assert int(label) == 3
    assert_equals_normalised(found, reference)


@pytest.mark.garden
def test_training_without_chance_equals_model_gardens():
    image = make_jpeg(60, 90)
    options = {'aug_crop': False, 'aug_rand_hflip': False}
    reference, _ = make_garden_parser(**options)._parse_train_data(make_record(image))
    assert_equals_normalised(parse(image, **options), reference)


@pytest.mark.garden
@pytest.mark.parametrize('decode_jpeg_only', [True, False])
def test_a_crop_of_everything_is_the_central_one(decode_jpeg_only: bool):
    image = make_jpeg(21, 200)  # no crop of such a shape within ten attempts
    options = {
        'crop_area_range': (0.999, 1.0),
        'aug_rand_hflip': False,
        'decode_jpeg_only': decode_jpeg_only,
    }
    reference, _ = make_garden_parser(**options)._parse_train_data(make_record(image))
    assert_equals_normalised(parse(image, make_key(0), **options), reference)


def make_key(index: int) -> tf.Tensor:
    return randomness.make_key(1, epoch=0, index=index)


@pytest.mark.garden
def test_random_crops_are_distributed_as_model_gardens():
    """Areas and aspect ratios of 300 crops: means and deviations agree."""
    from official.vision.ops import preprocess_ops as garden

    shape = tf.constant([120, 160, 3])
    image = make_jpeg(120, 160)
    draw = tf.function(lambda key: jpeg_windows.sample_window(shape, seed=key))
    reference = tf.function(lambda: tf.shape(garden.random_crop_image_v2(image, shape))[:2])
    tf.random.set_seed(3)
    ours = np.array([draw(make_key(i)).numpy()[2:] for i in range(300)], float)
    theirs = np.array([reference().numpy() for _ in range(300)], float)
    for statistic in (lambda s: s.prod(-1) / 19200, lambda s: np.log(s[:, 1] / s[:, 0])):
        first, second = statistic(ours), statistic(theirs)
        error = np.hypot(first.std(), second.std()) / np.sqrt(300)
        assert abs(first.mean() - second.mean()) < 4 * error
        np.testing.assert_allclose(first.std(), second.std(), rtol=0.2)


def test_the_key_decides_and_half_is_mirrored():
    image = make_jpeg(40, 56)
    plain = parse(image, make_key(0), aug_crop=False, aug_rand_hflip=False)
    flipped = [parse(image, make_key(i), aug_crop=False) for i in range(40)]
    is_plain = [np.array_equal(found, plain) for found in flipped]
    assert 10 <= sum(is_plain) <= 30
    assert all(
        same or np.array_equal(found, plain[:, ::-1])
        for same, found in zip(is_plain, flipped, strict=True)
    )
    np.testing.assert_array_equal(parse(image, make_key(7)), parse(image, make_key(7)))
    assert (parse(image, make_key(7)) != parse(image, make_key(8))).any()


def test_a_window_equals_the_part_of_the_whole():
    image = make_jpeg(61, 90)
    whole = tf.io.decode_jpeg(image).numpy()
    found = jpeg_windows.decode_window(tf.constant(image), tf.constant([7, 12, 40, 50]))
    # At the left and right edge colours have no neighbours to be interpolated with.
    np.testing.assert_array_equal(found[:, 2:-2], whole[7:47, 14:60])
    np.testing.assert_allclose(found, whole[7:47, 12:62], atol=16)


@pytest.mark.parametrize(
    ('min_size', 'ratio'), [((40, 48), 1), ((20, 24), 2), ((10, 12), 4), ((5, 6), 8), ((2, 2), 8)]
)
def test_windows_are_shrunk_as_far_as_they_stay_large_enough(min_size: Any, ratio: int):
    image = make_jpeg(64, 96)
    window = tf.constant([16, 32, 40, 48])
    found = jpeg_windows.decode_window(tf.constant(image), window, min_size).numpy()
    assert found.shape == (40 // ratio, 48 // ratio, 3)
    blocks = tf.io.decode_jpeg(image).numpy()[16:56, 32:80].astype(float)
    means = blocks.reshape(40 // ratio, ratio, 48 // ratio, ratio, 3).mean((1, 3))
    assert abs(found - means).mean() < 2  # a JPEG that is shrunk is about the mean of its pixels


def test_fast_decoding_differs_little_and_only_where_asked_for():
    image = make_jpeg(200, 300)
    exact = parse(image, is_training=False).astype(float)
    fast = parse(image, is_training=False, fast_decode=True).astype(float)
    assert 0 < abs(exact - fast).mean() < 8
    small = make_jpeg(30, 40)
    np.testing.assert_array_equal(
        parse(small, is_training=False, fast_decode=True), parse(small, is_training=False)
    )


def test_grey_jpegs_become_rgb_and_png_is_decoded_by_choice():
    grey = parse(make_jpeg(40, 60, channels=1), is_training=False)
    assert (grey[..., 0] == grey[..., 2]).all()
    png = data_makers.make_image(40, 60)
    assert parse(png, is_training=False, decode_jpeg_only=False).shape == (*SIZE, 3)
    with pytest.raises(tf.errors.InvalidArgumentError):
        parse(png, is_training=False)


def test_labels():
    image = make_jpeg(30, 30)
    parser = classification_input.Parser(SIZE, 5, is_multilabel=True)
    for labels, expected in (([0, 3, 3], [1, 0, 0, 1, 0]), ([], [0] * 5)):
        _, found = parser.parse_fn(False)(make_record(image, labels))
        assert found.numpy().tolist() == expected
    _, label = classification_input.Parser(SIZE, 5).parse_fn(True)(make_record(image), make_key(0))
    assert (label.dtype, int(label)) == (tf.int32, 3)


def test_color_jitter_and_augmenter_see_training_images_only():
    class Invert:
        def distort(self, image: tf.Tensor, seed: Any = None) -> tf.Tensor:
            assert seed is not None
            return 255 - image

    image = make_jpeg(40, 60)
    options = {'aug_crop': False, 'aug_rand_hflip': False}
    plain = parse(image, make_key(0), **options)
    inverted = parse(image, make_key(0), augmenter=Invert(), **options)
    np.testing.assert_array_equal(inverted, 255 - plain)
    assert (parse(image, make_key(0), color_jitter=0.4, **options) != plain).any()
    evaluated = parse(image, is_training=False, augmenter=Invert(), color_jitter=0.4, **options)
    np.testing.assert_array_equal(evaluated, plain)


def test_decoder_and_parser_inside_a_pipeline():
    def make_example(label: list[int]) -> bytes:
        features = {
            'image/encoded': tf.train.Feature(
                bytes_list=tf.train.BytesList(value=[make_jpeg(40, 60)])
            ),
            'image/class/label': tf.train.Feature(int64_list=tf.train.Int64List(value=label)),
        }
        example = tf.train.Example(features=tf.train.Features(feature=features))
        return example.SerializeToString()

    decoder = classification_input.Decoder()
    parser = classification_input.Parser(SIZE, 5, fast_decode=True)
    dataset = tf.data.Dataset.from_tensor_slices([make_example([2]), make_example([4])])
    dataset = dataset.map(decoder.decode).map(lambda r: parser.parse_fn(True)(r, make_key(0)))
    images, labels = next(iter(dataset.batch(2)))
    assert images.shape == (2, *SIZE, 3)
    assert labels.numpy().tolist() == [2, 4]
    several = classification_input.Decoder(is_multilabel=True).decode(make_example([1, 3]))
    assert several['image/class/label'].numpy().tolist() == [1, 3]
