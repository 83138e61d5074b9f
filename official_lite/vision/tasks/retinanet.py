"""The RetinaNet task: boxes in images, found by one dense network.

Source: Lin et al., Focal Loss for Dense Object Detection, https://arxiv.org/abs/1708.02002.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from official_lite import errors
from official_lite.core import base_task, task_factory
from official_lite.core import data_info as data_infos
from official_lite.vision.configs import retinanet as exp_cfg
from official_lite.vision.dataloaders import (
    input_reader,
    input_reader_factory,
    sources,
)
from official_lite.vision.evaluation import coco_evaluator
from official_lite.vision.losses import retinanet_losses
from official_lite.vision.modeling import factory
from official_lite.vision.ops import anchor
from official_lite.vision.tasks import (
    attribute_labels,
    detection_anchors,
    detection_task,
)

_LOSS_NAMES = ('total_loss', 'cls_loss', 'box_loss', 'model_loss')
_ATTRIBUTE_LOSS = 'attribute_loss/'


@task_factory.register_task_cls(exp_cfg.RetinaNetTask)
class RetinaNetTask(detection_task.DetectionTask):
    """Model, data, losses and evaluation of RetinaNet."""

    @classmethod
    def get_data_info(
        cls, task_config: exp_cfg.RetinaNetTask, is_training: bool
    ) -> data_infos.DataInfo:
        """Counts and classes of the training or of the validation data."""
        if is_training:
            return sources.get_data_info(task_config.train_data, where='task.train_data')
        return sources.get_data_info(task_config.validation_data, where='task.validation_data')

    def build_model(self) -> keras.Model:
        """Builds the detector; its input size, classes and parts are those of `task.model`."""
        config = self.task_config
        model = factory.build_retinanet(
            input_specs=keras.layers.InputSpec(shape=[None, *config.model.input_size]),
            model_config=config.model,
            l2_regularizer=self._make_l2_regularizer(),
        )
        if config.freeze_backbone:
            model.backbone.trainable = False
        return model

    def build_losses(  # type: ignore[override]  # Model Garden's order of arguments
        self,
        outputs: Mapping[str, Any],
        labels: Mapping[str, Any],
        aux_losses: Sequence[tf.Tensor] | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """The loss and its parts; the order of arguments and results is Model Garden's.

        Args:
            outputs: `cls_outputs` and `box_outputs` of the model, by level, and
                `attribute_outputs`, by name and level.
            labels: `boxes` [batch, boxes, 4], yxyx in pixels of the network's input, and `classes`
                int [batch, boxes], both padded with -1, and `attributes` [batch, boxes, size], by
                name; or anchors labelled already: `cls_targets`, `box_targets`, `cls_weights`,
                `box_weights`, `attribute_targets`. `is_valid` bool [batch], if there, takes the
                other examples out.
            aux_losses: `model.losses`.

        Returns:
            float32 scalars: total, class, box and model loss. The model loss is class loss plus
            `box_loss_weight` times box loss plus the losses of attributes, and the total is
            `loss_weight` times the sum of it and `aux_losses`. Their mean over replicas is the loss
            of the whole batch.
        """
        losses = self.task_config.losses
        found = self._compute_losses(outputs, self.label_anchors(outputs, labels))
        model_loss = found.cls_loss + losses.box_loss_weight * found.box_loss
        for loss in found.attribute_losses.values():
            model_loss += loss
        aux_loss = tf.add_n([tf.cast(loss, tf.float32) for loss in aux_losses or [0.0]])
        total_loss = losses.loss_weight * (model_loss + aux_loss)
        return total_loss, found.cls_loss, found.box_loss, model_loss

    def _compute_losses(
        self, outputs: Mapping[str, Any], labels: Mapping[str, Any]
    ) -> retinanet_losses.DetectionLosses:
        """The losses of anchors that are labelled."""
        losses = self.task_config.losses
        return retinanet_losses.compute_retinanet_losses(
            outputs,
            labels,
            alpha=losses.focal_loss_alpha,
            gamma=losses.focal_loss_gamma,
            huber_delta=losses.huber_loss_delta,
            attributes={head.name: (head.type, head.size) for head in self._attribute_heads},
        )

    @property
    def _attribute_heads(self) -> Sequence[exp_cfg.AttributeHead]:
        return self.task_config.model.head.attribute_heads or ()

    def compute_losses(
        self, model: keras.Model, labels: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> dict[str, tf.Tensor]:
        """`build_losses` by name, and the losses of attributes."""
        labels = self.label_anchors(outputs, labels)
        losses = self.build_losses(outputs=outputs, labels=labels, aux_losses=model.losses)
        named = {self.loss: losses[0], **dict(zip(_LOSS_NAMES, losses))}
        if self._attribute_heads:
            by_name = self._compute_losses(outputs, labels).attribute_losses
            named |= {_ATTRIBUTE_LOSS + name: loss for name, loss in by_name.items()}
        return named

    def build_metrics(self, training: bool = True) -> list[keras.metrics.Metric]:
        """Means of total, class, box, model and attribute losses; for validation also makes the
        evaluator.

        Raises:
            UsageError: The validation data has other classes, or its annotation file is not one, or
                the model puts out no detections that COCO's metrics could be computed from.
        """
        if not training:
            if self.task_config.use_coco_metrics:
                self._check_detections()
            self._prepare_evaluation()
        names = [*_LOSS_NAMES, *(_ATTRIBUTE_LOSS + head.name for head in self._attribute_heads)]
        return [keras.metrics.Mean(name, dtype='float32') for name in names]

    def _check_detections(self) -> None:
        """Raises UsageError unless the detection generator gives boxes in pixels."""
        config = self.task_config.model.detection_generator
        tflite = config.tflite_post_processing
        reasons = {
            'apply_nms': (not config.apply_nms, 'true'),
            'tflite_post_processing.omit_nms': (tflite.omit_nms, 'false'),
            'tflite_post_processing.normalize_anchor_coordinates': (
                tflite.normalize_anchor_coordinates,
                'false',
            ),
        }
        for name, (is_set, expected) in reasons.items():
            if is_set:
                raise errors.UsageError(
                    "COCO's metrics are computed from detections in pixels",
                    where=f'task.model.detection_generator.{name}',
                    expected=f'{expected}, or task.use_coco_metrics=false',
                    hint='set it for the export only',
                )

    def build_evaluator(self) -> coco_evaluator.COCOEvaluator:
        """The COCO evaluation that this config describes."""
        config = self.task_config
        return coco_evaluator.COCOEvaluator(
            annotation_file=config.annotation_file,
            per_category_metrics=config.per_category_metrics,
            max_num_eval_detections=config.max_num_eval_detections,
            class_names=config.class_names,
            category_ids=config.category_ids,
        )

    def validation_step(
        self,
        inputs: tuple[Any, Mapping[str, Any]],
        model: keras.Model,
        metrics: Sequence[keras.metrics.Metric] | None = None,
    ) -> base_task.Logs:
        """Losses and detections of one batch; detections go to the evaluator on the host."""
        images, labels = inputs
        outputs = self.detect(images, labels, model)
        losses = self.compute_losses(model, labels, outputs)
        self.update_metrics(model, metrics, labels, outputs, losses)
        return self._make_validation_logs(labels, outputs, losses)

    def _build_reader(self, params: exp_cfg.DataConfig) -> input_reader.InputReader:
        """What makes batches: `(images, labels)`, see `dataloaders.input_reader`."""
        config = self.task_config.model
        return input_reader_factory.build_retinanet_reader(
            params,
            output_size=config.input_size[:2],
            max_level=config.max_level,
            num_classes=config.num_classes,
            has_static_shapes=isinstance(tf.distribute.get_strategy(), tf.distribute.TPUStrategy),
            where='task.train_data' if params.is_training else 'task.validation_data',
        )

    def label_anchors(
        self, outputs: Mapping[str, Any], labels: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Adds the targets of anchors to a batch's labels, which `build_losses` does by itself.

        Args:
            outputs: What the model puts out: `box_outputs` tell the levels' sizes.
            labels: As `build_losses` takes them.

        Returns:
            The labels and, float32, by level and without one: `cls_targets`, `box_targets`,
            `cls_weights` [batch, anchors], `box_weights` [batch, anchors] and `attribute_targets`.
            Weights are 0 for examples that only fill the batch.
        """
        if 'cls_targets' not in labels:
            parser = self.task_config.train_data.parser
            targets = anchor.label_anchors_batch(
                detection_anchors.make_anchors(self.task_config.model, outputs['box_outputs']),
                labels['boxes'],
                labels['classes'],
                parser.match_threshold,
                parser.unmatched_threshold,
                self.task_config.model.detection_generator.box_coder_weights,
                attribute_labels.get_attribute_labels(self._attribute_heads, labels),
            )
            labels = {**labels, **targets._asdict()}
        if 'is_valid' not in labels:
            return labels
        is_valid = tf.cast(labels['is_valid'], tf.float32)[:, None]
        return {
            **labels,
            'cls_weights': labels['cls_weights'] * is_valid,
            'box_weights': labels['box_weights'] * is_valid,
        }
