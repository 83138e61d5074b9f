"""Filters: Gaussian blur, sharpness; and Gaussian noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from official_lite.vision.ops import image_colour, image_geometry
from official_lite.vision.ops.random_draws import Seed, fold_in, normal, uniform

__all__ = ['gaussian_blur', 'gaussian_filter2d', 'gaussian_noise', 'sharpness']

_PADDINGS = ('REFLECT', 'CONSTANT', 'SYMMETRIC')


def gaussian_filter2d(
    image: tf.Tensor,
    filter_shape: Sequence[int] | int,
    sigma: Any = 1.0,
    padding: str = 'REFLECT',
    constant_values: int | tf.Tensor = 0,
    name: str | None = None,
) -> tf.Tensor:
    """Gaussian blur.

    Args:
        image: Of rank 2, 3 or 4 (see `image_geometry`).
        filter_shape: Height and width of the filter, or one number for both.
        sigma: Standard deviation in y and x, pixels, or one for both; numbers or tensors.
        padding: What is outside the image: 'REFLECT', 'CONSTANT' or 'SYMMETRIC'.
        constant_values: The constant.
        name: Of the operation.

    Returns:
        Tensor of the same shape and dtype; integers are rounded down.

    Raises:
        TypeError: `filter_shape` is not one or two integers.
        ValueError: `sigma` is negative or not one or two numbers; or `padding` is unknown.
    """
    height, width = _to_pair(filter_shape)
    sigma_y, sigma_x = _check_sigma(sigma)
    if padding.upper() not in _PADDINGS:
        raise ValueError(f'Expected padding to be one of {_PADDINGS}. Received: {padding!r}')
    with tf.name_scope(name or 'gaussian_filter2d'):
        image = tf.convert_to_tensor(image)
        dtype = image.dtype if image.dtype.is_floating else tf.float32
        images = tf.cast(image_geometry.to_4d(image), dtype)
        kernel = _make_kernel(sigma_y, height, dtype)[:, None] * _make_kernel(sigma_x, width, dtype)
        kernel = tf.tile(kernel[:, :, None, None], [1, 1, tf.shape(images)[3], 1])
        top, left = (height - 1) // 2, (width - 1) // 2
        margins = [[0, 0], [top, height - 1 - top], [left, width - 1 - left], [0, 0]]
        fill = tf.cast(constant_values, dtype)
        images = tf.pad(images, margins, mode=padding, constant_values=fill)
        blurred = tf.nn.depthwise_conv2d(images, kernel, strides=[1, 1, 1, 1], padding='VALID')
        return tf.cast(image_geometry.from_4d(blurred, image.shape.rank), image.dtype)


def _to_pair(filter_shape: Sequence[int] | int) -> tuple[int, int]:
    if isinstance(filter_shape, int):
        return filter_shape, filter_shape
    try:
        height, width = (int(length) for length in filter_shape)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f'Expected filter_shape to be one or two integers. Received: {filter_shape}'
        ) from error
    return height, width


def _check_sigma(sigma: Any) -> tuple[Any, Any]:
    pair = tuple(sigma) if isinstance(sigma, (list, tuple)) else (sigma, sigma)
    if len(pair) != 2:
        raise ValueError('sigma should be a float or a tuple/list of 2 floats')
    if any(not tf.is_tensor(value) and value < 0 for value in pair):
        raise ValueError('sigma should be greater than or equal to 0.')
    return pair


def _make_kernel(sigma: Any, length: int, dtype: tf.DType) -> tf.Tensor:
    """[length], of sum 1."""
    x = tf.range(-length // 2 + 1, length // 2 + 1)
    return tf.nn.softmax(-tf.cast(x**2, dtype) / (2.0 * tf.cast(sigma, dtype) ** 2))


def gaussian_blur(
    image: tf.Tensor, low: float = 0.1, high: float = 2.0, seed: Seed = None
) -> tf.Tensor:
    """Blur by a 3x3 filter whose sigma is uniform in [low, high) pixels (DeiT III, 2204.07118).

    Model Garden calls it `gaussian_noise` and draws sigma once, when the pipeline is built; here
    every image gets its own.
    """
    sigma = uniform(seed, 'blur', minval=low, maxval=high)
    return gaussian_filter2d(image, [3, 3], sigma)


def gaussian_noise(
    image: tf.Tensor, low: float = 0.1, high: float = 2.0, seed: Seed = None
) -> tf.Tensor:
    """Adds independent Gaussian noise to all values.

    Args:
        image: uint8, any shape.
        low: Lowest standard deviation, in per cent of 255.
        high: Highest; uniform in between.
        seed: See `random_draws`.

    Returns:
        uint8 tensor of the same shape, rounded and clipped.
    """
    image = tf.convert_to_tensor(image)
    seed = fold_in(seed, 'noise')
    stddev = 2.55 * uniform(seed, 'stddev', minval=low, maxval=high)
    noisy = tf.cast(image, tf.float32) + stddev * normal(seed, 'values', tf.shape(image))
    return tf.cast(tf.clip_by_value(tf.round(noisy), 0.0, 255.0), image.dtype)


def sharpness(image: tf.Tensor, factor: Any) -> tf.Tensor:
    """Sharpness: 0 is smoothed (but for the outermost pixels), 1 the image.

    Args:
        image: uint8 [height, width, channels] or [frames, height, width, channels].
        factor: 0 or more.

    Returns:
        uint8 tensor of the same shape.

    Raises:
        ValueError: The image is of another rank.
    """
    image = tf.convert_to_tensor(image)
    if image.shape.rank not in (3, 4):
        raise ValueError(f'Bad image rank: {image.shape.rank}')
    kernel = tf.constant([[1, 1, 1], [1, 5, 1], [1, 1, 1]], tf.float32)[:, :, None, None] / 13.0
    images = image_geometry.to_4d(image)
    kernel = tf.tile(kernel, [1, 1, tf.shape(images)[3], 1])
    smooth = tf.nn.depthwise_conv2d(
        tf.cast(images, tf.float32), kernel, strides=[1, 1, 1, 1], padding='SAME'
    )
    smooth = tf.cast(tf.clip_by_value(smooth, 0.0, 255.0), tf.uint8)
    rows, columns = (_is_inner(tf.shape(images)[axis]) for axis in (1, 2))
    is_inner = tf.logical_and(rows[:, None], columns[None, :])[:, :, None]
    smooth = image_geometry.from_4d(tf.where(is_inner, smooth, images), image.shape.rank)
    return image_colour.blend(smooth, image, factor)


def _is_inner(length: tf.Tensor) -> tf.Tensor:
    """bool [length], False for the first and the last."""
    places = tf.range(length)
    return tf.logical_and(places > 0, places < length - 1)
