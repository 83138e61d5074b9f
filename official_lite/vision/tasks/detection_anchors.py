"""The anchors that a detector's outputs belong to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from official_lite.vision.ops import anchor

__all__ = ['make_anchors']


def make_anchors(model_config: Any, box_outputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Anchors by level, float32 [height_l, width_l, anchors * 4].

    Args:
        model_config: A detector's, with `min_level`, `max_level` and `anchor`.
        box_outputs: Outputs by level, [batch, height_l, width_l, ...]: they tell the image's size.
    """
    config = model_config
    finest = box_outputs[str(config.min_level)]
    size = [(finest.shape[axis] or tf.shape(finest)[axis]) * 2**config.min_level for axis in (1, 2)]
    generator = anchor.build_anchor_generator(
        config.min_level,
        config.max_level,
        config.anchor.num_scales,
        config.anchor.aspect_ratios,
        config.anchor.anchor_size,
    )
    return generator(size)
