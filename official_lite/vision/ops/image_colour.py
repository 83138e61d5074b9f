"""Operations on the colours of images, and the random jitter of them.

Images are uint8 [..., height, width, channels], whose range is 0 to 255; leading dimensions are
frames of one video. Each operation equals the one of the same name in Model Garden.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import tensorflow as tf

from official_lite.vision.ops.random_draws import Seed, uniform

__all__ = [
    'autocontrast',
    'blend',
    'brightness',
    'color',
    'color_jitter',
    'contrast',
    'equalize',
    'grayscale',
    'invert',
    'posterize',
    'random_brightness',
    'random_contrast',
    'random_saturation',
    'saturation',
    'solarize',
    'solarize_add',
]

Number: TypeAlias = Any  # an int, a float, or a tensor of shape []

_NUM_VALUES = 256


def blend(image1: tf.Tensor, image2: tf.Tensor, factor: Number) -> tf.Tensor:
    """image1 + factor * (image2 - image1), clipped to 0..255.

    Args:
        image1: What a factor of 0 gives.
        image2: What a factor of 1 gives; of the same shape.
        factor: 0 or more; above 1 exaggerates the difference.

    Returns:
        uint8 tensor of the same shape. With the Python numbers 0 and 1, the image itself.
    """
    if not tf.is_tensor(factor) and factor in (0, 1):
        return tf.convert_to_tensor(image2 if factor else image1)
    first, second = tf.cast(image1, tf.float32), tf.cast(image2, tf.float32)
    return _to_uint8(first + tf.cast(factor, tf.float32) * (second - first))


def _to_uint8(values: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.clip_by_value(values, 0.0, 255.0), tf.uint8)


def solarize(image: tf.Tensor, threshold: Number = 128) -> tf.Tensor:
    """Inverts pixels that are not below `threshold`.

    It wraps around at 256, as in Model Garden: magnitude 10 of RandAugment, whose threshold is 256,
    inverts the whole image, and published recipes were trained that way.
    """
    image = tf.convert_to_tensor(image)
    limit = tf.cast(tf.cast(threshold, tf.int32) % _NUM_VALUES, image.dtype)
    if not image.dtype.is_integer:
        return tf.where(image < limit, image, 255 - image)
    # Flipping all bits is 255 - x, and ten times as fast as choosing between two images.
    return tf.bitwise.bitwise_xor(image, 255 * tf.cast(image >= limit, image.dtype))


def solarize_add(image: tf.Tensor, addition: Number = 0, threshold: Number = 128) -> tf.Tensor:
    """Adds `addition`, -255 to 255, to pixels below `threshold`, and clips them to 0..255."""
    is_below = tf.cast(image < tf.cast(threshold, image.dtype), tf.int16)
    added = tf.cast(image, tf.int16) + is_below * tf.cast(addition, tf.int16)
    return tf.cast(tf.clip_by_value(added, 0, 255), tf.uint8)


def grayscale(image: tf.Tensor) -> tf.Tensor:
    """The luma (0.2989, 0.5870, 0.1140) of each pixel in all three channels."""
    return tf.image.grayscale_to_rgb(tf.image.rgb_to_grayscale(image))


def color(image: tf.Tensor, factor: Number) -> tf.Tensor:
    """Saturation: 0 is grey, 1 the image."""
    return blend(grayscale(image), image, factor)


saturation = color


def contrast(image: tf.Tensor, factor: Number) -> tf.Tensor:
    """Contrast around each channel's mean: 0 is the mean, 1 the image."""
    return tf.image.adjust_contrast(image, factor)


def brightness(image: tf.Tensor, factor: Number) -> tf.Tensor:
    """Brightness: 0 is black, 1 the image."""
    if not tf.is_tensor(factor) and factor in (0, 1):
        return tf.convert_to_tensor(image) if factor else tf.zeros_like(image)
    return _to_uint8(tf.cast(factor, tf.float32) * tf.cast(image, tf.float32))


def posterize(image: tf.Tensor, bits: Number) -> tf.Tensor:
    """Keeps the upper `bits` of each value, one at least."""
    shift = tf.cast(8 - bits, image.dtype)
    return tf.bitwise.left_shift(tf.bitwise.right_shift(image, shift), shift)


def invert(image: tf.Tensor) -> tf.Tensor:
    """255 minus the image."""
    return 255 - tf.convert_to_tensor(image)


def _pixel_axes(image: tf.Tensor) -> list[int]:
    return list(range(image.shape.rank - 1))


def autocontrast(image: tf.Tensor) -> tf.Tensor:
    """Stretches each channel to 0..255; a channel of one value stays."""
    axes = _pixel_axes(image)
    low = tf.cast(tf.reduce_min(image, axes), tf.float32)
    high = tf.cast(tf.reduce_max(image, axes), tf.float32)
    is_flat = high <= low
    scale = 255.0 / tf.where(is_flat, 1.0, high - low)
    scale = tf.where(is_flat, 1.0, scale)
    offset = tf.where(is_flat, 0.0, -low * scale)
    return _to_uint8(tf.cast(image, tf.float32) * scale + offset)


def equalize(image: tf.Tensor) -> tf.Tensor:
    """Spreads each channel's values so that all are about equally frequent, as PIL does."""
    num_channels = tf.shape(image)[-1]
    # Channel c's value v is bin 256 c + v.
    bins = tf.cast(image, tf.int32) + _NUM_VALUES * tf.range(num_channels)
    length = _NUM_VALUES * num_channels
    counts = tf.math.bincount(tf.reshape(bins, [-1]), minlength=length, maxlength=length)
    table = _make_equalizing_table(tf.reshape(counts, [num_channels, _NUM_VALUES]))
    return tf.gather(tf.reshape(table, [-1]), bins)


def _make_equalizing_table(counts: tf.Tensor) -> tf.Tensor:
    """uint8 [channels, 256], what each value becomes, from int32 counts [channels, 256]."""
    values = tf.range(_NUM_VALUES)
    largest = tf.reduce_max(tf.where(counts > 0, values, 0), axis=1)
    of_largest = tf.gather(counts, largest, batch_dims=1)
    step = ((tf.reduce_sum(counts, axis=1) - of_largest) // 255)[:, tf.newaxis]
    before = tf.cumsum(counts, axis=1, exclusive=True)
    table = (before + step // 2) // tf.maximum(step, 1)
    return tf.cast(tf.where(step == 0, values, tf.clip_by_value(table, 0, 255)), tf.uint8)


# ---- jitter -------------------------------------------------------------------------------------


def color_jitter(
    image: tf.Tensor,
    brightness: float | None = 0.0,
    contrast: float | None = 0.0,
    saturation: float | None = 0.0,
    seed: Seed = None,
) -> tf.Tensor:
    """Random brightness, contrast and saturation, in this order.

    Args:
        image: [height, width, 3]; cast to uint8.
        brightness: The factor is uniform in [max(0, 1 - brightness), 1 + brightness).
        contrast: As `brightness`.
        saturation: As `brightness`. None means 0, of each.
        seed: See `random_draws`.

    Returns:
        uint8 [height, width, 3].

    Raises:
        ValueError: A strength is negative.
    """
    image = tf.cast(image, tf.uint8)
    image = random_brightness(image, brightness or 0.0, seed)
    image = random_contrast(image, contrast or 0.0, seed)
    return random_saturation(image, saturation or 0.0, seed)


def random_brightness(image: tf.Tensor, brightness: float = 0.0, seed: Seed = None) -> tf.Tensor:
    """Brightness of a random factor in [max(0, 1 - brightness), 1 + brightness); uint8."""
    return _brighten(image, _draw_factor('brightness', brightness, seed))


def random_contrast(image: tf.Tensor, contrast: float = 0.0, seed: Seed = None) -> tf.Tensor:
    """Contrast of a random factor in [max(0, 1 - contrast), 1 + contrast); uint8."""
    factor = _draw_factor('contrast', contrast, seed)
    return image if contrast == 0 else _change_contrast(image, factor)


def random_saturation(image: tf.Tensor, saturation: float = 0.0, seed: Seed = None) -> tf.Tensor:
    """Saturation of a random factor in [max(0, 1 - saturation), 1 + saturation); uint8."""
    return color(image, _draw_factor('saturation', saturation, seed))


# The parameters above hide these names.
_brighten, _change_contrast = brightness, contrast


def _draw_factor(name: str, strength: float, seed: Seed) -> Number:
    if strength < 0:
        raise ValueError(f'Expected `{name}` to be 0 or more. Received: {strength}')
    if strength == 0:
        return 1.0
    return uniform(seed, name, minval=max(0.0, 1 - strength), maxval=1 + strength)
