"""Head of a region proposal network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

import keras
import tensorflow as tf

from official_lite.vision.modeling.heads import conv_head
from official_lite.vision.modeling.layers import shared_convolution

Predictions = dict[str, tf.Tensor]


@keras.saving.register_keras_serializable(package='official_lite')
class RPNHead(conv_head.AnchorHead):
    """Tells which anchors hold an object, and where (https://arxiv.org/abs/1506.01497, section 3.1).

    3x3 convolutions with batch normalisation and activation, then a 1x1 convolution each for scores
    and boxes. Levels share convolutions, but not batch normalisation.

    Args:
        min_level: Finest level.
        max_level: Coarsest level.
        num_anchors_per_location: Number of anchors.
        num_convs: Number of convolutions before the predictions.
        num_filters: Their width.
        use_separable_conv: Whether convolutions are depthwise separable.
        activation: Name of the activation function.
        use_sync_bn: Whether batch normalisation uses the moments of all replicas.
        norm_momentum: Momentum of the moving statistics.
        norm_epsilon: Added to variances.
        kernel_regularizer: Regulariser of kernels.
        bias_regularizer: Regulariser of biases.
    """

    def __init__(
        self,
        min_level: int,
        max_level: int,
        num_anchors_per_location: int,
        num_convs: int = 1,
        num_filters: int = 256,
        use_separable_conv: bool = False,
        activation: str = 'relu',
        use_sync_bn: bool = False,
        norm_momentum: float = 0.99,
        norm_epsilon: float = 0.001,
        kernel_regularizer: Optional[keras.regularizers.Regularizer] = None,
        bias_regularizer: Optional[keras.regularizers.Regularizer] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            {
                'min_level': min_level,
                'max_level': max_level,
                'num_anchors_per_location': num_anchors_per_location,
                'num_convs': num_convs,
                'num_filters': num_filters,
                'use_separable_conv': use_separable_conv,
            },
            activation=activation,
            use_sync_bn=use_sync_bn,
            norm_momentum=norm_momentum,
            norm_epsilon=norm_epsilon,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            **kwargs,
        )
        self.convs = [
            self._make_conv(f'conv_{i}', num_filters, 3, self._make_tower_initializer)
            for i in range(num_convs)
        ]
        self.norms = [
            [self._make_norm(f'norm_{level}_{i}') for i in range(num_convs)]
            for level in self._levels
        ]
        self.classifier = self._make_conv(
            'classifier', num_anchors_per_location, 1, self._make_predictor_initializer
        )
        self.box_regressor = self._make_conv(
            'box_regressor', 4 * num_anchors_per_location, 1, self._make_predictor_initializer
        )

    def build(self, input_shape: Mapping[str, Sequence[Optional[int]]]) -> None:
        """Builds all parts.

        Args:
            input_shape: Shapes of the feature maps by level.

        Raises:
            ValueError: If levels have different numbers of channels.
        """
        shapes = {level: tuple(input_shape[level]) for level in self._levels}
        channels = {level: shape[-1] for level, shape in shapes.items()}
        if len(set(channels.values())) > 1:
            raise ValueError(
                'Levels with different numbers of channels cannot share convolutions. '
                "Expected a decoder that makes them equal, such as 'fpn'. "
                f'Received: channels {channels}'
            )
        for index, level in enumerate(self._levels):
            shape = conv_head.build_pairs(self.convs, self.norms[index], shapes[level])
            for predictor in (self.classifier, self.box_regressor):
                if not predictor.built:
                    predictor.build(shape)

    def call(
        self, features: Mapping[str, tf.Tensor], training: Optional[bool] = None
    ) -> tuple[Predictions, Predictions]:
        """Predicts.

        Args:
            features: Feature maps by level, [batch, height_l, width_l, channels].
            training: Whether batch normalisation uses the batch's moments.

        Returns:
            Logits [batch, height_l, width_l, anchors] and box codes [batch, height_l, width_l,
            anchors * 4], by level.
        """
        scores: Predictions = {}
        boxes: Predictions = {}
        convolve = shared_convolution.make_convolve()
        for index, level in enumerate(self._levels):
            x = features[level]
            for conv, norm_layer in zip(self.convs, self.norms[index], strict=True):
                x = self._activation(norm_layer(convolve(conv, x), training=training))
            scores[level] = convolve(self.classifier, x)
            boxes[level] = convolve(self.box_regressor, x)
        return scores, boxes
