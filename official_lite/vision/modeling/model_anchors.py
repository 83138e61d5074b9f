"""The anchors of a model: from the size of its images, or given."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Optional

import tensorflow as tf

from official_lite.vision.ops import anchor

__all__ = ['ModelAnchors']


@dataclasses.dataclass(frozen=True)
class ModelAnchors:
    """What the anchors of a model are made from, see `anchor.Anchor`.

    A model without all of it is told its anchors at each call.

    Attributes:
        min_level: Finest level.
        max_level: Coarsest level.
        num_scales: Sizes between two levels.
        aspect_ratios: Width over height.
        anchor_size: Side over the stride of the level.
    """

    min_level: Optional[int] = None
    max_level: Optional[int] = None
    num_scales: Optional[int] = None
    aspect_ratios: Optional[Sequence[float]] = None
    anchor_size: Optional[float] = None

    def make_boxes(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Anchors by level for images of this size: constants if the size is static.

        Args:
            images: [batch, height, width, channels].

        Returns:
            Boxes in pixels by level, float32 [height_l, width_l, anchors * 4].

        Raises:
            ValueError: If a field is None.
        """
        config = self.get_config()
        if None in config.values():
            raise ValueError(
                'The model has neither anchors nor what they are made from. '
                f'Expected anchor_boxes, or all of {sorted(config)}. Received: {config}'
            )
        dynamic = tf.shape(images)
        image_size = [dynamic[i] if images.shape[i] is None else images.shape[i] for i in (1, 2)]
        return anchor.Anchor(**config, image_size=image_size).multilevel_boxes

    def get_config(self) -> dict[str, Any]:
        """The fields, as arguments of a model."""
        ratios = self.aspect_ratios
        return {**vars(self), 'aspect_ratios': None if ratios is None else list(ratios)}
