"""Reversible residual layers (RevNet)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Optional

import keras
import tensorflow as tf

from official_lite.vision.modeling.layers import nn_layers, reversible_gradient
from official_lite.vision.modeling.layers.reversible_gradient import Halves

Shape = nn_layers.Shape


@keras.saving.register_keras_serializable(package='official_lite')
class ReversibleLayer(keras.layers.Layer):
    """`y1 = x1 + f(x2), y2 = x2 + g(y1)` for the halves of the channels
    (https://arxiv.org/abs/1707.04585, equation 8).

    Where `f` has a stride or widens its input, halves are averaged and get channels of zeros on
    both sides before they are added, and the layer is not reversible. In the halves, numbers have
    at least 32 bits.

    Args:
        f: The first inner layer, with `strides` if it has any, for instance a `ResidualInner`.
        g: The second one, without stride, from and to shapes of f's output.
        manual_grads: Whether the backward pass computes activations anew (see
            `reversible_gradient`) and not by what the tape keeps.

    Raises:
        ValueError: If `g` has a stride. When built: if channels are odd or shapes do not fit.
    """

    def __init__(
        self,
        f: keras.layers.Layer,
        g: keras.layers.Layer,
        manual_grads: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.f = f
        self.g = g
        self.manual_grads = manual_grads
        self._strides = _get_strides(f)
        self._missing_channels = 0
        self._is_reversible = False
        if _get_strides(g) != 1:
            raise ValueError(f'Expected a layer g without stride. Received: strides={g.strides}')

    @property
    def is_reversible(self) -> bool:
        """Whether the inputs follow from the outputs. Known when built."""
        return self._is_reversible

    def build(self, input_shape: Shape) -> None:
        half = _halve(input_shape)
        self.f.build(half)
        middle = tuple(self.f.compute_output_shape(half))
        self.g.build(middle)
        last = tuple(self.g.compute_output_shape(middle))
        if last != middle or middle[-1] < half[-1]:
            raise ValueError(
                'Expected f and g with equal shapes of outputs, of at least half the channels of '
                f'the input. Received: input {tuple(input_shape)}, f {middle}, g {last}'
            )
        self._missing_channels = middle[-1] - half[-1]
        self._is_reversible = self._strides == 1 and not self._missing_channels

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        *sides, channels = self.f.compute_output_shape(_halve(input_shape))
        return (*sides, 2 * channels)

    def call(self, inputs: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        x = _widen(inputs)
        if self.manual_grads:
            y = reversible_gradient.run_reversibly([self], x, training)
        else:
            halves = self.transform(*reversible_gradient.split(x), training=training)
            y = reversible_gradient.join(halves)
        return tf.cast(y, inputs.dtype)

    def transform(self, x1: tf.Tensor, x2: tf.Tensor, training: Optional[bool]) -> Halves:
        """The layer's outputs from the halves of its input."""
        y1 = self.shorten(x1) + tf.cast(self.f(x2, training=training), x1.dtype)
        y2 = self.shorten(x2) + tf.cast(self.g(y1, training=training), x1.dtype)
        return y1, y2

    def shorten(self, x: tf.Tensor) -> tf.Tensor:
        """A half in the shape of the output: averaged, and with zeros around its channels."""
        missing = self._missing_channels
        if self._strides != 1:
            x = tf.nn.avg_pool2d(x, self._strides, self._strides, 'SAME')
        if missing:
            x = tf.pad(x, [[0, 0], [0, 0], [0, 0], [missing // 2, missing - missing // 2]])
        return x

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            'f': keras.saving.serialize_keras_object(self.f),
            'g': keras.saving.serialize_keras_object(self.g),
            'manual_grads': self.manual_grads,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ReversibleLayer:
        inner = {
            name: keras.saving.deserialize_keras_object(config[name])
            if isinstance(config[name], dict)
            else config[name]
            for name in ('f', 'g')
        }
        return cls(**{**config, **inner})


@keras.saving.register_keras_serializable(package='official_lite')
class ReversibleGroup(keras.layers.Layer):
    """Reversible layers one after the other, of which the backward pass keeps the output only.

    A `ReversibleLayer` on its own keeps its output; in a group of n of them, n - 1 less are kept.

    Args:
        blocks: The layers. The first one need not be reversible; the group's input is kept then.

    Raises:
        ValueError: When built: if another than the first one is not reversible.
    """

    def __init__(self, blocks: Iterable[ReversibleLayer], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.blocks = list(blocks)

    def build(self, input_shape: Shape) -> None:
        shape = tuple(input_shape)
        for index, block in enumerate(self.blocks):
            block.build(shape)
            shape = block.compute_output_shape(shape)
            if index and not block.is_reversible:
                raise ValueError(
                    'Only the first layer of a group may change the shape. '
                    f'Received: layer {index} ({block.name!r}) with the output {shape}'
                )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        shape = tuple(input_shape)
        for block in self.blocks:
            shape = block.compute_output_shape(shape)
        return shape

    def call(self, inputs: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        x = _widen(inputs)
        if all(block.manual_grads for block in self.blocks):
            x = reversible_gradient.run_reversibly(self.blocks, x, training)
        else:
            for block in self.blocks:
                x = block(x, training=training)
        return tf.cast(x, inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        blocks = [keras.saving.serialize_keras_object(block) for block in self.blocks]
        return {**super().get_config(), 'blocks': blocks}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ReversibleGroup:
        blocks = [keras.saving.deserialize_keras_object(block) for block in config['blocks']]
        return cls(**{**config, 'blocks': blocks})


def _get_strides(layer: keras.layers.Layer) -> int:
    strides = getattr(layer, 'strides', 1)
    return int(strides if isinstance(strides, int) else strides[0])


def _halve(shape: Shape) -> Shape:
    *sides, channels = shape
    if channels is None or channels % 2:
        raise ValueError(f'Expected an even number of channels. Received: {tuple(shape)}')
    return (*sides, channels // 2)


def _widen(x: tf.Tensor) -> tf.Tensor:
    """float32 for fewer bits: what rounding loses, going back could not restore."""
    return tf.cast(x, tf.float32) if x.dtype.size < 4 else x
