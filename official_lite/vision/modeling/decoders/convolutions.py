"""Convolutions of pyramids."""

from __future__ import annotations

from typing import Any, Optional

import keras

from official_lite.modeling import initializers as initializers_lib


def make_conv(
    name: str,
    filters: int,
    kernel_size: int,
    strides: int = 1,
    *,
    is_separable: bool,
    kernel_initializer: initializers_lib.Initializer,
    kernel_regularizer: Optional[keras.regularizers.Regularizer],
    bias_regularizer: Optional[keras.regularizers.Regularizer],
) -> keras.layers.Layer:
    """A convolution with bias. The initialiser and the regulariser are of all its kernels.

    Args:
        name: Name of the layer.
        filters: Number of filters.
        kernel_size: Side of the kernel.
        strides: Stride.
        is_separable: Whether it is depthwise separable.
        kernel_initializer: Initialiser of kernels, of depthwise and pointwise ones alike.
        kernel_regularizer: Regulariser of the same.
        bias_regularizer: Regulariser of the bias.
    """
    cls = keras.layers.SeparableConv2D if is_separable else keras.layers.Conv2D
    options: dict[str, Any] = {}
    for prefix in ('depthwise', 'pointwise') if is_separable else ('kernel',):
        options[f'{prefix}_initializer'] = initializers_lib.clone_initializer(kernel_initializer)
        options[f'{prefix}_regularizer'] = kernel_regularizer
    return cls(
        filters,
        kernel_size,
        strides,
        padding='same',
        bias_regularizer=bias_regularizer,
        name=name,
        **options,
    )
