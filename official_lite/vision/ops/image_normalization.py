"""Normalisation of images, on the device and on the host."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

# Mean and standard deviation of ImageNet's channels (red, green, blue), of values between 0 and 1.
MEAN_RGB = (0.485, 0.456, 0.406)
STDDEV_RGB = (0.229, 0.224, 0.225)


def normalize_images(
    images: tf.Tensor,
    dtype: str = 'float32',
    mean: Sequence[float] = MEAN_RGB,
    stddev: Sequence[float] = STDDEV_RGB,
) -> tf.Tensor:
    """(x - 255 mean) / (255 stddev) for each channel, computed in float32.

    Args:
        images: Values 0 to 255, [..., channels].
        dtype: Of the result.
        mean: Means of the channels.
        stddev: Standard deviations of the channels.

    Returns:
        Normalised images of the same shape.
    """
    offset = tf.constant([255.0 * value for value in mean], tf.float32)
    scale = tf.constant([255.0 * value for value in stddev], tf.float32)
    return tf.cast((tf.cast(images, tf.float32) - offset) / scale, dtype)


def normalize_if_uint8(images: tf.Tensor, dtype: str = 'float32') -> tf.Tensor:
    """Normalises uint8 images; casts others, which are taken as normalised."""
    images = tf.convert_to_tensor(images)
    return normalize_images(images, dtype) if images.dtype == tf.uint8 else tf.cast(images, dtype)


def normalize_image(
    image: tf.Tensor,
    offset: Sequence[float] = MEAN_RGB,
    scale: Sequence[float] = STDDEV_RGB,
) -> tf.Tensor:
    """(image - offset) / scale, after integer images are scaled to [0, 1].

    Args:
        image: Tensor of shape [..., height, width, channels]. Integers are in the range of their
            type; floats in the range of `offset` and `scale`.
        offset: Mean of each channel.
        scale: Standard deviation of each channel.

    Returns:
        float32 tensor of the same shape.
    """
    image = tf.image.convert_image_dtype(image, dtype=tf.float32)
    return normalize_scaled_float_image(image, offset, scale)


def normalize_scaled_float_image(
    image: tf.Tensor,
    offset: Sequence[float] = MEAN_RGB,
    scale: Sequence[float] = STDDEV_RGB,
) -> tf.Tensor:
    """(image - offset) / scale for a float image in the range of `offset` and `scale`."""
    image -= tf.constant(offset)
    image /= tf.constant(scale)
    return image
