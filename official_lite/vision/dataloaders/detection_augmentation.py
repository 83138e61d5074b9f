"""What training does to images and boxes besides resizing them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from official_lite import errors
from official_lite.vision.ops import augment, mosaic, preprocess_ops

__all__ = ['Augmentation', 'build_augmentation']

# A label that carries an example's key to its batch.
_KEY = 'mosaic_key'
_NUM_KEYS = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Changes of records, of resized images and of batches. Only what is set costs anything.

    Attributes:
        policy: AutoAugment, RandAugment or SSD's crops, on the record's image. Boxes move along.
        jpeg: (lowest quality, highest quality, probability) of recompression.
        hflip, vflip: Whether half of the images are mirrored left to right, or upside down.
        erasing: Random erasing of the resized image. Boxes stay.
        mosaic: Arguments of `mosaic.make_mosaics`: 'prob', 'center_range', 'min_box_overlap'.
    """

    policy: augment.ImageAugment | None = None
    jpeg: tuple[int, int, float] | None = None
    hflip: bool = False
    vflip: bool = False
    erasing: augment.RandomErasing | None = None
    mosaic: Mapping[str, Any] | None = None

    def change_record(
        self, image: tf.Tensor, boxes: tf.Tensor, key: Any, masks: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:
        """Changes an image as it was read.

        Args:
            image: uint8 [height, width, 3].
            boxes: float32 [n, 4], yxyx normalised.
            key: int32 [2] that decides. None means TensorFlow's global generator.
            masks: uint8 [n, height, width] of 0 and 1, or None.

        Returns:
            uint8 image, perhaps of another size, and as many boxes, empty where nothing is left, and
            masks, or None.
        """
        if self.policy is not None:
            if masks is None:
                image, boxes = self.policy.distort_with_boxes(image, boxes, key)
            else:
                image, boxes, masks = self.policy.distort_with_masks(image, boxes, masks, key)
        if self.jpeg is not None:
            image = preprocess_ops.random_jpeg_quality(image, *self.jpeg, seed=key)
        if self.hflip:
            image, boxes, masks = preprocess_ops.random_horizontal_flip(
                image, boxes, masks, seed=key
            )
        if self.vflip:
            image, boxes, masks = preprocess_ops.random_vertical_flip(image, boxes, masks, seed=key)
        return image, boxes, masks

    def change_resized(self, image: tf.Tensor, key: Any) -> tf.Tensor:
        """Changes an image that has its size but no padding yet; uint8 [height, width, 3]."""
        return image if self.erasing is None else self.erasing.distort(image, key)

    def mark(self, labels: dict[str, Any], key: Any) -> dict[str, Any]:
        """Labels of an example with what `change_batch` needs."""
        if self.mosaic is None:
            return labels
        if key is None:
            key = tf.random.uniform([2], maxval=_NUM_KEYS, dtype=tf.int32)
        return {**labels, _KEY: key}

    def change_batch(
        self, images: tf.Tensor, labels: dict[str, Any], padding: Mapping[str, float]
    ) -> tuple[tf.Tensor, dict[str, Any]]:
        """Changes a batch.

        Args:
            images: uint8 [batch, height, width, 3].
            labels: With 'boxes', float32 [batch, n, 4], yxyx in pixels, and 'image_info'.
            padding: Labels of each box by name, [batch, n, ...], and what they are padded with.

        Returns:
            Images of the same shape and labels without what `mark` added; 'image_info' is that of
            the image at this place before.
        """
        if self.mosaic is None:
            return images, labels
        labels = dict(labels)
        keys = labels.pop(_KEY)
        images, boxes, is_kept, sources = mosaic.make_mosaics(
            images, labels['boxes'], _compute_content(labels['image_info']), keys, **self.mosaic
        )
        for name in padding.keys() & labels.keys() - {'boxes'}:
            labels[name] = tf.nest.map_structure(
                lambda values, name=name: mosaic.compact_rows(
                    _merge(tf.gather(values, sources)), is_kept, padding[name]
                ),
                labels[name],
            )
        labels['boxes'] = mosaic.compact_rows(boxes, is_kept, padding['boxes'])
        return images, labels


def _merge(values: tf.Tensor) -> tf.Tensor:
    """[batch, 4, n, ...] as [batch, 4 n, ...]."""
    shape = tf.shape(values)
    return tf.reshape(values, tf.concat([shape[:1], [-1], shape[3:]], axis=0))


def _compute_content(image_info: tf.Tensor) -> tf.Tensor:
    """int32 [batch, 2], height and width of what is not padding."""
    original, desired, scale, offset = tf.unstack(image_info, axis=1)
    return tf.cast(tf.round(tf.minimum(original * scale - offset, desired)), tf.int32)


def build_augmentation(config: Any, where: str = 'parser') -> Augmentation:
    """What a `configs.retinanet.Parser` says.

    Args:
        config: The config.
        where: Its path in the experiment, for messages.

    Raises:
        UsageError: `aug_type` is of a kind that is not for detection.
    """
    jpeg, erasing = config.aug_rand_jpeg, config.random_erasing
    return Augmentation(
        policy=_build_policy(config.aug_type, f'{where}.aug_type'),
        jpeg=jpeg and (jpeg.min_quality, jpeg.max_quality, jpeg.prob_to_apply),
        hflip=config.aug_rand_hflip,
        vflip=config.aug_rand_vflip,
        erasing=erasing and augment.RandomErasing(**_get_fields(erasing)),
        mosaic=_get_fields_of(config, 'mosaic'),
    )


def _build_policy(config: Any, where: str) -> augment.ImageAugment | None:
    kind = None if config is None else config.type
    if kind is None:
        return None
    if kind == 'autoaug':
        return augment.AutoAugment(**_get_fields(config.autoaug))
    if kind == 'randaug':
        return augment.RandAugment(**_get_fields(config.randaug))
    if kind == 'ssd_random_crop':
        crop = config.ssd_random_crop
        return augment.SSDRandomCrop(
            crop.ssd_random_crop_params, crop.aspect_ratio_range, crop.area_range
        )
    raise errors.UsageError(
        where=f'{where}.type',
        expected="'autoaug', 'randaug', 'ssd_random_crop' or null",
        received=repr(kind),
    )


def _get_fields_of(config: Any, name: str) -> dict[str, Any] | None:
    """Fields of a config's part; None if it has none of that name, or it is not set."""
    part = getattr(config, name, None)
    return None if part is None else _get_fields(part)


def _get_fields(config: Any) -> dict[str, Any]:
    """The fields of a config, which are the arguments of a class or function."""
    names = (field.name for field in dataclasses.fields(config))
    return {n: getattr(config, n) for n in names if n not in ('default_params', 'restrictions')}
