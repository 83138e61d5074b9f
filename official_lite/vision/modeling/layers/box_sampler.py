"""A balanced choice of positives and negatives."""

from __future__ import annotations

from typing import Any, Optional

import keras
import tensorflow as tf

from official_lite.vision.modeling.layers import region_layer
from official_lite.vision.ops import roi_sampling


@keras.saving.register_keras_serializable(package='official_lite')
class BoxSampler(region_layer.RegionLayer):
    """Draws positives, up to a share, and fills up with negatives.

    Args:
        num_samples: Number of samples of an image.
        foreground_fraction: Largest share of positives.
    """

    def __init__(
        self, num_samples: int = 512, foreground_fraction: float = 0.25, **kwargs: Any
    ) -> None:
        super().__init__(
            {'num_samples': num_samples, 'foreground_fraction': foreground_fraction}, **kwargs
        )
        self.seed_generator = keras.random.SeedGenerator(name='seed_generator')

    def call(
        self,
        positive_matches: tf.Tensor,
        negative_matches: tf.Tensor,
        ignored_matches: tf.Tensor,
        order: Optional[tf.Tensor] = None,
    ) -> tf.Tensor:
        """Draws.

        Args:
            positive_matches: Bool [batch, boxes].
            negative_matches: Bool [batch, boxes].
            ignored_matches: Bool [batch, boxes]; these are not drawn.
            order: A permutation of each row, int32 [batch, boxes], that decides: of each kind those
                with the highest numbers are drawn. None: a random one, each time another.

        Returns:
            Places of the samples, ascending, int32 [batch, samples]; see
            `roi_sampling.sample_balanced`.
        """
        if order is None:
            key = tf.cast(self.seed_generator.next(), tf.int32)
            order = roi_sampling.make_order(key, tf.shape(positive_matches))
        return roi_sampling.sample_balanced(
            positive_matches,
            (positive_matches | negative_matches) & ~ignored_matches,
            order,
            num_samples=self._config['num_samples'],
            foreground_fraction=self._config['foreground_fraction'],
        )
