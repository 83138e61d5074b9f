"""Rectangles of an image that are overwritten: Cutout, random erasing."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from official_lite.vision.ops.random_draws import Seed, coin, fold_in, normal, uniform, uniform_int

__all__ = ['RandomErasing', 'cutout', 'cutout_video', 'erase_rectangle', 'paste']

# Noise in uint8 images has the mean and the deviation of ImageNet's channels, so that it is N(0, 1)
# once they are normalised.
_NOISE_MEAN = (123.675, 116.28, 103.53)
_NOISE_STDDEV = (58.395, 57.12, 57.375)


def paste(image: tf.Tensor, patch: tf.Tensor, top: Any, left: Any) -> tf.Tensor:
    """Puts `patch` [h, w, channels] into `image` [height, width, channels] at row `top`, column
    `left`; it must fit in."""
    bottom, right = top + tf.shape(patch)[0], left + tf.shape(patch)[1]
    rows = image[top:bottom]
    middle = tf.concat([rows[:, :left], patch, rows[:, right:]], axis=1)
    return tf.ensure_shape(tf.concat([image[:top], middle, image[bottom:]], axis=0), image.shape)


def _clip_span(centre: tf.Tensor, half: Any, length: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Start and length of [centre - half, centre + half) within [0, length)."""
    start = tf.clip_by_value(centre - half, 0, length)
    return start, tf.clip_by_value(centre + half, 0, length) - start


def erase_rectangle(
    image: tf.Tensor,
    *,
    centre: tuple[tf.Tensor, tf.Tensor],
    half_size: tuple[Any, Any],
    replace: Any,
) -> tf.Tensor:
    """Overwrites a rectangle, as far as it is in the image.

    Args:
        image: [height, width, channels].
        centre: Row and column of the middle, int32.
        half_size: Half of the height and width, int32; the rectangle is twice that.
        replace: A number, or one for each channel.

    Returns:
        Tensor of the same shape and dtype.
    """
    shape = tf.shape(image)
    top, height = _clip_span(centre[0], half_size[0], shape[0])
    left, width = _clip_span(centre[1], half_size[1], shape[1])
    fill = tf.broadcast_to(tf.cast(replace, image.dtype), [height, width, shape[2]])
    return paste(image, fill, top, left)


def cutout(image: tf.Tensor, pad_size: Any, replace: Any = 0, seed: Seed = None) -> tf.Tensor:
    """Overwrites a square of 2 * `pad_size` pixels around a uniform place (1708.04552).

    Args:
        image: [height, width, channels], or a video [frames, height, width, channels], for which
            see `cutout_video`.
        pad_size: Half of the side, pixels.
        replace: A number, or one for each channel.
        seed: See `random_draws`.

    Returns:
        Tensor of the same shape and dtype.

    Raises:
        ValueError: The image is of another rank.
    """
    if image.shape.rank == 4:
        return cutout_video(image, replace=replace, seed=seed)
    if image.shape.rank != 3:
        raise ValueError(f'Bad image rank: {image.shape.rank}')
    seed = fold_in(seed, 'cutout')
    shape = tf.shape(image)
    centre = (
        uniform_int(seed, 'row', maxval=shape[0]),
        uniform_int(seed, 'column', maxval=shape[1]),
    )
    return erase_rectangle(image, centre=centre, half_size=(pad_size, pad_size), replace=replace)


def cutout_video(
    video: tf.Tensor, mask_shape: tf.Tensor | None = None, replace: Any = 0, seed: Seed = None
) -> tf.Tensor:
    """Overwrites a box around a uniform place.

    Args:
        video: [frames, height, width, channels].
        mask_shape: [3], frames, height and width of the box. None draws each half: a quarter to a
            half of height and width, 1 to a quarter of the frames.
        replace: A number, or one for each channel.
        seed: See `random_draws`.

    Returns:
        Tensor of the same shape and dtype.
    """
    seed = fold_in(seed, 'cutout')
    lengths = tf.unstack(tf.shape(video)[:3])
    names = ('frame', 'row', 'column')
    if mask_shape is not None:
        halves = tf.unstack(tf.maximum(1, tf.cast(mask_shape, tf.int32) // 2))
    else:
        bounds = [(1, lengths[0] // 4), *((n // 4, n // 2) for n in lengths[1:])]
        halves = [
            uniform_int(seed, f'half_{name}', minval=tf.maximum(1, low), maxval=tf.maximum(2, high))
            for name, (low, high) in zip(names, bounds)
        ]
    inside = tf.constant(True)
    for axis, (name, length, half) in enumerate(zip(names, lengths, halves)):
        centre = uniform_int(seed, name, maxval=length)
        places = tf.reshape(tf.range(length), [-1 if i == axis else 1 for i in range(4)])
        inside = inside & (places >= centre - half) & (places < centre + half)
    return tf.where(inside, tf.cast(replace, video.dtype), video)


class RandomErasing:
    """Random erasing (1708.04896): rectangles of noise.

    Model Garden draws the centre where the top left corner belongs, so that its rectangles crowd
    at the top left; here each lies wholly in the image, everywhere alike.

    Args:
        probability: Chance that an image is changed.
        min_area, max_area: Smallest and largest rectangle, as a share of the image's area.
        min_aspect, max_aspect: Smallest and largest height by width, log-uniform in between. None
            means 1 / `min_aspect`.
        min_count, max_count: Fewest and most rectangles, uniform in between.
        trials: Tries to find a rectangle that fits in.
    """

    def __init__(
        self,
        probability: float = 0.25,
        min_area: float = 0.02,
        max_area: float = 1 / 3,
        min_aspect: float = 0.3,
        max_aspect: float | None = None,
        min_count: int = 1,
        max_count: int = 1,
        trials: int = 10,
    ) -> None:
        self._probability = probability
        self._areas = (float(min_area), float(max_area))
        self._log_aspects = (math.log(min_aspect), math.log(max_aspect or 1 / min_aspect))
        self._counts = (int(min_count), int(max_count))
        self._trials = trials

    @tf.autograph.experimental.do_not_convert
    def distort(self, image: tf.Tensor, seed: Seed = None) -> tf.Tensor:
        """Erases, perhaps.

        Args:
            image: [height, width, channels]: normalised floats, or uint8 with 3 channels.
            seed: See `random_draws`.

        Returns:
            Tensor of the same shape and dtype. The noise is N(0, 1), for uint8 images once they are
            normalised.
        """
        seed = fold_in(seed, 'random_erasing')
        is_chosen = coin(seed, 'apply', self._probability)
        return tf.cond(is_chosen, lambda: self._erase(image, seed), lambda: image)

    def _erase(self, image: tf.Tensor, seed: Seed) -> tf.Tensor:
        low, high = self._counts
        count = uniform_int(seed, 'count', minval=low, maxval=high + 1)
        for number in range(high):
            one = fold_in(seed, f'rectangle_{number}')
            size, fits = self._draw_size(tf.shape(image), one)
            image = tf.cond(
                tf.logical_and(fits, number < count),
                lambda image=image, size=size, one=one: _erase_at_random(image, size, one),
                lambda image=image: image,
            )
        return image

    def _draw_size(self, shape: tf.Tensor, seed: Seed) -> tuple[tf.Tensor, tf.Tensor]:
        """int32 [2] height and width of the first of several tries that fits in; bool [] if any."""
        area = tf.cast(shape[0] * shape[1], tf.float32)
        low, high = self._areas
        areas = area * uniform(seed, 'area', [self._trials], minval=low, maxval=high)
        low, high = self._log_aspects
        aspects = tf.exp(uniform(seed, 'aspect', [self._trials], minval=low, maxval=high))
        sides = tf.stack([tf.sqrt(areas * aspects), tf.sqrt(areas / aspects)], axis=1)
        sizes = 2 * tf.cast(tf.round(sides / 2), tf.int32)  # [trials, 2]
        fits = tf.reduce_all(sizes < shape[:2], axis=1)
        return sizes[tf.argmax(fits)], tf.reduce_any(fits)


def _erase_at_random(image: tf.Tensor, size: tf.Tensor, seed: Seed) -> tf.Tensor:
    room = tf.shape(image)[:2] - size
    top = uniform_int(seed, 'top', maxval=room[0] + 1)
    left = uniform_int(seed, 'left', maxval=room[1] + 1)
    noise = normal(seed, 'noise', tf.concat([size, tf.shape(image)[2:]], axis=0))
    if image.dtype == tf.uint8:
        noise = tf.round(noise * _NOISE_STDDEV + _NOISE_MEAN)
        noise = tf.clip_by_value(noise, 0.0, 255.0)
    return paste(image, tf.cast(noise, image.dtype), top, left)
