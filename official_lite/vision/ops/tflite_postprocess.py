"""The operation `TFLite_Detection_PostProcess`: decoding and suppression inside a TFLite model.

`make_postprocess` gives a TensorFlow function that computes what the operation computes, and that
the TFLite converter replaces by it. So a model gives the same detections as a SavedModel and as a
TFLite model.

Source: tensorflow/lite/kernels/detection_postprocess.cc.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from official_lite.vision.ops import box_ops, nms


@dataclasses.dataclass(frozen=True)
class PostprocessOptions:
    """Options of the operation, by its names.

    Attributes:
        num_classes: Number of classes, of which class 0 is background.
        max_detections: Number of boxes that are kept in an image.
        max_classes_per_detection: Number of classes that a kept box is reported with, best first;
            not with `use_regular_nms`.
        detections_per_class: Number of boxes that are kept of a class; only with `use_regular_nms`.
            The converter of TensorFlow 2.20 does not pass it on: TFLite models keep 100.
        use_regular_nms: Whether each class is suppressed by itself. If not, a box counts with its
            best class, and suppresses those of any class.
        nms_score_threshold: The lowest score that counts.
        nms_iou_threshold: An overlap above it suppresses.
        y_scale: Factor of the first value of box predictions; they are divided by it.
        x_scale: Factor of the second.
        h_scale: Factor of the third.
        w_scale: Factor of the fourth.
    """

    num_classes: int
    max_detections: int = 200
    max_classes_per_detection: int = 5
    detections_per_class: int = 5
    use_regular_nms: bool = False
    nms_score_threshold: float = 0.1
    nms_iou_threshold: float = 0.5
    y_scale: float = 1.0
    x_scale: float = 1.0
    h_scale: float = 1.0
    w_scale: float = 1.0

    @property
    def scales(self) -> list[float]:
        """The four factors in the order of box predictions."""
        return [self.y_scale, self.x_scale, self.h_scale, self.w_scale]

    def to_signature(self) -> str:
        """What tells the converter which operation a function is."""
        attributes = [f'name: "{_OPERATION}"']
        for name, kind in _ATTRIBUTES.items():
            value = getattr(self, name)
            text = f'{value:f}' if kind == 'f' else str(value).lower()
            attributes.append(f'attr {{ key: "{name}" value {{ {kind}: {text} }} }}')
        return ' '.join(attributes)


_OPERATION = 'TFLite_Detection_PostProcess'
_ATTRIBUTES = {
    'max_detections': 'i',
    'max_classes_per_detection': 'i',
    'detections_per_class': 'i',
    'use_regular_nms': 'b',
    'nms_score_threshold': 'f',
    'nms_iou_threshold': 'f',
    'y_scale': 'f',
    'x_scale': 'f',
    'h_scale': 'f',
    'w_scale': 'f',
    'num_classes': 'i',
}


class Detections(NamedTuple):
    """The operation's results, best first, filled up with zeros. All float32.

    Attributes:
        boxes: [batch, detections, 4], yxyx in the unit of the anchors.
        classes: [batch, detections].
        scores: [batch, detections].
        num_detections: [batch]; without `use_regular_nms` the number of boxes, each of which takes
            as many places as classes are reported.
    """

    boxes: tf.Tensor
    classes: tf.Tensor
    scores: tf.Tensor
    num_detections: tf.Tensor


def make_postprocess(
    options: PostprocessOptions,
) -> Callable[[tf.Tensor, tf.Tensor, tf.Tensor], Sequence[tf.Tensor]]:
    """Makes the function that stands for the operation.

    Returns:
        A function of box predictions float32 [batch, anchors, 4] (dy, dx, dh, dw), scores float32
        [batch, anchors, num_classes] and anchors float32 [anchors, 4] (centre y, centre x, height,
        width), which returns `Detections`. TFLite takes a batch of one only.
    """

    @tf.function(experimental_implements=options.to_signature())
    def postprocess(
        box_deltas: tf.Tensor, scores: tf.Tensor, anchors: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        return tuple(compute_postprocess(box_deltas, scores, anchors, options))

    return postprocess


def compute_postprocess(
    box_deltas: tf.Tensor, scores: tf.Tensor, anchors: tf.Tensor, options: PostprocessOptions
) -> Detections:
    """What the operation computes; arguments: see `make_postprocess`."""
    boxes = _decode(box_deltas, anchors, options.scales)
    if options.use_regular_nms:
        return _suppress_each_class(boxes, scores, options)
    return _suppress_by_best_class(boxes, scores, options)


def _decode(box_deltas: tf.Tensor, anchors: tf.Tensor, scales: Sequence[float]) -> tf.Tensor:
    dy, dx, dh, dw = tf.unstack(box_deltas / tf.constant(list(scales), tf.float32), axis=-1)
    yc, xc, height, width = tf.unstack(anchors, axis=-1)
    centres = [dy * height + yc, dx * width + xc, tf.exp(dh) * height, tf.exp(dw) * width]
    return box_ops.cycxhw_to_yxyx(tf.stack(centres, axis=-1))


def _make_select(
    options: PostprocessOptions, max_num_detections: int
) -> Callable[..., nms.Selection]:
    def select(boxes: tf.Tensor, scores: tf.Tensor) -> nms.Selection:
        return nms.select_per_class(
            boxes,
            scores,
            max_num_detections=max_num_detections,
            # A score equal to the threshold counts.
            score_threshold=float(np.nextafter(np.float32(options.nms_score_threshold), -np.inf)),
            iou_threshold=options.nms_iou_threshold,
            is_threshold_suppressed=False,
            drop_empty_boxes=False,
        )

    return select


def _suppress_by_best_class(
    boxes: tf.Tensor, scores: tf.Tensor, options: PostprocessOptions
) -> Detections:
    num_classes = min(options.max_classes_per_detection, options.num_classes)
    best_scores, best_classes = tf.nn.top_k(scores, num_classes)  # [batch, anchors, num_classes]
    select = _make_select(options, options.max_detections)
    kept = select(boxes, best_scores[..., :1])
    is_valid = tf.sequence_mask(kept.num_valid, options.max_detections)

    def spread(values: tf.Tensor) -> tf.Tensor:
        """[batch, anchors, num_classes] to [batch, detections * num_classes]."""
        # A row more, because there may be no anchors.
        values = tf.pad(tf.cast(values, tf.float32), [[0, 0], [0, 1], [0, 0]])
        chosen = tf.gather(values, kept.indices, batch_dims=1)
        chosen = tf.where(is_valid[..., None], chosen, 0.0)
        return tf.reshape(chosen, [tf.shape(chosen)[0], options.max_detections * num_classes])

    return Detections(
        boxes=tf.repeat(kept.boxes, num_classes, axis=1),
        classes=spread(best_classes),
        scores=spread(best_scores),
        num_detections=tf.cast(kept.num_valid, tf.float32),
    )


def _suppress_each_class(
    boxes: tf.Tensor, scores: tf.Tensor, options: PostprocessOptions
) -> Detections:
    batch, num_classes, limit = tf.shape(boxes)[0], scores.shape[-1], options.detections_per_class
    # Each class of each image is an image with one class.
    repeated = tf.repeat(boxes, num_classes, axis=0)
    by_class = tf.reshape(tf.transpose(scores, [0, 2, 1]), [batch * num_classes, -1, 1])
    kept = _make_select(options, limit)(repeated, by_class)
    is_kept = tf.sequence_mask(kept.num_valid, limit)
    flat_scores = tf.reshape(tf.where(is_kept, kept.scores, -1.0), [batch, num_classes * limit])
    size = min(options.max_detections, num_classes * limit)
    best, order = tf.nn.top_k(flat_scores, size)
    is_valid = best > -1.0
    flat_boxes = tf.reshape(kept.boxes, [batch, num_classes * limit, 4])
    chosen = tf.gather(flat_boxes, order, batch_dims=1)
    missing = options.max_detections - size
    return Detections(
        boxes=tf.pad(tf.where(is_valid[..., None], chosen, 0.0), [[0, 0], [0, missing], [0, 0]]),
        classes=tf.pad(
            tf.where(is_valid, tf.cast(order // limit, tf.float32), 0.0), [[0, 0], [0, missing]]
        ),
        scores=tf.pad(tf.where(is_valid, best, 0.0), [[0, 0], [0, missing]]),
        num_detections=tf.reduce_sum(tf.cast(is_valid, tf.float32), axis=1),
    )
