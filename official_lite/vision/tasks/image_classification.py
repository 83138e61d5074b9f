"""The task of image classification: one class of an image, or several."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from official_lite.core import data_info as data_infos
from official_lite.core import task_factory
from official_lite.core.classification_info import ClassificationInfo
from official_lite.vision import visualization
from official_lite.vision.configs import image_classification as exp_cfg
from official_lite.vision.dataloaders import (
    classification_reader,
    classification_sources,
    input_reader,
    notices,
)
from official_lite.vision.dataloaders import source as source_lib
from official_lite.vision.evaluation import classification_metrics
from official_lite.vision.losses import classification_losses
from official_lite.vision.modeling import factory
from official_lite.vision.tasks import class_facts, classification_pictures, vision_task

PICTURE_NAME = 'predictions.png'

_Labels = Any  # a tensor, or {'label', 'is_valid'}


@task_factory.register_task_cls(exp_cfg.ImageClassificationTask)
class ImageClassificationTask(vision_task.VisionTask):
    """Model, data, losses and evaluation of image classification."""

    @classmethod
    def get_data_info(
        cls, task_config: exp_cfg.ImageClassificationTask, is_training: bool
    ) -> data_infos.DataInfo:
        """Counts and classes of the training or of the validation data."""
        info = cls.build_source(task_config, is_training).info
        data_infos.check_not_empty(info)
        return info

    @classmethod
    def build_source(
        cls, task_config: exp_cfg.ImageClassificationTask, is_training: bool
    ) -> source_lib.Source:
        """The examples of the training or of the validation data, as they are stored."""
        name = 'train_data' if is_training else 'validation_data'
        return classification_sources.build_source(
            _complete(task_config, getattr(task_config, name)),
            class_names=() if is_training else task_config.class_names,
            where=f'task.{name}',
        )

    @classmethod
    def resolve(cls, config: Any, data_info: data_infos.DataInfo | None) -> None:
        """Takes the number of classes and their names from the data."""
        if isinstance(data_info, ClassificationInfo):
            class_facts.resolve_classes(config, data_info)

    def build_model(self) -> keras.Model:
        """Builds the classifier."""
        config = self.task_config
        model = factory.build_classification_model(
            input_specs=keras.layers.InputSpec(shape=[None, *config.model.input_size]),
            model_config=config.model,
            l2_regularizer=self._make_l2_regularizer(),
        )
        if config.freeze_backbone:
            model.backbone.trainable = False
        return model

    def _build_reader(self, params: exp_cfg.DataConfig) -> input_reader.InputReader:
        """What makes batches.

        A batch is (images, labels): images uint8 [batch, height, width, 3]; labels int32 [batch],
        or vectors [batch, num_classes] where images have several classes (int32) or are mixed
        (float32). In evaluation labels is a dict of those, 'label', and 'is_valid', bool [batch],
        which is False for what only fills the last batch.
        """
        config = self.task_config
        return classification_reader.build_classification_reader(
            _complete(config, params),
            output_size=config.model.input_size[:2],
            num_classes=config.model.num_classes,
            class_names=config.class_names,
            where='task.train_data' if params.is_training else 'task.validation_data',
        )

    def build_losses(
        self, labels: _Labels, model_outputs: Any, aux_losses: Sequence[tf.Tensor] | None = None
    ) -> tf.Tensor:
        """The loss of one replica.

        Args:
            labels: int [batch], or vectors [batch, num_classes]; or a dict of them, 'label', and
                'is_valid' bool [batch], which takes the other images out.
            model_outputs: Logits [batch, num_classes].
            aux_losses: `model.losses`.

        Returns:
            `loss_weight` times the sum of the images' mean loss and of `aux_losses`, float32.
        """
        label, is_valid = _split(labels)
        logits = tf.cast(model_outputs, tf.float32)
        losses = self._compute_image_losses(label, logits)
        total = classification_losses.mean_of_valid(losses, is_valid)
        if aux_losses:
            total += tf.add_n([tf.cast(loss, tf.float32) for loss in aux_losses])
        return self.task_config.losses.loss_weight * total

    def _compute_image_losses(self, label: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """float32 [batch]."""
        config = self.task_config.losses
        is_vector = label.shape.rank == logits.shape.rank
        if self.task_config.train_data.is_multilabel:
            return classification_losses.multilabel_cross_entropy(
                label, logits, config.label_smoothing
            )
        if config.use_binary_cross_entropy:
            return classification_losses.binary_cross_entropy(self._to_targets(label), logits)
        if not is_vector and not (config.one_hot or config.soft_labels):
            return classification_losses.sparse_cross_entropy(label, logits)
        vectors = tf.cast(label, tf.float32) if is_vector else tf.one_hot(label, logits.shape[-1])
        smoothing = config.label_smoothing if config.one_hot else 0.0
        return classification_losses.softmax_cross_entropy(vectors, logits, smoothing)

    def _to_targets(self, label: tf.Tensor) -> tf.Tensor:
        """float32 [batch, num_classes] of zeros and ones, of classes or of mixed vectors."""
        num_classes = self.task_config.model.num_classes
        if label.shape.rank == 1:
            return tf.one_hot(label, num_classes)
        mixing = self.task_config.train_data.mixup_and_cutmix
        off_value = 0.0 if mixing is None else mixing.label_smoothing / num_classes
        return classification_losses.harden_labels(tf.cast(label, tf.float32), off_value)

    def build_metrics(self, training: bool = True) -> list[keras.metrics.Metric]:
        """Accuracy, top-k accuracy, precision and recall; with several labels areas under curves.

        Raises:
            UsageError: The validation data is not there.
            ConfigError: It has other classes.
        """
        config = self.task_config
        data = config.validation_data
        # And not a dataset given to the trainer.
        if not training and (data.source.type or data.input_path or data.tfds_name):
            info = classification_sources.get_data_info(
                _complete(config, data),
                class_names=config.class_names,
                where='task.validation_data',
            )
            notices.write(info.describe('validation data') + '\n')
            class_facts.check_same_classes(config, info)
        if config.train_data.is_multilabel:
            return [] if training else _make_areas(config.model.num_classes)
        metrics: list[keras.metrics.Metric] = [
            classification_metrics.TopKAccuracy(1, name='accuracy'),
            classification_metrics.TopKAccuracy(
                config.evaluation.top_k, name=f'top_{config.evaluation.top_k}_accuracy'
            ),
        ]
        if config.evaluation.precision_and_recall_thresholds:
            metrics.append(
                classification_metrics.PrecisionAndRecall(
                    config.evaluation.precision_and_recall_thresholds,
                    config.model.num_classes,
                    per_class=config.evaluation.report_per_class_precision_and_recall,
                )
            )
        return metrics

    def process_metrics(
        self,
        metrics: Sequence[keras.metrics.Metric],
        labels: _Labels,
        model_outputs: Any,
        **kwargs: Any,
    ) -> None:
        """Adds a batch; of mixed labels the largest part counts."""
        del kwargs
        label, is_valid = _split(labels)
        weights = None if is_valid is None else tf.cast(is_valid, tf.float32)
        scores = self.compute_probabilities(model_outputs)
        if not self.task_config.train_data.is_multilabel and label.shape.rank == 2:
            label = tf.argmax(label, axis=1)
        for metric in metrics:
            metric.update_state(label, scores, sample_weight=weights)

    def compute_probabilities(self, model_outputs: Any) -> tf.Tensor:
        """Probabilities of the classes, float32 [batch, num_classes], from logits.

        A sigmoid's where each class is learned by itself, unless `model.output_softmax` is on.
        """
        logits = tf.cast(model_outputs, tf.float32)
        config = self.task_config
        is_sigmoid = config.train_data.is_multilabel or config.losses.use_binary_cross_entropy
        if is_sigmoid and not config.model.output_softmax:
            return tf.sigmoid(logits)
        return tf.nn.softmax(logits)

    def save_visualization(self, model: keras.Model, output_dir: str) -> str | None:
        """Writes `predictions.png`: validation images of all classes with their likeliest class."""
        config = self.task_config
        classify = tf.function(
            lambda images: self.compute_probabilities(model(images, training=False))
        )
        picture = classification_pictures.make_picture(
            self.build_inputs(config.validation_data),
            classify,
            class_names=config.class_names,
            num_classes=config.model.num_classes,
        )
        if picture is None:
            return None
        return visualization.save_png(picture, os.path.join(output_dir, PICTURE_NAME))


def _make_areas(num_classes: int) -> list[keras.metrics.Metric]:
    """Areas under the curves of precision and recall, of all labels at once and of each class."""
    return [
        keras.metrics.AUC(name='globalPR-AUC', curve='PR', dtype='float32'),
        keras.metrics.AUC(
            name='meanPR-AUC', curve='PR', multi_label=True, num_labels=num_classes, dtype='float32'
        ),
    ]


def _split(labels: _Labels) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Labels and which of them count."""
    if isinstance(labels, Mapping):
        return labels['label'], labels.get('is_valid')
    return labels, None


def _complete(task_config: Any, data_config: Any) -> Any:
    """The data config with what the training data decides: what labels are, and in which features.

    Where it names no folder or table, with that of the training data, too.
    """
    train_data = task_config.train_data
    data_config = data_config.replace(
        is_multilabel=train_data.is_multilabel,
        image_field_key=train_data.image_field_key,
        label_field_key=train_data.label_field_key,
    )
    source, own = data_config.source, train_data.source
    place = {'folder': 'root', 'csv': 'file'}.get(source.type or '')
    if place is None or source.type != own.type or getattr(source.get(), place):
        return data_config
    return data_config.replace(source={source.type: {place: getattr(own.get(), place)}})
