"""Copy-paste (2012.07177): objects of one image of a batch, cut out by their masks, in another.

Nothing is read twice, and what comes out depends on the batch and on keys only. Objects keep their
place and size, which scale jitter has changed before. What they hide is taken from the masks and
boxes of what was there.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from official_lite.core import randomness
from official_lite.vision.ops import box_ops, mask_windows, mosaic

__all__ = ['CopyPaste', 'build_copy_paste']

_PADDING = -1
_THRESHOLD = 0.5

Labels = dict[str, Any]
Objects = dict[str, tf.Tensor]


class CopyPaste:
    """Pastes objects within a batch.

    Args:
        prob: Chance that an image gets objects.
        object_prob: Chance that an object of the other image is taken.
        min_visible: Objects of which a smaller share stays visible are dropped.
        max_num_objects: Most objects that are pasted into an image.
        outer_boxes_scale: What boxes are enlarged by for masks (see `box_ops.compute_outer_boxes`).
    """

    def __init__(
        self,
        prob: float = 0.5,
        object_prob: float = 0.5,
        min_visible: float = 0.1,
        max_num_objects: int = 10,
        outer_boxes_scale: float = 1.0,
    ) -> None:
        self._prob = prob
        self._object_prob = object_prob
        self._min_visible = min_visible
        self._max_num_objects = max_num_objects
        self._outer_boxes_scale = outer_boxes_scale

    @tf.autograph.experimental.do_not_convert
    def __call__(
        self, images: tf.Tensor, labels: Labels, keys: tf.Tensor
    ) -> tuple[tf.Tensor, Labels]:
        """Changes a batch.

        Args:
            images: uint8 [batch, height, width, channels].
            labels: 'image_info' float32 [batch, 4, 2], and of objects, padded with -1: 'gt_boxes' and
                'gt_outer_boxes' float32 [batch, n, 4], yxyx in pixels, 'gt_classes' int32 [batch, n],
                'gt_masks' float32 [batch, n, size, size], each within its outer box.
            keys: int32 [batch, 2], a key of each image.

        Returns:
            Images of the same shape, and labels with other objects, perhaps of another number.
        """
        objects = {name: values for name, values in labels.items() if name.startswith('gt_')}
        num_images = tf.shape(images)[0]

        def change(row: tf.Tensor) -> tuple[tf.Tensor, Objects, tf.Tensor]:
            own = {name: values[row] for name, values in objects.items()}
            key = randomness.fold_in(keys[row], 'copy_paste')
            shift = 1 + randomness.uniform_int(
                key, 'other', minval=0, maxval=tf.maximum(num_images - 1, 1)
            )
            other = (row + shift) % num_images
            source = {name: values[other] for name, values in objects.items()}
            chosen, is_chosen = self._choose(source['gt_classes'], key)
            source = {name: tf.gather(values, chosen) for name, values in source.items()}
            is_chosen &= randomness.uniform(key, 'apply') < self._prob
            is_chosen &= other != row
            return tf.cond(
                tf.reduce_any(is_chosen),
                lambda: self._paste(
                    images[row], own, images[other], source, is_chosen, labels['image_info'][row]
                ),
                lambda: (images[row], *_join(own, own['gt_classes'] > 0, source, is_chosen)),
            )

        specs = {
            name: tf.TensorSpec([None, *values.shape[2:]], values.dtype)
            for name, values in objects.items()
        }
        mixed, found, is_kept = tf.map_fn(
            change,
            tf.range(num_images),
            fn_output_signature=(
                tf.TensorSpec(images.shape[1:], images.dtype),
                specs,
                tf.TensorSpec([None], tf.bool),
            ),
        )
        compact = {n: mosaic.compact_rows(v, is_kept, _PADDING) for n, v in found.items()}
        return mixed, {**labels, **compact}

    def _choose(self, classes: tf.Tensor, key: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Rows of objects of another image, int32 [m], and which of them are pasted, bool [m]."""
        draws = randomness.uniform(key, 'objects', tf.shape(classes))
        is_chosen = (classes > 0) & (draws < self._object_prob)
        order = tf.argsort(tf.where(is_chosen, draws, 2.0))[: self._max_num_objects]
        return order, tf.gather(is_chosen, order)

    def _paste(
        self,
        image: tf.Tensor,
        own: Objects,
        other: tf.Tensor,
        source: Objects,
        is_chosen: tf.Tensor,
        image_info: tf.Tensor,
    ) -> tuple[tf.Tensor, Objects, tf.Tensor]:
        """Image, objects of both, and which are there."""
        size = tf.shape(image)[:2]
        pasted = _draw_masks(source['gt_masks'], source['gt_outer_boxes'], size) > _THRESHOLD
        covered = tf.reduce_any(pasted & is_chosen[:, None, None], axis=0)  # [height, width]
        own, is_visible = self._hide(own, covered, image_info)
        mixed = tf.where(covered[..., None], other, image)
        return (mixed, *_join(own, is_visible, source, is_chosen))

    def _hide(
        self, own: Objects, covered: tf.Tensor, image_info: tf.Tensor
    ) -> tuple[Objects, tf.Tensor]:
        """Objects without what is covered, and bool [n]: enough of them is left."""
        masks, outer = own['gt_masks'], own['gt_outer_boxes']
        size = tf.shape(masks)[1]
        relative = box_ops.normalize_boxes(outer, tf.shape(covered))
        maps = tf.repeat(tf.cast(covered, tf.float32)[None], tf.shape(outer)[0], axis=0)
        hidden = mask_windows.crop_masks(maps, relative, size)
        left = masks * (1.0 - hidden)
        area, area_left = (tf.reduce_sum(m, axis=(1, 2)) for m in (masks, left))
        is_visible = (own['gt_classes'] > 0) & (area_left >= self._min_visible * area)
        is_visible &= area_left > 0
        is_changed = is_visible & (area_left < area)
        sides = tf.tile(outer[:, 2:] - outer[:, :2], [1, 2])
        origin = tf.tile(outer[:, :2], [1, 2])
        boxes = tf.where(is_changed[:, None], origin + _find_tight(left) * sides, own['gt_boxes'])
        new_outer = box_ops.compute_outer_boxes(boxes, image_info[1], self._outer_boxes_scale)
        relative = tf.math.divide_no_nan(new_outer - origin, sides)
        moved = mask_windows.crop_masks(left, relative, size)
        return {
            'gt_boxes': boxes,
            'gt_outer_boxes': tf.where(is_changed[:, None], new_outer, outer),
            'gt_classes': own['gt_classes'],
            'gt_masks': tf.where(is_changed[:, None, None], moved, masks),
        }, is_visible


def _join(
    own: Objects, is_own: tf.Tensor, source: Objects, is_chosen: tf.Tensor
) -> tuple[Objects, tf.Tensor]:
    joined = {name: tf.concat([own[name], source[name]], axis=0) for name in own}
    return joined, tf.concat([is_own, is_chosen], axis=0)


def _draw_masks(masks: tf.Tensor, boxes: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """float32 [n, height, width]: masks [n, rows, columns] in their boxes, 0 elsewhere; the inverse
    of `mask_windows.crop_masks`."""
    relative = box_ops.normalize_boxes(boxes, size)
    down = _make_weights(relative[:, 0], relative[:, 2], size[0], tf.shape(masks)[1])
    across = _make_weights(relative[:, 1], relative[:, 3], size[1], tf.shape(masks)[2])
    return tf.einsum('nhr,nrc,nwc->nhw', down, masks, across)


def _make_weights(
    start: tf.Tensor, end: tf.Tensor, length: tf.Tensor, num_samples: tf.Tensor
) -> tf.Tensor:
    """float32 [n, length, samples] of bilinear interpolation along an axis; 0 outside of the box."""
    places = tf.cast(tf.range(length), tf.float32) / tf.cast(length - 1, tf.float32)
    share = tf.math.divide_no_nan(places - start[:, None], (end - start)[:, None])  # [n, length]
    last = tf.cast(num_samples - 1, tf.float32)
    samples = tf.range(last + 1)
    weights = tf.nn.relu(1.0 - tf.abs(share[..., None] * last - samples))
    is_inside = (share >= 0) & (share <= 1)
    return tf.where(is_inside[..., None], weights, 0.0)


def _find_tight(masks: tf.Tensor) -> tf.Tensor:
    """float32 [n, 4], yxyx around what is in masks, as shares of their sides."""
    is_in = masks > _THRESHOLD
    # The whole, where nothing reaches the threshold.
    is_in |= ~tf.reduce_any(is_in, axis=(1, 2), keepdims=True)
    edges = []
    for axis in (2, 1):
        line = tf.cast(tf.reduce_any(is_in, axis=axis), tf.int32)  # [n, length]
        length = tf.shape(line)[1]
        first = tf.argmax(line, axis=1, output_type=tf.int32)
        last = length - 1 - tf.argmax(line[:, ::-1], axis=1, output_type=tf.int32)
        edges.append(
            [tf.cast(e, tf.float32) / tf.cast(length - 1, tf.float32) for e in (first, last)]
        )
    (top, bottom), (left, right) = edges
    return tf.stack([top, left, bottom, right], axis=1)


def build_copy_paste(config: Any, outer_boxes_scale: float = 1.0) -> CopyPaste | None:
    """What a `configs.common.CopyPaste` says; None of None."""
    if config is None:
        return None
    return CopyPaste(
        prob=config.prob,
        object_prob=config.object_prob,
        min_visible=config.min_visible,
        max_num_objects=config.max_num_objects,
        outer_boxes_scale=outer_boxes_scale,
    )
