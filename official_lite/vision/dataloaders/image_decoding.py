"""From the bytes of an image file to RGB, inside tf.data."""

from __future__ import annotations

import io

import numpy as np
import tensorflow as tf
from PIL import Image

from official_lite.vision.dataloaders.image_headers import BY_PILLOW

__all__ = ['check_image', 'decode_image', 'decode_with_pillow', 'orient_image']


def decode_image(image_bytes: tf.Tensor, reading: tf.Tensor | None = None) -> tf.Tensor:
    """Decodes JPEG, PNG, GIF (first frame), BMP or WebP, and with Pillow whatever that knows.

    Grey, palette and CMYK images become RGB, alpha is dropped, of 16 bits the upper 8 are kept.

    Args:
        image_bytes: string [].
        reading: int32 []. EXIF orientation (1 to 8) that the image is turned by; 0 and 1 leave it as
            it is stored. `BY_PILLOW` is added for images that TensorFlow does not decode. None: 0.

    Returns:
        uint8 [height, width, 3].
    """
    if reading is None:
        return _decode_with_tensorflow(image_bytes)
    image = tf.cond(
        reading >= BY_PILLOW,
        lambda: _decode_in_python(image_bytes),
        lambda: _decode_with_tensorflow(image_bytes),
    )
    return orient_image(image, reading % BY_PILLOW)


def _decode_with_tensorflow(image_bytes: tf.Tensor) -> tf.Tensor:
    image = tf.io.decode_image(image_bytes, channels=3, expand_animations=False)
    image.set_shape([None, None, 3])
    return image


def _decode_in_python(image_bytes: tf.Tensor) -> tf.Tensor:
    image = tf.numpy_function(decode_with_pillow, [image_bytes], tf.uint8, stateful=False)
    image.set_shape([None, None, 3])
    return image


def decode_with_pillow(image_bytes: bytes) -> np.ndarray:
    """Decodes with Pillow, eagerly.

    Args:
        image_bytes: The file.

    Returns:
        uint8 [height, width, 3], the pixels as they are stored.

    Raises:
        ValueError: Pillow cannot decode it.
    """
    try:
        with Image.open(io.BytesIO(image_bytes)) as image:
            return _to_rgb(image)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f'the image cannot be decoded ({error})') from error


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith('I;16'):  # Pillow's conversion would cut at 255
        grey = (np.asarray(image) >> 8).astype(np.uint8)
    elif image.mode in ('I', 'F'):  # of no known range: what is there becomes 0 to 255
        values = np.asarray(image, np.float64)
        low, high = values.min(), values.max()
        grey = np.round((values - low) / max(high - low, 1e-12) * 255).astype(np.uint8)
    else:
        return np.array(image.convert('RGB'))
    return np.repeat(grey[..., None], 3, axis=-1)


def orient_image(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Turns an image upright.

    Args:
        image: [height, width, channels].
        orientation: int32 [], EXIF's (CIPA DC-008, 4.6.4 A); below 2: as it is.
    """

    def transpose(pixels: tf.Tensor) -> tf.Tensor:
        return tf.transpose(pixels, [1, 0, 2])

    turned = tf.switch_case(
        tf.maximum(tf.cast(orientation, tf.int32) - 1, 0),
        [
            lambda: image,
            lambda: tf.reverse(image, [1]),
            lambda: tf.reverse(image, [0, 1]),
            lambda: tf.reverse(image, [0]),
            lambda: transpose(image),
            lambda: tf.reverse(transpose(image), [1]),
            lambda: tf.reverse(transpose(image), [0, 1]),
            lambda: tf.reverse(transpose(image), [0]),
        ],
    )
    turned.set_shape([None, None, image.shape[-1]])
    return turned


def check_image(image_bytes: bytes, reading: int = 0) -> str:
    """Why an image cannot be decoded; '' if it can."""
    if not image_bytes:
        return 'the image is empty (0 bytes)'
    try:
        if reading >= BY_PILLOW:
            decode_with_pillow(image_bytes)
        else:
            _decode_with_tensorflow(tf.constant(image_bytes))
    except ValueError as error:
        return str(error)
    except tf.errors.OpError as error:
        detail = error.message.split(' [Op:')[0].split('}} ')[-1]
        return f'the image cannot be decoded ({len(image_bytes)} bytes: {detail})'
    return ''
