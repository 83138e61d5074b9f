"""Decoder of `tf.train.Example`s whose classes are names."""

from __future__ import annotations

import csv
from typing import Any

import tensorflow as tf

from official_lite import errors
from official_lite.vision.dataloaders import tf_example_decoder

__all__ = ['TfExampleDecoderLabelMap', 'load_label_map']

UNKNOWN_LABEL = -1


def load_label_map(path: str) -> dict[str, int]:
    """Reads a CSV file with lines `label,name`.

    Raises:
        UsageError: The file does not exist, or a line is something else.
    """
    if not tf.io.gfile.exists(path):
        raise errors.UsageError(f'the file {path!r} does not exist', where='label_map')
    names: dict[str, int] = {}
    with tf.io.gfile.GFile(path, 'r') as file:
        for number, row in enumerate(csv.reader(file), start=1):
            if not row:
                continue
            if len(row) != 2 or not row[0].strip().isdigit():
                raise errors.UsageError(
                    where=f'{path}:{number}',
                    expected='a line `label,name` such as `1,cat`',
                    received=repr(','.join(row)),
                )
            names[row[1].strip()] = int(row[0])
    return names


class TfExampleDecoderLabelMap(tf_example_decoder.TfExampleDecoder):
    """`TfExampleDecoder` that reads `image/object/class/text` and looks its label up.

    Args:
        label_map: CSV file with lines `label,name`. Other names become -1.
        include_mask, regenerate_source_id, mask_binarize_threshold: As in the base class.
    """

    def __init__(
        self,
        label_map: str,
        include_mask: bool = False,
        regenerate_source_id: bool = False,
        mask_binarize_threshold: float | None = None,
    ) -> None:
        self._labels = load_label_map(label_map)
        super().__init__(
            include_mask=include_mask,
            regenerate_source_id=regenerate_source_id,
            mask_binarize_threshold=mask_binarize_threshold,
        )
        with tf.init_scope():
            self._table = tf.lookup.StaticHashTable(
                tf.lookup.KeyValueTensorInitializer(
                    tf.constant(list(self._labels), tf.string),
                    tf.constant(list(self._labels.values()), tf.int64),
                ),
                default_value=UNKNOWN_LABEL,
            )

    def _make_features(self) -> dict[str, Any]:
        text = tf.io.RaggedFeature(tf.string)
        return super()._make_features() | {'image/object/class/text': text}

    def _decode_classes(self, parsed: dict[str, tf.Tensor]) -> tf.Tensor:
        return self._table.lookup(parsed['image/object/class/text'])
