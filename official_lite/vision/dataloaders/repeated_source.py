"""Each example several times in a row, augmented anew each time (1901.09335, 1902.05509)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import tensorflow as tf

from official_lite.core.data_info import DataInfo
from official_lite.vision.dataloaders import source as source_lib

__all__ = ['RepeatedSource']


class RepeatedSource(source_lib.Source):
    """A source whose training stream repeats each example; evaluation reads each once.

    Copies differ in 'epoch', so that whatever is drawn with the example's key differs.

    Args:
        source: The source.
        num_repeats: How often each example comes.
    """

    def __init__(self, source: source_lib.Source, num_repeats: int) -> None:
        self._source = source
        self._num_repeats = num_repeats

    @property
    def info(self) -> DataInfo:
        return self._source.info

    def make_examples(self, order: source_lib.Order) -> tf.data.Dataset:
        if not order.is_training:
            return self._source.make_examples(order)
        num_repeats = self._num_repeats
        # What this worker has given out so far, copies counted.
        num_seen = order.first_position // order.num_workers
        first_position = num_seen // num_repeats * order.num_workers
        examples = self._source.make_examples(
            dataclasses.replace(order, first_position=first_position)
        )
        return examples.flat_map(self._repeat).skip(num_seen % num_repeats)

    def _repeat(self, example: Mapping[str, tf.Tensor]) -> tf.data.Dataset:
        copies = tf.data.Dataset.range(self._num_repeats)
        epoch = example['epoch'] * self._num_repeats
        return copies.map(lambda number: {**example, 'epoch': epoch + number})

    def decode(self, example: Mapping[str, tf.Tensor]) -> source_lib.Tensors:
        return self._source.decode(example)

    def describe(self, index: int) -> str:
        return self._source.describe(index)

    def read_image(self, index: int) -> bytes:
        return self._source.read_image(index)

    def get_reading(self, index: int) -> int:
        return self._source.get_reading(index)
