"""What tasks of object detection share: classes, metrics of losses, COCO metrics, and the picture of a run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from official_lite.core import base_task
from official_lite.core import data_info as data_infos
from official_lite.vision import visualization
from official_lite.vision.dataloaders import notices
from official_lite.vision.evaluation import coco_evaluator
from official_lite.vision.tasks import data_facts, detection_pictures, vision_task

PICTURE_NAME = 'detections.png'
COCO = coco_evaluator.COCOEvaluator.name


class DetectionTask(vision_task.VisionTask):
    """A task whose steps of evaluation log what its evaluator takes, under `COCO`."""

    _evaluator: coco_evaluator.COCOEvaluator

    @classmethod
    def resolve(cls, config: Any, data_info: data_infos.DataInfo | None) -> None:
        """Takes the number of classes, their names and their ids from the data."""
        if data_info is not None:
            data_facts.resolve_classes(config, data_info)

    def build_evaluator(self) -> coco_evaluator.COCOEvaluator:
        """The COCO evaluation that the config describes."""
        raise NotImplementedError

    def _prepare_evaluation(self) -> None:
        """Checks that labels mean the same in the validation data, and makes the evaluator."""
        data = self.task_config.validation_data
        # Not so where the trainer was given a dataset.
        if data.source.type or data.input_path or data.tfds_name:
            info = self.get_data_info(self.task_config, is_training=False)
            notices.write(info.describe('validation data') + '\n')
            data_facts.check_same_classes(self.task_config, info)
        if self.task_config.use_coco_metrics:
            self._evaluator = self.build_evaluator()

    def _make_validation_logs(
        self,
        labels: Mapping[str, Any],
        outputs: Mapping[str, Any],
        losses: Mapping[str, tf.Tensor],
    ) -> base_task.Logs:
        logs = {self.loss: losses[self.loss]}
        if self.task_config.use_coco_metrics:
            logs[COCO] = coco_evaluator.make_evaluator_inputs(labels, outputs)
        return logs

    def update_metrics(
        self,
        model: keras.Model,
        metrics: Sequence[keras.metrics.Metric] | None,
        labels: Mapping[str, Any],
        outputs: Mapping[str, Any],
        losses: Mapping[str, tf.Tensor],
    ) -> None:
        """Adds the losses of a batch, which weighs as much as it has valid examples."""
        del model, outputs
        is_valid = labels.get('is_valid')
        weight = None if is_valid is None else tf.reduce_sum(tf.cast(is_valid, tf.float32))
        for metric in metrics or ():
            metric.update_state(losses[metric.name], sample_weight=weight)

    def detect(self, images: Any, labels: Mapping[str, Any], model: keras.Model) -> dict[str, Any]:
        """Runs the model as in use; detections are clipped to what `image_info` says is image."""
        return model(images, image_shape=labels['image_info'][:, 1, :], training=False)

    def aggregate_logs(
        self, state: Any = None, step_outputs: Mapping[str, Any] | None = None
    ) -> Any:
        """Gives the detections of one step to the evaluator, which is the state."""
        if not self.task_config.use_coco_metrics or step_outputs is None:
            return state
        if state is None:
            state = self._evaluator
            state.reset_states()
        state.update_state(*step_outputs[COCO])
        return state

    def reduce_aggregated_logs(
        self, aggregated_logs: Any, global_step: tf.Variable | None = None
    ) -> base_task.Logs:
        """The COCO metrics of all images; none if `use_coco_metrics` is off."""
        del global_step
        return {} if aggregated_logs is None else aggregated_logs.result()

    def save_visualization(self, model: keras.Model, output_dir: str) -> str | None:
        """Writes `detections.png`: validation images with detections, and ground truth in white."""
        detect = tf.function(lambda images, labels: self.detect(images, labels, model))
        picture = detection_pictures.make_picture(
            self.build_inputs(self.task_config.validation_data),
            detect,
            class_names=self.task_config.class_names,
        )
        if picture is None:
            return None
        return visualization.save_png(picture, os.path.join(output_dir, PICTURE_NAME))
