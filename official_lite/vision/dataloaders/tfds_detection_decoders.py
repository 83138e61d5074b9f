"""Decoders of examples that TensorFlow Datasets has decoded already, by the data set's name.

Data sets are read by `tfds_source`, which needs none of these; they are for code that calls
`tfds.load` itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from official_lite.vision.dataloaders import decoder

__all__ = ['TFDS_ID_TO_DECODER_MAP', 'MSCOCODecoder']


class MSCOCODecoder(decoder.Decoder):
    """Decodes examples with the features of TensorFlow Datasets' `coco`."""

    def decode(self, serialized_example: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        """One example as a record.

        Args:
            serialized_example: `image` uint8 [height, width, 3], `image/id`, and `objects` with `bbox`
                float [n, 4], yxyx normalised, `label` int [n] from 0, `is_crowd` bool [n] and
                `area` [n].

        Returns:
            As `tf_example_decoder.TfExampleDecoder.decode`, without masks. Labels are from 1, because 0
            is the background.
        """
        objects = serialized_example['objects']
        size = tf.shape(serialized_example['image'], tf.int64)
        return {
            'source_id': tf.strings.as_string(serialized_example['image/id']),
            'image': serialized_example['image'],
            'height': size[0],
            'width': size[1],
            'groundtruth_classes': tf.cast(objects['label'], tf.int64) + 1,
            'groundtruth_is_crowd': tf.cast(objects['is_crowd'], tf.bool),
            'groundtruth_area': tf.cast(objects['area'], tf.float32),
            'groundtruth_boxes': tf.cast(objects['bbox'], tf.float32),
        }


TFDS_ID_TO_DECODER_MAP: dict[str, type[decoder.Decoder]] = dict.fromkeys(
    ('coco', 'coco/2014', 'coco/2017', 'scenic:objects365'), MSCOCODecoder
)
