"""Anchor boxes, and labels of anchors.

Anchors of a level are a tensor [height_l, width_l, anchors_per_location * 4]: the boxes of a
location lie beside one another, scales slower than aspect ratios.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional, Union

import tensorflow as tf

from official_lite.vision.ops import (
    anchor_matching,
    box_matcher,
    box_ops,
    iou_similarity,
    target_gather,
)

Levels = dict[str, tf.Tensor]

NO_CLASS = -1  # class target of anchors that are not positive
NEGATIVE, IGNORED, POSITIVE = -1, -2, 1  # match indicators


class Anchor:
    """Anchors of all levels for one image size.

    Level l has ceil(side / 2^l) cells, each of which is side / cells wide, with anchors around its
    centre. An anchor of scale s and aspect ratio r (width by height) has the area of a square with
    side `anchor_size * 2^(l + s / num_scales)`.

    Args:
        min_level: Finest level.
        max_level: Coarsest level.
        num_scales: Number of scales per level; each is 2^(1 / num_scales) times the one before.
        aspect_ratios: Widths by heights.
        anchor_size: Side of the first scale as a multiple of 2^l.
        image_size: Height and width of the image in pixels: ints, or scalar tensors.

    Attributes:
        multilevel_boxes: Anchors by level, float32 [height_l, width_l, anchors_per_location * 4].
    """

    def __init__(
        self,
        min_level: int,
        max_level: int,
        num_scales: int,
        aspect_ratios: Sequence[float],
        anchor_size: float,
        image_size: Union[Sequence[int], Sequence[tf.Tensor], tf.Tensor],
    ) -> None:
        self.min_level = min_level
        self.max_level = max_level
        self.num_scales = num_scales
        self.aspect_ratios = list(aspect_ratios)
        self.anchor_size = anchor_size
        self.image_size = image_size
        self.multilevel_boxes: Levels = {
            str(level): self._make_level(level) for level in range(min_level, max_level + 1)
        }

    @property
    def anchors_per_location(self) -> int:
        return self.num_scales * len(self.aspect_ratios)

    def _make_level(self, level: int) -> tf.Tensor:
        yc = _compute_centres(self.image_size[0], level)[:, None, None]  # [height, 1, 1]
        xc = _compute_centres(self.image_size[1], level)[None, :, None]  # [1, width, 1]
        half_heights, half_widths = self._compute_half_sides(level)  # [anchors]
        shape = tf.shape(yc + xc + half_heights)
        boxes = [yc - half_heights, xc - half_widths, yc + half_heights, xc + half_widths]
        # [height, width, anchors, 4]
        boxes = tf.stack([tf.broadcast_to(side, shape) for side in boxes], axis=-1)
        flat = tf.reshape(boxes, [shape[0], shape[1], self.anchors_per_location * 4])
        return tf.ensure_shape(flat, [yc.shape[0], xc.shape[1], self.anchors_per_location * 4])

    def _compute_half_sides(self, level: int) -> tuple[tf.Tensor, tf.Tensor]:
        heights, widths = [], []
        for scale in range(self.num_scales):
            side = self.anchor_size * 2**level * 2 ** (scale / self.num_scales)
            for ratio in self.aspect_ratios:
                heights.append(side * ratio**-0.5 / 2.0)
                widths.append(side * ratio**0.5 / 2.0)
        return tf.constant(heights, tf.float32), tf.constant(widths, tf.float32)


def _compute_centres(side: Union[int, tf.Tensor], level: int) -> tf.Tensor:
    """Centres of the cells of a level along one side, float32 [cells]."""
    if isinstance(side, tf.Tensor):
        side = tf.cast(side, tf.float32)
        cells = tf.math.ceil(side / 2**level)
        return (tf.range(cells) + 0.5) * (side / cells)
    cells = math.ceil(side / 2**level)
    return (tf.range(cells, dtype=tf.float32) + 0.5) * (side / cells)


class AnchorGeneratorv2:
    """Makes anchors for any image size; arguments are those of `Anchor`."""

    def __init__(
        self,
        min_level: int,
        max_level: int,
        num_scales: int,
        aspect_ratios: Sequence[float],
        anchor_size: float,
    ) -> None:
        self.min_level = min_level
        self.max_level = max_level
        self.num_scales = num_scales
        self.aspect_ratios = list(aspect_ratios)
        self.anchor_size = anchor_size

    def __call__(self, image_size: Union[Sequence[int], Sequence[tf.Tensor], tf.Tensor]) -> Levels:
        """Anchors by level for an image of `image_size` [height, width]."""
        return Anchor(
            self.min_level,
            self.max_level,
            self.num_scales,
            self.aspect_ratios,
            self.anchor_size,
            image_size,
        ).multilevel_boxes


def build_anchor_generator(
    min_level: int,
    max_level: int,
    num_scales: int,
    aspect_ratios: Sequence[float],
    anchor_size: float,
) -> AnchorGeneratorv2:
    """Makes a generator of anchors; arguments are those of `Anchor`."""
    return AnchorGeneratorv2(min_level, max_level, num_scales, aspect_ratios, anchor_size)


def flatten_anchors(anchor_boxes: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Anchors of all levels in one list, float [num_anchors, 4]."""
    return tf.concat([tf.reshape(boxes, [-1, 4]) for boxes in anchor_boxes.values()], axis=0)


def unpack_targets(targets: tf.Tensor, anchor_boxes_dict: Mapping[str, tf.Tensor]) -> Levels:
    """Splits values of all anchors into levels.

    Args:
        targets: [num_anchors], [num_anchors, values], or with a batch in front [batch, num_anchors,
            values].
        anchor_boxes_dict: Anchors by level.

    Returns:
        [height_l, width_l, anchors * values] by level, with the batch in front if there was one.
    """
    is_batched = len(targets.shape) == 3
    levels = {}
    start = 0
    for level, boxes in anchor_boxes_dict.items():
        height, width, sides = _get_shape(boxes)
        count = height * width * (sides // 4)
        part = targets[:, start : start + count] if is_batched else targets[start : start + count]
        values = (sides // 4) * (targets.shape[-1] if len(targets.shape) > 1 else 1)
        shape = (
            [tf.shape(targets)[0], height, width, values] if is_batched else [height, width, values]
        )
        levels[level] = tf.reshape(part, shape)
        start += count
    return levels


def _get_shape(tensor: tf.Tensor) -> list[Any]:
    """Shape of a tensor: ints where they are known."""
    dynamic = tf.shape(tensor)
    return [dynamic[i] if side is None else side for i, side in enumerate(tensor.shape)]


class AnchorLabeler:
    """Labels anchors of one image. `label_anchors_batch` does the same for a batch at a time.

    Args:
        match_threshold: An anchor with at least this intersection over union with a box is
            positive.
        unmatched_threshold: One with less than this is negative; those between are ignored.
        box_coder_weights: Four factors of the box targets, or None.
    """

    def __init__(
        self,
        match_threshold: float = 0.5,
        unmatched_threshold: float = 0.5,
        box_coder_weights: Optional[Sequence[float]] = None,
    ) -> None:
        self._similarity = iou_similarity.IouSimilarity()
        self._matcher = make_matcher(match_threshold, unmatched_threshold)
        self._box_coder_weights = box_coder_weights

    def label_anchors(
        self,
        anchor_boxes: Mapping[str, tf.Tensor],
        gt_boxes: tf.Tensor,
        gt_labels: tf.Tensor,
        gt_attributes: Optional[Mapping[str, tf.Tensor]] = None,
        gt_weights: Optional[tf.Tensor] = None,
    ) -> tuple[Levels, Levels, dict[str, Levels], tf.Tensor, tf.Tensor]:
        """Labels anchors with the boxes of one image.

        Args:
            anchor_boxes: Anchors by level.
            gt_boxes: Boxes [N, 4], N may be 0.
            gt_labels: Classes, int [N, 1].
            gt_attributes: Attributes of the boxes by name, float [N, size].
            gt_weights: Weights of the boxes, float [N].

        Returns:
            Class targets by level [height_l, width_l, anchors] (-1 where not positive), box targets
            by level [height_l, width_l, anchors * 4], attribute targets by name and level, class
            weights [num_anchors] (0 for ignored anchors) and box weights [num_anchors] (0 where not
            positive).
        """
        anchors = flatten_anchors(anchor_boxes)
        indices, indicators = self._matcher(self._similarity(anchors, gt_boxes))
        is_positive = indicators == POSITIVE
        weights = tf.ones_like(gt_labels[:, -1], tf.float32) if gt_weights is None else gt_weights
        matched_weights = target_gather.gather_targets(weights, indices, mask_val=1.0)
        is_not = ~is_positive[:, None]
        labels = target_gather.gather_targets(gt_labels, indices, is_not, NO_CLASS)
        boxes = target_gather.gather_targets(tf.cast(gt_boxes, tf.float32), indices, is_not)
        attributes = {
            name: target_gather.gather_targets(values, indices, is_not)
            for name, values in (gt_attributes or {}).items()
        }
        return (
            unpack_targets(labels, anchor_boxes),
            unpack_targets(
                box_ops.encode_boxes(boxes, anchors, self._box_coder_weights), anchor_boxes
            ),
            {name: unpack_targets(values, anchor_boxes) for name, values in attributes.items()},
            tf.where(indicators == IGNORED, 0.0, matched_weights),
            tf.where(is_positive, matched_weights, 0.0),
        )


def make_matcher(match_threshold: float, unmatched_threshold: float) -> box_matcher.BoxMatcher:
    """The matcher of RetinaNet: negative, ignored or positive; every box gets an anchor."""
    return box_matcher.BoxMatcher(
        thresholds=[unmatched_threshold, match_threshold],
        indicators=[NEGATIVE, IGNORED, POSITIVE],
        force_match_for_each_col=True,
    )


class AnchorLabels(NamedTuple):
    """What the anchors of a batch of images are to predict.

    Attributes:
        cls_targets: Classes by level, int32 [batch, height_l, width_l, anchors], -1 where not
            positive.
        box_targets: Codes of boxes by level, float32 [batch, height_l, width_l, anchors * 4].
        cls_weights: float32 [batch, num_anchors], 0 for ignored anchors.
        box_weights: float32 [batch, num_anchors], 0 where not positive.
        attribute_targets: Attributes of boxes by name and level, [batch, height_l, width_l,
            anchors * size], of the attributes' dtypes; 0 where not positive.
    """

    cls_targets: Levels
    box_targets: Levels
    cls_weights: tf.Tensor
    box_weights: tf.Tensor
    attribute_targets: dict[str, Levels]


def label_anchors_batch(
    anchor_boxes: Mapping[str, tf.Tensor],
    boxes: tf.Tensor,
    classes: tf.Tensor,
    match_threshold: float = 0.5,
    unmatched_threshold: float = 0.5,
    box_coder_weights: Optional[Sequence[float]] = None,
    attributes: Optional[Mapping[str, tf.Tensor]] = None,
) -> AnchorLabels:
    """Labels the anchors of a batch of images.

    Runs as one XLA program, in which the [batch, num_anchors, boxes] intersections exist only
    inside of reductions.

    Args:
        anchor_boxes: Anchors by level, float32 [height_l, width_l, anchors * 4].
        boxes: Ground truth in pixels of the network's input, float [batch, boxes, 4], padded with
            -1; `boxes` may be 0.
        classes: Classes of the boxes, int [batch, boxes], padded with -1.
        match_threshold: See `AnchorLabeler`.
        unmatched_threshold: See `AnchorLabeler`.
        box_coder_weights: See `AnchorLabeler`.
        attributes: Attributes of the boxes by name, [batch, boxes, size].

    Returns:
        The labels.
    """
    # A padding box in front of none at all keeps reductions from being empty.
    boxes = tf.pad(tf.cast(boxes, tf.float32), [[0, 0], [0, 1], [0, 0]], constant_values=-1.0)
    classes = tf.pad(tf.cast(classes, tf.int32), [[0, 0], [0, 1]], constant_values=NO_CLASS)
    padded = {
        name: tf.pad(values, [[0, 0], [0, 1], [0, 0]])
        for name, values in (attributes or {}).items()
    }
    labels, deltas, cls_weights, box_weights, targets = _label_flat(
        flatten_anchors(anchor_boxes),
        boxes,
        classes,
        padded,
        float(match_threshold),
        float(unmatched_threshold),
        None if box_coder_weights is None else tuple(box_coder_weights),
    )
    return AnchorLabels(
        cls_targets=unpack_targets(labels[..., None], anchor_boxes),
        box_targets=unpack_targets(deltas, anchor_boxes),
        cls_weights=cls_weights,
        box_weights=box_weights,
        attribute_targets={
            name: unpack_targets(values, anchor_boxes) for name, values in targets.items()
        },
    )


@tf.function(jit_compile=True, reduce_retracing=True, autograph=False)
def _label_flat(
    anchors: tf.Tensor,
    boxes: tf.Tensor,
    classes: tf.Tensor,
    attributes: dict[str, tf.Tensor],
    match_threshold: float,
    unmatched_threshold: float,
    box_coder_weights: Optional[tuple[float, ...]],
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, dict[str, tf.Tensor]]:
    """Labels of anchors [num_anchors, 4], with at least one (padding) box per image."""
    indices, indicators = anchor_matching.match_anchors(
        anchors,
        boxes,
        thresholds=(unmatched_threshold, match_threshold),
        indicators=(NEGATIVE, IGNORED, POSITIVE),
    )
    is_positive = indicators == POSITIVE
    labels = tf.where(is_positive, tf.gather(classes, indices, batch_dims=1), NO_CLASS)
    matched = tf.where(is_positive[..., None], tf.gather(boxes, indices, batch_dims=1), 0.0)
    deltas = box_ops.encode_boxes(matched, anchors[None], box_coder_weights)
    cls_weights = tf.where(indicators == IGNORED, 0.0, tf.ones_like(deltas[..., 0]))
    box_weights = tf.where(is_positive, 1.0, tf.zeros_like(cls_weights))
    targets = {
        name: target_gather.gather_targets(values, indices, ~is_positive[..., None])
        for name, values in attributes.items()
    }  # [batch, num_anchors, size]
    return labels, deltas, cls_weights, box_weights, targets
