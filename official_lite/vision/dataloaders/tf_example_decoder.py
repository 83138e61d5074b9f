"""Decoder of `tf.train.Example`s with the features of Model Garden's detection data sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from official_lite.vision.dataloaders import decoder
from official_lite.vision.dataloaders import source as source_lib

__all__ = ['BOX_KEYS', 'TfExampleDecoder']

# Of a box, in the order of a box: yxyx.
BOX_KEYS = tuple(f'image/object/bbox/{edge}' for edge in ('ymin', 'xmin', 'ymax', 'xmax'))

_NUM_HASH_BUCKETS = 1 << 53  # what a float64, and so JSON, holds exactly


class TfExampleDecoder(decoder.Decoder):
    """Decodes image, boxes, classes and masks.

    Args:
        include_mask: Whether to decode instance masks.
        regenerate_source_id: Whether to make the id from the image even where there is one.
        mask_binarize_threshold: Masks become 1 above this and 0 elsewhere. None leaves them.
        attribute_names: Attributes of objects to read, integers; as many for each object as there
            are values by objects.
    """

    def __init__(
        self,
        include_mask: bool = False,
        regenerate_source_id: bool = False,
        mask_binarize_threshold: float | None = None,
        attribute_names: Sequence[str] | None = None,
    ) -> None:
        self._include_mask = include_mask
        self._regenerate_source_id = regenerate_source_id
        self._mask_binarize_threshold = mask_binarize_threshold
        self._attribute_names = list(attribute_names or ())
        self._keys_to_features = self._make_features()

    def _make_features(self) -> dict[str, Any]:
        def make_list(dtype: tf.DType) -> tf.io.RaggedFeature:
            return tf.io.RaggedFeature(dtype)

        features: dict[str, Any] = {
            'image/encoded': tf.io.FixedLenFeature((), tf.string),
            'image/source_id': tf.io.FixedLenFeature((), tf.string, ''),
            'image/height': tf.io.FixedLenFeature((), tf.int64, -1),
            'image/width': tf.io.FixedLenFeature((), tf.int64, -1),
            'image/object/class/label': make_list(tf.int64),
            'image/object/area': make_list(tf.float32),
            'image/object/is_crowd': make_list(tf.int64),
        }
        features |= {key: make_list(tf.float32) for key in BOX_KEYS}
        features |= {
            f'image/object/attribute/{name}': make_list(tf.int64) for name in self._attribute_names
        }
        if self._include_mask:
            features['image/object/mask'] = make_list(tf.string)
        return features

    def decode(
        self, serialized_example: tf.Tensor, fallback_source_id: tf.Tensor | None = None
    ) -> dict[str, Any]:
        """Decodes one example.

        Args:
            serialized_example: string [].
            fallback_source_id: string []. The id of a record that has none. None: a hash of the
                image.

        Returns:
            'source_id' string []; 'image' uint8 [height, width, 3]; 'height', 'width' int64 [];
            'groundtruth_classes' int64 [n]; 'groundtruth_is_crowd' bool [n]; 'groundtruth_area'
            float32 [n], square pixels; 'groundtruth_boxes' float32 [n, 4], yxyx normalised. With
            masks also 'groundtruth_instance_masks' float32 [n, height, width] and
            'groundtruth_instance_masks_png' string [n]; with attributes also
            'groundtruth_attributes', a dict of int64 [n, size]; raises inside tf.data if an image
            with objects has no attribute, or one for some of them.
        """
        parsed = tf.io.parse_single_example(serialized_example, self._keys_to_features)
        image = source_lib.decode_image(parsed['image/encoded'])
        height, width = self._get_size(parsed, image)
        boxes = tf.stack([parsed[key] for key in BOX_KEYS], axis=-1)  # [n, 4]
        classes = self._decode_classes(parsed)
        decoded: dict[str, Any] = {
            'source_id': self._get_source_id(parsed, fallback_source_id),
            'image': image,
            'height': height,
            'width': width,
            'groundtruth_classes': classes,
            'groundtruth_is_crowd': _fill_if_empty(
                tf.cast(parsed['image/object/is_crowd'], tf.bool), tf.zeros_like(classes, tf.bool)
            ),
            'groundtruth_area': _fill_if_empty(
                parsed['image/object/area'], _compute_areas(boxes, height, width)
            ),
            'groundtruth_boxes': boxes,
        }
        if self._attribute_names:
            decoded['groundtruth_attributes'] = {
                name: _split_by_object(
                    parsed[f'image/object/attribute/{name}'], tf.shape(boxes)[0], name
                )
                for name in self._attribute_names
            }
        if self._include_mask:
            masks = parsed['image/object/mask']
            decoded['groundtruth_instance_masks'] = self._decode_masks(masks, height, width)
            decoded['groundtruth_instance_masks_png'] = masks
        return decoded

    def _get_size(
        self, parsed: dict[str, tf.Tensor], image: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The record's size, or, where it has none, the image's."""
        height, width = parsed['image/height'], parsed['image/width']
        is_missing = tf.logical_or(height < 0, width < 0)
        size = tf.shape(image, tf.int64)
        return tf.where(is_missing, size[0], height), tf.where(is_missing, size[1], width)

    def _get_source_id(self, parsed: dict[str, tf.Tensor], fallback: tf.Tensor | None) -> tf.Tensor:
        if fallback is None:
            number = tf.strings.to_hash_bucket_fast(parsed['image/encoded'], _NUM_HASH_BUCKETS)
            fallback = tf.strings.as_string(number)
        if self._regenerate_source_id:
            return fallback
        source_id = parsed['image/source_id']
        return tf.where(tf.strings.length(source_id) > 0, source_id, fallback)

    def _decode_classes(self, parsed: dict[str, tf.Tensor]) -> tf.Tensor:
        return parsed['image/object/class/label']

    def _decode_masks(self, masks: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
        def decode_mask(png: tf.Tensor) -> tf.Tensor:
            mask = tf.io.decode_png(png, channels=1, dtype=tf.uint8)
            return tf.cast(mask[..., 0], tf.float32)

        decoded = tf.cond(
            tf.size(masks) > 0,
            lambda: tf.map_fn(
                decode_mask, masks, fn_output_signature=tf.TensorSpec([None, None], tf.float32)
            ),
            lambda: tf.zeros([0, height, width]),
        )
        if self._mask_binarize_threshold is None:
            return decoded
        return tf.cast(decoded > self._mask_binarize_threshold, tf.float32)


def _split_by_object(values: tf.Tensor, num_objects: tf.Tensor, name: str) -> tf.Tensor:
    """[n * size] to [n, size]; without objects [0, 1]."""
    size = tf.maximum(tf.size(values) // tf.maximum(num_objects, 1), 1)
    check = tf.debugging.assert_equal(
        size * num_objects,
        tf.size(values),
        message=f'image/object/attribute/{name} has not as many values for each of the objects',
    )
    with tf.control_dependencies([check] if check is not None else []):
        return tf.reshape(values, [num_objects, size])


def _fill_if_empty(values: tf.Tensor, otherwise: tf.Tensor) -> tf.Tensor:
    return tf.cond(tf.size(values) > 0, lambda: values, lambda: otherwise)


def _compute_areas(boxes: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Square pixels of normalised boxes; the size is known by now, whoever knew it."""
    sides = boxes[:, 2:] - boxes[:, :2]  # [n, 2]
    return sides[:, 0] * sides[:, 1] * tf.cast(height * width, tf.float32)
