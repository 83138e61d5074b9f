"""Images and masks move together; values are Model Garden's."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from official_lite.core import randomness
from official_lite.vision.dataloaders import segmentation_input
from official_lite.vision.dataloaders.segmentation_input import DenseFeature, Parser
from official_lite.vision.ops import image_normalization

HEIGHT, WIDTH, IGNORE = 40, 60, 255


def _encode(pixels: np.ndarray) -> tf.Tensor:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, 'PNG')
    return tf.constant(buffer.getvalue())


def _make_features() -> dict[str, tf.Tensor]:
    """Slopes as colours, patches as classes, a strip that is ignored."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    image = np.stack([y * 6, x * 4, (y + x) * 2], -1).astype(np.uint8)
    mask = ((y // 7 + x // 9) % 5).astype(np.uint8)
    mask[3:6, 8:20] = IGNORE
    return {
        'image/encoded': _encode(image),
        'image/segmentation/class/encoded': _encode(mask),
        'image/height': tf.constant(HEIGHT, tf.int64),
        'image/width': tf.constant(WIDTH, tf.int64),
    }


def _make_record(height: int = HEIGHT, width: int = WIDTH) -> dict[str, tf.Tensor]:
    """Mask and image say the same: class k where the image is 10 k."""
    y, x = np.mgrid[:height, :width]
    mask = (y // 10 * 6 + x // 10).astype(np.int32)[..., None]
    return {
        'image': tf.constant(np.repeat(10 * mask, 3, -1).astype(np.uint8)),
        'mask': tf.constant(mask),
    }


@pytest.mark.parametrize('seed', range(8))
def test_image_and_mask_stay_together(seed: int) -> None:
    """With turn, flip, crop and scale: nowhere further apart than half of the largest step, 60."""
    parser = Parser(
        [80, 120],
        [48, 56],
        aug_rand_hflip=True,
        aug_rand_rot90=True,
        aug_scale_min=0.8,
        aug_scale_max=2.0,
    )
    key = randomness.make_key(seed)
    image, labels = parser.parse_fn(True)(_make_record(), key)
    assert image.shape == (48, 56, 3)
    assert labels['masks'].shape == (48, 56, 1)
    masks, valid = labels['masks'].numpy()[..., 0], labels['valid_masks'].numpy()[..., 0]
    agrees = np.abs(image.numpy()[..., 0] - 10.0 * masks) <= 32
    assert agrees[valid].mean() > 0.97
    assert (masks[~valid] == IGNORE).all()
    again = parser.parse_fn(True)(_make_record(), key)
    np.testing.assert_array_equal(again[0], image)
    np.testing.assert_array_equal(again[1]['masks'], labels['masks'])


def test_other_keys_make_other_examples() -> None:
    parser = Parser([80, 120], [48, 56], aug_rand_hflip=True)
    images = [parser.parse_fn(True)(_make_record(), randomness.make_key(k))[0] for k in range(6)]
    assert len({image.numpy().tobytes() for image in images}) > 3


def test_turns_are_quarters_and_evaluation_has_none() -> None:
    record = _make_record(40, 40)
    mask = record['mask'].numpy()
    parser = Parser([40, 40], aug_rand_rot90=True)
    turned = [
        parser.parse_fn(True)(record, randomness.make_key(k))[1]['masks'].numpy() for k in range(24)
    ]
    found = {next(n for n in range(4) if (np.rot90(mask, n) == result).all()) for result in turned}
    assert found == {0, 1, 2, 3}
    np.testing.assert_array_equal(parser.parse_fn(False)(record)[1]['masks'], mask)


def test_colours_of_training_images_are_jittered() -> None:
    record = _make_record(40, 40)
    parser = Parser([40, 40], color_jitter=0.4)
    plain = Parser([40, 40]).parse_fn(True)(record, randomness.make_key(0))
    images = []
    for key in range(8):
        image, labels = parser.parse_fn(True)(record, randomness.make_key(key))
        assert image.dtype == tf.uint8
        np.testing.assert_array_equal(labels['masks'], plain[1]['masks'])
        images.append(image.numpy().astype(np.float32))
    brightness = [float(image.mean() / plain[0].numpy().mean()) for image in images]
    assert 0.55 < min(brightness) < 0.9 < 1.05 < max(brightness) < 1.45
    np.testing.assert_array_equal(parser.parse_fn(False)(record)[0], plain[0])


def test_padding_is_the_mean_colour_and_ignored() -> None:
    image, labels = Parser([60, 60]).parse_fn(False)(_make_record())
    np.testing.assert_array_equal(image[40:], np.broadcast_to([124, 116, 104], [20, 60, 3]))
    assert not labels['valid_masks'].numpy()[40:].any()
    assert labels['valid_masks'].numpy()[:40].all()
    centred, _ = Parser([60, 60], centered_crop=True).parse_fn(False)(_make_record())
    np.testing.assert_array_equal(centred[10:50], image[:40])


def test_pixels_of_no_class_get_the_ignore_label() -> None:
    record = _make_record()
    record['mask'] = tf.where(record['mask'] == 3, segmentation_input.IGNORED, record['mask'])
    for size in ({}, {'resize_eval_groundtruth': False, 'groundtruth_padded_size': [50, 70]}):
        _, labels = Parser([40, 60], ignore_label=77, **size).parse_fn(False)(record)
        masks = labels['masks'].numpy()[:40, :60]
        assert (masks[:10, 30:40] == 77).all()
        assert not (masks == 3).any()
        assert not labels['valid_masks'].numpy()[:10, 30:40].any()


def test_ground_truth_at_original_size() -> None:
    record = _make_record()
    parser = Parser([32, 32], resize_eval_groundtruth=False, groundtruth_padded_size=[64, 64])
    image, labels = parser.parse_fn(False)(record)
    assert image.shape == (32, 32, 3)
    np.testing.assert_array_equal(labels['masks'][:40, :60], tf.cast(record['mask'], tf.float32))
    assert labels['valid_masks'].numpy().sum() == HEIGHT * WIDTH
    np.testing.assert_array_equal(labels['image_info'][0], [HEIGHT, WIDTH])


def test_ground_truth_at_original_size_whatever_the_aspect_ratio() -> None:
    """Masks are not resized with the image; each axis has a scale of its own."""
    record = _make_record(30, 60)
    parser = Parser(
        [48, 48],
        resize_eval_groundtruth=False,
        groundtruth_padded_size=[40, 64],
        preserve_aspect_ratio=False,
    )
    image, labels = parser.parse_fn(False)(record)
    assert image.shape == (48, 48, 3)
    np.testing.assert_array_equal(labels['masks'][:30, :60], record['mask'])
    assert (labels['masks'].numpy()[30:] == IGNORE).all()
    expected = [[30, 60], [48, 48], [1.6, 0.8], [0, 0]]
    np.testing.assert_allclose(labels['image_info'], expected, rtol=1e-6)
    np.testing.assert_array_equal(parser.preprocess_image(record['image'])[0], image)


def test_matting() -> None:
    """Opacities in training, classes in evaluation."""
    record = {
        'image': tf.zeros([2, 2, 3], tf.uint8),
        'mask': tf.constant([[[0], [51]], [[128], [255]]]),
    }
    parser = Parser([2, 2], gt_is_matting_map=True)
    _, train = parser.parse_fn(True)(record, randomness.make_key(0))
    np.testing.assert_allclose(train['masks'][..., 0], [[0, 0.2], [128 / 255, 1]], rtol=1e-6)
    _, evaluation = parser.parse_fn(False)(record)
    np.testing.assert_array_equal(evaluation['masks'][..., 0], [[0, 0], [1, 1]])


def test_channels_of_several_features() -> None:
    """A third feature with a normalisation of its own: the host normalises all."""
    features = _make_features()
    depth = np.full([HEIGHT, WIDTH], 50, np.uint8)
    features['depth'] = _encode(depth)
    further = [DenseFeature('depth', 1, (40.0,), (5.0,))]
    image, _ = Parser([40, 60], additional_dense_features=further).parse_fn(False)(features)
    assert image.dtype == tf.float32
    np.testing.assert_allclose(image[..., 3], 2.0)
    plain, _ = Parser([40, 60]).parse_fn(False)(features)
    assert plain.dtype == tf.uint8
    expected = image_normalization.normalize_images(plain)
    np.testing.assert_allclose(image[..., :3], expected, atol=1e-5)


@pytest.mark.parametrize(
    ('changes', 'text'),
    [
        (
            {'resize_eval_groundtruth': False},
            r'Expected groundtruth_padded_size \[height, width\] with '
            r'resize_eval_groundtruth=False. Received: None',
        ),
        (
            {
                'resize_eval_groundtruth': False,
                'groundtruth_padded_size': [4, 4],
                'centered_crop': True,
            },
            r'Expected resize_eval_groundtruth=True with centered_crop=True',
        ),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Parser([4, 4], **changes)


@pytest.mark.garden
@pytest.mark.parametrize('is_training', [True, False])
@pytest.mark.parametrize(
    'arguments',
    [
        {'output_size': [32, 32]},
        {'output_size': [80, 64]},
        {'output_size': [33, 47], 'preserve_aspect_ratio': False},
        {'output_size': [64, 48], 'centered_crop': True},
        {
            'output_size': [32, 32],
            'resize_eval_groundtruth': False,
            'groundtruth_padded_size': [70, 64],
        },
    ],
    ids=lambda a: '-'.join(a),
)
def test_examples_are_model_gardens(arguments: dict[str, Any], is_training: bool) -> None:
    """Images to half a grey level, masks exactly."""
    from official.vision.dataloaders import segmentation_input as garden

    features = _make_features()
    image, labels = Parser(**arguments).parse_fn(is_training)(features)
    expected, expected_labels = garden.Parser(**arguments).parse_fn(is_training)(features)
    normalized = image_normalization.normalize_images(image)
    np.testing.assert_allclose(normalized, expected, atol=0.51 / 57.12)
    for name in ('masks', 'valid_masks', 'image_info'):
        np.testing.assert_array_equal(labels[name], expected_labels[name], err_msg=name)
