"""Anchors whose sides and strides are given one by one, rather than by level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Union

import tensorflow as tf


class AnchorGeneratorv1:
    """Makes anchors for several feature maps.

    Args:
        anchor_sizes: Side of a square anchor of scale 1 on each feature map, px; a list, or a
            mapping by name.
        scales: Factors of the side, the same for all feature maps, or a list or mapping of those.
        aspect_ratios: Widths by heights, in either form.
        strides: Distance between the centres on each feature map, px.
        clip_boxes: Whether anchors are clipped to the image.
    """

    def __init__(
        self,
        anchor_sizes: Union[Sequence[float], Mapping[str, float]],
        scales: Any,
        aspect_ratios: Any,
        strides: Union[Sequence[float], Mapping[str, float]],
        clip_boxes: bool = False,
    ) -> None:
        names: list[Any] = list(
            anchor_sizes if isinstance(anchor_sizes, Mapping) else range(len(anchor_sizes))
        )
        self._is_mapping = isinstance(anchor_sizes, Mapping)
        sizes: Any = anchor_sizes
        distances: Any = strides
        self._generators = {
            name: _SingleAnchorGenerator(
                sizes[name],
                _get_own(scales, name),
                _get_own(aspect_ratios, name),
                distances[name],
                clip_boxes,
            )
            for name in names
        }

    def __call__(self, image_size: Sequence[int]) -> Any:
        """Anchors float32 [height / stride, width / stride, anchors * 4], in the form of
        `anchor_sizes`, for an image of `image_size` [height, width, ...]."""
        anchors = {name: generator(image_size) for name, generator in self._generators.items()}
        return anchors if self._is_mapping else list(anchors.values())


def _get_own(values: Any, name: Any) -> Sequence[float]:
    """The values of one feature map, of values for all or for each."""
    is_shared = not isinstance(values, Mapping) and all(isinstance(v, (int, float)) for v in values)
    return values if is_shared else values[name]


class _SingleAnchorGenerator:
    """Makes the anchors of one feature map; arguments: see `AnchorGeneratorv1`."""

    def __init__(
        self,
        anchor_size: float,
        scales: Sequence[float],
        aspect_ratios: Sequence[float],
        stride: float,
        clip_boxes: bool = False,
    ) -> None:
        sides = [(anchor_size * scale, ratio) for scale in scales for ratio in aspect_ratios]
        self._half_heights = [side * ratio**-0.5 / 2.0 for side, ratio in sides]
        self._half_widths = [side * ratio**0.5 / 2.0 for side, ratio in sides]
        self._stride = float(stride)
        self._clip_boxes = clip_boxes

    def __call__(self, image_size: Sequence[int]) -> tf.Tensor:
        """Anchors float32 [height / stride, width / stride, anchors * 4]."""
        height, width = (tf.cast(side, tf.float32) for side in image_size[:2])
        first = 0.5 * self._stride
        yc = tf.range(first, height + first, self._stride)[:, None, None]
        xc = tf.range(first, width + first, self._stride)[None, :, None]
        half_heights, half_widths = tf.constant(self._half_heights), tf.constant(self._half_widths)
        edges = [yc - half_heights, xc - half_widths, yc + half_heights, xc + half_widths]
        if self._clip_boxes:
            limits = [height, width, height, width]
            edges = [tf.clip_by_value(edge, 0.0, limit) for edge, limit in zip(edges, limits)]
        shape = [tf.size(yc), tf.size(xc), len(self._half_heights)]
        boxes = tf.stack([tf.broadcast_to(edge, shape) for edge in edges], axis=-1)
        return tf.reshape(boxes, [shape[0], shape[1], shape[2] * 4])
