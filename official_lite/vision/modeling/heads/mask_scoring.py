"""Predictions of how good masks are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

import keras
import tensorflow as tf

from official_lite.vision.modeling.heads import conv_head
from official_lite.vision.modeling.layers import nn_layers, resizing

Shape = nn_layers.Shape


@keras.saving.register_keras_serializable(package='official_lite')
class MaskScoring(conv_head.NormalizedHead):
    """Predicts the IoU of each class from segmentation logits (https://arxiv.org/abs/1903.00241).

    3x3 convolutions, a resize to a fixed size, and dense layers, each with batch normalisation and
    activation; a dense layer with an output for each class. No gradient reaches the logits.

    Input: logits [batch, height, width, classes].
    Output: scores [batch, num_classes].

    Args:
        num_classes: Number of scores.
        fc_input_size: Height and width that features have before the dense layers.
        num_convs: Number of convolutions.
        num_filters: Their channels.
        use_depthwise_convolution: Whether they are depthwise separable, with batch normalisation
            and activation after either part.
        fc_dims: Units of each dense layer.
        num_fcs: Number of dense layers before the scores.
        activation: Name of the activation function.
        use_sync_bn: Whether batch normalisation uses the moments of all replicas.
        norm_momentum: Momentum of the moving statistics.
        norm_epsilon: Added to variances.
        kernel_regularizer: Regulariser of kernels.
        bias_regularizer: Regulariser of biases.

    Raises:
        ValueError: If `fc_input_size` is not two numbers of 1 or more.
    """

    def __init__(
        self,
        num_classes: int,
        fc_input_size: Sequence[int],
        num_convs: int = 3,
        num_filters: int = 256,
        use_depthwise_convolution: bool = False,
        fc_dims: int = 1024,
        num_fcs: int = 2,
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
                'num_classes': num_classes,
                'fc_input_size': list(fc_input_size),
                'num_convs': num_convs,
                'num_filters': num_filters,
                'use_depthwise_convolution': use_depthwise_convolution,
                'fc_dims': fc_dims,
                'num_fcs': num_fcs,
            },
            activation=activation,
            use_sync_bn=use_sync_bn,
            norm_momentum=norm_momentum,
            norm_epsilon=norm_epsilon,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            **{'name': 'mask_scoring', **kwargs},
        )
        if len(fc_input_size) != 2 or min(fc_input_size) < 1:
            raise ValueError(
                'The dense layers of mask scoring read maps of one size. '
                'Expected fc_input_size to be [height, width], such as [7, 7]. '
                f'Received: {list(fc_input_size)}'
            )
        self._make_convs()
        self.fcs = [
            self._make_dense(
                f'fc_{i}',
                fc_dims,
                keras.initializers.VarianceScaling(1.0 / 3.0, 'fan_out', 'uniform'),
            )
            for i in range(num_fcs)
        ]
        self.fc_norms = [self._make_norm(f'fc_norm_{i}') for i in range(num_fcs)]
        self.classifier = self._make_dense(
            'iou_scores', num_classes, keras.initializers.RandomNormal(stddev=0.01)
        )

    def _make_convs(self) -> None:
        config = self._config
        self.convs: list[keras.layers.Layer] = []
        is_separable = config['use_depthwise_convolution']
        for index in range(config['num_convs']):
            if is_separable:
                self.convs.append(self._make_depthwise_conv(f'depthwise_conv_{index}'))
            self.convs.append(
                keras.layers.Conv2D(
                    config['num_filters'],
                    1 if is_separable else 3,
                    padding='same',
                    kernel_initializer=keras.initializers.VarianceScaling(
                        2.0, 'fan_out', 'untruncated_normal'
                    ),
                    kernel_regularizer=config['kernel_regularizer'],
                    bias_regularizer=config['bias_regularizer'],
                    dtype=self.dtype_policy,
                    name=f'conv_{index}',
                )
            )
        self.conv_norms = [self._make_norm(f'norm_{i}') for i in range(len(self.convs))]

    def build(self, input_shape: Shape) -> None:
        shape = conv_head.build_pairs(self.convs, self.conv_norms, tuple(input_shape))
        height, width = self._config['fc_input_size']
        shape = (shape[0], height * width * (shape[-1] or 0))
        self.classifier.build(conv_head.build_pairs(self.fcs, self.fc_norms, shape))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], self._config['num_classes'])

    def call(self, inputs: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        x = tf.stop_gradient(inputs)
        for conv, norm_layer in zip(self.convs, self.conv_norms, strict=True):
            x = self._activation(norm_layer(conv(x), training=training))
        height, width = self._config['fc_input_size']
        x = resizing.resize(x, [height, width])
        x = tf.reshape(x, [-1, height * width * x.shape[-1]])  # [batch, height * width * channels]
        for dense, norm_layer in zip(self.fcs, self.fc_norms, strict=True):
            x = self._activation(norm_layer(dense(x), training=training))
        return self.classifier(x)
