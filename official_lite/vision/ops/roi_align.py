"""Features cut out of a pyramid at boxes: RoIAlign (https://arxiv.org/abs/1703.06870, section 3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import tensorflow as tf

__all__ = ['compute_box_levels', 'multilevel_crop_and_resize']

# A box of this side, in px, belongs to this level (https://arxiv.org/abs/1612.03144, equation 1).
_CANONICAL_SIDE = 224.0
_CANONICAL_LEVEL = 4.0


def compute_box_levels(boxes: tf.Tensor, min_level: int, max_level: int) -> tf.Tensor:
    """Level of each box: one up for each doubling of its side.

    Args:
        boxes: Boxes in pixels [..., 4].
        min_level: Finest level.
        max_level: Coarsest level.

    Returns:
        int32 [...].
    """
    ymin, xmin, ymax, xmax = tf.unstack(tf.cast(boxes, tf.float32), axis=-1)
    sides = tf.sqrt(tf.maximum((ymax - ymin) * (xmax - xmin), 1e-8))
    octaves = tf.math.floordiv(tf.math.log(sides / _CANONICAL_SIDE), tf.math.log(2.0))
    return tf.clip_by_value(tf.cast(octaves + _CANONICAL_LEVEL, tf.int32), min_level, max_level)


def multilevel_crop_and_resize(
    features: Mapping[str, tf.Tensor],
    boxes: tf.Tensor,
    output_size: int = 7,
    sample_offset: float = 0.5,
) -> tf.Tensor:
    """Cuts each box out of the level that fits its size, in `output_size` by `output_size` bins.

    A bin's value is read at one point by bilinear interpolation between the pixels of the level,
    whose places are 0, 1, ... strides; points beyond the last pixel get its value. Boxes get no
    gradient.

    Args:
        features: Feature maps by level, [batch, height_l, width_l, channels].
        boxes: Boxes in pixels of the image, [batch, boxes, 4].
        output_size: Height and width of the result.
        sample_offset: Where in a bin the point lies, as a share of its side.

    Returns:
        [batch, boxes, output_size, output_size, channels], of the features' dtype.
    """
    levels = sorted(int(level) for level in features)
    dtype, channels = features[str(levels[0])].dtype, features[str(levels[0])].shape[-1]
    boxes = tf.stop_gradient(tf.cast(boxes, tf.float32))
    shape = tf.shape(boxes)
    flat = tf.reshape(boxes, [-1, 4])
    images = tf.repeat(tf.range(shape[0]), shape[1])
    box_levels = compute_box_levels(flat, levels[0], levels[-1])
    places, crops = [], []
    for level in levels:
        at_level = tf.cast(tf.where(box_levels == level)[:, 0], tf.int32)
        crops.append(
            _crop(
                tf.cast(features[str(level)], tf.float32),
                tf.gather(flat, at_level) / 2.0**level,
                tf.gather(images, at_level),
                output_size,
                sample_offset,
            )
        )
        places.append(at_level)
    joined = tf.cast(tf.dynamic_stitch(places, crops), dtype)
    count = boxes.shape[1] or shape[1]
    return tf.reshape(joined, [shape[0], count, output_size, output_size, channels])


def _crop(
    feature: tf.Tensor, boxes: tf.Tensor, images: tf.Tensor, output_size: int, sample_offset: float
) -> tf.Tensor:
    """Crops [boxes, output_size, output_size, channels] at boxes in pixels of one feature map.

    TensorFlow's kernel reads at points from the first to the last corner of what it is given.
    """
    # A copy of the last row and column stands in for points beyond them.
    feature = tf.pad(feature, [[0, 0], [0, 1], [0, 1], [0, 0]], 'SYMMETRIC')
    last = tf.cast(tf.shape(feature)[1:3] - 1, tf.float32)  # [2]
    starts, ends = boxes[:, :2], boxes[:, 2:]
    bins = (ends - starts) / output_size
    first_points = tf.maximum(starts + sample_offset * bins, 0.0) / last
    last_points = tf.maximum(starts + (output_size - 1 + sample_offset) * bins, 0.0) / last
    points = tf.minimum(tf.concat([first_points, last_points], axis=-1), 1.0)
    return _read_points(feature, points, images, output_size)


def _read_points(
    feature: tf.Tensor, points: tf.Tensor, images: tf.Tensor, output_size: int
) -> tf.Tensor:
    """TensorFlow's kernel, with a gradient of ours.

    Its own adds boxes up in several threads without a lock: on the CPU, what two boxes add to the
    same pixel at the same moment is lost now and then (https://github.com/tensorflow/tensorflow/issues/42033),
    and no two runs have the same gradient.

    Args:
        feature: float32 [batch, height, width, channels].
        points: First and last point, yxyx, from 0 for the first pixel to 1 for the last,
            float32 [boxes, 4].
        images: int32 [boxes], which image each box is of.
        output_size: How many points in each direction.

    Returns:
        float32 [boxes, output_size, output_size, channels].
    """

    @tf.custom_gradient
    def read(feature: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        def spread(gradient: tf.Tensor) -> tf.Tensor:
            return _spread(gradient, points, images, tf.shape(feature))

        size = [output_size, output_size]
        return tf.image.crop_and_resize(feature, points, images, size), spread

    return read(feature)


def _spread(
    gradient: tf.Tensor, points: tf.Tensor, images: tf.Tensor, shape: tf.Tensor
) -> tf.Tensor:
    """What each pixel gets of the gradients of the points next to it.

    Args:
        gradient: float32 [boxes, size, size, channels].
        points: As in `_read_points`.
        images: As in `_read_points`.
        shape: int32 [4], of the feature map and of the result.
    """
    batch, height, width, channels = tf.unstack(shape)
    size = gradient.shape[1]
    rows, row_weights = _find_neighbours(points[:, 0], points[:, 2], height, size)
    columns, column_weights = _find_neighbours(points[:, 1], points[:, 3], width, size)
    places = images[:, None, None] * height + rows  # [boxes, size, 2]
    places = places[:, :, None, :, None] * width + columns[:, None, :, None, :]
    weights = row_weights[:, :, None, :, None] * column_weights[:, None, :, None, :]
    flat = tf.reshape(places, [-1])
    num_points = tf.size(flat) // 4
    indices = tf.stack([flat, tf.range(4 * num_points) // 4], axis=-1)
    matrix = tf.SparseTensor(  # [pixels, points]
        tf.cast(indices, tf.int64),
        tf.reshape(weights, [-1]),
        tf.cast(tf.stack([batch * height * width, num_points]), tf.int64),
    )
    of_points = tf.reshape(gradient, [num_points, channels])
    return tf.reshape(tf.sparse.sparse_dense_matmul(matrix, of_points), shape)


def _find_neighbours(
    first: tf.Tensor, last: tf.Tensor, num_pixels: tf.Tensor, size: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """The pixels on both sides of each of `size` points from `first` to `last`, and their shares.

    Returns:
        int32 and float32 [boxes, size, 2].
    """
    end = tf.cast(num_pixels - 1, tf.float32)
    if size == 1:
        places = 0.5 * (first + last)[:, None] * end
    else:
        steps = (last - first) * end / (size - 1)
        places = first[:, None] * end + tf.range(size, dtype=tf.float32) * steps[:, None]
    below = tf.floor(places)
    share = places - below
    pixels = tf.stack([below, tf.minimum(below + 1.0, end)], axis=-1)
    return tf.cast(pixels, tf.int32), tf.stack([1.0 - share, share], axis=-1)
