"""Anchor boxes.

Anchors of a level are a tensor [height_l, width_l, anchors_per_location * 4]: the boxes of a
location lie beside one another, scales slower than aspect ratios.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Union

import tensorflow as tf

Levels = dict[str, tf.Tensor]


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
