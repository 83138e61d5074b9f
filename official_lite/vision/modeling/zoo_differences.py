"""What a backbone of ours does otherwise than a network whose weights it has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

import keras

_ALIASES = {'swish': 'silu'}  # Keras calls it silu
_ACTIVATIONS = ('activation', 'se_inner_activation')


def find_differences(
    network: keras.Model, backbone: keras.Model, pairs: Sequence[tuple[Any, Any]]
) -> list[str]:
    """Differences that no weights make up for, a sentence each; none means the same outputs.

    Args:
        network: The network, as a backbone that takes what ours takes.
        backbone: Ours.
        pairs: (layer of the network, the same one of ours).
    """
    convolutions = [pair for pair in pairs if hasattr(pair[0], 'kernel_size')]
    return [
        *_compare_strides(convolutions),
        *_compare_padding(convolutions),
        *_compare_activations(network.get_layer('network'), backbone, pairs),
    ]


def _compare_strides(pairs: Sequence[tuple[Any, Any]]) -> list[str]:
    moved = [(a, b) for a, b in pairs if tuple(a.strides) != tuple(b.strides)]
    if not moved:
        return []
    theirs, ours = moved[0]
    return [
        f'{len(moved)} convolutions have other strides ({theirs.name}: {theirs.strides[0]} there, '
        f'{ours.strides[0]} here), so features differ from there on until it is trained'
    ]


def _compare_padding(pairs: Sequence[tuple[Any, Any]]) -> list[str]:
    found = [theirs for theirs, ours in pairs if ours.padding == 'same' and _is_shifted(theirs)]
    if not found:
        return []
    return [
        f'{len(found)} convolutions with strides ({found[0].name} is the first) pad both sides there '
        'and one side here where the size is even, so features are shifted by a pixel of their input'
    ]


def _is_shifted(layer: Any) -> bool:
    """Whether a convolution has other padding than `same`, for an even size if the size is open."""
    pad = layer._inbound_nodes[-1].input_tensors[0]._keras_history.operation
    if not isinstance(pad, keras.layers.ZeroPadding2D):
        return False
    sizes = pad._inbound_nodes[-1].input_tensors[0].shape[1:3]
    return any(
        begin != _same_padding(size, kernel, stride)
        for size, kernel, stride, (begin, _) in zip(
            sizes, layer.kernel_size, layer.strides, pad.padding, strict=True
        )
    )


def _same_padding(size: Optional[int], kernel: int, stride: int) -> int:
    """What `same` pads before the first pixel."""
    size = size or 224
    return max((-(-size // stride) - 1) * stride + kernel - size, 0) // 2


def _compare_activations(
    features: keras.Model, backbone: Any, pairs: Sequence[tuple[Any, Any]]
) -> list[str]:
    theirs = {
        'activation': _first_activation(
            layer for layer in features.layers if isinstance(layer, keras.layers.Activation)
        ),
        'se_inner_activation': _first_activation(
            layer for layer, _ in pairs if layer.name.endswith('se_reduce')
        ),
    }
    config = backbone.get_config()
    return [
        f'{name} is {theirs[name]!r} there and {config[name]!r} here'
        for name in _ACTIVATIONS
        if name in config
        and theirs[name]
        and theirs[name] != _ALIASES.get(config[name], config[name])
    ]


def _first_activation(layers: Any) -> str:
    """Name of the activation of the first of some layers, '' if there is none."""
    layer = next(iter(layers), None)
    return '' if layer is None else str(keras.activations.serialize(layer.activation))
