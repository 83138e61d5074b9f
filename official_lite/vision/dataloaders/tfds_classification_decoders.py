"""Decoders of images with one class that TensorFlow Datasets has decoded already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from official_lite.vision.dataloaders import decoder

__all__ = ['TFDS_ID_TO_DECODER_MAP', 'ClassificationDecoder']

_NAMES = (
    'cifar10',
    'cifar100',
    'imagenet2012',
    'imagenet2012_fewshot',
    'imagenet2012_fewshot/10shot',
)


class ClassificationDecoder(decoder.Decoder):
    """Encodes the image again, because parsers of classification crop while they decode."""

    def decode(self, serialized_example: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        """One example as the features of a record.

        Args:
            serialized_example: `image` uint8 [height, width, 3] and `label` int [].

        Returns:
            'image/encoded' string [], a JPEG of quality 100, and 'image/class/label'.
        """
        image = tf.io.encode_jpeg(serialized_example['image'], quality=100)
        return {'image/encoded': image, 'image/class/label': serialized_example['label']}


TFDS_ID_TO_DECODER_MAP: dict[str, type[decoder.Decoder]] = dict.fromkeys(
    _NAMES, ClassificationDecoder
)
