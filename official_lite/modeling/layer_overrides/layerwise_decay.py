"""Learning rates that fall from the last block of a backbone to the first.

Source: Bao et al., BEiT, https://arxiv.org/abs/2106.08254, table 11.
"""

from __future__ import annotations

import re

import keras

from official_lite.modeling.layer_overrides import selection

BACKBONE = 'backbone'
WHERE = 'trainer.optimizer_config.layerwise_lr_decay'

# Blocks of flat networks, as keras.applications names their layers: conv2_block1_1_conv.
_BLOCK_PREFIX = re.compile(r'.*?block_?\d+[a-z]?(?=_)')


def compute_multipliers(layers: selection.Layers, decay: float) -> dict[str, float]:
    """Multipliers of the learning rates of the backbone's variables, by key.

    The blocks of the backbone, in the order in which the input goes through them, are numbered from
    1 to n, and what lies before the first is number 0: block i has decay^(n + 1 - i). What lies
    between or after blocks belongs to the block before it; decoder and head keep their rate.

    A block is a layer that consists of layers: of the backbone itself or, where the backbone holds a
    list of layers (an encoder), of that list. In a network of single layers it is what shares a name
    up to a number, as in `conv2_block1_1_conv`, or else each layer with a kernel.

    Args:
        layers: The layers of the model.
        decay: Factor from each block to the one before it.

    Raises:
        LayerOverrideError: the model has no backbone.
    """
    if not any(path.startswith(f'{BACKBONE}/') for path in layers.layers):
        raise selection.LayerOverrideError(
            'the model has no backbone',
            where=WHERE,
            expected='a model with checkpoint item backbone',
        )
    numbers = number_blocks(layers)
    last = max(numbers.values(), default=0)
    return {key: decay ** (last + 1 - number) for key, number in numbers.items()}


def number_blocks(layers: selection.Layers) -> dict[str, int]:
    """Number of the block of each of the backbone's variables, by key; 0 is before the first."""
    units = _list_units(layers, BACKBONE)
    is_flat = not any(len(layers.inside(path)) > 2 for path in units)
    numbers: dict[str, int] = {}
    number, previous = 0, None
    for path in units:
        keys = [key for key in layers.variables if key.startswith(f'{path}/')]
        block = _name_block(layers, path, keys, is_flat)
        if block is not None and block != previous:
            number, previous = number + 1, block
        numbers.update(dict.fromkeys(keys, number))
    for key in layers.variables:
        if key.startswith(f'{BACKBONE}/'):
            numbers.setdefault(key, 0)
    return numbers


def _name_block(layers: selection.Layers, path: str, keys: list[str], is_flat: bool) -> str | None:
    """The block that a layer is, or belongs to by name; None: to the one before it."""
    if not is_flat:
        return path if len(layers.inside(path)) > 2 else None
    found = _BLOCK_PREFIX.match(path)
    if found:
        return found[0]
    return path if any(key.endswith('kernel') for key in keys) else None


def _list_units(layers: selection.Layers, path: str) -> list[str]:
    """The layers of which a module consists, in the order of the forward pass; of encoders, theirs."""
    units: list[str] = []
    for child in _children(layers, path):
        layer = layers.layers[child]
        is_graph = isinstance(layer, keras.Sequential) or hasattr(layer, '_operations')
        is_encoder = is_graph or _holds_blocks(layers, child)
        units += _list_units(layers, child) if is_encoder else [child]
    return units


def _holds_blocks(layers: selection.Layers, path: str) -> bool:
    """Whether a layer holds a list of layers that consist of layers."""
    in_list = re.compile(rf'{re.escape(path)}/[^/]+/\d+')
    listed = [p for p in layers.layers if in_list.fullmatch(p)]
    return sum(len(layers.inside(p)) > 2 for p in listed) > 1


def _children(layers: selection.Layers, path: str) -> list[str]:
    """Paths of the layers right inside of a layer, as it made them."""
    inside = layers.inside(path)[1:]
    own = [p for p in inside if not any(p.startswith(f'{other}/') for other in inside)]
    order = {id(layer): i for i, layer in enumerate(layers.layers[path]._layers)}
    return sorted(own, key=lambda p: order.get(id(layers.layers[p]), -1))
