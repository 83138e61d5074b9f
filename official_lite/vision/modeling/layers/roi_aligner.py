"""Features of regions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

import keras
import tensorflow as tf

from official_lite.vision.modeling.layers import region_layer
from official_lite.vision.ops import roi_align


@keras.saving.register_keras_serializable(package='official_lite')
class MultilevelROIAligner(region_layer.RegionLayer):
    """Cuts each region out of the level that fits its size.

    Args:
        crop_size: Height and width of the result.
        sample_offset: Where in a bin features are read, as a share of its side.
    """

    def __init__(self, crop_size: int = 7, sample_offset: float = 0.5, **kwargs: Any) -> None:
        super().__init__({'crop_size': crop_size, 'sample_offset': sample_offset}, **kwargs)

    @property
    def crop_size(self) -> int:
        """Height and width of the result."""
        return self._config['crop_size']

    def call(
        self,
        features: Mapping[str, tf.Tensor],
        boxes: tf.Tensor,
        training: Optional[bool] = None,
    ) -> tf.Tensor:
        """Features [batch, boxes, crop_size, crop_size, channels]; see
        `roi_align.multilevel_crop_and_resize`."""
        del training
        return roi_align.multilevel_crop_and_resize(
            features, boxes, self._config['crop_size'], self._config['sample_offset']
        )
