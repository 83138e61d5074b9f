"""Data of the example: a parser, and a reader of TFRecords that uses it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from official_lite.core import randomness
from official_lite.vision.dataloaders import (
    classification_input,
    classification_records,
    image_decoding,
    input_reader,
    input_reader_factory,
    parser,
)
from official_lite.vision.dataloaders.source import Source
from official_lite.vision.ops import image_normalization

Example = tuple[tf.Tensor, dict[str, tf.Tensor]]


class Parser(parser.Parser):
    """Resizes and normalises images, and mirrors half of those to train on.

    Args:
        output_size: (height, width) of the images, pixels.
        dtype: Number format of the images.
    """

    def __init__(self, output_size: Sequence[int], dtype: str = 'float32') -> None:
        self._output_size = list(output_size)
        self._dtype = dtype

    def _parse_train_data(self, data: parser.Record, key: tf.Tensor | None = None) -> Example:
        """One example.

        Args:
            data: A record of the source: an encoded image and its label.
            key: int32 [2], from which everything random is drawn, so that runs can be repeated.

        Returns:
            The image, [height, width, 3], and {'label': int32 []}.
        """
        image, labels = self._parse_eval_data(data)
        if key is None:
            return image, labels
        is_mirrored = randomness.uniform(key, 'flip') < 0.5
        return tf.where(is_mirrored, tf.reverse(image, [1]), image), labels

    def _parse_eval_data(self, data: parser.Record) -> Example:
        image = image_decoding.decode_image(data[classification_input.IMAGE_KEY])
        image = tf.image.resize(image, self._output_size)  # [height, width, 3], 0 to 255
        image = image_normalization.normalize_images(image, self._dtype)
        image = tf.ensure_shape(image, [*self._output_size, 3])
        return image, {'label': tf.cast(data[classification_input.LABEL_KEY][0], tf.int32)}


def build_source(data_config: Any, *, where: str) -> Source:
    """The examples of a data config's files; `where` is the config's path, for messages."""
    return classification_records.build_record_source(
        data_config.input_path,
        classification_records.RecordKeys(has_other_formats=True),
        is_compressed=data_config.file_type == 'tfrecord_compressed',
        skip_corrupt=data_config.skip_corrupt,
        cache=data_config.cache,
        where=f'{where}.input_path',
    )


def build_reader(
    data_config: Any, *, output_size: Sequence[int], where: str
) -> input_reader.InputReader:
    """From a data config to batches."""
    return input_reader.InputReader(
        build_source(data_config, where=where),
        Parser(output_size, data_config.dtype),
        is_training=data_config.is_training,
        global_batch_size=data_config.global_batch_size,
        num_examples=data_config.num_examples,
        options=input_reader_factory.build_reader_options(data_config, where=where),
    )


def split_labels(labels: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Labels, and which examples count: in evaluation the last batch is filled up."""
    return labels['label'], labels.get('is_valid')
