"""The head: one tower that classes and boxes share, which costs half of RetinaNet's two."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from official_lite.modeling import norm

# Probability that an untrained classifier gives to every class (https://arxiv.org/abs/1708.02002, 3.3).
_PRIOR = 0.01


class SingleTowerHead(keras.layers.Layer):
    """Features by level to class scores and box codes by level.

    Args:
        levels: Names of the levels, finest first.
        num_classes: Classes, background included.
        num_anchors: Anchors of a place.
        num_convs: Convolutions of the tower.
        num_filters: Channels of the tower.
        kernel_regularizer: Regulariser of kernels.
    """

    def __init__(
        self,
        levels: list[str],
        *,
        num_classes: int,
        num_anchors: int,
        num_convs: int,
        num_filters: int,
        kernel_regularizer: keras.regularizers.Regularizer | None = None,
    ) -> None:
        super().__init__(name='single_tower')

        def conv(filters: int, name: str, **options: Any) -> keras.layers.Conv2D:
            return keras.layers.Conv2D(
                filters,
                3,
                padding='same',
                kernel_regularizer=kernel_regularizer,
                name=name,
                **options,
            )

        self.convs = [conv(num_filters, f'conv_{i}', use_bias=False) for i in range(num_convs)]
        self.norms = {
            level: [norm.BatchNormalization(0.95, name=f'norm_{i}') for i in range(num_convs)]
            for level in levels
        }
        bias = keras.initializers.Constant(-math.log((1 - _PRIOR) / _PRIOR))
        self.classifier = conv(num_anchors * num_classes, 'classifier', bias_initializer=bias)
        self.box_regressor = conv(num_anchors * 4, 'box_regressor')

    def build(self, input_shape: Mapping[str, tuple[int | None, ...]]) -> None:
        """Builds every layer once, although all levels use it."""
        for level, norms in self.norms.items():
            shape = tuple(input_shape[level])
            for convolution, normalisation in zip(self.convs, norms):
                if not convolution.built:
                    convolution.build(shape)
                shape = (*shape[:-1], convolution.filters)
                normalisation.build(shape)
            for predictor in (self.classifier, self.box_regressor):
                if not predictor.built:
                    predictor.build(shape)

    def call(
        self, features: Mapping[str, tf.Tensor], training: bool | None = None
    ) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor], dict[str, Any]]:
        """Class logits, box codes, and no attributes, by level."""
        scores, boxes = {}, {}
        for level, norms in self.norms.items():
            x = features[level]
            for convolution, normalisation in zip(self.convs, norms):
                x = tf.nn.relu(normalisation(convolution(x), training=training))
            scores[level], boxes[level] = self.classifier(x), self.box_regressor(x)
        return scores, boxes, {}


def build_single_tower(
    input_specs: Mapping[str, tuple[int | None, ...]],
    model_config: Any,
    num_anchors_per_location: int,
    l2_regularizer: keras.regularizers.Regularizer | None = None,
) -> SingleTowerHead:
    """Builds the head of a model config whose `head` is a `SingleTowerHead`."""
    del input_specs
    return SingleTowerHead(
        [str(level) for level in range(model_config.min_level, model_config.max_level + 1)],
        num_classes=model_config.num_classes,
        num_anchors=num_anchors_per_location,
        num_convs=model_config.head.num_convs,
        num_filters=model_config.head.num_filters,
        kernel_regularizer=l2_regularizer,
    )
