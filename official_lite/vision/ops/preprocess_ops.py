"""Preprocessing of images and boxes: resizing, cropping, flipping, padding, normalising.

Model Garden's functions under their names. What is not random equals them to the last digit. What is
random draws from `seed`, which here has no default of 1:

- a key of `official_lite.core.randomness` (int32 tensor of shape [2]): the same numbers for the same
  key, always, and different ones in each function;
- an int: TensorFlow's operation seed;
- None: TensorFlow's global seed, if one is set.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import tensorflow as tf

from official_lite.core import randomness
from official_lite.vision.ops import box_ops

CENTER_CROP_FRACTION = 0.875

# Of the ImageNet training set (as published with torchvision and Model Garden).
MEAN_NORM = (0.485, 0.456, 0.406)
STDDEV_NORM = (0.229, 0.224, 0.225)
MEAN_RGB = tuple(255 * x for x in MEAN_NORM)
STDDEV_RGB = tuple(255 * x for x in STDDEV_NORM)
MEDIAN_RGB = (128.0, 128.0, 128.0)

horizontal_flip_boxes = box_ops.horizontal_flip_boxes
vertical_flip_boxes = box_ops.vertical_flip_boxes

Seed: TypeAlias = Any  # a key, an int or None; TensorFlow has no types of its own
Size: TypeAlias = Any  # two ints, or an integer tensor of shape [2]


def _is_key(seed: Seed) -> bool:
    return tf.is_tensor(seed)


def _uniform(
    seed: Seed, name: str, shape: Sequence[int] = (), *, minval: Any = 0.0, maxval: Any = 1.0
) -> tf.Tensor:
    if _is_key(seed):
        return randomness.uniform(seed, name, shape, minval=minval, maxval=maxval)
    return tf.random.uniform(shape, minval, maxval, seed=seed)


# ---- padding and normalising --------------------------------------------------------------------


def clip_or_pad_to_fixed_size(
    input_tensor: tf.Tensor, size: int, constant_values: float | str = 0
) -> tf.Tensor:
    """Cuts or pads the first dimension to `size`.

    Args:
        input_tensor: Tensor of shape [n, ...].
        size: Length of the result.
        constant_values: What to pad with.

    Returns:
        Tensor of shape [size, ...] and the same dtype.
    """
    kept = input_tensor[:size]
    num_missing = size - tf.shape(kept)[0]
    rest = tf.shape(kept)[1:]
    padding = tf.fill(tf.concat([[num_missing], rest], axis=0), constant_values)
    padded = tf.concat([kept, tf.cast(padding, kept.dtype)], axis=0)
    padded.set_shape([size, *input_tensor.shape[1:]])
    return padded


def normalize_image(
    image: tf.Tensor,
    offset: Sequence[float] = MEAN_NORM,
    scale: Sequence[float] = STDDEV_NORM,
) -> tf.Tensor:
    """(image - offset) / scale, after integer images are scaled to [0, 1].

    Args:
        image: Tensor of shape [..., height, width, channels]. Integers are in the range of their
            type; floats in the range of `offset` and `scale`.
        offset: Mean of each channel.
        scale: Standard deviation of each channel.

    Returns:
        float32 tensor of the same shape.
    """
    image = tf.image.convert_image_dtype(image, dtype=tf.float32)
    return normalize_scaled_float_image(image, offset, scale)


def normalize_scaled_float_image(
    image: tf.Tensor,
    offset: Sequence[float] = MEAN_NORM,
    scale: Sequence[float] = STDDEV_NORM,
) -> tf.Tensor:
    """(image - offset) / scale for a float image in the range of `offset` and `scale`."""
    image -= tf.constant(offset)
    image /= tf.constant(scale)
    return image


def compute_padded_size(desired_size: Size, stride: int) -> list[int] | tf.Tensor:
    """The smallest multiples of `stride` that are not below `desired_size` (height, width)."""
    if isinstance(desired_size, (list, tuple)):
        return [math.ceil(length / stride) * stride for length in desired_size]
    scaled = tf.cast(desired_size, tf.float32) / stride
    return tf.cast(tf.math.ceil(scaled) * stride, tf.int32)


# ---- resizing -----------------------------------------------------------------------------------


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
        seed: See the module's docstring.
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
        scale = _uniform(seed, 'scale', minval=aug_scale_min, maxval=aug_scale_max)
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
        scale = _uniform(seed, 'scale', minval=aug_scale_min, maxval=aug_scale_max)
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
    offset = tf.cast(excess * _uniform(seed, 'offset', [2]), tf.int32)
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


# ---- cropping -----------------------------------------------------------------------------------


def _compute_center_crop(size: tf.Tensor, fraction: float) -> tuple[tf.Tensor, tf.Tensor]:
    """int32 offset [2] and side [] of the central square of `fraction` times the short side."""
    size = tf.cast(size, tf.float32)
    side = fraction * tf.minimum(size[0], size[1])
    return tf.cast((size - side) / 2.0, tf.int32), tf.cast(side, tf.int32)


def center_crop_image(
    image: tf.Tensor, center_crop_fraction: float = CENTER_CROP_FRACTION
) -> tf.Tensor:
    """The central square, its side `center_crop_fraction` of the short side (1409.1556)."""
    offset, side = _compute_center_crop(tf.shape(image)[:2], center_crop_fraction)
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
    offset, side = _compute_center_crop(image_shape[:2], center_crop_fraction)
    window = tf.stack([offset[0], offset[1], side, side])
    return tf.image.decode_and_crop_jpeg(image_bytes, window, channels=3)


def _sample_crop(
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
    if _is_key(seed):
        offset, size, _ = tf.image.stateless_sample_distorted_bounding_box(
            image_shape, whole, randomness.fold_in(seed, 'crop'), **options
        )
    else:
        offset, size, _ = tf.image.sample_distorted_bounding_box(
            image_shape, whole, seed=seed or 0, **options
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
        seed: See the module's docstring.

    Returns:
        [crop height, crop width, channels].
    """
    offset, size = _sample_crop(tf.shape(image), aspect_ratio_range, area_range, max_attempts, seed)
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
    offset, size = _sample_crop(image_shape, aspect_ratio_range, area_range, max_attempts, seed)
    window = tf.stack([offset[0], offset[1], size[0], size[1]])
    return tf.image.decode_and_crop_jpeg(image_bytes, window, channels=3)


# ---- flipping -----------------------------------------------------------------------------------


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
        seed: See the module's docstring.
        prob: Probability.

    Returns:
        Image, boxes and masks; None where None was given.
    """
    do_flip = _uniform(seed, 'horizontal_flip') < prob
    return (
        tf.cond(do_flip, lambda: horizontal_flip_image(image), lambda: image),
        _flip_if(do_flip, horizontal_flip_boxes, normalized_boxes),
        _flip_if(do_flip, horizontal_flip_masks, masks),
    )


def random_vertical_flip(
    image: tf.Tensor,
    normalized_boxes: tf.Tensor | None = None,
    masks: tf.Tensor | None = None,
    seed: Seed = None,
    prob: float = 0.5,
) -> tuple[tf.Tensor, tf.Tensor | None, tf.Tensor | None]:
    """`random_horizontal_flip` upside down; masks are [n, height, width]."""
    do_flip = _uniform(seed, 'vertical_flip') < prob
    return (
        tf.cond(do_flip, lambda: tf.image.flip_up_down(image), lambda: image),
        _flip_if(do_flip, vertical_flip_boxes, normalized_boxes),
        _flip_if(do_flip, lambda m: m[:, ::-1, :], masks),
    )


def _flip_if(do_flip: tf.Tensor, flip: Any, value: tf.Tensor | None) -> tf.Tensor | None:
    if value is None:
        return None
    return tf.cond(do_flip, lambda: flip(value), lambda: value)


# ---- quality ------------------------------------------------------------------------------------


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
        seed: See the module's docstring.

    Returns:
        uint8 [height, width, 3].
    """
    do_apply = _uniform(seed, 'jpeg') <= prob_to_apply
    low, high = tf.cast(min_quality, tf.float32), tf.cast(max_quality, tf.float32)
    quality = tf.cast(tf.floor(_uniform(seed, 'jpeg_quality', minval=low, maxval=high)), tf.int32)
    return tf.cond(do_apply, lambda: tf.image.adjust_jpeg_quality(image, quality), lambda: image)
