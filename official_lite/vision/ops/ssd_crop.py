"""SSD's random crops (1512.02325), which keep a share of some object inside."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from official_lite.core import randomness
from official_lite.vision.ops import box_ops, image_augment
from official_lite.vision.ops.random_draws import Seed, coin, fold_in, is_key, uniform_int

__all__ = ['CropCase', 'SSDRandomCrop', 'crop_normalized_boxes', 'filter_boxes_by_ioa']

_MAX_ATTEMPTS = 100


@dataclasses.dataclass(frozen=True)
class CropCase:
    """One way of cropping.

    Attributes:
        min_object_covered: Least share of some object that is inside the crop.
        min_box_overlap: Boxes with a smaller share inside the crop are dropped.
        prob_to_apply: Chance that the crop is applied.
    """

    min_object_covered: float = 0.0
    min_box_overlap: float = 0.5
    prob_to_apply: float = 0.85


# Section 2.2 of the paper, with 0 and 1 besides as in the TensorFlow Object Detection API.
_CASES = tuple(CropCase(share) for share in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0))


def filter_boxes_by_ioa(
    bboxes: tf.Tensor, crop_box: tf.Tensor, min_box_overlap: float | tf.Tensor
) -> tf.Tensor:
    """Makes boxes empty of which less than a share is inside the crop.

    Args:
        bboxes: float32 [n, 4].
        crop_box: float32 [1, 1, 4], in the same coordinates.
        min_box_overlap: Least area inside, as a share of the box's area.

    Returns:
        float32 [n, 4]; zeros in place of the others.
    """
    ymin, xmin, ymax, xmax = tf.unstack(bboxes, axis=-1)
    top, left, bottom, right = tf.unstack(tf.reshape(crop_box, [4]))
    height = tf.maximum(tf.minimum(ymax, bottom) - tf.maximum(ymin, top), 0.0)
    width = tf.maximum(tf.minimum(xmax, right) - tf.maximum(xmin, left), 0.0)
    area = (ymax - ymin) * (xmax - xmin)
    share = tf.math.divide_no_nan(height * width, area)
    return tf.where((share >= min_box_overlap)[:, tf.newaxis], bboxes, 0.0)


def crop_normalized_boxes(
    bboxes: tf.Tensor, ori_image_size: tf.Tensor, new_image_size: tf.Tensor, offset: tf.Tensor
) -> tf.Tensor:
    """Boxes of an image as boxes of a crop of it.

    Args:
        bboxes: float32 [n, 4], yxyx normalised by the image's size.
        ori_image_size: int [2], height and width of the image.
        new_image_size: int [2], height and width of the crop.
        offset: int [2], row and column of its top left corner.

    Returns:
        float32 [n, 4], normalised by the crop's size and clipped to it.
    """
    boxes = box_ops.denormalize_boxes(bboxes, ori_image_size)
    boxes -= tf.tile(tf.cast(offset, tf.float32), [2])
    return tf.clip_by_value(box_ops.normalize_boxes(boxes, new_image_size), 0.0, 1.0)


class SSDRandomCrop(image_augment.ImageAugment):
    """Draws one of several ways of cropping, and then, perhaps, crops.

    Args:
        params: Things with the attributes of `CropCase`. None means SSD's seven.
        aspect_ratio_range: Smallest and largest width by height of a crop.
        area_range: Smallest and largest area, as a share of the image's.
    """

    def __init__(
        self,
        params: Sequence[Any] | None = None,
        aspect_ratio_range: tuple[float, float] = (0.5, 2.0),
        area_range: tuple[float, float] = (0.1, 1.0),
    ) -> None:
        cases = _CASES if params is None else tuple(params)
        if not cases:
            raise ValueError('Expected one way of cropping or more. Received: none')
        self._covered = [case.min_object_covered for case in cases]
        self._overlaps = [case.min_box_overlap for case in cases]
        self._probs = [case.prob_to_apply for case in cases]
        self._options = {
            'aspect_ratio_range': tuple(aspect_ratio_range),
            'area_range': tuple(area_range),
            'max_attempts': _MAX_ATTEMPTS,
            'use_image_if_no_bounding_boxes': True,
        }

    @tf.autograph.experimental.do_not_convert
    def _distort(
        self, image: tf.Tensor, bboxes: Any, seed: Seed, is_mask: bool = False
    ) -> tuple[tf.Tensor, Any]:
        """The crop has another size than the image; boxes that were dropped are zeros."""
        del is_mask  # a crop is a crop
        seed = fold_in(seed, 'ssd_random_crop')
        number = uniform_int(seed, 'case', maxval=len(self._probs))
        is_cropped = coin(seed, 'apply', tf.constant(self._probs)[number])
        boxes = tf.zeros([0, 4]) if bboxes is None else bboxes
        image, boxes = tf.cond(
            is_cropped,
            lambda: self._crop(image, boxes, number, seed),
            lambda: (tf.identity(image), tf.identity(boxes)),
        )
        return image, None if bboxes is None else boxes

    def _crop(
        self, image: tf.Tensor, bboxes: tf.Tensor, number: tf.Tensor, seed: Seed
    ) -> tuple[tf.Tensor, tf.Tensor]:
        bboxes = tf.clip_by_value(bboxes, 0.0, 1.0)
        options: dict[str, Any] = {
            'image_size': tf.shape(image),
            'bounding_boxes': bboxes[tf.newaxis],
            'min_object_covered': tf.constant(self._covered)[number],
            **self._options,
        }
        if is_key(seed):
            offset, size, window = tf.image.stateless_sample_distorted_bounding_box(
                seed=randomness.fold_in(seed, 'window'), **options
            )
        else:
            offset, size, window = tf.image.sample_distorted_bounding_box(
                seed=fold_in(seed, 'window') or 0, **options
            )
        kept = filter_boxes_by_ioa(bboxes, window, tf.constant(self._overlaps)[number])
        kept = crop_normalized_boxes(kept, tf.shape(image)[:2], size[:2], offset[:2])
        return tf.slice(image, offset, size), kept
