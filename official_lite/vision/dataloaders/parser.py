"""The interface of parsers: from a record to what a model is trained or evaluated on."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

__all__ = ['Parser']

Record = Mapping[str, tf.Tensor]


class Parser(abc.ABC):
    """Turns one record into (image, labels), inside tf.data.

    A subclass may take the example's key (see `core.randomness`), from which its random operations
    should draw:

        class MyParser(parser.Parser):
            def _parse_train_data(self, data, key): ...
    """

    @abc.abstractmethod
    def _parse_train_data(self, data: Record, key: tf.Tensor | None = None) -> tuple[Any, Any]:
        """(image, labels) to train on."""

    @abc.abstractmethod
    def _parse_eval_data(self, data: Record) -> tuple[Any, Any]:
        """(image, labels) to evaluate on."""

    def parse_fn(self, is_training: bool) -> Callable[..., tuple[Any, Any]]:
        """The function to map records with; in training it takes a key as second argument."""
        return self._parse_train_data if is_training else self._parse_eval_data

    def process_train_batch(self, images: Any, labels: Any) -> tuple[Any, Any]:
        """Changes a batch of training examples, in tf.data, after padding; by default not at all."""
        return images, labels

    @property
    def padding_values(self) -> Mapping[str, float] | None:
        """Labels of varying length, by name, and what they are padded with in a batch."""
        return None
