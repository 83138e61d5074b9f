"""Export of R-CNNs: raw images in, detections with masks out, preprocessed exactly as in evaluation."""

from __future__ import annotations

import tensorflow as tf

from official_lite.vision.serving import detection, export_base

_OUTPUT_NAMES = (
    'detection_boxes',
    'detection_scores',
    'detection_classes',
    'detection_masks',
    'detection_outer_boxes',
    'num_detections',
    'decoded_boxes',
    'decoded_box_scores',
)


class MaskRCNNModule(detection.DetectionModule):
    """A Faster, Mask or Cascade R-CNN with its preprocessing.

    The signature returns `detection_boxes` float32 [batch, detections, 4], yxyx in pixels of the
    network's input, `detection_scores` float32 and `detection_classes` int32 [batch, detections],
    `num_detections` int32 [batch] and `image_info` float32 [batch, 4, 2]: boxes / image_info[:, 2]
    are in pixels of the original image. With masks also `detection_masks` float32 [batch,
    detections, rows, columns], the chance of each pixel of a box (or of `detection_outer_boxes`,
    where boxes are enlarged for masks); `ops.mask_ops.paste_instance_masks` makes masks of the whole
    image of them. Without NMS (`detection_generator.apply_nms` off) it returns `decoded_boxes` and
    `decoded_box_scores`.
    """

    def run_model(self, images: tf.Tensor, image_info: tf.Tensor) -> export_base.Outputs:
        outputs = self.model(images, image_shape=image_info[:, 1, :], training=False)
        found = {name: outputs[name] for name in _OUTPUT_NAMES if name in outputs}
        return {**found, 'image_info': image_info}
