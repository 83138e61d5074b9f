"""Random crops that take the boxes inside along, as in DETR (2005.12872)."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from official_lite.vision.ops import box_ops
from official_lite.vision.ops.random_draws import Seed, coin, fold_in, uniform

__all__ = ['random_crop', 'random_crop_image_with_boxes_and_labels']

ImageBoxesLabels = tuple[tf.Tensor, tf.Tensor, tf.Tensor]


def random_crop(
    image: tf.Tensor,
    boxes: tf.Tensor,
    labels: tf.Tensor,
    min_scale: float = 0.3,
    aspect_ratio_range: Sequence[float] = (0.5, 2.0),
    min_overlap_params: Sequence[float] = (0.0, 1.4, 0.2, 0.1),
    max_retry: int = 50,
    seed: Seed = None,
) -> ImageBoxesLabels:
    """`random_crop_image_with_boxes_and_labels`, half of the time."""
    seed = fold_in(seed, 'random_crop')
    return tf.cond(
        coin(seed, 'apply', 0.5),
        lambda: random_crop_image_with_boxes_and_labels(
            image,
            boxes,
            labels,
            min_scale,
            aspect_ratio_range,
            min_overlap_params,
            max_retry,
            seed,
        ),
        lambda: (tf.identity(image), tf.identity(boxes), tf.identity(labels)),
    )


def random_crop_image_with_boxes_and_labels(
    img: tf.Tensor,
    boxes: tf.Tensor,
    labels: tf.Tensor,
    min_scale: float,
    aspect_ratio_range: Sequence[float],
    min_overlap_params: Sequence[float],
    max_retry: int,
    seed: Seed = None,
) -> ImageBoxesLabels:
    """Crops so that some box overlaps the crop enough, and keeps boxes whose centre is inside.

    Args:
        img: [height, width, channels].
        boxes: float32 [n, 4], yxyx normalised by the image's size.
        labels: [n, ...].
        min_scale: Smallest side of a crop, as a share of the image's.
        aspect_ratio_range: Smallest and largest height by width, in pixels.
        min_overlap_params: low, high, step, offset: the IoU that some box must have with the crop is
            a number in [low, high), rounded down to a multiple of step, less offset. Above 1 means
            no crop.
        max_retry: Tries; if none is good, there is no crop.
        seed: See `random_draws`.

    Returns:
        The crop, the boxes inside, normalised by its size and clipped to it, and their labels.
    """
    min_overlap = _draw_min_overlap(min_overlap_params, seed)
    windows = _draw_windows(tf.shape(img)[:2], min_scale, max_retry, seed)
    size = tf.cast(tf.tile(tf.shape(img)[:2], [2]), tf.float32)
    shares = tf.cast(windows, tf.float32) / size
    has_centre = _has_centre(shares, boxes)
    sides = windows[:, 2:] - windows[:, :2]
    aspect = tf.math.divide_no_nan(
        tf.cast(sides[:, 0], tf.float32), tf.cast(sides[:, 1], tf.float32)
    )
    overlap = box_ops.bbox_overlap(shares[tf.newaxis], boxes[tf.newaxis])[0]  # [tries, n]
    is_good = (
        (aspect >= aspect_ratio_range[0])
        & (aspect <= aspect_ratio_range[1])
        & (tf.reduce_max(overlap, axis=1) >= min_overlap)
        & tf.reduce_any(has_centre, axis=1)
        & (min_overlap <= 1.0)
    )
    first = tf.argmax(is_good)

    def crop() -> ImageBoxesLabels:
        window, kept = windows[first], has_centre[first]
        corner, side = tf.cast(window[:2], tf.float32), tf.cast(sides[first], tf.float32)
        inside = tf.boolean_mask(boxes, kept) * size - tf.tile(corner, [2])
        inside = tf.clip_by_value(inside / tf.tile(side, [2]), 0.0, 1.0)
        pixels = img[window[0] : window[2], window[1] : window[3]]
        return pixels, inside, tf.boolean_mask(labels, kept)

    return tf.cond(
        tf.reduce_any(is_good),
        crop,
        lambda: (tf.identity(img), tf.identity(boxes), tf.identity(labels)),
    )


def _draw_min_overlap(params: Sequence[float], seed: Seed) -> tf.Tensor:
    low, high, step, offset = params
    overlap = tf.math.floordiv(uniform(seed, 'overlap', minval=low, maxval=high), step) * step
    return tf.maximum(overlap - offset, 0.0)


def _draw_windows(size: tf.Tensor, min_scale: float, num: int, seed: Seed) -> tf.Tensor:
    """int32 [num, 4], yxyx in pixels, inside the image of int32 [2] height and width."""
    length = tf.cast(size, tf.float32)
    scales = uniform(seed, 'scales', [num, 2], minval=min_scale, maxval=1.0)
    sides = tf.cast(scales * length, tf.int32)
    room = tf.cast(size - sides, tf.float32)
    corners = tf.cast(uniform(seed, 'corners', [num, 2]) * room, tf.int32)
    return tf.concat([corners, corners + sides], axis=1)


def _has_centre(windows: tf.Tensor, boxes: tf.Tensor) -> tf.Tensor:
    """bool [tries, n]: whether the centre of box [n, 4] is inside of window [tries, 4]."""
    centres = box_ops.yxyx_to_cycxhw(boxes)[tf.newaxis, :, :2]
    is_after = centres > windows[:, tf.newaxis, :2]
    is_before = centres < windows[:, tf.newaxis, 2:]
    return tf.reduce_all(is_after & is_before, axis=-1)
