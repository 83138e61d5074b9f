"""What tasks of vision share: how batches are read, and the decay of weights."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from official_lite.core import base_task
from official_lite.modeling import regularizers
from official_lite.vision.dataloaders import input_reader


class VisionTask(base_task.Task):
    """A task whose batches an `InputReader` makes, and whose losses have an `l2_weight_decay`."""

    def _build_reader(self, params: Any) -> input_reader.InputReader:
        """What reads the examples of one config of data; says what a batch is."""
        raise NotImplementedError

    def build_inputs(
        self, params: Any, input_context: tf.distribute.InputContext | None = None
    ) -> tf.data.Dataset:
        """Makes the batches of one worker: `(images, labels)`, as the task's reader has them."""
        return self._build_reader(params).read(input_context)

    def build_inputs_at(
        self,
        params: Any,
        input_context: tf.distribute.InputContext | None,
        num_batches_seen: int,
    ) -> tf.data.Dataset:
        """The same from a later batch on, without reading those before it where data allows."""
        return self._build_reader(params).read(input_context, first_batch=num_batches_seen)

    def _make_l2_regularizer(self) -> keras.regularizers.Regularizer | None:
        decay = self.task_config.losses.l2_weight_decay
        # Half, because Keras' L2 is the sum of squares and the recipes mean tf.nn.l2_loss.
        return regularizers.L2(decay / 2) if decay else None
