"""Finds the feature maps of each level in the graph of a network that names none."""

from __future__ import annotations

import math
from typing import Any, Optional

import keras

# Layers whose output is not what a network computes at a level, but a step on the way to it.
_STEPS = frozenset(
    {
        'AveragePooling2D',
        'BatchNormalization',
        'Cropping2D',
        'Dropout',
        'InputLayer',
        'MaxPooling2D',
        'Normalization',
        'Rescaling',
        'ZeroPadding2D',
    }
)
_CONVOLUTIONS = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
)
# Where branches come together.
_JOINS = frozenset({'Add', 'Concatenate'})
# A side from which strides can be told, in spite of borders.
_PROBE_PX = 256


def find_levels(output: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
    """The last feature map of each stride on the way to the output.

    Level l has stride 2**l. Its map is the last one that all later ones are computed from, after an
    activation or where branches come together; so it is the input of the strided layer, or of the
    block with it, that begins the next level. Where no map has all later ones behind it (NASNet
    reads the last two cells everywhere), it is the last one where branches come together.

    Args:
        output: The output of a network from images [batch, height, width, channels], which is the
            last level's map.

    Returns:
        Maps by level, from the finest, '1' or coarser, to the output's. Empty if the output is no
        feature map.
    """
    nodes = _list_nodes(output)
    strides: dict[int, Optional[float]] = {}
    for node in nodes:
        strides[id(node)] = _compute_stride(node, strides)
    cuts, joins = {}, {}
    for node, is_cut in zip(nodes, _find_cuts(nodes), strict=True):
        level = _to_level(strides[id(node)])
        if level is None or len(node.outputs) != 1 or len(node.outputs[0].shape) != 4:
            continue
        if is_cut and (node is nodes[-1] or not _is_step(node.operation)):
            cuts[level] = node.outputs[0]
        elif type(node.operation).__name__ in _JOINS:
            joins[level] = node.outputs[0]
    if _to_level(strides[id(nodes[-1])]) is None:
        return {}
    return {str(level): x for level, x in sorted({**joins, **cuts}.items())}


def _get_node(tensor: keras.KerasTensor) -> Any:
    operation, index = tensor._keras_history[:2]
    return operation._inbound_nodes[index]


def _list_nodes(output: keras.KerasTensor) -> list[Any]:
    """Calls of layers and operations that lead to a tensor, each after those that feed it."""
    order, seen = [], set()
    stack = [(_get_node(output), False)]
    while stack:
        node, is_ready = stack.pop()
        if is_ready:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((_get_node(feed), False) for feed in reversed(node.input_tensors))
    return order


def _find_cuts(nodes: list[Any]) -> list[bool]:
    """Whether all that comes after a node is computed from its output alone."""
    positions = {id(node): position for position, node in enumerate(nodes)}
    last_uses = [0] * len(nodes)
    for position, node in enumerate(nodes):
        for feed in node.input_tensors:
            last_uses[positions[id(_get_node(feed))]] = position
    cuts, last_use = [], 0
    for position in range(len(nodes)):
        cuts.append(last_use <= position)
        last_use = max(last_use, last_uses[position])
    return cuts


def _compute_stride(node: Any, strides: dict[int, Optional[float]]) -> Optional[float]:
    """Pixels of the image per pixel of a node's output; None where it has no pixels."""
    if not node.input_tensors:
        return 1.0
    known = [s for s in (strides[id(_get_node(feed))] for feed in node.input_tensors) if s]
    factor = _get_factor(node.operation)
    if factor is None:
        factor = _measure_factor(node)
    return max(known) * factor if known and factor else None


def _get_factor(operation: Any) -> Optional[float]:
    """How much coarser the output of an operation is than its input, as far as it says so."""
    if isinstance(operation, keras.Sequential):
        return math.prod(_get_factor(layer) or 1.0 for layer in operation.layers)
    if not hasattr(operation, 'strides'):
        return None
    strides = operation.strides
    return float(strides if isinstance(strides, int) else strides[0])


def _measure_factor(node: Any) -> Optional[float]:
    """The same by the sizes, tried out where they vary; None where a map becomes one value."""
    if 'Global' in type(node.operation).__name__:
        return None
    before, after = (tensors[0].shape for tensors in (node.input_tensors, node.outputs))
    if len(before) != 4 or len(after) != 4:
        return 1.0
    if not before[1] or not after[1]:
        if len(node.input_tensors) != 1:  # a join
            return 1.0
        before = (1, _PROBE_PX, _PROBE_PX, before[3])
        after = node.operation.compute_output_spec(keras.KerasTensor(before)).shape
    if after[1] == 1 < before[1]:
        return None
    return float(max(1, round(before[1] / after[1])))


def _to_level(stride: Optional[float]) -> Optional[int]:
    """The level of a stride; None for 1 and for what is no power of 2."""
    if not stride or stride < 2:
        return None
    level = round(math.log2(stride))
    return level if 2.0**level == stride else None


def _is_step(operation: Any) -> bool:
    """Whether an operation's output is a step only: linear, or part of a larger unit."""
    if type(operation).__name__ in _STEPS:
        return True
    if not isinstance(operation, _CONVOLUTIONS):
        return False
    return operation.activation in (None, keras.activations.linear)
