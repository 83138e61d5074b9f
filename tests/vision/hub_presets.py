"""Presets as KerasHub's own, of random weights, in a folder."""

from __future__ import annotations

import pathlib
from typing import Any

import keras

from tests import garden_weights


def make_efficientnet_b0() -> Any:
    """KerasHub's EfficientNet-B0, of the first version."""
    import keras_hub

    return keras_hub.models.EfficientNetBackbone(
        width_coefficient=1.0,
        depth_coefficient=1.0,
        stackwise_kernel_sizes=[3, 3, 5, 3, 5, 5, 3],
        stackwise_num_repeats=[1, 2, 2, 3, 3, 4, 1],
        stackwise_input_filters=[32, 16, 24, 40, 80, 112, 192],
        stackwise_output_filters=[16, 24, 40, 80, 112, 192, 320],
        stackwise_expansion_ratios=[1, 6, 6, 6, 6, 6, 6],
        stackwise_squeeze_and_excite_ratios=[0.25] * 7,
        stackwise_strides=[1, 2, 2, 2, 1, 2, 1],
        stackwise_block_types=['v1'] * 7,
    )


def save(backbone: Any, converter: Any, folder: pathlib.Path) -> str:
    """Gives a network random weights and writes it.

    Args:
        backbone: The network.
        converter: What makes its inputs of images.
        folder: Where to.

    Returns:
        The name as `task.init_checkpoint`.
    """
    randomize(backbone)
    backbone.save_to_preset(str(folder))
    converter.save_to_preset(str(folder))
    return f'keras_hub:{folder}'


def randomize(network: keras.Model) -> None:
    """Gives all layers of a network random weights by which errors show."""
    for index, layer in enumerate(network.layers):
        if layer.weights and not isinstance(layer, keras.layers.Normalization):
            garden_weights.randomize_weights(layer, seed=index)
