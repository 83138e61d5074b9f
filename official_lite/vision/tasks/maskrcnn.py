"""Faster, Mask and Cascade R-CNN: boxes and masks of objects, found in two stages.

Sources: Ren et al., https://arxiv.org/abs/1506.01497; He et al., https://arxiv.org/abs/1703.06870;
Cai and Vasconcelos, https://arxiv.org/abs/1712.00726.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from official_lite.core import base_task, task_factory
from official_lite.core import data_info as data_infos
from official_lite.vision.configs import maskrcnn as exp_cfg
from official_lite.vision.dataloaders import (
    input_reader,
    input_reader_factory,
    sources,
)
from official_lite.vision.evaluation import coco_evaluator
from official_lite.vision.losses import maskrcnn_losses
from official_lite.vision.modeling import factory
from official_lite.vision.ops import rpn_labels
from official_lite.vision.tasks import detection_anchors, detection_task

LOSS_NAMES = (
    'total_loss',
    'rpn_score_loss',
    'rpn_box_loss',
    'frcnn_cls_loss',
    'frcnn_box_loss',
    'mask_loss',
    'model_loss',
)
# One more with `model.mask_scoring_head`.
SCORING_LOSS_NAME = 'mask_score_loss'


@task_factory.register_task_cls(exp_cfg.MaskRCNNTask)
class MaskRCNNTask(detection_task.DetectionTask):
    """Model, data, losses and evaluation of R-CNNs."""

    @classmethod
    def get_data_info(
        cls, task_config: exp_cfg.MaskRCNNTask, is_training: bool
    ) -> data_infos.DataInfo:
        """Counts and classes of the training or of the validation data."""
        name = 'train_data' if is_training else 'validation_data'
        data = _with_masks(getattr(task_config, name), task_config.model.include_mask)
        return sources.get_data_info(data, where=f'task.{name}')

    def build_model(self) -> keras.Model:
        """Builds the detector; its input size, classes and parts are those of `task.model`."""
        config = self.task_config
        model = factory.build_maskrcnn(
            input_specs=keras.layers.InputSpec(shape=[None, *config.model.input_size]),
            model_config=config.model,
            l2_regularizer=self._make_l2_regularizer(),
        )
        if config.freeze_backbone:
            model.backbone.trainable = False
        return model

    def train_outputs(
        self, features: Any, labels: Mapping[str, Any], model: keras.Model
    ) -> dict[str, Any]:
        """The model sees the ground truth: it samples proposals by it."""
        return self.run(features, labels, model, training=True)

    def run(
        self, images: Any, labels: Mapping[str, Any], model: keras.Model, *, training: bool
    ) -> dict[str, Any]:
        """The model's outputs on a batch with its ground truth: what losses need, and detections
        unless training."""
        config = self.task_config.model
        truth = {'gt_boxes': labels['gt_boxes'], 'gt_classes': labels['gt_classes']}
        if config.include_mask:
            truth['gt_masks'] = labels['gt_masks']
            if config.outer_boxes_scale > 1.0:
                truth['gt_outer_boxes'] = labels['gt_outer_boxes']
        if 'anchor_boxes' in labels:
            truth['anchor_boxes'] = labels['anchor_boxes']
        outputs: dict[str, Any] = model(
            images, image_shape=labels['image_info'][:, 1, :], **truth, training=training
        )
        return outputs

    def build_losses(  # type: ignore[override]  # Model Garden's order of arguments
        self,
        outputs: Mapping[str, Any],
        labels: Mapping[str, Any],
        aux_losses: Sequence[tf.Tensor] | None = None,
    ) -> dict[str, tf.Tensor]:
        """The loss and its parts.

        Args:
            outputs: Of the model, on a batch with its ground truth (see `run`).
            labels: `rpn_score_targets` and `rpn_box_targets` by level, and `rpn_box_weights` where
                there are; or what these are made of: `gt_boxes` and `sampling_key`.
            aux_losses: `model.losses`.

        Returns:
            float32 scalars by the names in `LOSS_NAMES`, and `SCORING_LOSS_NAME` if masks are
            scored. The model loss is the weighted sum of the parts, the total is `loss_weight` times the sum of it and `aux_losses`. Their mean
            over replicas is the loss of the whole batch.
        """
        weights = self.task_config.losses
        labels = self.label_anchors(outputs, labels)
        losses = {**self._build_rpn_losses(outputs, labels), **self._build_frcnn_losses(outputs)}
        losses['mask_loss'] = self._build_mask_loss(outputs)
        losses['model_loss'] = (
            weights.rpn_score_weight * losses['rpn_score_loss']
            + weights.rpn_box_weight * losses['rpn_box_loss']
            + weights.frcnn_class_weight * losses['frcnn_cls_loss']
            + weights.frcnn_box_weight * losses['frcnn_box_loss']
            + weights.mask_weight * losses['mask_loss']
        )
        if self.task_config.model.mask_scoring_head is not None:
            losses[SCORING_LOSS_NAME] = self._build_scoring_loss(outputs)
            losses['model_loss'] += weights.mask_scoring_weight * losses[SCORING_LOSS_NAME]
        aux_loss = tf.add_n([tf.cast(loss, tf.float32) for loss in aux_losses or [0.0]])
        losses['total_loss'] = weights.loss_weight * (losses['model_loss'] + aux_loss)
        return losses

    def _build_rpn_losses(
        self, outputs: Mapping[str, Any], labels: Mapping[str, Any]
    ) -> dict[str, tf.Tensor]:
        parser = self.task_config.train_data.parser
        score_loss = maskrcnn_losses.RpnScoreLoss(parser.rpn_batch_size_per_im)
        box_loss = maskrcnn_losses.RpnBoxLoss(self.task_config.losses.rpn_huber_loss_delta)
        return {
            'rpn_score_loss': score_loss(outputs['rpn_scores'], labels['rpn_score_targets']),
            'rpn_box_loss': box_loss(
                outputs['rpn_boxes'], labels['rpn_box_targets'], labels.get('rpn_box_weights')
            ),
        }

    def _build_frcnn_losses(self, outputs: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        """Class and box loss, the mean over the stages of a cascade."""
        config, losses = self.task_config.model, self.task_config.losses
        class_loss = maskrcnn_losses.FastrcnnClassLoss(
            losses.frcnn_class_use_binary_cross_entropy, losses.frcnn_class_loss_top_k_percent
        )
        box_loss = maskrcnn_losses.FastrcnnBoxLoss(
            losses.frcnn_huber_loss_delta, config.detection_head.class_agnostic_bbox_pred
        )
        num_stages = 1 + len(config.roi_sampler.cascade_iou_thresholds or ())
        class_losses, box_losses = [], []
        for stage in range(num_stages):
            suffix = f'_{stage}' if stage else ''
            classes = outputs[f'class_targets{suffix}']
            class_losses.append(
                class_loss(outputs[f'class_outputs{suffix}'], classes, losses.class_weights)
            )
            box_losses.append(
                box_loss(outputs[f'box_outputs{suffix}'], classes, outputs[f'box_targets{suffix}'])
            )
        return {
            'frcnn_cls_loss': tf.add_n(class_losses) / num_stages,
            'frcnn_box_loss': tf.add_n(box_losses) / num_stages,
        }

    def _build_mask_loss(self, outputs: Mapping[str, Any]) -> tf.Tensor:
        if not self.task_config.model.include_mask:
            return tf.zeros([])
        return maskrcnn_losses.MaskrcnnLoss()(
            outputs['mask_outputs'], outputs['mask_targets'], self._get_mask_classes(outputs)
        )

    def _build_scoring_loss(self, outputs: Mapping[str, Any]) -> tf.Tensor:
        return maskrcnn_losses.MaskScoreLoss()(
            outputs['mask_scores'], outputs['mask_score_targets'], self._get_mask_classes(outputs)
        )

    def _get_mask_classes(self, outputs: Mapping[str, Any]) -> tf.Tensor:
        """Classes of the sampled masks, 0 for those that are not learnt."""
        classes = outputs['mask_class_targets']
        allowed = self.task_config.allowed_mask_class_ids
        return classes if allowed is None else zero_out_disallowed_class_ids(classes, allowed)

    def compute_losses(
        self, model: keras.Model, labels: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> dict[str, tf.Tensor]:
        """`build_losses` with the loss that is minimised under the task's name for it."""
        losses = self.build_losses(outputs=outputs, labels=labels, aux_losses=model.losses)
        return {self.loss: losses['total_loss'], **losses}

    def build_metrics(self, training: bool = True) -> list[keras.metrics.Metric]:
        """Means of the losses; for validation also makes the evaluator.

        Raises:
            ConfigError: The validation data has other classes.
            UsageError: Its annotation file is not one.
        """
        if not training:
            self._prepare_evaluation()
        names = list(LOSS_NAMES)
        if self.task_config.model.mask_scoring_head is not None:
            names.append(SCORING_LOSS_NAME)
        return [keras.metrics.Mean(name, dtype='float32') for name in names]

    def build_evaluator(self) -> coco_evaluator.COCOEvaluator:
        """The COCO evaluation that this config describes."""
        config = self.task_config
        return coco_evaluator.COCOEvaluator(
            annotation_file=config.annotation_file,
            include_mask=config.model.include_mask,
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
        """Losses and detections of one batch; detections go to the evaluator on the host.

        The losses are those of training, on regions that are always the same ones, with the model
        as it is in use.
        """
        images, labels = inputs
        outputs = self.run(images, labels, model, training=False)
        losses = self._compute_valid_losses(model, labels, outputs)
        self.update_metrics(model, metrics, labels, outputs, losses)
        return self._make_validation_logs(labels, outputs, losses)

    def _compute_valid_losses(
        self, model: keras.Model, labels: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> dict[str, tf.Tensor]:
        """`compute_losses` of the valid examples; those that only fill the batch do not count."""
        is_valid = labels.get('is_valid')
        if is_valid is None:
            return self.compute_losses(model, labels, outputs)

        kept_outputs, kept_labels = tf.nest.map_structure(
            lambda values: tf.boolean_mask(values, is_valid),
            (
                {n: v for n, v in outputs.items() if n.startswith(_LOSS_OUTPUTS)},
                {n: v for n, v in labels.items() if n in _LOSS_LABELS},
            ),
        )
        losses = self.compute_losses(model, kept_labels, kept_outputs)
        is_any = tf.reduce_any(is_valid)
        return {name: tf.where(is_any, loss, 0.0) for name, loss in losses.items()}

    def _build_reader(self, params: exp_cfg.DataConfig) -> input_reader.InputReader:
        """What makes batches: `(images, labels)`, see `dataloaders.maskrcnn_input`."""
        config = self.task_config.model
        return input_reader_factory.build_maskrcnn_reader(
            _with_masks(params, config.include_mask),
            output_size=config.input_size[:2],
            max_level=config.max_level,
            include_mask=config.include_mask,
            outer_boxes_scale=config.outer_boxes_scale,
            num_classes=config.num_classes,
            has_static_shapes=isinstance(tf.distribute.get_strategy(), tf.distribute.TPUStrategy),
            where='task.train_data' if params.is_training else 'task.validation_data',
        )

    def label_anchors(
        self, outputs: Mapping[str, Any], labels: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Labels with the targets of the proposal network."""
        if 'rpn_score_targets' in labels:
            return labels
        parser = self.task_config.train_data.parser
        found = rpn_labels.label_rpn_anchors_batch(
            detection_anchors.make_anchors(self.task_config.model, outputs['rpn_boxes']),
            labels['gt_boxes'],
            labels['sampling_key'],
            parser.rpn_match_threshold,
            parser.rpn_unmatched_threshold,
            parser.rpn_batch_size_per_im,
            parser.rpn_fg_fraction,
        )
        return {
            **labels,
            'rpn_score_targets': found.score_targets,
            'rpn_box_targets': found.box_targets,
            'rpn_box_weights': found.box_weights,
        }


# What losses are computed from.
_LOSS_OUTPUTS = ('rpn_', 'class_', 'box_', 'mask_')
_LOSS_LABELS = ('gt_boxes', 'sampling_key', 'rpn_score_targets', 'rpn_box_targets')


def zero_out_disallowed_class_ids(
    batch_class_ids: tf.Tensor, allowed_class_ids: Sequence[int]
) -> tf.Tensor:
    """Classes, int [batch, n], with 0 in place of those that are not allowed."""
    allowed = tf.constant(list(allowed_class_ids), batch_class_ids.dtype)
    is_allowed = tf.reduce_any(batch_class_ids[..., None] == allowed, axis=-1)
    return tf.where(is_allowed, batch_class_ids, 0)


def _with_masks(data: exp_cfg.DataConfig, include_mask: bool) -> exp_cfg.DataConfig:
    """The data config that says whether masks are read."""
    if data.include_mask is not None:
        return data
    return data.replace(include_mask=include_mask)
