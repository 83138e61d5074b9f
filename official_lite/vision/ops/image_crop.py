"""Crops of images, central and random, from pixels or from a JPEG file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from official_lite.core import randomness
from official_lite.vision.ops.random_draws import Seed, fold_in, is_key

__all__ = [
    'CENTER_CROP_FRACTION',
    'center_crop_image',
    'center_crop_image_v2',
    'compute_center_crop',
    'random_crop_image',
    'random_crop_image_v2',
    'sample_crop',
]

CENTER_CROP_FRACTION = 0.875


def compute_center_crop(size: tf.Tensor, fraction: float) -> tuple[tf.Tensor, tf.Tensor]:
    """int32 offset [2] and side [] of the central square of `fraction` times the short side."""
    size = tf.cast(size, tf.float32)
    side = fraction * tf.minimum(size[0], size[1])
    return tf.cast((size - side) / 2.0, tf.int32), tf.cast(side, tf.int32)


def center_crop_image(
    image: tf.Tensor, center_crop_fraction: float = CENTER_CROP_FRACTION
) -> tf.Tensor:
    """The central square, its side `center_crop_fraction` of the short side (1409.1556)."""
    offset, side = compute_center_crop(tf.shape(image)[:2], center_crop_fraction)
    return image[offset[0] : offset[0] + side, offset[1] : offset[1] + side, :]


def center_crop_image_v2(
    image_bytes: tf.Tensor,
    image_shape: tf.Tensor,
    center_crop_fraction: float = CENTER_CROP_FRACTION,
) -> tf.Tensor:
    """`center_crop_image` of a JPEG file, of which it decodes only that part.

    Args:
        image_bytes: string [].
        image_shape: int32 [3].
        center_crop_fraction: Of the short side.

    Returns:
        uint8 [side, side, 3].
    """
    offset, side = compute_center_crop(image_shape[:2], center_crop_fraction)
    window = tf.stack([offset[0], offset[1], side, side])
    return tf.image.decode_and_crop_jpeg(image_bytes, window, channels=3)


def sample_crop(
    image_shape: tf.Tensor,
    aspect_ratio_range: Sequence[float],
    area_range: Sequence[float],
    max_attempts: int,
    seed: Seed,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Offset and size, int32 [3] each, of a random crop of the whole image."""
    whole = tf.constant([0.0, 0.0, 1.0, 1.0], shape=[1, 1, 4])
    options: dict[str, Any] = {
        'min_object_covered': area_range[0],
        'aspect_ratio_range': aspect_ratio_range,
        'area_range': area_range,
        'max_attempts': max_attempts,
    }
    if is_key(seed):
        offset, size, _ = tf.image.stateless_sample_distorted_bounding_box(
            image_shape, whole, randomness.fold_in(seed, 'crop'), **options
        )
    else:
        offset, size, _ = tf.image.sample_distorted_bounding_box(
            image_shape, whole, seed=fold_in(seed, 'crop') or 0, **options
        )
    return offset, size


def random_crop_image(
    image: tf.Tensor,
    aspect_ratio_range: Sequence[float] = (3.0 / 4.0, 4.0 / 3.0),
    area_range: Sequence[float] = (0.08, 1.0),
    max_attempts: int = 10,
    seed: Seed = None,
) -> tf.Tensor:
    """A random crop (Inception, 1409.4842).

    Args:
        image: [height, width, channels].
        aspect_ratio_range: Width by height of the crop.
        area_range: Its part of the image's area.
        max_attempts: After that many the whole image is returned.
        seed: See `random_draws`.

    Returns:
        [crop height, crop width, channels].
    """
    offset, size = sample_crop(tf.shape(image), aspect_ratio_range, area_range, max_attempts, seed)
    return tf.slice(image, offset, size)


def random_crop_image_v2(
    image_bytes: tf.Tensor,
    image_shape: tf.Tensor,
    aspect_ratio_range: Sequence[float] = (3.0 / 4.0, 4.0 / 3.0),
    area_range: Sequence[float] = (0.08, 1.0),
    max_attempts: int = 10,
    seed: Seed = None,
) -> tf.Tensor:
    """`random_crop_image` of a JPEG file, of which it decodes only that part; uint8."""
    offset, size = sample_crop(image_shape, aspect_ratio_range, area_range, max_attempts, seed)
    window = tf.stack([offset[0], offset[1], size[0], size[1]])
    return tf.image.decode_and_crop_jpeg(image_bytes, window, channels=3)
