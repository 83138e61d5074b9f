"""Export of segmentation: raw images in, logits of each pixel out, preprocessed as in evaluation."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from official_lite import errors
from official_lite.vision.dataloaders import segmentation_input, segmentation_reader
from official_lite.vision.dataloaders.segmentation_facts import Labelling
from official_lite.vision.evaluation import segmentation_metrics
from official_lite.vision.serving import export_base


class SegmentationModule(export_base.ExportModule):
    """A segmentation model with its preprocessing.

    The signature returns `logits` float32 [batch, height, width, num_classes], at the size of the
    network's input, and `image_info` float32 [batch, 4, 2]: original size, input size, scale and
    offset. With `export_config.rescale_output` they are at the size of the original image; of
    several images in one call, at the size of the highest and widest, each in the upper left corner.
    With a mask scoring head there is `mask_scores` float32 [batch, num_classes].
    """

    def _count_channels(self, params: Any) -> int:
        return sum(feature.num_channels for feature in _get_features(params))

    def preprocess_image(self, image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self._parser.preprocess_image(image)

    def preprocess_bytes(self, image_bytes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        features = _get_features(self.params)
        if len(features) > 1:
            raise errors.UsageError(
                'one encoded image does not have the channels of several',
                where='input_type',
                expected='image_tensor or tf_example, because of additional_dense_features',
                received='image_bytes',
            )
        decoded = segmentation_input.decode_images(
            {features[0].feature_name: image_bytes}, features[0]
        )
        return self.preprocess_image(decoded)

    def preprocess_example(self, serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        features = _get_features(self.params)
        decoder = segmentation_input.Decoder(features[0], features[1:])
        images = segmentation_input.decode_images(
            decoder.decode(serialized), features[0], features[1:]
        )
        return self.preprocess_image(images)

    @property
    def _parser(self) -> segmentation_input.Parser:
        task = self.params.task
        return segmentation_reader.build_parser(
            task.validation_data.replace(
                output_size=self._input_image_size, is_training=False, crop_size=[]
            ),
            input_size=self._input_image_size,
            labelling=Labelling(ignore_label=task.losses.ignore_label),
        )

    def _preprocessed_spec(self) -> tuple[tf.TensorSpec, tf.TensorSpec]:
        images = tf.TensorSpec(
            [*self._input_image_size, self._num_channels], self._parser.image_dtype
        )
        return images, tf.TensorSpec([4, 2], tf.float32)

    def run_model(self, images: tf.Tensor, image_info: tf.Tensor) -> export_base.Outputs:
        outputs = {
            name: tf.cast(value, tf.float32)
            for name, value in self.model(images, training=False).items()
        }
        if self.params.task.export_config.rescale_output:
            size = tf.cast(tf.reduce_max(image_info[:, 0], axis=0), tf.int32)
            outputs['logits'], _ = segmentation_metrics.rescale_to_original(
                outputs['logits'], image_info, size
            )
        else:
            outputs['logits'] = tf.image.resize(outputs['logits'], tf.shape(images)[1:3])
        return {**outputs, 'image_info': image_info}


def _get_features(params: Any) -> list[Any]:
    """The images of a record whose channels the model takes."""
    data = params.task.validation_data
    return [data.image_feature, *data.additional_dense_features]
