"""From the values that images have to those that a pretrained network was trained with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional, Union

import keras
import tensorflow as tf

from official_lite.vision.modeling.layers import nn_layers
from official_lite.vision.ops import image_normalization

Shape = nn_layers.Shape
Values = Union[float, Sequence[float], None]

NUM_COLOURS = 3

# What images hold -> (scale, offset) that make pixels from 0 to 255 of it.
TO_PIXELS: dict[str, tuple[list[float], list[float]]] = {
    'normalized': (
        [255.0 * value for value in image_normalization.STDDEV_RGB],
        [255.0 * value for value in image_normalization.MEAN_RGB],
    ),
    'pixels': ([1.0] * NUM_COLOURS, [0.0] * NUM_COLOURS),
}


@keras.saving.register_keras_serializable(package='official_lite')
class ChannelScaling(keras.layers.Layer):
    """Multiplies and shifts each channel of an image, in float32: `x * scale + offset`.

    Args:
        scale: Factor of each channel.
        offset: What is added to each channel.
        is_reversed: Whether the channels come out in the opposite order (RGB as BGR).
    """

    def __init__(
        self,
        scale: Sequence[float],
        offset: Sequence[float],
        is_reversed: bool = False,
        **kwargs: Any,
    ) -> None:
        # In float32 whatever the policy: bfloat16 has 8 bits, as many as a pixel.
        super().__init__(**{'dtype': 'float32', **kwargs})
        self.scale = [float(value) for value in scale]
        self.offset = [float(value) for value in offset]
        self.is_reversed = is_reversed

    def build(self, input_shape: Shape) -> None:
        if input_shape[-1] != len(self.scale):
            raise ValueError(
                f'Expected images of {len(self.scale)} channels, because pretrained networks have '
                f"a scale for each (unless image_values='prepared'). "
                f'Received: shape {tuple(input_shape)}'
            )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        outputs = inputs * tf.constant(self.scale) + tf.constant(self.offset)
        return tf.reverse(outputs, [-1]) if self.is_reversed else outputs

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            'scale': self.scale,
            'offset': self.offset,
            'is_reversed': self.is_reversed,
        }


def make_image_values_layer(
    image_values: str, scale: Values = None, offset: Values = None, is_reversed: bool = False
) -> Optional[ChannelScaling]:
    """A layer that makes what a network takes of what images hold.

    The network's input is `scale * pixels + offset`, pixels being red, green and blue from 0 to 255.

    Args:
        image_values: 'normalized', 'pixels' or 'prepared'.
        scale: Of the network, one or per channel. None for 1.
        offset: Of the network, one or per channel. None for 0.
        is_reversed: Whether the network takes blue first.

    Returns:
        The layer; None if nothing is to be done.

    Raises:
        ValueError: If `image_values` is none of the three.
    """
    if image_values == 'prepared':
        return None
    if image_values not in TO_PIXELS:
        raise ValueError(
            f'Expected image_values to be one of {[*TO_PIXELS, "prepared"]}. '
            f'Received: {image_values!r}'
        )
    factors, shifts = _spread(scale, 1.0), _spread(offset, 0.0)
    scales, offsets = [], []
    for a, b, factor, shift in zip(*TO_PIXELS[image_values], factors, shifts, strict=True):
        scales.append(factor * a)
        offsets.append(factor * b + shift)
    is_identity = all(abs(a - 1.0) < 1e-6 for a in scales) and all(abs(b) < 1e-6 for b in offsets)
    if is_identity and not is_reversed:
        return None
    return ChannelScaling(scales, offsets, is_reversed, name='image_values')


def _spread(values: Values, default: float) -> list[float]:
    """A value per channel."""
    if values is None:
        return [default] * NUM_COLOURS
    if isinstance(values, (int, float)):
        return [float(values)] * NUM_COLOURS
    return [float(value) for value in values]
