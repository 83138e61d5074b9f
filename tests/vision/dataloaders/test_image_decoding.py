"""Images turned upright and decoded by Pillow, inside tf.data."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from official_lite.vision.dataloaders import image_decoding, image_headers
from tests.vision.dataloaders import data_makers, test_image_headers


@pytest.mark.parametrize('orientation', range(1, 9))
def test_orientation_equals_pillow(orientation: int):
    content = data_makers.make_image(4, 7)
    image = Image.open(io.BytesIO(content))
    exif = image.getexif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, 'PNG', exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(buffer)))
    found = image_decoding.decode_image(buffer.getvalue(), tf.constant(orientation))
    np.testing.assert_array_equal(found, expected)


def test_all_readings_in_one_pipeline():
    tiff = test_image_headers.IMAGES['tiff'][0]
    png = test_image_headers.IMAGES['png'][0]
    dataset = tf.data.Dataset.from_tensor_slices(
        ([png, tiff, png, tiff], [0, image_headers.BY_PILLOW, 6, image_headers.BY_PILLOW + 6])
    ).map(image_decoding.decode_image, num_parallel_calls=2)
    assert dataset.element_spec.shape.as_list() == [None, None, 3]
    stored, by_pillow, turned, both = dataset.as_numpy_iterator()
    np.testing.assert_array_equal(stored, by_pillow)
    np.testing.assert_array_equal(turned, both)
    np.testing.assert_array_equal(turned, np.rot90(stored, -1))  # 6: by 90 degrees clockwise


def test_numbers_of_unknown_range_fill_the_range():
    values = np.linspace(-2, 6, 12, dtype=np.float32).reshape(3, 4)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, 'TIFF')
    pixels = image_decoding.decode_with_pillow(buffer.getvalue())
    assert pixels.shape == (3, 4, 3)
    assert (pixels.min(), pixels.max()) == (0, 255)
    np.testing.assert_array_equal(pixels[..., 0], np.round((values + 2) / 8 * 255))


def test_what_cannot_be_decoded_is_explained():
    assert image_decoding.check_image(b'') == 'the image is empty (0 bytes)'
    damaged = test_image_headers.IMAGES['png'][0][:60]
    assert image_decoding.check_image(damaged).startswith('the image cannot be decoded (60 bytes: ')
    damaged = test_image_headers.IMAGES['tiff'][0][:200]
    reason = image_decoding.check_image(damaged, image_headers.BY_PILLOW)
    assert reason.startswith('the image cannot be decoded (')
    with pytest.raises(ValueError, match='the image cannot be decoded'):
        image_decoding.decode_with_pillow(damaged)
