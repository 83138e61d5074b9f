"""Decoding parts of JPEG files."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from official_lite.vision.ops import image_crop
from official_lite.vision.ops.random_draws import Seed

__all__ = ['compute_center_window', 'decode_window', 'sample_window']

# What a JPEG can be shrunk by while it is decoded, because its blocks have 8 by 8 pixels.
_RATIOS = (1, 2, 4, 8)


def compute_center_window(
    image_shape: tf.Tensor, fraction: float = image_crop.CENTER_CROP_FRACTION
) -> tf.Tensor:
    """int32 [4] (y, x, height, width) of the square of `image_crop.center_crop_image`."""
    offset, side = image_crop.compute_center_crop(image_shape[:2], fraction)
    return tf.stack([offset[0], offset[1], side, side])


def sample_window(
    image_shape: tf.Tensor,
    aspect_ratio_range: Sequence[float] = (3.0 / 4.0, 4.0 / 3.0),
    area_range: Sequence[float] = (0.08, 1.0),
    max_attempts: int = 10,
    seed: Seed = None,
) -> tf.Tensor:
    """int32 [4] (y, x, height, width) of a random crop; the central one where none was found.

    Args:
        image_shape: int32 [3].
        aspect_ratio_range, area_range, max_attempts, seed: See `image_crop.random_crop_image`.
    """
    offset, size = image_crop.sample_crop(
        image_shape, aspect_ratio_range, area_range, max_attempts, seed
    )
    is_whole = tf.reduce_all(size[:2] == image_shape[:2])
    window = tf.concat([offset[:2], size[:2]], axis=0)
    return tf.where(is_whole, compute_center_window(image_shape), window)


def decode_window(
    image_bytes: tf.Tensor, window: tf.Tensor, min_size: Sequence[int] | None = None
) -> tf.Tensor:
    """Decodes one window of a JPEG file.

    Args:
        image_bytes: string [].
        window: int32 [4]: y, x, height, width, pixels.
        min_size: (height, width) that the result must have at least. Where the window is two, four
            or eight times as large, the file is shrunk that much while it is decoded: faster, and
            with less aliasing than bilinear resizing of all pixels, so the numbers differ. None
            means never.

    Returns:
        uint8 [rows, columns, 3]: of the window's size, or of a half, quarter or eighth of it,
        rounded down.
    """
    if min_size is None:
        return _decode(image_bytes, window, 1)
    factor = tf.reduce_min(window[2:] // tf.constant(list(min_size), tf.int32))
    choice = tf.reduce_sum(tf.cast(factor >= tf.constant(_RATIOS[1:]), tf.int32))
    branches = [lambda r=ratio: _decode(image_bytes, window // r, r) for ratio in _RATIOS]
    image = tf.switch_case(choice, branches)
    return tf.ensure_shape(image, [None, None, 3])


def _decode(image_bytes: tf.Tensor, window: tf.Tensor, ratio: int) -> tf.Tensor:
    return tf.raw_ops.DecodeAndCropJpeg(
        contents=image_bytes, crop_window=window, channels=3, ratio=ratio
    )
