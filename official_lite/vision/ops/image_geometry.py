"""Geometric operations on images: projective transforms, rotation, translation, shearing.

Pixels are taken from the nearest one. What comes from outside the image is mirrored at its edges
(`fill_mode='reflect'`), as in Model Garden, where `replace` has no effect for that reason; with
`fill_mode='constant'` it is `replace`.

Images are [height, width], [height, width, channels] or [frames, height, width, channels].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import tensorflow as tf

__all__ = [
    'from_4d',
    'rotate',
    'shear_x',
    'shear_y',
    'to_4d',
    'transform',
    'translate',
    'translate_x',
    'translate_y',
    'unwrap',
    'wrap',
    'wrapped_rotate',
]

Number: TypeAlias = Any  # an int, a float, or a tensor of shape []
Colour: TypeAlias = Any  # a number, or one for each channel

RADIANS_PER_DEGREE = math.pi / 180.0


def to_4d(image: tf.Tensor) -> tf.Tensor:
    """An image of rank 2, 3 or 4 as [frames, height, width, channels].

    Raises:
        TypeError: Of another rank.
    """
    rank = image.shape.rank
    if rank == 2:
        return image[tf.newaxis, :, :, tf.newaxis]
    if rank == 3:
        return image[tf.newaxis]
    if rank == 4:
        return image
    raise TypeError(f'Expected an image of rank 2, 3 or 4. Received: rank {rank}')


def from_4d(image: tf.Tensor, ndims: int | tf.Tensor) -> tf.Tensor:
    """The inverse of `to_4d` for an image that had `ndims` dimensions."""
    ndims = int(tf.get_static_value(ndims)) if tf.is_tensor(ndims) else int(ndims)
    if ndims == 2:
        return image[0, :, :, 0]
    return image[0] if ndims == 3 else image


def transform(
    image: tf.Tensor,
    transforms: Any,
    interpolation: str = 'nearest',
    output_shape: Any = None,
    fill_mode: str = 'reflect',
    fill_value: float = 0.0,
) -> tf.Tensor:
    """Moves pixels by a projective transform.

    Args:
        image: Of rank 2, 3 or 4.
        transforms: [8] or [frames, 8]. With one row a0, a1, a2, b0, b1, b2, c0, c1 the output's
            point (x, y) comes from ((a0 x + a1 y + a2) / k, (b0 x + b1 y + b2) / k) of the input,
            where k = c0 x + c1 y + 1.
        interpolation: 'nearest' or 'bilinear'.
        output_shape: (height, width) of the result. None means the image's.
        fill_mode: What is outside the image: 'reflect', 'constant', 'wrap' or 'nearest'.
        fill_value: The constant.

    Returns:
        An image of the same rank and dtype.
    """
    transforms = tf.convert_to_tensor(transforms, tf.float32)
    images = to_4d(image)
    if output_shape is None:
        output_shape = tf.shape(images)[1:3]
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms[tf.newaxis] if transforms.shape.rank == 1 else transforms,
        output_shape=tf.cast(output_shape, tf.int32),
        fill_value=tf.cast(fill_value, tf.float32),
        interpolation=interpolation.upper(),
        fill_mode=fill_mode.upper(),
    )
    return from_4d(moved, image.shape.rank)


def _make_translation(translations: Any) -> tf.Tensor:
    """[n, 8] transforms that move by [dx, dy]."""
    shift = tf.convert_to_tensor(translations, tf.float32)
    if shift.shape.rank not in (1, 2):
        raise TypeError(f'Expected translations of rank 1 or 2. Received: rank {shift.shape.rank}')
    dx, dy = tf.unstack(tf.reshape(shift, [-1, 2]), axis=-1)
    one, zero = tf.ones_like(dx), tf.zeros_like(dx)
    return tf.stack([one, zero, -dx, zero, one, -dy, zero, zero], axis=-1)


def translate(
    image: tf.Tensor,
    translations: Any,
    fill_value: float = 0.0,
    fill_mode: str = 'reflect',
    interpolation: str = 'nearest',
) -> tf.Tensor:
    """Moves an image by [dx, dy] pixels, or each frame by its own, [frames, 2].

    Raises:
        TypeError: `translations` is of another rank.
    """
    return transform(
        image,
        _make_translation(translations),
        interpolation=interpolation,
        fill_mode=fill_mode,
        fill_value=fill_value,
    )


def _make_rotation(image: tf.Tensor, degrees: Number) -> tf.Tensor:
    """[8], around the image's centre."""
    radians = tf.cast(degrees * RADIANS_PER_DEGREE, tf.float32)
    size = tf.cast(tf.shape(to_4d(image))[1:3], tf.float32)
    last_y, last_x = size[0] - 1, size[1] - 1
    cos, sin = tf.math.cos(radians), tf.math.sin(radians)
    x_offset = (last_x - (cos * last_x - sin * last_y)) / 2.0
    y_offset = (last_y - (sin * last_x + cos * last_y)) / 2.0
    return tf.stack([cos, -sin, x_offset, sin, cos, y_offset, 0.0, 0.0])


def rotate(image: tf.Tensor, degrees: Number) -> tf.Tensor:
    """Rotates around the centre: counter-clockwise on the screen if `degrees` is positive."""
    return transform(image, _make_rotation(image, degrees))


def wrap(image: tf.Tensor) -> tf.Tensor:
    """Adds a channel of ones, [..., channels + 1], that marks what is part of the image."""
    return tf.concat([image, tf.ones_like(image[..., :1])], axis=-1)


def unwrap(image: tf.Tensor, replace: Colour) -> tf.Tensor:
    """Takes the last channel of `wrap` away; where it is 0 the others become `replace`."""
    fill = tf.cast(replace, image.dtype)
    return tf.where(tf.equal(image[..., -1:], 0), fill, image[..., :-1])


def _warp(image: tf.Tensor, transforms: Any, replace: Colour, fill_mode: str) -> tf.Tensor:
    if fill_mode == 'constant':
        return unwrap(transform(wrap(image), transforms, fill_mode=fill_mode), replace)
    return transform(image, transforms, fill_mode=fill_mode)


def wrapped_rotate(
    image: tf.Tensor, degrees: Number, replace: Colour, fill_mode: str = 'reflect'
) -> tf.Tensor:
    """`rotate` with a choice of what comes from outside (see the module's docstring)."""
    return _warp(image, _make_rotation(image, degrees), replace, fill_mode)


def translate_x(
    image: tf.Tensor, pixels: Number, replace: Colour, fill_mode: str = 'reflect'
) -> tf.Tensor:
    """Moves the content to the left by `pixels`, as PIL does."""
    return _warp(image, _make_translation([[-pixels, 0.0]]), replace, fill_mode)


def translate_y(
    image: tf.Tensor, pixels: Number, replace: Colour, fill_mode: str = 'reflect'
) -> tf.Tensor:
    """Moves the content up by `pixels`, as PIL does."""
    return _warp(image, _make_translation([[0.0, -pixels]]), replace, fill_mode)


def shear_x(
    image: tf.Tensor, level: Number, replace: Colour, fill_mode: str = 'reflect'
) -> tf.Tensor:
    """Moves each row to the left by `level` times its number."""
    return _warp(image, _stack([1.0, level, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]), replace, fill_mode)


def shear_y(
    image: tf.Tensor, level: Number, replace: Colour, fill_mode: str = 'reflect'
) -> tf.Tensor:
    """Moves each column up by `level` times its number."""
    return _warp(image, _stack([1.0, 0.0, 0.0, level, 1.0, 0.0, 0.0, 0.0]), replace, fill_mode)


def _stack(numbers: Sequence[Number]) -> tf.Tensor:
    return tf.stack([tf.cast(number, tf.float32) for number in numbers])
