"""Convolutions that several feature maps share."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

Convolve = Callable[[keras.layers.Layer, tf.Tensor], tf.Tensor]


def make_convolve() -> Convolve:
    """A function that applies a convolution layer to a map, for use within one forward pass.

    Under mixed precision a layer casts its float32 kernel in every call, and the gradient of every
    call back; this function does both once for all maps. The gradients of the maps are then summed
    in the layer's compute dtype. Layers other than `keras.layers.Conv2D`, and those without mixed
    precision, are called as they are.
    """
    weights: dict[int, list[tf.Tensor]] = {}

    def convolve(layer: keras.layers.Layer, x: tf.Tensor) -> tf.Tensor:
        dtype = layer.compute_dtype
        if type(layer) is not keras.layers.Conv2D or dtype == layer.variable_dtype:
            return layer(x)
        if id(layer) not in weights:
            variables = [layer.kernel, layer.bias] if layer.use_bias else [layer.kernel]
            weights[id(layer)] = [tf.cast(tf.convert_to_tensor(v), dtype) for v in variables]
        kernel, *bias = weights[id(layer)]
        x = layer.convolution_op(tf.cast(x, dtype), kernel)
        x = tf.nn.bias_add(x, bias[0]) if bias else x
        return x if layer.activation is None else layer.activation(x)

    return convolve
