"""What tasks of vision share: how batches are read, and the decay of weights."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from official_lite import errors
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
        """Makes the batches of one worker: `(images, labels)`, as the task's reader has them.

        Raises:
            UsageError: The model takes images of other numbers of channels.
        """
        self._check_channels(params)
        return self._build_reader(params).read(input_context)

    def build_inputs_at(
        self,
        params: Any,
        input_context: tf.distribute.InputContext | None,
        num_batches_seen: int,
    ) -> tf.data.Dataset:
        """The same from a later batch on, without reading those before it where data allows."""
        self._check_channels(params)
        return self._build_reader(params).read(input_context, first_batch=num_batches_seen)

    def _count_channels(self, params: Any) -> int:
        """Channels of the images of one config of data; grey ones become RGB."""
        del params
        return 3

    def _check_channels(self, params: Any) -> None:
        size, num_channels = self.task_config.model.input_size, self._count_channels(params)
        if list(size)[2:] not in ([], [None], [num_channels]):
            raise errors.UsageError(
                where='task.model.input_size',
                expected=f'{num_channels} channels, as images of the data have',
                received=str(list(size)),
            )

    def _make_l2_regularizer(self) -> keras.regularizers.Regularizer | None:
        decay = self.task_config.losses.l2_weight_decay
        # Half, because Keras' L2 is the sum of squares and the recipes mean tf.nn.l2_loss.
        return regularizers.L2(decay / 2) if decay else None
