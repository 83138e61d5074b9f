"""Export of classifiers: raw images in, probabilities out, preprocessed exactly as in evaluation."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from official_lite.core import task_factory
from official_lite.vision.dataloaders import classification_input, classification_reader
from official_lite.vision.serving import export_base


class ClassificationModule(export_base.ExportModule):
    """A classifier with its preprocessing.

    The signature returns `logits` and `probs`, float32 [batch, num_classes]: probabilities of one
    class of all, or of each class by itself where an image has several.
    """

    def preprocess_image(self, image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self._with_info(self._parser.preprocess_image(image))

    def preprocess_bytes(self, image_bytes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self._with_info(self._parser.preprocess_bytes(image_bytes))

    def preprocess_example(self, serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        feature = self.params.task.train_data.image_field_key
        return self.preprocess_bytes(export_base.get_image_bytes(serialized, feature))

    def _with_info(self, image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return image, export_base.make_whole_info(tf.constant(self._input_image_size))

    def _build_inputs(self, image: tf.Tensor) -> tf.Tensor:
        return self.build_inputs(image)[0]

    def _get_network_size(self, params: Any) -> list[int | None]:
        del params
        return [*self._input_image_size]

    @property
    def _parser(self) -> classification_input.Parser:
        return classification_reader.build_parser(
            self.params.task.validation_data,
            self._input_image_size,
            self.params.task.model.num_classes,
        )

    def _preprocessed_spec(self) -> tuple[tf.TensorSpec, tf.TensorSpec]:
        images = tf.TensorSpec([*self._input_image_size, 3], tf.uint8)
        return images, tf.TensorSpec([4, 2], tf.float32)

    def run_model(self, images: tf.Tensor, image_info: tf.Tensor) -> export_base.Outputs:
        del image_info
        logits = self.model(images, training=False)
        task = task_factory.get_task(self.params.task)
        return {'logits': tf.cast(logits, tf.float32), 'probs': task.compute_probabilities(logits)}
