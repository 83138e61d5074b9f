"""From predictions of all levels to detections."""

from __future__ import annotations

import contextlib
import functools
import math
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Optional

import keras
import tensorflow as tf

from official_lite.vision.modeling.layers import box_predictions
from official_lite.vision.modeling.layers.roi_detection_generator import (
    DetectionGenerator as DetectionGenerator,
)
from official_lite.vision.ops import box_ops, nms, nms_v3, tflite_postprocess

Levels = Mapping[str, tf.Tensor]

NMS_VERSIONS = ('v1', 'v2', 'v3', 'batched', 'tflite')
# Candidates are chosen by logits, this much below the one that belongs to the threshold, so that
# rounding loses none.
_LOGIT_MARGIN = 1e-3
# Versions with all shapes fixed: candidates are not narrowed down first.
_FIXED_SHAPES = ('v3', 'tflite')
# Arguments that `get_config` leaves out where they are None, as Model Garden's does.
_OPTIONAL = ('pre_nms_top_k_sharding_block', 'nms_v3_refinements', 'tflite_post_processing_config')


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
            part. Not used by 'batched' and 'tflite'.
        pre_nms_score_threshold: What scores must exceed.
        nms_iou_threshold: Overlap that suppresses.
        max_num_detections: Number of detections per image.
        nms_version: 'v2' and, if not soft, 'v1': an overlap equal to the threshold suppresses, and
            boxes clipped to the image's first corner are no detections. 'batched': neither. 'v3':
            neither, nearly greedy, with fixed shapes (see `ops.nms_v3`). 'tflite': see
            `ops.tflite_postprocess`.
        use_cpu_nms: Whether suppression is placed on the CPU.
        soft_nms_sigma: Width of soft suppression, or None for none. Other versions than 'v1' have none,
            and warn.
        tflite_post_processing_config: Options of 'tflite' by the names of
            `tflite_postprocess.PostprocessOptions`, and `normalize_anchor_coordinates` (boxes are
            shares of the network's input, or of `input_image_size`) and `omit_nms` (predictions
            come out as they are). They replace the arguments above.
        pre_nms_top_k_sharding_block: With 'v3', number of columns of a feature map that are sorted
            at a time. Changes no result.
        nms_v3_refinements: With 'v3', see `nms_v3.select_refined`. None means 2.
        return_decoded: Whether decoded boxes and scores of all anchors are returned besides
            detections.
        use_class_agnostic_nms: Whether boxes suppress those of other classes too. 'tflite' has
            `use_regular_nms` for that.
        box_coder_weights: Four factors of the box predictions, or None.
        decode_boxes: Whether boxes are decoded. If not, which needs `apply_nms` off, predictions
            come out as they are.

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
        pre_nms_top_k_sharding_block: Optional[int] = None,
        nms_v3_refinements: Optional[int] = None,
        return_decoded: Optional[bool] = None,
        use_class_agnostic_nms: Optional[bool] = None,
        box_coder_weights: Optional[Sequence[float]] = None,
        decode_boxes: bool = True,
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
                'pre_nms_top_k_sharding_block': pre_nms_top_k_sharding_block,
                'nms_v3_refinements': nms_v3_refinements,
                'return_decoded': return_decoded,
                'use_class_agnostic_nms': use_class_agnostic_nms,
                'box_coder_weights': None if box_coder_weights is None else list(box_coder_weights),
                'decode_boxes': decode_boxes,
            }
        )
        _check_options(self._config)

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
                [batch, 2]; boxes are clipped to it (not by 'tflite'). None for no clipping.
            raw_attributes: Further predictions by name and level, [batch, height_l, width_l,
                anchors * size].

        Returns:
            `detection_boxes` float32 [batch, detections, 4] in pixels of the network's input,
            `detection_scores` float32, `detection_classes` int32 (1 for the first class after
            background), `num_detections` int32 [batch], and `detection_attributes`, float32 [batch,
            detections, size] by name. What lies beyond `num_detections` is 0. With
            `return_decoded`, or without `apply_nms` only: `decoded_boxes` [batch, num_anchors, 1,
            4], `decoded_box_scores` [batch, num_anchors, num_classes - 1],
            `decoded_box_attributes`. Without `decode_boxes` only: `raw_boxes` [batch, num_anchors,
            4] and `raw_scores`, after the sigmoid, [batch, num_anchors, num_classes].

        Raises:
            ValueError: Shapes do not fit one another, or there are attributes with 'tflite'.
        """
        config = self._config
        levels = [
            box_predictions.flatten_level(
                level, raw_boxes, raw_scores, anchor_boxes, raw_attributes or {}
            )
            for level in box_predictions.sort_levels(raw_boxes)
        ]
        if not config['decode_boxes']:
            return _join_raw(levels)
        weights = config['box_coder_weights']
        results: dict[str, Any] = {}
        if config['return_decoded'] or not config['apply_nms']:
            decoded = box_predictions.decode_levels(levels, image_shape, weights)
            results['decoded_boxes'] = decoded.boxes[:, :, None, :]
            results['decoded_box_scores'] = tf.sigmoid(decoded.logits)
            results['decoded_box_attributes'] = {
                name: values[:, :, None, :] for name, values in decoded.attributes.items()
            }
        if not config['apply_nms']:
            return results
        if config['nms_version'] == 'tflite':
            size = _compute_input_size(raw_boxes)
            return {**results, **self._postprocess(levels, size)}
        if config['nms_version'] not in _FIXED_SHAPES:
            bound = _compute_logit_bound(config['pre_nms_score_threshold'])
            levels = [box_predictions.keep_candidates(level, bound) for level in levels]
        candidates = box_predictions.decode_levels(levels, image_shape, weights)
        sizes = _compute_row_sizes(raw_boxes)
        return {**results, **self._detect(candidates, sizes)}

    def _detect(
        self, candidates: box_predictions.DecodedPredictions, row_sizes: Sequence[tuple[Any, int]]
    ) -> dict[str, Any]:
        limit = self._config['max_num_detections']
        device = tf.device('cpu:0') if self._config['use_cpu_nms'] else contextlib.nullcontext()
        with device:
            selection = self._select(candidates.boxes, candidates.logits, row_sizes)
        is_valid = tf.sequence_mask(selection.num_valid, limit)

        def take(values: tf.Tensor) -> tf.Tensor:
            # A row more, because there may be no candidates.
            padded = tf.pad(values, [[0, 0], [0, 1], [0, 0]])
            chosen = tf.gather(padded, selection.indices, batch_dims=1)
            return tf.where(is_valid[..., None], chosen, 0.0)

        return {
            'num_detections': selection.num_valid,
            'detection_boxes': selection.boxes,
            'detection_classes': tf.where(is_valid, selection.classes + 1, 0),
            'detection_scores': selection.scores,
            'detection_attributes': {
                name: take(values) for name, values in candidates.attributes.items()
            },
        }

    def _select(
        self, boxes: tf.Tensor, logits: tf.Tensor, row_sizes: Sequence[tuple[Any, int]]
    ) -> nms.Selection:
        config = self._config
        arguments = {
            'max_num_detections': config['max_num_detections'],
            'score_threshold': config['pre_nms_score_threshold'],
            'iou_threshold': config['nms_iou_threshold'],
        }
        select: Callable[..., nms.Selection]
        if config['nms_version'] == 'v3':
            select = functools.partial(self._select_v3, row_sizes=row_sizes)
            scores = logits  # the order of logits is finer than that of scores
        elif config['soft_nms_sigma'] is not None and config['nms_version'] == 'v1':
            select, scores = nms.select_soft, tf.sigmoid(logits)
            arguments |= {
                'pre_nms_top_k': config['pre_nms_top_k'],
                'soft_nms_sigma': config['soft_nms_sigma'],
            }
        else:
            select, scores = nms.select_per_class, tf.sigmoid(logits)
            is_batched = config['nms_version'] == 'batched'
            arguments |= {
                'pre_nms_top_k': None if is_batched else config['pre_nms_top_k'],
                'is_threshold_suppressed': not is_batched,
                'drop_empty_boxes': not is_batched,
            }
        if config['use_class_agnostic_nms']:
            return nms.select_class_agnostic(boxes, scores, select=select, **arguments)
        return select(boxes, scores, **arguments)

    def _select_v3(
        self,
        boxes: tf.Tensor,
        logits: tf.Tensor,
        row_sizes: Sequence[tuple[Any, int]],
        **arguments: Any,
    ) -> nms.Selection:
        shards = self._make_shards(logits, row_sizes)
        best, indices = nms_v3.compute_sharded_top_k(shards, self._config['pre_nms_top_k'])
        refinements = self._config['nms_v3_refinements']
        return nms_v3.select_refined(
            boxes,
            tf.sigmoid(best),
            indices,
            refinements=nms_v3.DEFAULT_REFINEMENTS if refinements is None else refinements,
            **arguments,
        )

    def _make_shards(
        self, logits: tf.Tensor, row_sizes: Sequence[tuple[Any, int]]
    ) -> list[tuple[tf.Tensor, int]]:
        """Logits [batch, anchors, classes] in pieces, coarsest level first, and where each begins.

        A piece is as many rows of a feature map as make up the sharding block.
        """
        block = self._config['pre_nms_top_k_sharding_block'] or nms_v3.DEFAULT_SHARDING_BLOCK
        shards: list[tuple[tf.Tensor, int]] = []
        end = logits.shape[1]
        for (height, width), anchors in reversed(row_sizes):
            row = width * anchors
            first = end - height * row
            step = max(1, block // width) * row
            for start in range(first, end, step):
                shards.append((logits[:, start : min(start + step, end)], start))
            end = first
        return shards

    def _postprocess(
        self, levels: Sequence[box_predictions.LevelPredictions], input_size: Sequence[Any]
    ) -> dict[str, tf.Tensor]:
        """Detections by the TFLite operation, all float32; or predictions, if it is omitted."""
        if levels[0].attributes:
            raise ValueError(
                "The TFLite operation knows no attributes. Expected none with nms_version='tflite'."
                f' Received: {list(levels[0].attributes)}'
            )
        given = self._config['tflite_post_processing_config'] or {}
        settings = {name: value for name, value in given.items() if value is not None}
        deltas = tf.concat([tf.cast(level.deltas, tf.float32) for level in levels], axis=1)
        logits = tf.concat([tf.cast(level.logits, tf.float32) for level in levels], axis=1)
        # The operation knows no background: it gets no chance, and classes keep their numbers.
        scores = tf.pad(tf.sigmoid(logits)[..., 1:], [[0, 0], [0, 0], [1, 0]])
        if settings.pop('omit_nms', False):
            return {'detection_boxes': deltas, 'detection_scores': scores}
        anchors = tf.concat([_drop_batch(level.anchors) for level in levels], axis=0)
        centres = box_ops.yxyx_to_cycxhw(anchors)
        size = settings.pop('input_image_size', None) or input_size
        if settings.pop('normalize_anchor_coordinates', False):
            centres = centres / tf.cast(tf.stack([*size, *size]), tf.float32)
        weights = self._config['box_coder_weights']
        if weights:
            settings.update(zip(('y_scale', 'x_scale', 'h_scale', 'w_scale'), weights))
        options = tflite_postprocess.PostprocessOptions(num_classes=logits.shape[-1], **settings)
        found = tflite_postprocess.make_postprocess(options)(deltas, scores, centres)
        names = ('detection_boxes', 'detection_classes', 'detection_scores', 'num_detections')
        return dict(zip(names, found))

    def get_config(self) -> dict[str, Any]:
        config = dict(self._config)
        if config['decode_boxes']:
            del config['decode_boxes']
        return {k: v for k, v in config.items() if v is not None or k not in _OPTIONAL}


def _check_options(config: Mapping[str, Any]) -> None:
    """Raises ValueError for options that do not go together; warns of one without an effect."""
    version = config['nms_version']
    if version not in NMS_VERSIONS:
        raise ValueError(
            'This version of suppression is not there. '
            f'Expected nms_version to be one of {list(NMS_VERSIONS)}. Received: {version!r}'
        )
    if config['use_class_agnostic_nms'] and version == 'tflite':
        raise ValueError(
            "'tflite' suppresses across classes unless its own use_regular_nms is on. "
            'Expected use_class_agnostic_nms=False. Received: True'
        )
    if config['soft_nms_sigma'] is not None and version != 'v1':
        nms.warn_not_soft(version)
    if config['apply_nms'] and not config['decode_boxes']:
        raise ValueError(
            'Boxes that are not decoded cannot be suppressed. '
            'Expected apply_nms=False with decode_boxes=False. Received: apply_nms=True'
        )
    weights = config['box_coder_weights']
    if weights is not None and (len(weights) != 4 or min(weights) <= 0.0):
        raise ValueError(
            f'Expected box_coder_weights to be four positive numbers. Received: {weights}'
        )


def _join_raw(levels: Sequence[box_predictions.LevelPredictions]) -> dict[str, tf.Tensor]:
    """Predictions of all levels as they are, scores after the sigmoid; float32."""
    return {
        'raw_boxes': tf.concat([tf.cast(level.deltas, tf.float32) for level in levels], axis=1),
        'raw_scores': tf.sigmoid(
            tf.concat([tf.cast(level.logits, tf.float32) for level in levels], axis=1)
        ),
    }


def _compute_row_sizes(raw_boxes: Levels) -> list[tuple[Any, int]]:
    """((height, width), anchors per location) of each level, finest first."""
    names = box_predictions.sort_levels(raw_boxes)
    return [
        ((raw_boxes[name].shape[1], raw_boxes[name].shape[2]), raw_boxes[name].shape[-1] // 4)
        for name in names
    ]


def _compute_input_size(raw_boxes: Levels) -> list[Any]:
    """Height and width of the network's input, from the finest level; px."""
    finest = box_predictions.sort_levels(raw_boxes)[0]
    values, dynamic = raw_boxes[finest], tf.shape(raw_boxes[finest])
    return [(values.shape[axis] or dynamic[axis]) * 2 ** int(finest) for axis in (1, 2)]


def _drop_batch(anchors: tf.Tensor) -> tf.Tensor:
    """Anchors [anchors, 4]; they are the same for all images."""
    return anchors if len(anchors.shape) == 2 else anchors[0]


def _compute_logit_bound(score: float) -> float:
    """A logit below which no sigmoid exceeds `score`."""
    if score <= 0.0:
        return -math.inf
    if score >= 1.0:
        return math.inf
    # bfloat16 logits have three digits: the margin grows with their size.
    logit = math.log(score / (1.0 - score))
    return logit - _LOGIT_MARGIN * max(1.0, abs(logit))
