"""A convolution in the forms that TensorFlow computes fast, and right.

Dilated: Keras asks for `tf.nn.convolution`, which on CPUs and GPUs cuts the padded features into one
small image per place of the dilation (`tf.nn.with_space_to_batch`). For the rates of a spatial pyramid
(https://arxiv.org/abs/1706.05587) the padding is many times as large as the features. Here the
operation itself gets the dilation wherever the device has its gradients: CPUs have them by oneDNN, for
float32 and bfloat16. (Depthwise convolutions stay Keras's: on CPUs, the gradients of
`tf.raw_ops.DepthwiseConv2dNative` take no notice of dilations, without an error.)

Strided, 1x1, of fewer than 16 channels: oneDNN's gradient for the kernel reads and writes beyond its memory
where maps are wide, which gives wrong values or ends the process. Here the features are sampled before.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Optional

import keras
import tensorflow as tf

# Of the input of a strided 1x1 convolution, from which on oneDNN's gradient is right.
_SAFE_CHANNELS = 16


@keras.saving.register_keras_serializable(package='official_lite')
class Conv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D`, several times as fast where it is dilated, with the same values.

    A 1x1 convolution with strides, of few channels, has right gradients too, on every CPU.

    Input: features [batch, height, width, channels], floating.
    Output: features [batch, height, width, filters], height and width as padding and strides give.
    """

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """The convolution alone, without bias and activation."""
        if self.groups > 1 or self.data_format != 'channels_last':
            return super().convolution_op(inputs, kernel)
        kernel = tf.convert_to_tensor(kernel)
        padding = self.padding.upper()
        if max(self.dilation_rate) > 1 and has_gradients(inputs.dtype):
            if padding == 'SAME':
                kernel = _drop_taps_outside(kernel, self.dilation_rate, inputs.shape[1:3])
            return tf.nn.conv2d(inputs, kernel, 1, padding, dilations=self.dilation_rate)
        if self._is_sampled_first(inputs):
            height, width = self.strides
            return tf.nn.conv2d(inputs[:, ::height, ::width], kernel, 1, padding)
        return super().convolution_op(inputs, kernel)

    def _is_sampled_first(self, inputs: tf.Tensor) -> bool:
        is_point = max(self.kernel_size) == 1 < max(self.strides)
        return is_point and inputs.shape[-1] < _SAFE_CHANNELS


def _drop_taps_outside(
    kernel: tf.Tensor, rates: Sequence[int], sides: Sequence[Optional[int]]
) -> tf.Tensor:
    """The kernel without the rows and columns that meet nothing but padding wherever it is laid."""
    kept = []
    for size, rate, side in zip(kernel.shape[:2], rates, sides, strict=True):
        first = 0
        if side is not None and size % 2 == 1:
            first = max(size // 2 - (side - 1) // rate, 0)
        kept.append(slice(first, size - first))
    return kernel[tuple(kept)]


@functools.cache
def has_gradients(dtype: str | tf.DType) -> bool:
    """Whether the gradients of a dilated `tf.nn.conv2d` of this type can be had, and are right."""
    with tf.init_scope():
        images = tf.cast(tf.reshape(tf.range(16) % 5, [1, 4, 4, 1]), dtype)
        kernel = tf.cast(tf.reshape(tf.range(9) % 4, [3, 3, 1, 1]), dtype)
        # The same with zeros between the taps: [3, 3] becomes [5, 5].
        spread = tf.constant([[1, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]], dtype)
        inflated = tf.einsum('ia,jb,abcd->ijcd', spread, spread, kernel)
        try:
            by_images, by_kernel = _differentiate(images, kernel, dilation=2)
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError):
            return False
        right_by_images, by_inflated = _differentiate(images, inflated, dilation=1)
        return bool(
            tf.reduce_all(by_images == right_by_images)
            & tf.reduce_all(by_kernel == by_inflated[::2, ::2])
        )


def _differentiate(
    images: tf.Tensor, kernel: tf.Tensor, dilation: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Gradients of a convolution's sum, weighted by its own images.

    Not by a `tf.GradientTape`, which `tf.init_scope` pauses.
    """
    options = {'strides': [1] * 4, 'padding': 'SAME', 'dilations': [1, dilation, dilation, 1]}
    by_images = tf.raw_ops.Conv2DBackpropInput(
        input_sizes=images.shape, filter=kernel, out_backprop=images, **options
    )
    by_kernel = tf.raw_ops.Conv2DBackpropFilter(
        input=images, filter_sizes=kernel.shape, out_backprop=images, **options
    )
    return by_images, by_kernel
