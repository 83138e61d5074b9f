"""Heads of the second stage of a two-stage detector: class, box and mask of each region."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

import keras
import tensorflow as tf

from official_lite.vision.modeling.heads import conv_head

Shape = conv_head.Shape


def _make_he_initializer() -> keras.initializers.Initializer:
    return keras.initializers.VarianceScaling(2.0, 'fan_out', 'untruncated_normal')


@keras.saving.register_keras_serializable(package='official_lite')
class DetectionHead(conv_head.ConvHead):
    """Class and box of each region (https://arxiv.org/abs/1504.08083; with convolutions,
    https://arxiv.org/abs/1803.08494).

    Args:
        num_classes: Number of classes, with background, which is class 0.
        num_convs: Number of 3x3 convolutions.
        num_filters: Their width.
        use_separable_conv: Whether convolutions are depthwise separable.
        num_fcs: Number of dense layers after them.
        fc_dims: Their width.
        class_agnostic_bbox_pred: Whether there is one box for all classes.
        activation: Name of the activation function.
        use_sync_bn: Whether batch normalisation uses the moments of all replicas.
        norm_momentum: Momentum of the moving statistics.
        norm_epsilon: Added to variances.
        kernel_regularizer: Regulariser of kernels.
        bias_regularizer: Regulariser of biases.
    """

    def __init__(
        self,
        num_classes: int,
        num_convs: int = 0,
        num_filters: int = 256,
        use_separable_conv: bool = False,
        num_fcs: int = 2,
        fc_dims: int = 1024,
        class_agnostic_bbox_pred: bool = False,
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
                'num_convs': num_convs,
                'num_filters': num_filters,
                'use_separable_conv': use_separable_conv,
                'num_fcs': num_fcs,
                'fc_dims': fc_dims,
                'class_agnostic_bbox_pred': class_agnostic_bbox_pred,
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
            self._make_conv(f'conv_{i}', num_filters, 3, _make_he_initializer)
            for i in range(num_convs)
        ]
        self.conv_norms = [self._make_norm(f'conv_norm_{i}') for i in range(num_convs)]
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
            'classifier', num_classes, keras.initializers.RandomNormal(stddev=0.01)
        )
        self.box_regressor = self._make_dense(
            'box_regressor',
            4 if class_agnostic_bbox_pred else 4 * num_classes,
            keras.initializers.RandomNormal(stddev=0.001),
        )

    def build(self, input_shape: Shape) -> None:
        """Builds all parts for features [batch, regions, height, width, channels]."""
        shape = conv_head.build_pairs(self.convs, self.conv_norms, (None, *tuple(input_shape)[2:]))
        height, width, channels = (side or 0 for side in shape[1:])
        shape = (None, height * width * channels)
        shape = conv_head.build_pairs(self.fcs, self.fc_norms, shape)
        self.classifier.build(shape)
        self.box_regressor.build(shape)

    def call(
        self, inputs: tf.Tensor, training: Optional[bool] = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Predicts.

        Args:
            inputs: Features of the regions, [batch, regions, height, width, channels].
            training: Whether batch normalisation uses the batch's moments.

        Returns:
            Class logits [batch, regions, num_classes] and box codes [batch, regions, num_classes *
            4], or [batch, regions, 4].
        """
        x = self._apply(self.convs, self.conv_norms, merge_regions(inputs), training)
        x = tf.reshape(x, [-1, x.shape[1] * x.shape[2] * x.shape[3]])
        x = self._apply(self.fcs, self.fc_norms, x, training)
        return split_regions(self.classifier(x), inputs), split_regions(
            self.box_regressor(x), inputs
        )


@keras.saving.register_keras_serializable(package='official_lite')
class MaskHead(conv_head.ConvHead):
    """Mask of each region (https://arxiv.org/abs/1703.06870, figure 4).

    Args:
        num_classes: Number of classes, with background, which is class 0.
        upsample_factor: Side of the masks over the side of the features.
        num_convs: Number of 3x3 convolutions.
        num_filters: Their width, and that of the enlarging convolution.
        use_separable_conv: Whether convolutions are depthwise separable, except the enlarging one.
        activation: Name of the activation function.
        use_sync_bn: Whether batch normalisation uses the moments of all replicas.
        norm_momentum: Momentum of the moving statistics.
        norm_epsilon: Added to variances.
        kernel_regularizer: Regulariser of kernels.
        bias_regularizer: Regulariser of biases.
        class_agnostic: Whether there is one mask for all classes.
    """

    def __init__(
        self,
        num_classes: int,
        upsample_factor: int = 2,
        num_convs: int = 4,
        num_filters: int = 256,
        use_separable_conv: bool = False,
        activation: str = 'relu',
        use_sync_bn: bool = False,
        norm_momentum: float = 0.99,
        norm_epsilon: float = 0.001,
        kernel_regularizer: Optional[keras.regularizers.Regularizer] = None,
        bias_regularizer: Optional[keras.regularizers.Regularizer] = None,
        class_agnostic: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            {
                'num_classes': num_classes,
                'upsample_factor': upsample_factor,
                'num_convs': num_convs,
                'num_filters': num_filters,
                'use_separable_conv': use_separable_conv,
                'class_agnostic': class_agnostic,
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
            self._make_conv(f'conv_{i}', num_filters, 3, _make_he_initializer)
            for i in range(num_convs)
        ]
        self.conv_norms = [self._make_norm(f'conv_norm_{i}') for i in range(num_convs)]
        self.deconv = keras.layers.Conv2DTranspose(
            num_filters,
            upsample_factor,
            upsample_factor,
            kernel_initializer=_make_he_initializer(),
            kernel_regularizer=self._config['kernel_regularizer'],
            bias_regularizer=self._config['bias_regularizer'],
            dtype=self.dtype_policy,
            name='deconv',
        )
        self.deconv_bn = self._make_norm('deconv_norm')
        self.mask_regressor = self._make_conv(
            'mask_regressor', 1 if class_agnostic else num_classes, 1, _make_he_initializer
        )

    def build(self, input_shape: Sequence[Shape]) -> None:
        """Builds all parts for features [batch, regions, height, width, channels], and classes."""
        shape = conv_head.build_pairs(
            [*self.convs, self.deconv],
            [*self.conv_norms, self.deconv_bn],
            (None, *tuple(input_shape[0])[2:]),
        )
        self.mask_regressor.build(shape)

    def call(self, inputs: Sequence[tf.Tensor], training: Optional[bool] = None) -> tf.Tensor:
        """Predicts.

        Args:
            inputs: Features of the regions, [batch, regions, height, width, channels], and their
                classes, [batch, regions].
            training: Whether batch normalisation uses the batch's moments.

        Returns:
            Logits [batch, regions, height * upsample_factor, width * upsample_factor] of the masks
            of these classes.
        """
        features, classes = inputs
        x = self._apply(
            [*self.convs, self.deconv],
            [*self.conv_norms, self.deconv_bn],
            merge_regions(features),
            training,
        )
        if self._config['class_agnostic']:
            return split_regions(self.mask_regressor(x)[..., 0], features)
        classes = tf.reshape(tf.cast(classes, tf.int32), [-1])
        return split_regions(self._predict_classes(x, classes), features)

    def _predict_classes(self, x: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
        """The 1x1 convolution for one class of each region: [regions, height, width].

        The other classes' masks, num_classes - 1 times as much, are never computed.
        """
        regressor, dtype = self.mask_regressor, self.compute_dtype
        kernel = tf.convert_to_tensor(
            regressor.pointwise_kernel if self._config['use_separable_conv'] else regressor.kernel
        )
        if self._config['use_separable_conv']:  # a factor for each channel
            kernel *= tf.reshape(tf.convert_to_tensor(regressor.depthwise_kernel), [1, 1, -1, 1])
        chosen = tf.gather(tf.transpose(kernel[0, 0]), classes)  # [regions, channels]
        bias = tf.gather(tf.convert_to_tensor(regressor.bias), classes)
        logits = tf.linalg.matvec(
            tf.reshape(x, [-1, x.shape[1] * x.shape[2], x.shape[3]]), tf.cast(chosen, dtype)
        )
        logits += tf.cast(bias, dtype)[:, None]
        return tf.reshape(logits, [-1, x.shape[1], x.shape[2]])


def merge_regions(features: tf.Tensor) -> tf.Tensor:
    """[batch, regions, ...] to [batch * regions, ...]."""
    return tf.reshape(features, [-1, *features.shape[2:]])


def split_regions(values: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
    """[batch * regions, ...] to [batch, regions, ...], as `features` are."""
    shape = tf.shape(features)
    count = features.shape[1] or shape[1]
    return tf.reshape(values, [shape[0], count, *values.shape[1:]])
