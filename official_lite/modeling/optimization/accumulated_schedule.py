"""A schedule in train steps for an optimizer that counts updates."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from official_lite.modeling.optimization import lr_schedule


@keras.saving.register_keras_serializable(package='official_lite')
class AccumulatedSchedule(lr_schedule.Schedule):
    """Reads a schedule at the train step at which an update's accumulation began.

    With gradient accumulation an update takes several train steps (batches), and the optimizer's
    `iterations` counts updates: update u, from 0, has the rate of train step u * steps_per_update.

    Args:
        schedule: Train step to learning rate.
        steps_per_update: Train steps of one update.
    """

    def __init__(self, schedule: Any, steps_per_update: int) -> None:
        super().__init__()
        self._schedule = schedule
        self._steps_per_update = steps_per_update

    def __call__(self, step: Any) -> tf.Tensor:
        updates = tf.cast(tf.convert_to_tensor(step), tf.int64)
        return self._schedule(updates * self._steps_per_update)

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        schedule = self._schedule
        if isinstance(schedule, lr_schedule.Schedule):
            schedule = keras.saving.serialize_keras_object(schedule)
        return {'schedule': schedule, 'steps_per_update': self._steps_per_update}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> AccumulatedSchedule:
        """Makes the schedule from what `get_config` returned."""
        schedule = config['schedule']
        if isinstance(schedule, dict):
            schedule = keras.saving.deserialize_keras_object(schedule)
        return cls(schedule, config['steps_per_update'])
