"""Images of all kinds become RGB."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from official_lite.vision.dataloaders import source as source_lib

# Smooth, so that JPEG loses little (TensorFlow decodes with the fast inverse transform).
GREY = np.linspace(20, 230, 24 * 32).reshape(24, 32).astype(np.uint8)
COLOUR = np.stack([GREY, GREY[::-1], 255 - GREY // 2], axis=-1)


def encode(image: Image.Image, image_format: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **({'quality': 98} if image_format == 'JPEG' else {}))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ('mode', 'image_format', 'tolerance'),
    [
        ('RGB', 'PNG', 0),
        ('RGB', 'BMP', 0),
        ('RGB', 'JPEG', 14),
        ('RGBA', 'PNG', 0),
        ('L', 'PNG', 0),
        ('L', 'JPEG', 5),
        ('CMYK', 'JPEG', 6),
        ('P', 'PNG', 60),
        ('P', 'GIF', 60),
        ('I;16', 'PNG', 1),
    ],
)
def test_every_kind_of_image_becomes_rgb(mode: str, image_format: str, tolerance: int):
    is_grey = mode in ('L', 'I;16')
    if mode == 'I;16':
        image = Image.fromarray(GREY.astype(np.uint16) * 257)
    else:
        image = Image.fromarray(GREY if is_grey else COLOUR).convert(mode)
    expected = np.repeat(GREY[..., None], 3, axis=-1) if is_grey else COLOUR
    decoded = source_lib.decode_image(tf.constant(encode(image, image_format)))
    assert decoded.dtype == tf.uint8
    assert decoded.shape == (24, 32, 3)
    assert np.abs(decoded.numpy().astype(int) - expected).max() <= tolerance


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        (b'', r'the image is empty \(0 bytes\)'),
        (b'no image', r'the image cannot be decoded \(8 bytes: '),
        (encode(Image.fromarray(COLOUR), 'JPEG')[:200], 'the image cannot be decoded'),
        (encode(Image.fromarray(COLOUR), 'PNG')[:200], 'the image cannot be decoded'),
    ],
)
def test_what_is_wrong_with_an_image(content: bytes, reason: str):
    assert re.match(reason, source_lib.check_image(content))
    assert source_lib.check_image(encode(Image.fromarray(COLOUR), 'PNG')) == ''


def test_ids_become_numbers():
    texts = ['17', '-3', '000000000139']
    numbers = [int(source_lib.to_number(tf.constant(text))) for text in texts]
    assert numbers == [17, -3, 139]
    assert int(source_lib.to_number(tf.constant(5))) == 5
    names = [int(source_lib.to_number(tf.constant(name))) for name in ('img_1', 'img_2', 'img_1')]
    assert names[0] == names[2] != names[1]
    assert min(names) >= 0
    assert max(names) < 2**53
