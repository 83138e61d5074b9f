"""Loss of quality: JPEG compression."""

from __future__ import annotations

import tensorflow as tf

from official_lite.vision.ops.random_draws import Seed, coin, uniform

__all__ = ['random_jpeg_quality']


def random_jpeg_quality(
    image: tf.Tensor,
    min_quality: int | tf.Tensor = 20,
    max_quality: int | tf.Tensor = 100,
    prob_to_apply: float | tf.Tensor = 0.6,
    seed: Seed = None,
) -> tf.Tensor:
    """Writes and reads the image as a JPEG of random quality, with a probability.

    Args:
        image: uint8 [height, width, 3].
        min_quality: Lowest quality, 0 to 100.
        max_quality: Highest quality, exclusive.
        prob_to_apply: Probability.
        seed: See `random_draws`.

    Returns:
        uint8 [height, width, 3].
    """
    do_apply = coin(seed, 'jpeg', prob_to_apply)
    low, high = tf.cast(min_quality, tf.float32), tf.cast(max_quality, tf.float32)
    quality = tf.cast(tf.floor(uniform(seed, 'jpeg_quality', minval=low, maxval=high)), tf.int32)
    return tf.cond(do_apply, lambda: tf.image.adjust_jpeg_quality(image, quality), lambda: image)
