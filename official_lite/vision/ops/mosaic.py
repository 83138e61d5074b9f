"""Mosaic (YOLOv4, 2004.10934): four images of a batch in one.

The four meet at a random place. Each keeps its scale and shows a random part of itself. They are
neighbours in the batch, so no image is read or decoded twice, and what comes out depends on the
batch and on keys only.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from official_lite.core import randomness
from official_lite.vision.ops import iou_similarity

__all__ = ['compact_rows', 'make_mosaics']

_NUM_TILES = 4


@tf.autograph.experimental.do_not_convert
def make_mosaics(
    images: tf.Tensor,
    boxes: tf.Tensor,
    content_sizes: tf.Tensor,
    keys: tf.Tensor,
    *,
    prob: float = 0.5,
    center_range: Sequence[float] = (0.25, 0.75),
    min_box_overlap: float = 0.1,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Makes mosaics of some images of a batch.

    Args:
        images: uint8 [batch, height, width, channels].
        boxes: float32 [batch, n, 4], yxyx in pixels; negative where there is none.
        content_sizes: int32 [batch, 2], height and width of the images without padding, which is at
            the bottom and on the right.
        keys: int32 [batch, 2], a key of each image.
        prob: Chance that an image becomes a mosaic.
        center_range: Smallest and largest place where the four meet, as a share of height and width.
        min_box_overlap: Boxes of which a smaller share is left are dropped.

    Returns:
        images: uint8 [batch, height, width, channels].
        boxes: float32 [batch, 4 n, 4].
        is_kept: bool [batch, 4 n], which of these are boxes of the new images.
        sources: int32 [batch, 4], from which image of the batch each n boxes are.
    """
    num_images = tf.shape(images)[0]
    size = tf.shape(images)[1:3]
    plans = tf.map_fn(
        lambda key: _draw_plan(key, size, prob, center_range),
        keys,
        fn_output_signature=(tf.bool, tf.int32, tf.int32, tf.float32),
    )
    is_mosaic, centres, order, shares = plans
    sources = (tf.range(num_images)[:, tf.newaxis] + order) % num_images  # [batch, 4]
    own = tf.tile(tf.range(num_images)[:, tf.newaxis], [1, _NUM_TILES])
    sources = tf.where(is_mosaic[:, tf.newaxis], sources, own)
    starts, ends = _place_tiles(centres, size)  # [batch, 4, 2] each
    room = tf.maximum(tf.gather(content_sizes, sources) - (ends - starts), 0)
    offsets = tf.cast(shares * tf.cast(room + 1, tf.float32), tf.int32)
    mixed = tf.map_fn(
        lambda x: tf.cond(
            x[1], lambda: _join_tiles(images, x[2], x[3], x[4] - x[5]), lambda: images[x[0]]
        ),
        (tf.range(num_images), is_mosaic, sources, offsets, ends, starts),
        fn_output_signature=tf.TensorSpec(images.shape[1:], images.dtype),
    )
    moved, is_kept = _move_boxes(tf.gather(boxes, sources), starts, ends, offsets, min_box_overlap)
    # An image that stays as it is has its own boxes, once.
    is_first = tf.range(_NUM_TILES)[:, tf.newaxis] == 0
    as_before = tf.logical_and(boxes[:, tf.newaxis, :, 2] >= 0, is_first)
    is_mosaic = is_mosaic[:, tf.newaxis, tf.newaxis]
    is_kept = tf.where(is_mosaic, is_kept, as_before)
    moved = tf.where(is_mosaic[..., tf.newaxis], moved, boxes[:, tf.newaxis])
    shape = [num_images, -1]
    return mixed, tf.reshape(moved, [*shape, 4]), tf.reshape(is_kept, shape), sources


def _draw_plan(
    key: tf.Tensor, size: tf.Tensor, prob: float, center_range: Sequence[float]
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Whether; int32 [2] centre; int32 [4] order of the tiles; float32 [4, 2] places of the parts."""
    key = randomness.fold_in(key, 'mosaic')
    low, high = center_range
    centre = randomness.uniform(key, 'centre', [2], minval=low, maxval=high)
    return (
        randomness.uniform(key, 'apply') < prob,
        tf.cast(tf.round(centre * tf.cast(size, tf.float32)), tf.int32),
        tf.argsort(randomness.uniform(key, 'order', [_NUM_TILES])),
        randomness.uniform(key, 'parts', [_NUM_TILES, 2]),
    )


def _place_tiles(centres: tf.Tensor, size: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """int32 [batch, 4, 2], first and last-plus-one row and column of each tile."""
    y, x = tf.unstack(centres, axis=-1)
    zero, height, width = (
        tf.zeros_like(y),
        tf.fill(tf.shape(y), size[0]),
        tf.fill(tf.shape(y), size[1]),
    )
    starts = [(zero, zero), (zero, x), (y, zero), (y, x)]
    ends = [(y, x), (y, width), (height, x), (height, width)]
    return tuple(
        tf.stack([tf.stack(corner, axis=-1) for corner in corners], axis=1)
        for corners in (starts, ends)
    )


def _join_tiles(
    images: tf.Tensor, sources: tf.Tensor, offsets: tf.Tensor, sizes: tf.Tensor
) -> tf.Tensor:
    """uint8 [height, width, channels] of four parts of images: two above and two below."""
    tiles = []
    for number in range(_NUM_TILES):
        begin, end = offsets[number], offsets[number] + sizes[number]
        tiles.append(images[sources[number], begin[0] : end[0], begin[1] : end[1]])
    rows = [tf.concat(tiles[:2], axis=1), tf.concat(tiles[2:], axis=1)]
    return tf.ensure_shape(tf.concat(rows, axis=0), images.shape[1:])


def _move_boxes(
    boxes: tf.Tensor,
    starts: tf.Tensor,
    ends: tf.Tensor,
    offsets: tf.Tensor,
    min_box_overlap: float,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Boxes [batch, 4, n, 4] clipped to their tiles, and bool [batch, 4, n]: enough is left."""
    shift = tf.cast(tf.tile(starts - offsets, [1, 1, 2]), tf.float32)[:, :, tf.newaxis]
    low = tf.cast(tf.tile(starts, [1, 1, 2]), tf.float32)[:, :, tf.newaxis]
    high = tf.cast(tf.tile(ends, [1, 1, 2]), tf.float32)[:, :, tf.newaxis]
    moved = tf.clip_by_value(boxes + shift, low, high)
    area, left = iou_similarity.area(boxes), iou_similarity.area(moved)
    is_kept = (boxes[..., 2] >= 0) & (left > 0) & (left >= min_box_overlap * area)
    return moved, is_kept


def compact_rows(values: tf.Tensor, is_kept: tf.Tensor, padding: float) -> tf.Tensor:
    """Moves what is kept to the front, in order, and cuts what no row of the batch needs.

    Args:
        values: [batch, n, ...].
        is_kept: bool [batch, n].
        padding: What stands in place of what is not kept.

    Returns:
        [batch, m, ...], where m is the largest count of a row.
    """
    counts = tf.reduce_sum(tf.cast(is_kept, tf.int32), axis=1)
    length = tf.reduce_max(counts)
    order = tf.argsort(tf.cast(is_kept, tf.int32), direction='DESCENDING', stable=True)
    front = tf.gather(values, order[:, :length], batch_dims=1)
    is_there = tf.range(length) < counts[:, tf.newaxis]
    is_there = tf.reshape(
        is_there, tf.concat([tf.shape(front)[:2], [1] * (values.shape.rank - 2)], 0)
    )
    return tf.where(is_there, front, tf.cast(padding, values.dtype))
