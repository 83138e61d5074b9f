"""Resizing of images, and of boxes and masks with them; scale jitter."""

from __future__ import annotations

import math

import tensorflow as tf

from official_lite.vision.ops import box_ops
from official_lite.vision.ops.image_padding import Size
from official_lite.vision.ops.random_draws import Seed, uniform

__all__ = [
    'resize_and_crop_boxes',
    'resize_and_crop_image',
    'resize_and_crop_image_v2',
    'resize_and_crop_masks',
    'resize_image',
]


def resize_and_crop_image(
    image: tf.Tensor,
    desired_size: Size,
    padded_size: Size | None,
    aug_scale_min: float | tf.Tensor = 1.0,
    aug_scale_max: float | tf.Tensor = 1.0,
    seed: Seed = None,
    method: str = tf.image.ResizeMethod.BILINEAR,
    keep_aspect_ratio: bool = True,
    centered_crop: bool = False,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Resizes an image into a rectangle, with scale jitter, and pads it (RetinaNet, 1708.02002).

    The image becomes as large as fits into `desired_size` times a scale that is uniform in
    [aug_scale_min, aug_scale_max); what exceeds `desired_size` is cropped at a uniform place.

    Args:
        image: Tensor of shape [height, width, channels].
        desired_size: (height, width) of the rectangle, pixels.
        padded_size: (height, width) of the result, filled with 0. None means no padding.
        aug_scale_min: Smallest scale.
        aug_scale_max: Largest scale.
        seed: See `random_draws`.
        method: Of `tf.image.resize`; half-pixel centres, no antialiasing.
        keep_aspect_ratio: Whether height and width are scaled alike.
        centered_crop: Whether the padding goes to all sides rather than to the bottom and right.

    Returns:
        Tensor [padded height, padded width, channels], float32 unless the method is 'nearest', and
        float32 [4, 2]: original size, desired size, scale, offset of the crop; each (y, x).
    """
    image_size = tf.cast(tf.shape(image)[0:2], tf.float32)
    target_size = tf.cast(desired_size, tf.float32)
    jitters = _has_jitter(aug_scale_min, aug_scale_max)
    scaled_size = target_size
    if jitters:
        scale = uniform(seed, 'scale', minval=aug_scale_min, maxval=aug_scale_max)
        scaled_size = tf.round(scale * target_size)
    if keep_aspect_ratio:
        scale = tf.minimum(scaled_size[0] / image_size[0], scaled_size[1] / image_size[1])
        scaled_size = tf.round(image_size * scale)

    resized = tf.image.resize(image, tf.cast(scaled_size, tf.int32), method=method)
    resized, offset = _crop(resized, scaled_size, target_size, seed, jitters=jitters)
    if padded_size is not None:
        resized = _pad(resized, padded_size, centered_crop)
    image_scale = scaled_size / image_size
    info = tf.stack([image_size, target_size, image_scale, tf.cast(offset, tf.float32)])
    return resized, info


def resize_and_crop_image_v2(
    image: tf.Tensor,
    short_side: int | tf.Tensor,
    long_side: int | tf.Tensor,
    padded_size: Size,
    aug_scale_min: float | tf.Tensor = 1.0,
    aug_scale_max: float | tf.Tensor = 1.0,
    seed: Seed = None,
    method: str = tf.image.ResizeMethod.BILINEAR,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Resizes the short side to `short_side` unless the long one would exceed `long_side`.

    As Faster R-CNN does (1506.01497), then jitters, crops and pads like `resize_and_crop_image`,
    whose arguments and results these are; the desired size is the one before the jitter.
    """
    image_size = tf.cast(tf.shape(image)[0:2], tf.float32)
    by_short = tf.round(image_size * (short_side / tf.reduce_min(image_size)))
    by_long = tf.round(image_size * (long_side / tf.reduce_max(image_size)))
    fits = tf.reduce_max(by_short) <= tf.cast(long_side, tf.float32)
    target_size = tf.where(fits, by_short, by_long)

    jitters = _has_jitter(aug_scale_min, aug_scale_max)
    scaled_size = target_size
    if jitters:
        scale = uniform(seed, 'scale', minval=aug_scale_min, maxval=aug_scale_max)
        scaled_size = tf.round(scale * target_size)
    resized = tf.image.resize(image, tf.cast(scaled_size, tf.int32), method=method)
    resized, offset = _crop(resized, scaled_size, target_size, seed, jitters=jitters)
    padded = tf.image.pad_to_bounding_box(resized, 0, 0, padded_size[0], padded_size[1])
    image_scale = scaled_size / image_size
    info = tf.stack([image_size, target_size, image_scale, tf.cast(offset, tf.float32)])
    return padded, info


def _has_jitter(scale_min: float | tf.Tensor, scale_max: float | tf.Tensor) -> bool:
    return any(tf.is_tensor(s) or not math.isclose(s, 1.0) for s in (scale_min, scale_max))


def _crop(
    image: tf.Tensor, size: tf.Tensor, target_size: tf.Tensor, seed: Seed, *, jitters: bool
) -> tuple[tf.Tensor, tf.Tensor]:
    """Crops what exceeds the target at a uniform place; int32 [2] is the place."""
    if not jitters:
        return image, tf.zeros([2], tf.int32)
    excess = tf.maximum(size - target_size, 0.0)
    offset = tf.cast(excess * uniform(seed, 'offset', [2]), tf.int32)
    end = offset + tf.cast(target_size, tf.int32)
    return image[offset[0] : end[0], offset[1] : end[1], :], offset


def _pad(image: tf.Tensor, padded_size: Size, centered: bool) -> tf.Tensor:
    top, left = 0, 0
    if centered:
        size = tf.shape(image)[0:2]
        top = tf.maximum((padded_size[0] - size[0]) // 2, 0)
        left = tf.maximum((padded_size[1] - size[1]) // 2, 0)
    return tf.image.pad_to_bounding_box(image, top, left, padded_size[0], padded_size[1])


def resize_and_crop_boxes(
    boxes: tf.Tensor, image_scale: tf.Tensor, output_size: Size, offset: tf.Tensor
) -> tf.Tensor:
    """Boxes of the original image as boxes of the resized and cropped one, clipped to it.

    Args:
        boxes: [n, 4], yxyx in pixels of the original image.
        image_scale: [2], (y, x) scale; `image_info[2]`.
        output_size: [2], height and width to clip to; `image_info[1]`.
        offset: [2], (y, x) of the crop in the scaled image; `image_info[3]`.

    Returns:
        [n, 4], yxyx in pixels; empty boxes where nothing is left.
    """
    boxes = boxes * tf.tile(image_scale, [2]) - tf.tile(offset, [2])
    return box_ops.clip_boxes(boxes, output_size)


def resize_and_crop_masks(
    masks: tf.Tensor,
    image_scale: tf.Tensor,
    output_size: Size,
    offset: tf.Tensor,
    centered_crop: bool = False,
) -> tf.Tensor:
    """Masks of the original image as masks of the resized, cropped and padded one.

    Args:
        masks: [n, height, width, channels]; n may be 0.
        image_scale: [2], (y, x) scale.
        output_size: Two ints, height and width of the result.
        offset: [2], (y, x) of the crop in the scaled image.
        centered_crop: Whether the padding goes to all sides.

    Returns:
        [n, output height, output width, channels], nearest neighbours.
    """
    size = tf.cast(tf.shape(masks)[1:3], tf.float32)
    # One mask more, because resizing none at all fails.
    masks = tf.pad(masks, [[1, 0], [0, 0], [0, 0], [0, 0]])
    scaled_size = tf.cast(image_scale * size, tf.int32)
    scaled = tf.image.resize(masks, scaled_size, method=tf.image.ResizeMethod.NEAREST_NEIGHBOR)
    offset = tf.cast(offset, tf.int32)
    rows = slice(offset[0], offset[0] + output_size[0])
    columns = slice(offset[1], offset[1] + output_size[1])
    scaled = scaled[:, rows, columns, :]
    top, left = 0, 0
    if centered_crop:
        cropped_size = tf.shape(scaled)[1:3]
        top = tf.maximum((output_size[0] - cropped_size[0]) // 2, 0)
        left = tf.maximum((output_size[1] - cropped_size[1]) // 2, 0)
    return tf.image.pad_to_bounding_box(scaled, top, left, output_size[0], output_size[1])[1:]


def resize_image(
    image: tf.Tensor,
    size: tuple[int, int] | list[int] | int,
    max_size: int | None = None,
    method: str = tf.image.ResizeMethod.BILINEAR,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Resizes to a size, or the short side to a length (DETR, 2005.12872).

    Args:
        image: [height, width, channels].
        size: (width, height), or the length of the short side with the aspect ratio kept.
        max_size: Upper bound of the long side when `size` is one number.
        method: Of `tf.image.resize`.

    Returns:
        The resized image, and float32 [4, 2]: original size, new size, scale, zeros; each (y, x).
    """
    original = tf.shape(image)[0:2]
    if isinstance(size, (list, tuple)):
        new_size = tf.constant(list(size[::-1]), tf.int32)
    else:
        new_size = _compute_size_by_short_side(original, size, max_size)
    resized = tf.image.resize(image, new_size, method=method)
    info = tf.stack(
        [
            tf.cast(original, tf.float32),
            tf.cast(new_size, tf.float32),
            tf.cast(new_size / original, tf.float32),
            tf.zeros([2], tf.float32),
        ]
    )
    return resized, info


def _compute_size_by_short_side(
    original: tf.Tensor, short_side: int, max_size: int | None
) -> tf.Tensor:
    shortest = tf.cast(tf.reduce_min(original), tf.float32)
    longest = tf.cast(tf.reduce_max(original), tf.float32)
    short = tf.cast(short_side, tf.int32)
    if max_size is not None:
        bounded = tf.cast(tf.floor(max_size * shortest / longest), tf.int32)
        short = tf.where(longest / shortest * short_side > max_size, bounded, short)
    long = tf.cast(tf.cast(short, tf.float32) * longest / shortest, tf.int32)
    is_tall = original[1] < original[0]
    new_size = tf.where(is_tall, tf.stack([long, short]), tf.stack([short, long]))
    return tf.where(tf.reduce_min(original) == short, original, new_size)
