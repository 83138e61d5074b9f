"""Export of detectors: raw images in, detections out, preprocessed exactly as in evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from official_lite import errors
from official_lite.vision.configs import retinanet as retinanet_cfg
from official_lite.vision.dataloaders import retinanet_input
from official_lite.vision.ops import preprocess_ops
from official_lite.vision.serving import export_base


class DetectionModule(export_base.ExportModule):
    """A RetinaNet, or a Faster, Mask or Cascade R-CNN, with its preprocessing.

    The signature returns `detection_boxes` float32 [batch, detections, 4], yxyx in pixels of the
    network's input (normalized to the original image with
    `export_config.output_normalized_coordinates`), `detection_scores` float32 and
    `detection_classes` int32 [batch, detections], `num_detections` int32 [batch] and `image_info`
    float32 [batch, 4, 2]: boxes / image_info[:, 2] are in pixels of the original image. Without
    NMS (`detection_generator.apply_nms` off) it returns `decoded_boxes` and `decoded_box_scores`,
    without `decode_boxes` either `raw_boxes` and `raw_scores`. Attributes are
    `detection_attributes_NAME`. Masks are `detection_masks` float32 [batch, detections, rows,
    columns], the chance of each pixel of a box, or of `detection_outer_boxes` where boxes are enlarged
    for them, and `detection_mask_scores` if masks are scored; `ops.mask_ops.paste_instance_masks`
    makes masks of the whole image. With `nms_version='tflite'` there is no `image_info`, and results
    are those of TFLite's operation.
    """

    def _get_network_size(self, params: Any) -> list[int | None]:
        stride = 2**params.task.model.max_level
        padded = [
            None if side is None else preprocess_ops.compute_padded_size([side], stride)[0]
            for side in self._input_size
        ]
        if padded != self._input_size and not params.task.validation_data.parser.pad:
            raise errors.UsageError(
                'images are not padded, because task.validation_data.parser.pad is false',
                where='input_image_size',
                expected=f'multiples of 2^max_level = {stride}',
                received=str([*self._input_size]),
                hint=f'for example {padded}',
            )
        return padded

    def preprocess_image(self, image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self._parser.preprocess_image(image)

    @property
    def _parser(self) -> retinanet_input.Parser:
        task = self.params.task
        return retinanet_input.build_parser(
            self._input_image_size,
            max_level=task.model.max_level,
            parser_config=task.validation_data.parser,
        )

    def _preprocessed_spec(self) -> tuple[tf.TensorSpec, tf.TensorSpec]:
        images = tf.TensorSpec([*self._get_network_size(self.params), 3], tf.uint8)
        return images, tf.TensorSpec([4, 2], tf.float32)

    def run_model(self, images: tf.Tensor, image_info: tf.Tensor) -> export_base.Outputs:
        config = getattr(self.params.task, 'export_config', retinanet_cfg.ExportConfig())
        options = {}
        if config.output_intermediate_features:
            options['output_intermediate_features'] = True
        outputs = self.model(images, image_shape=image_info[:, 1, :], **options, training=False)
        outputs.update(_flatten_attributes(outputs))
        names = [name for name in outputs if name.startswith(_OUTPUT_NAMES)]
        if config.output_intermediate_features:
            names += [name for name in outputs if name.startswith(('backbone_', 'decoder_'))]
        result = {name: outputs[name] for name in names}
        for name in ('detection_boxes', 'decoded_boxes'):
            if config.output_normalized_coordinates and name in result:
                result[name] = normalize_boxes(result[name], image_info)
        if config.cast_num_detections_to_float and 'num_detections' in result:
            result['num_detections'] = tf.cast(result['num_detections'], tf.float32)
        if config.cast_detection_classes_to_float and 'detection_classes' in result:
            result['detection_classes'] = tf.cast(result['detection_classes'], tf.float32)
        if self.params.task.model.detection_generator.nms_version == 'tflite':
            return result
        return {**result, 'image_info': image_info}


_OUTPUT_NAMES = (
    'detection_boxes',
    'detection_scores',
    'detection_classes',
    'detection_attributes_',
    'detection_masks',
    'detection_outer_boxes',
    'detection_mask_scores',
    'num_detections',
    'decoded_boxes',
    'decoded_box_scores',
    'decoded_box_attributes_',
    'raw_boxes',
    'raw_scores',
)


def _flatten_attributes(outputs: Mapping[str, Any]) -> export_base.Outputs:
    """Attributes by one name each, because a signature has no nested outputs."""
    return {
        f'{kind}_{name}': values
        for kind in ('detection_attributes', 'decoded_box_attributes')
        for name, values in (outputs.get(kind) or {}).items()
    }


def normalize_boxes(boxes: tf.Tensor, image_info: tf.Tensor) -> tf.Tensor:
    """Boxes as shares of the original image.

    Args:
        boxes: float32 [batch, ..., 4], yxyx in pixels of the network's input.
        image_info: float32 [batch, 4, 2]: original size, target size, scale, offset.

    Returns:
        The same shape, in [0, 1].
    """
    batch = tf.shape(image_info)[0]
    shape = [batch] + [1] * (len(boxes.shape) - 2) + [4]
    scaled_size = tf.tile(image_info[:, 2, :] * image_info[:, 0, :], [1, 2])  # [batch, 4]
    offset = tf.tile(image_info[:, 3, :], [1, 2])  # [batch, 4]
    shares = (boxes + tf.reshape(offset, shape)) / tf.reshape(scaled_size, shape)
    return tf.clip_by_value(shares, 0.0, 1.0)
