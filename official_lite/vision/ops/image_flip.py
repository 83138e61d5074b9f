"""Mirroring of images, boxes and masks."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from official_lite.vision.ops.box_ops import horizontal_flip_boxes, vertical_flip_boxes
from official_lite.vision.ops.random_draws import Seed, coin

__all__ = [
    'horizontal_flip_image',
    'horizontal_flip_masks',
    'random_horizontal_flip',
    'random_horizontal_flip_with_roi',
    'random_vertical_flip',
]


def horizontal_flip_image(image: tf.Tensor) -> tf.Tensor:
    """Mirrors left and right. [..., height, width, channels]."""
    return tf.image.flip_left_right(image)


def horizontal_flip_masks(masks: tf.Tensor) -> tf.Tensor:
    """Mirrors masks, [height, width, 1] or [n, height, width], left and right."""
    return masks[:, ::-1, :] if masks.shape[-1] == 1 else masks[:, :, ::-1]


def random_horizontal_flip(
    image: tf.Tensor,
    normalized_boxes: tf.Tensor | None = None,
    masks: tf.Tensor | None = None,
    seed: Seed = None,
    prob: float = 0.5,
) -> tuple[tf.Tensor, tf.Tensor | None, tf.Tensor | None]:
    """Mirrors image, boxes and masks together with probability `prob`.

    Args:
        image: [height, width, channels].
        normalized_boxes: [n, 4], yxyx in [0, 1], or None.
        masks: [height, width, 1] or [n, height, width], or None.
        seed: See `random_draws`.
        prob: Probability.

    Returns:
        Image, boxes and masks; None where None was given.
    """
    flipped = _flip_horizontally(image, normalized_boxes, masks, None, seed, prob)
    return flipped[0], flipped[1], flipped[2]


def random_vertical_flip(
    image: tf.Tensor,
    normalized_boxes: tf.Tensor | None = None,
    masks: tf.Tensor | None = None,
    seed: Seed = None,
    prob: float = 0.5,
) -> tuple[tf.Tensor, tf.Tensor | None, tf.Tensor | None]:
    """`random_horizontal_flip` upside down; masks are [n, height, width]."""
    do_flip = coin(seed, 'vertical_flip', prob)
    return (
        tf.cond(do_flip, lambda: tf.image.flip_up_down(image), lambda: image),
        _flip_if(do_flip, vertical_flip_boxes, normalized_boxes),
        _flip_if(do_flip, lambda m: m[:, ::-1, :], masks),
    )


def random_horizontal_flip_with_roi(
    image: tf.Tensor,
    boxes: tf.Tensor | None = None,
    masks: tf.Tensor | None = None,
    roi_boxes: tf.Tensor | None = None,
    seed: Seed = None,
) -> tuple[tf.Tensor, tf.Tensor | None, tf.Tensor | None, tf.Tensor | None]:
    """`random_horizontal_flip` of regions of interest besides, half of the time."""
    return _flip_horizontally(image, boxes, masks, roi_boxes, seed, 0.5)


def _flip_horizontally(
    image: tf.Tensor,
    boxes: tf.Tensor | None,
    masks: tf.Tensor | None,
    roi_boxes: tf.Tensor | None,
    seed: Seed,
    prob: float,
) -> tuple[tf.Tensor, tf.Tensor | None, tf.Tensor | None, tf.Tensor | None]:
    do_flip = coin(seed, 'horizontal_flip', prob)
    return (
        tf.cond(do_flip, lambda: horizontal_flip_image(image), lambda: image),
        _flip_if(do_flip, horizontal_flip_boxes, boxes),
        _flip_if(do_flip, horizontal_flip_masks, masks),
        _flip_if(do_flip, horizontal_flip_boxes, roi_boxes),
    )


def _flip_if(do_flip: tf.Tensor, flip: Any, value: tf.Tensor | None) -> tf.Tensor | None:
    if value is None:
        return None
    return tf.cond(do_flip, lambda: flip(value), lambda: value)
