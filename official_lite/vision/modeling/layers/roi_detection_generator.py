"""From predictions of regions to detections."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, Optional

import keras
import tensorflow as tf

from official_lite.vision.modeling.layers import region_layer
from official_lite.vision.ops import box_ops, nms

NMS_VERSIONS = ('v1', 'v2', 'batched')


@keras.saving.register_keras_serializable(package='official_lite')
class DetectionGenerator(region_layer.RegionLayer):
    """Decodes, clips and suppresses the predictions of the second stage.

    Args:
        apply_nms: Whether to suppress overlaps. If not, decoded boxes and scores are the result.
        pre_nms_top_k: Number of candidates of a class that take part. Not used by 'batched'.
        pre_nms_score_threshold: What scores must exceed.
        nms_iou_threshold: Overlap that suppresses.
        max_num_detections: Number of detections per image.
        nms_version: 'v2' and, if not soft, 'v1': an overlap equal to the threshold suppresses, and
            boxes clipped to the image's first corner are no detections. 'batched': neither.
        use_cpu_nms: Whether suppression is placed on the CPU.
        soft_nms_sigma: Width of soft suppression, or None for none. Other versions than 'v1' have none,
            and warn.
        use_sigmoid_probability: Whether each class is scored by itself.

    Raises:
        ValueError: If an option is not one of this version's.
    """

    def __init__(
        self,
        apply_nms: bool = True,
        pre_nms_top_k: int = 5000,
        pre_nms_score_threshold: float = 0.05,
        nms_iou_threshold: float = 0.5,
        max_num_detections: int = 100,
        nms_version: str = 'v2',
        use_cpu_nms: bool = False,
        soft_nms_sigma: Optional[float] = None,
        use_sigmoid_probability: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            {
                'apply_nms': apply_nms,
                'pre_nms_top_k': pre_nms_top_k,
                'pre_nms_score_threshold': pre_nms_score_threshold,
                'nms_iou_threshold': nms_iou_threshold,
                'max_num_detections': max_num_detections,
                'nms_version': nms_version,
                'use_cpu_nms': use_cpu_nms,
                'soft_nms_sigma': soft_nms_sigma,
                'use_sigmoid_probability': use_sigmoid_probability,
            },
            **kwargs,
        )
        if nms_version not in NMS_VERSIONS:
            raise ValueError(f'Expected nms_version of {NMS_VERSIONS}. Received: {nms_version!r}')
        if soft_nms_sigma is not None and nms_version != 'v1':
            nms.warn_not_soft(nms_version)

    @property
    def apply_nms(self) -> bool:
        """Whether overlaps are suppressed."""
        return self._config['apply_nms']

    def __call__(
        self,
        raw_boxes: tf.Tensor,
        raw_scores: tf.Tensor,
        anchor_boxes: tf.Tensor,
        image_shape: Optional[tf.Tensor],
        regression_weights: Optional[Sequence[float]] = None,
        bbox_per_class: bool = True,
    ) -> dict[str, tf.Tensor]:
        """See `call`. Keras takes nothing but tensors by position, Model Garden's users do."""
        return super().__call__(
            raw_boxes,
            raw_scores,
            anchor_boxes,
            image_shape,
            regression_weights=regression_weights,
            bbox_per_class=bbox_per_class,
        )

    def call(
        self,
        raw_boxes: tf.Tensor,
        raw_scores: tf.Tensor,
        anchor_boxes: tf.Tensor,
        image_shape: Optional[tf.Tensor],
        regression_weights: Optional[Sequence[float]] = None,
        bbox_per_class: bool = True,
    ) -> dict[str, tf.Tensor]:
        """Generates detections.

        Args:
            raw_boxes: Box codes [batch, rois, num_classes * 4], or [batch, rois, 4].
            raw_scores: Class logits [batch, rois, num_classes], background first.
            anchor_boxes: The regions, in pixels, [batch, rois, 4].
            image_shape: Height and width of each image without padding, [batch, 2]; boxes are
                clipped to it. None for no clipping.
            regression_weights: Four factors of the box codes, or None.
            bbox_per_class: Whether each class has its own box.

        Returns:
            `detection_boxes` float32 [batch, detections, 4] in pixels, `detection_scores` float32
            and `detection_classes` int32 (1 for the first class after background) [batch,
            detections], `num_detections` int32 [batch]; what lies beyond it is 0. Without
            `apply_nms`: `decoded_boxes` float32 [batch, rois, num_classes - 1 or 1, 4] and
            `decoded_box_scores` [batch, rois, num_classes - 1].
        """
        logits = tf.cast(raw_scores, tf.float32)
        is_sigmoid = self._config['use_sigmoid_probability']
        scores = (tf.sigmoid(logits) if is_sigmoid else tf.nn.softmax(logits))[..., 1:]
        boxes = _decode(
            raw_boxes, anchor_boxes, image_shape, regression_weights, bbox_per_class=bbox_per_class
        )
        if not self._config['apply_nms']:
            boxes = boxes if bbox_per_class else boxes[:, :, None, :]
            return {'decoded_boxes': boxes, 'decoded_box_scores': scores}
        device = tf.device('cpu:0') if self._config['use_cpu_nms'] else contextlib.nullcontext()
        with device:
            found = self._select(boxes, scores)
        is_valid = tf.sequence_mask(found.num_valid, self._config['max_num_detections'])
        return {
            'num_detections': found.num_valid,
            'detection_boxes': found.boxes,
            'detection_classes': tf.where(is_valid, found.classes + 1, 0),
            'detection_scores': found.scores,
        }

    def _select(self, boxes: tf.Tensor, scores: tf.Tensor) -> nms.Selection:
        config = self._config
        arguments = {
            'max_num_detections': config['max_num_detections'],
            'score_threshold': config['pre_nms_score_threshold'],
            'iou_threshold': config['nms_iou_threshold'],
        }
        if config['soft_nms_sigma'] is not None and config['nms_version'] == 'v1':
            return nms.select_soft(
                boxes,
                scores,
                pre_nms_top_k=config['pre_nms_top_k'],
                soft_nms_sigma=config['soft_nms_sigma'],
                **arguments,
            )
        is_batched = config['nms_version'] == 'batched'
        return nms.select_per_class(
            boxes,
            scores,
            pre_nms_top_k=None if is_batched else config['pre_nms_top_k'],
            is_threshold_suppressed=not is_batched,
            drop_empty_boxes=not is_batched,
            **arguments,
        )


def _decode(
    codes: tf.Tensor,
    rois: tf.Tensor,
    image_shape: Optional[tf.Tensor],
    weights: Optional[Sequence[float]],
    *,
    bbox_per_class: bool,
) -> tf.Tensor:
    """Boxes [batch, rois, 4], or [batch, rois, num_classes - 1, 4] if each class has its own."""
    rois = tf.cast(rois, tf.float32)
    sizes = None if image_shape is None else tf.cast(image_shape, tf.float32)[:, None, :]
    if bbox_per_class:
        shape = tf.shape(codes)
        codes = tf.reshape(codes, [shape[0], shape[1], codes.shape[-1] // 4, 4])[:, :, 1:]
        rois = rois[:, :, None, :]
        sizes = None if sizes is None else sizes[:, :, None, :]
    boxes = box_ops.decode_boxes(codes, rois, weights)
    return boxes if sizes is None else box_ops.clip_boxes(boxes, sizes)
