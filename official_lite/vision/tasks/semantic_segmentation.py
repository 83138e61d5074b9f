"""The task of semantic segmentation: the class of each pixel."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from official_lite.core import base_task, task_factory
from official_lite.core import data_info as data_infos
from official_lite.core.segmentation_info import SegmentationInfo, check_plausible
from official_lite.vision import visualization
from official_lite.vision.configs import semantic_segmentation as exp_cfg
from official_lite.vision.dataloaders import (
    input_reader,
    notices,
    segmentation_reader,
    segmentation_sources,
)
from official_lite.vision.dataloaders import source as source_lib
from official_lite.vision.dataloaders.segmentation_facts import Labelling
from official_lite.vision.evaluation import segmentation_metrics
from official_lite.vision.losses import segmentation_losses
from official_lite.vision.modeling import segmentation_factory
from official_lite.vision.tasks import class_facts, segmentation_pictures, vision_task

PICTURE_NAME = 'masks.png'

_SCORES_MSE = 'mask_scores_mse'
# An opacity above this is class 1.
_MATTING_THRESHOLD = 0.5


@task_factory.register_task_cls(exp_cfg.SemanticSegmentationTask)
class SemanticSegmentationTask(vision_task.VisionTask):
    """Model, data, losses and evaluation of semantic segmentation."""

    @classmethod
    def get_data_info(
        cls, task_config: exp_cfg.SemanticSegmentationTask, is_training: bool
    ) -> data_infos.DataInfo:
        """Counts and classes of the training or of the validation data; reads all masks once."""
        info = cls.build_source(task_config, is_training).info
        data_infos.check_not_empty(info)
        return info

    @classmethod
    def build_source(
        cls, task_config: exp_cfg.SemanticSegmentationTask, is_training: bool
    ) -> source_lib.Source:
        """The examples of the training or of the validation data, as they are stored."""
        name = 'train_data' if is_training else 'validation_data'
        return segmentation_sources.build_source(
            _complete(task_config, getattr(task_config, name)),
            _get_labelling(task_config),
            where=f'task.{name}',
        )

    @classmethod
    def resolve(cls, config: Any, data_info: data_infos.DataInfo | None) -> None:
        """Takes the number of classes and their names from the data.

        Raises:
            ConfigError: Fields that were set contradict the data.
            DataError: Values of masks, which nothing says are labels, look like grey levels.
        """
        if not isinstance(data_info, SegmentationInfo):
            return
        if config.task.model.num_classes <= data_info.max_label or not data_info.labels:
            check_plausible(data_info)
        class_facts.resolve_classes(config, data_info)

    def build_model(self) -> keras.Model:
        """Builds the model; its input size, classes and parts are those of `task.model`."""
        config = self.task_config
        return segmentation_factory.build_segmentation_model(
            input_specs=keras.layers.InputSpec(shape=[None, *config.model.input_size]),
            model_config=config.model,
            l2_regularizer=self._make_l2_regularizer(),
        )

    def _build_reader(self, params: exp_cfg.DataConfig) -> input_reader.InputReader:
        """What makes batches.

        A batch is (images, labels): images [batch, height, width, channels], uint8, or normalised
        where that is not ImageNet's normalisation; labels are 'masks' float32 [batch, height,
        width, 1], 'valid_masks' bool of the same shape, 'image_info' float32 [batch, 4, 2], and in
        evaluation 'is_valid' bool [batch], False for what only fills the last batch.
        """
        config = self.task_config
        return segmentation_reader.build_segmentation_reader(
            _complete(config, params),
            input_size=config.model.input_size[:2],
            num_classes=config.model.num_classes,
            labelling=_get_labelling(config),
            where='task.train_data' if params.is_training else 'task.validation_data',
        )

    def _count_channels(self, params: exp_cfg.DataConfig) -> int:
        features = [params.image_feature, *params.additional_dense_features]
        return sum(feature.num_channels for feature in features)

    def build_losses(
        self,
        labels: Mapping[str, Any],
        model_outputs: Any,
        aux_losses: Sequence[tf.Tensor] | None = None,
    ) -> tf.Tensor:
        """The loss of one replica.

        Args:
            labels: 'masks' [batch, height, width, layers], class ids, or opacities of a matting map;
                'is_valid' bool [batch], if there, takes the other images out.
            model_outputs: 'logits' [batch, height_l, width_l, num_classes] and perhaps 'mask_scores'
                [batch, num_classes]; or the logits alone.
            aux_losses: `model.losses`.

        Returns:
            float32 scalar. Its mean over replicas is the loss of the whole batch.
        """
        config = self.task_config.losses
        outputs = _to_outputs(model_outputs)
        masks = self._get_masks(labels)
        loss = self._make_loss()(outputs['logits'], masks)
        if 'mask_scores' in outputs:
            scoring_loss = segmentation_losses.MaskScoringLoss(config.ignore_label)
            loss += config.mask_scoring_weight * scoring_loss(
                outputs['mask_scores'], outputs['logits'], masks, labels.get('is_valid')
            )
        if aux_losses:
            loss += tf.add_n([tf.cast(aux_loss, tf.float32) for aux_loss in aux_losses])
        return config.loss_weight * loss

    def _make_loss(self) -> segmentation_losses.SegmentationLoss:
        config = self.task_config.losses
        return segmentation_losses.SegmentationLoss(
            config.label_smoothing,
            config.class_weights,
            config.ignore_label,
            use_groundtruth_dimension=config.use_groundtruth_dimension,
            use_binary_cross_entropy=config.use_binary_cross_entropy,
            top_k_percent_pixels=config.top_k_percent_pixels,
            gt_is_matting_map=config.gt_is_matting_map,
        )

    def _get_masks(self, labels: Mapping[str, Any]) -> tf.Tensor:
        """The masks, with nothing but the ignore label in images that only fill the batch."""
        masks, is_valid = labels['masks'], labels.get('is_valid')
        if is_valid is None:
            return masks
        ignored = tf.cast(self.task_config.losses.ignore_label, masks.dtype)
        return tf.where(is_valid[:, None, None, None], masks, ignored)

    def build_metrics(self, training: bool = True) -> list[keras.metrics.Metric]:
        """Mean IoU in training, both means and each class's IoU in evaluation.

        Raises:
            UsageError: The validation data is not there.
            ConfigError: It has other classes.
        """
        config = self.task_config
        num_classes = config.model.num_classes
        metrics: list[keras.metrics.Metric] = []
        if not training:
            self._check_validation_data()
            metrics.append(
                segmentation_metrics.SegmentationScores(
                    num_classes, has_per_class_iou=config.evaluation.report_per_class_iou
                )
            )
        elif config.evaluation.report_train_mean_iou:
            metrics.append(
                segmentation_metrics.MeanIoU(num_classes, name='mean_iou', dtype='float32')
            )
        if metrics and config.model.mask_scoring_head is not None:
            metrics.append(keras.metrics.MeanSquaredError(name=_SCORES_MSE, dtype='float32'))
        return metrics

    def _check_validation_data(self) -> None:
        data = self.task_config.validation_data
        if data.source.type is None and not data.input_path:
            return
        info = self.get_data_info(self.task_config, is_training=False)
        assert isinstance(info, SegmentationInfo)
        notices.write(info.describe('validation data') + '\n')
        class_facts.check_same_classes(self.task_config, info)

    def process_metrics(
        self,
        metrics: Sequence[keras.metrics.Metric],
        labels: Mapping[str, Any],
        model_outputs: Any,
        **kwargs: Any,
    ) -> None:
        """Adds a batch; arguments as those of `build_losses`."""
        del kwargs
        outputs = _to_outputs(model_outputs)
        masks = self._get_masks(labels)
        if self.task_config.losses.gt_is_matting_map:
            is_foreground = tf.cast(masks > _MATTING_THRESHOLD, masks.dtype)
            masks = tf.where(labels['valid_masks'], is_foreground, masks)
        for metric in metrics:
            if metric.name == _SCORES_MSE:
                actual = segmentation_losses.get_actual_mask_scores(
                    outputs['logits'], masks, self.task_config.losses.ignore_label
                )
                is_valid = labels.get('is_valid')
                weights = None if is_valid is None else tf.cast(is_valid, tf.float32)
                metric.update_state(actual, outputs['mask_scores'], sample_weight=weights)
            else:
                metric.update_state({**labels, 'masks': masks}, outputs['logits'])

    def validation_step(
        self,
        inputs: tuple[Any, Mapping[str, Any]],
        model: keras.Model,
        metrics: Sequence[keras.metrics.Metric] | None = None,
    ) -> base_task.Logs:
        """Loss and metrics of one batch; at the size of the original images, if the masks are."""
        images, labels = inputs
        outputs = _to_outputs(self.inference_step(images, model))
        outputs['logits'], labels = self._match_sizes(outputs['logits'], labels)
        losses = self.compute_losses(model, labels, outputs)
        self.update_metrics(model, metrics, labels, outputs, losses)
        return {self.loss: losses[self.loss]}

    def _match_sizes(
        self, logits: tf.Tensor, labels: Mapping[str, Any]
    ) -> tuple[tf.Tensor, Mapping[str, Any]]:
        """Logits, and labels, that cover the same part of the images."""
        if self.task_config.validation_data.resize_eval_groundtruth:
            return logits, labels
        size = tf.shape(labels['masks'])[1:3]
        logits, is_image = segmentation_metrics.rescale_to_original(
            logits, labels['image_info'], size
        )
        ignored = tf.cast(self.task_config.losses.ignore_label, labels['masks'].dtype)
        masks = tf.where(is_image[..., None], labels['masks'], ignored)
        return logits, {**labels, 'masks': masks}

    def save_visualization(self, model: keras.Model, output_dir: str) -> str | None:
        """Writes `masks.png`: validation images with their true masks, and with those found."""
        config = self.task_config
        if not config.allow_image_summary:
            return None
        data = config.validation_data.replace(resize_eval_groundtruth=True)

        @tf.function
        def segment(images: Any, labels: Mapping[str, Any]) -> tuple[tf.Tensor, tf.Tensor]:
            logits = _to_outputs(self.inference_step(images, model))['logits']
            masks = tf.cast(labels['masks'][..., 0], tf.int32)
            found = tf.argmax(tf.image.resize(logits, tf.shape(masks)[1:3]), -1, tf.int32)
            return tf.where(labels['valid_masks'][..., 0], masks, -1), found

        picture = segmentation_pictures.make_picture(
            self.build_inputs(data), segment, class_names=config.class_names
        )
        if picture is None:
            return None
        return visualization.save_png(picture, os.path.join(output_dir, PICTURE_NAME))


def _to_outputs(model_outputs: Any) -> dict[str, tf.Tensor]:
    """The model's outputs by name, float32."""
    if not isinstance(model_outputs, Mapping):
        model_outputs = {'logits': model_outputs}
    return {name: tf.cast(value, tf.float32) for name, value in model_outputs.items()}


def _get_labelling(task_config: Any) -> Labelling:
    losses = task_config.losses
    return Labelling(ignore_label=losses.ignore_label, is_matting=losses.gt_is_matting_map)


# Of `PngPairsSource`: where files are, and what the masks mean.
_PLACES = ('image_dir', 'mask_dir', 'image_suffix', 'mask_suffix')
_MEANINGS = ('class_names', 'mask_values', 'mask_colors', 'ignored_values')


def _complete(task_config: Any, data_config: Any) -> Any:
    """The data config; folders that it does not name, and what masks mean, as in training."""
    source, own = data_config.source, task_config.train_data.source
    if source.type != 'png_pairs' or own.type != 'png_pairs':
        return data_config
    pairs, training = source.png_pairs.as_dict(), own.png_pairs.as_dict()
    has_place = pairs['image_dir'] or pairs['mask_dir']
    inherited = _MEANINGS if has_place else (*_PLACES, *_MEANINGS)
    filled = {name: training[name] for name in inherited if training[name] and not pairs[name]}
    return data_config.replace(source={'png_pairs': filled}) if filled else data_config
