"""From predictions of all levels to detections."""

from __future__ import annotations

import contextlib
import math
import types
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import keras
import tensorflow as tf

from official_lite.vision.ops import box_ops, nms

Levels = Mapping[str, tf.Tensor]

NMS_VERSIONS = ('v1', 'v2', 'batched')
# Candidates are chosen by logits, this much below the one that belongs to the threshold, so that
# rounding loses none.
_LOGIT_MARGIN = 1e-3


@keras.saving.register_keras_serializable(package='official_lite')
class MultilevelDetectionGenerator(keras.layers.Layer):
    """Decodes, clips and suppresses the predictions of a one-stage detector.

    Works in two stages: anchors without a score above the threshold are left out before anything is
    decoded, so that the cost follows the number of candidates rather than of anchors. Everything is
    computed in float32.

    Args:
        apply_nms: Whether to suppress overlaps. If not, decoded boxes and scores of all anchors are
            the result.
        pre_nms_top_k: Number of candidates of a class (of an image, if class-agnostic) that take
            part. Not used by 'batched'.
        pre_nms_score_threshold: What scores must exceed.
        nms_iou_threshold: Overlap that suppresses.
        max_num_detections: Number of detections per image.
        nms_version: 'v2' and, if not soft, 'v1': an overlap equal to the threshold suppresses, and
            boxes clipped to the image's first corner are no detections. 'batched': neither.
        use_cpu_nms: Whether suppression is placed on the CPU.
        soft_nms_sigma: Width of soft suppression ('v1' only), or None for none.
        tflite_post_processing_config: Options of the TFLite operation, kept for exports.
        return_decoded: Whether decoded boxes and scores of all anchors are returned besides
            detections.
        use_class_agnostic_nms: Whether boxes suppress those of other classes too ('v2' only).
        box_coder_weights: Four factors of the box predictions, or None.

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
        tflite_post_processing_config: Optional[Mapping[str, Any]] = None,
        return_decoded: Optional[bool] = None,
        use_class_agnostic_nms: Optional[bool] = None,
        box_coder_weights: Optional[Sequence[float]] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{'dtype': 'float32', 'autocast': False, **kwargs})
        # A proxy, because Keras would wrap a plain dict.
        self._config: Mapping[str, Any] = types.MappingProxyType(
            {
                'apply_nms': apply_nms,
                'pre_nms_top_k': pre_nms_top_k,
                'pre_nms_score_threshold': pre_nms_score_threshold,
                'nms_iou_threshold': nms_iou_threshold,
                'max_num_detections': max_num_detections,
                'nms_version': nms_version,
                'use_cpu_nms': use_cpu_nms,
                'soft_nms_sigma': soft_nms_sigma,
                'tflite_post_processing_config': tflite_post_processing_config,
                'return_decoded': return_decoded,
                'use_class_agnostic_nms': use_class_agnostic_nms,
                'box_coder_weights': None if box_coder_weights is None else list(box_coder_weights),
            }
        )
        self._check()

    def _check(self) -> None:
        config = self._config
        version = config['nms_version']
        if version not in NMS_VERSIONS:
            raise ValueError(
                'This version of suppression is not there. '
                f'Expected nms_version to be one of {list(NMS_VERSIONS)}. '
                f'Received: {version!r}'
            )
        if config['use_class_agnostic_nms'] and version != 'v2':
            raise ValueError(
                f"Class-agnostic suppression is part of 'v2'. "
                f"Expected nms_version='v2'. Received: {version!r}"
            )
        if config['soft_nms_sigma'] is not None and version != 'v1':
            raise ValueError(
                f"Soft suppression is part of 'v1'. "
                f"Expected nms_version='v1'. Received: {version!r}"
            )
        weights = config['box_coder_weights']
        if weights is not None and (len(weights) != 4 or min(weights) <= 0.0):
            raise ValueError(
                f'Expected box_coder_weights to be four positive numbers. Received: {weights}'
            )

    def build(self, *unused_shapes: Any) -> None:
        del unused_shapes  # there are no variables

    def call(
        self,
        raw_boxes: Levels,
        raw_scores: Levels,
        anchor_boxes: Levels,
        image_shape: Optional[tf.Tensor] = None,
        raw_attributes: Optional[Mapping[str, Levels]] = None,
    ) -> dict[str, Any]:
        """Generates detections.

        Args:
            raw_boxes: Box predictions by level, [batch, height_l, width_l, anchors * 4].
            raw_scores: Class logits by level, [batch, height_l, width_l, anchors * num_classes],
                background first.
            anchor_boxes: Anchors by level, [height_l, width_l, anchors * 4], or with the batch in
                front.
            image_shape: Height and width of each image without padding, in the network's pixels,
                [batch, 2]; boxes are clipped to it. None for no clipping.
            raw_attributes: Further predictions by name and level, [batch, height_l, width_l,
                anchors * size].

        Returns:
            `detection_boxes` float32 [batch, detections, 4] in pixels of the network's input,
            `detection_scores` float32, `detection_classes` int32 (1 for the first class after
            background), `num_detections` int32 [batch], and `detection_attributes`, float32 [batch,
            detections, size] by name. What lies beyond `num_detections` is 0. With
            `return_decoded`, or without `apply_nms` only: `decoded_boxes` [batch, num_anchors, 1,
            4], `decoded_box_scores` [batch, num_anchors, num_classes - 1],
            `decoded_box_attributes`.
        """
        raw_attributes = raw_attributes or {}
        results: dict[str, Any] = {}
        if self._config['return_decoded'] or not self._config['apply_nms']:
            decoded = self._decode(
                raw_boxes, raw_scores, anchor_boxes, image_shape, raw_attributes, is_pruned=False
            )
            results['decoded_boxes'] = decoded[0][:, :, None, :]
            results['decoded_box_scores'] = decoded[1]
            results['decoded_box_attributes'] = {
                name: x[:, :, None, :] for name, x in decoded[2].items()
            }
        if not self._config['apply_nms']:
            return results
        boxes, scores, attributes = self._decode(
            raw_boxes, raw_scores, anchor_boxes, image_shape, raw_attributes, is_pruned=True
        )
        selection = self._select(boxes, scores)
        is_valid = tf.sequence_mask(selection.num_valid, self._config['max_num_detections'])
        results.update(
            num_detections=selection.num_valid,
            detection_boxes=selection.boxes,
            detection_classes=tf.where(is_valid, selection.classes + 1, 0),
            detection_scores=selection.scores,
            detection_attributes={
                name: tf.where(
                    is_valid[..., None], tf.gather(values, selection.indices, batch_dims=1), 0.0
                )
                for name, values in attributes.items()
            },
        )
        return results

    def _select(self, boxes: tf.Tensor, scores: tf.Tensor) -> nms.Selection:
        config = self._config
        arguments = {
            'max_num_detections': config['max_num_detections'],
            'score_threshold': config['pre_nms_score_threshold'],
            'iou_threshold': config['nms_iou_threshold'],
        }
        device = tf.device('cpu:0') if config['use_cpu_nms'] else contextlib.nullcontext()
        with device:
            if config['use_class_agnostic_nms']:
                return nms.select_class_agnostic(
                    boxes, scores, pre_nms_top_k=config['pre_nms_top_k'], **arguments
                )
            if config['soft_nms_sigma'] is not None:
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
                pre_nms_top_k=None
                if config['nms_version'] == 'batched'
                else config['pre_nms_top_k'],
                is_threshold_suppressed=not is_batched,
                drop_empty_boxes=not is_batched,
                **arguments,
            )

    def _decode(
        self,
        raw_boxes: Levels,
        raw_scores: Levels,
        anchor_boxes: Levels,
        image_shape: Optional[tf.Tensor],
        raw_attributes: Mapping[str, Levels],
        is_pruned: bool,
    ) -> tuple[tf.Tensor, tf.Tensor, dict[str, tf.Tensor]]:
        """Boxes [batch, candidates, 4], scores [batch, candidates, num_classes - 1] and attributes
        of all levels.

        If `is_pruned`, candidates are anchors with a score above the threshold in any image;
        otherwise all anchors.
        """
        boxes, scores = [], []
        attributes: dict[str, list[tf.Tensor]] = {name: [] for name in raw_attributes}
        for level in sorted(raw_boxes, key=int):
            anchors = _flatten(tf.cast(anchor_boxes[level], tf.float32), 4)
            num_anchors = raw_boxes[level].shape[-1] // 4
            logits = _flatten(raw_scores[level], raw_scores[level].shape[-1] // num_anchors)[
                ..., 1:
            ]
            deltas = _flatten(raw_boxes[level], 4)
            values = {
                name: _flatten(levels[level], levels[level].shape[-1] // num_anchors)
                for name, levels in raw_attributes.items()
            }
            if is_pruned:
                places = self._find_candidates(logits)
                logits, deltas = (tf.gather(x, places, batch_dims=1) for x in (logits, deltas))
                values = {name: tf.gather(x, places, batch_dims=1) for name, x in values.items()}
                is_shared = len(anchors.shape) == 2
                anchors = (
                    tf.gather(anchors, places)
                    if is_shared
                    else tf.gather(anchors, places, batch_dims=1)
                )
            boxes.append(self._decode_boxes(deltas, anchors, image_shape))
            scores.append(tf.sigmoid(tf.cast(logits, tf.float32)))
            for name, x in values.items():
                attributes[name].append(tf.cast(x, tf.float32))
        return (
            tf.concat(boxes, axis=1),
            tf.concat(scores, axis=1),
            {name: tf.concat(parts, axis=1) for name, parts in attributes.items()},
        )

    def _decode_boxes(
        self, deltas: tf.Tensor, anchors: tf.Tensor, image_shape: Optional[tf.Tensor]
    ) -> tf.Tensor:
        boxes = box_ops.decode_boxes(deltas, anchors, self._config['box_coder_weights'])
        return (
            boxes
            if image_shape is None
            else box_ops.clip_boxes(boxes, tf.cast(image_shape, tf.float32)[:, None, :])
        )

    def _find_candidates(self, logits: tf.Tensor) -> tf.Tensor:
        """Anchors with a promising logit, [batch, candidates], in order, filled up with others."""
        best = tf.cast(tf.reduce_max(logits, axis=-1), tf.float32)  # [batch, num_anchors]
        is_candidate = best > _compute_logit_bound(self._config['pre_nms_score_threshold'])
        count = tf.reduce_max(tf.reduce_sum(tf.cast(is_candidate, tf.int32), axis=1))
        return tf.nn.top_k(tf.cast(is_candidate, tf.int32), count).indices

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._config}


def _flatten(values: tf.Tensor, size: int) -> tf.Tensor:
    """[..., height, width, anchors * size] to [..., height * width * anchors, size].

    A batch, if there is any, is the first dimension.
    """
    shape = [-1, size] if len(values.shape) == 3 else [tf.shape(values)[0], -1, size]
    return tf.reshape(values, shape)


def _compute_logit_bound(score: float) -> float:
    """A logit below which no sigmoid exceeds `score`."""
    if score <= 0.0:
        return -math.inf
    if score >= 1.0:
        return math.inf
    # bfloat16 logits have three digits: the margin grows with their size.
    logit = math.log(score / (1.0 - score))
    return logit - _LOGIT_MARGIN * max(1.0, abs(logit))
