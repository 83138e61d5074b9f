"""Decoders of images with a mask that TensorFlow Datasets has decoded already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from official_lite.vision.dataloaders import decoder

__all__ = ['TFDS_ID_TO_DECODER_MAP', 'CityscapesDecoder']

# The labels of Cityscapes that are evaluated, in the order of the labels to train on:
# https://github.com/mcordts/cityscapesScripts, helpers/labels.py.
_EVALUATED = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
_IGNORED = 255
_TRAIN_IDS = [_EVALUATED.index(n) if n in _EVALUATED else _IGNORED for n in range(256)]


class CityscapesDecoder(decoder.Decoder):
    """Gives labels their numbers of training, 0 to 18 and 255, and encodes image and mask again."""

    def decode(self, serialized_example: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        """One example as the features of a record.

        Args:
            serialized_example: `image_left` uint8 [height, width, 3], and `segmentation_label`
                uint8 [height, width, 1].

        Returns:
            'image/encoded' string [], a JPEG of quality 100; 'image/height' and 'image/width' int64
            []; 'image/segmentation/class/encoded' string [], a PNG.
        """
        image = tf.convert_to_tensor(serialized_example['image_left'])
        labels = tf.cast(serialized_example['segmentation_label'], tf.int32)
        labels = tf.gather(tf.constant(_TRAIN_IDS, tf.int32), labels & 255)
        height, width = tf.unstack(tf.shape(image, tf.int64)[:2])
        return {
            'image/encoded': tf.io.encode_jpeg(image, quality=100),
            'image/height': height,
            'image/width': width,
            'image/segmentation/class/encoded': tf.io.encode_png(tf.cast(labels, tf.uint8)),
        }


TFDS_ID_TO_DECODER_MAP: dict[str, type[decoder.Decoder]] = dict.fromkeys(
    (
        'cityscapes',
        'cityscapes/semantic_segmentation',
        'cityscapes/semantic_segmentation_extra',
    ),
    CityscapesDecoder,
)
