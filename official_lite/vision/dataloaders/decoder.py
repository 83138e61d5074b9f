"""The interface of decoders."""

from __future__ import annotations

import abc

import tensorflow as tf

__all__ = ['Decoder']


class Decoder(abc.ABC):
    """Turns a serialized example into tensors, inside tf.data."""

    @abc.abstractmethod
    def decode(self, serialized_example: tf.Tensor) -> dict[str, tf.Tensor]:
        """The tensors of one example."""
