"""Carries the weights of a tf-models-official model into ours, variable by variable.

Parts correspond by structure: functional models by the names of their weighted layers where all
agree, otherwise by the order in which their graphs lead to them from the outputs; other layers by
the names of their attributes, lists and dicts by position and key. Whatever does not correspond is
an error, so that a comparison covers all variables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

# Model Garden's attributes and variables that have another name here.
ATTRIBUTES = {'shortcut1': 'shortcut', 'shortcut0': 'shortcut_pool'}
VARIABLES = {
    'depthwise_kernel': ('depthwise_kernel', 'kernel'),
    'output': ('output_projection',),  # of multi-query attention; `output` is Keras' own
    'Variable': ('gamma',),  # of MobileNet V4's layer scale, which has no name there
}


def carry_weights(source: Any, target: Any) -> int:
    """Assigns all variables of a tf_keras model or layer to the same ones of a Keras 3 one.

    Args:
        source: A built model or layer of tf-models-official.
        target: The built model or layer of official_lite of the same structure.

    Returns:
        Number of variables.
    """
    pairs = pair_variables(source, target)
    for theirs, ours in pairs:
        ours.assign(theirs.numpy())
    return len(pairs)


def pair_variables(source: Any, target: Any) -> list[tuple[Any, Any]]:
    """Pairs of corresponding variables, (theirs, ours).

    Raises:
        ValueError: If a variable of either side has no partner, or shapes differ.
    """
    pairs = list(_pair(source, target, 'model'))
    for theirs, ours in pairs:
        if tuple(theirs.shape) != tuple(ours.shape):
            raise ValueError(f'{theirs.name} {theirs.shape} is not {ours.path} {ours.shape}')
    _check_complete(source.weights, [theirs for theirs, _ in pairs], 'theirs')
    _check_complete(target.weights, [ours for _, ours in pairs], 'ours')
    return pairs


def scale_retinanet_predictions(model: Any, images: Any) -> None:
    """Gives predictions the size that a trained model's have: scores on both sides of 0.05.

    Args:
        model: Model Garden's RetinaNet.
        images: Normalised images [batch, height, width, 3].
    """
    head = model.head
    features = model.backbone(images, training=False)
    if model.decoder is not None:
        features = model.decoder(features, training=False)
    predictions = head(features, training=False)
    for predictors, by_level, stddev, mean in (
        (head._classifier, predictions[0], 1.5, -5.0),
        (head._box_regressor, predictions[1], 0.5, 0.0),
    ):
        spread = np.std(np.concatenate([np.ravel(x) for x in by_level.values()]))
        for predictor in predictors if isinstance(predictors, Sequence) else [predictors]:
            kernel = predictor.weights[0]
            kernel.assign(kernel * (stddev / spread))
            predictor.bias.assign(np.full(predictor.bias.shape, mean, np.float32))


def _check_complete(expected: Sequence[Any], found: Sequence[Any], side: str) -> None:
    keys = {id(variable) for variable in found}
    missing = [getattr(v, 'path', v.name) for v in expected if id(v) not in keys]
    missing = [name for name in missing if 'seed_generator' not in name]
    if missing or len(keys) != len(found):
        raise ValueError(f'{side}: {len(missing)} variables without a partner: {missing[:10]}')


def _pair(source: Any, target: Any, place: str) -> Iterator[tuple[Any, Any]]:
    if not source.weights:
        return
    if isinstance(target, (list, tuple, Mapping)):  # of what is a Sequential there
        yield from _pair_nested(_list_sequential(source), target, place)
        return
    if hasattr(source, '_network_nodes') or getattr(source, '_is_graph_network', False):
        yield from _pair_functional(source, target, place)
        return
    parts = dict(_get_parts(source))
    if not parts:
        yield from _pair_own(source, target, place)
        return
    for name, part in parts.items():
        if not hasattr(target, name):
            raise ValueError(f'{place}: {type(target).__name__} has no {name!r}')
        yield from _pair_nested(part, getattr(target, name), f'{place}.{name}')
    inside = {id(variable) for part in _flatten_parts(parts) for variable in part.weights}
    own = [variable for variable in source.weights if id(variable) not in inside]
    yield from _pair_variables(own, target, place)


def _flatten_parts(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for part in value:
            yield from _flatten_parts(part)
    elif hasattr(value, 'weights'):
        yield value


def _list_sequential(layer: Any) -> list[Any]:
    """Layers with weights of nested Sequential models."""
    if not hasattr(layer, 'layers'):
        return [layer] if layer.weights else []
    return [inner for part in layer.layers for inner in _list_sequential(part)]


def _pair_functional(source: Any, target: Any, place: str) -> Iterator[tuple[Any, Any]]:
    theirs = [layer for layer in _list_in_graph_order(source) if layer.weights]
    ours = [layer for layer in _list_in_graph_order(target) if layer.weights]
    if {layer.name for layer in theirs} == {layer.name for layer in ours}:
        by_name = {layer.name: layer for layer in ours}
        ours = [by_name[layer.name] for layer in theirs]
    if len(theirs) != len(ours):
        raise ValueError(f'{place}: {len(theirs)} weighted layers of theirs, {len(ours)} of ours')
    for their_layer, our_layer in zip(theirs, ours, strict=True):
        yield from _pair(their_layer, our_layer, f'{place}/{our_layer.name}')


def _list_in_graph_order(model: Any) -> list[Any]:
    """Layers of a functional model, each after those that feed it, outputs in the order of keys.

    Unlike `model.layers`, which goes by depth, this does not depend on layers without weights.
    """
    order: dict[int, Any] = {}

    def visit(tensor: Any) -> None:
        layer, node_index = tensor._keras_history[:2]
        if id(layer) in order:
            return
        node = layer._inbound_nodes[node_index]
        # tf_keras calls them keras_inputs, Keras 3 input_tensors.
        feeds = node.keras_inputs if hasattr(node, 'keras_inputs') else node.input_tensors
        for feed in feeds:
            visit(feed)
        order[id(layer)] = layer

    for tensor in _flatten(model.output):
        visit(tensor)
    return list(order.values())


def _flatten(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        value = [value[key] for key in sorted(value)]
    if isinstance(value, (list, tuple)):
        for part in value:
            yield from _flatten(part)
    else:
        yield value


def _pair_nested(source: Any, target: Any, place: str) -> Iterator[tuple[Any, Any]]:
    if isinstance(source, Mapping):
        for key, part in source.items():
            if _has_weights(part):
                yield from _pair_nested(part, target[key], f'{place}[{key!r}]')
    elif isinstance(source, (list, tuple)):
        if isinstance(target, Mapping):
            target = list(target.values())
        if len(source) != len(target):
            # Layers that have no weights there may be none here.
            source = [part for part in source if _has_weights(part)]
            target = [part for part in target if _has_weights(part)]
        if len(source) != len(target):
            raise ValueError(f'{place}: {len(source)} parts of theirs, {len(target)} of ours')
        for index, part in enumerate(source):
            yield from _pair_nested(part, target[index], f'{place}[{index}]')
    else:
        yield from _pair(source, target, place)


def _has_weights(part: Any) -> bool:
    if isinstance(part, Mapping):
        return any(_has_weights(value) for value in part.values())
    if isinstance(part, (list, tuple)):
        return any(_has_weights(value) for value in part)
    return bool(getattr(part, 'weights', None))


def _get_parts(layer: Any) -> Iterator[tuple[str, Any]]:
    """Attributes of one of Model Garden's layers that hold layers with weights, by our names."""
    seen: set[int] = set()
    for attribute, part in vars(layer).items():
        if id(part) in seen:  # a layer under a second name
            continue
        if attribute.startswith('_self_') or attribute in (
            '_config_dict',
            '_obj_reference_counts_dict',
        ):
            continue
        if isinstance(part, type):
            continue
        is_layer = hasattr(part, 'weights') and hasattr(part, 'call')
        if (is_layer or isinstance(part, (list, tuple, Mapping))) and _has_weights(part):
            seen.add(id(part))
            name = attribute.removeprefix('_')
            yield ATTRIBUTES.get(name, name), part


def _pair_own(source: Any, target: Any, place: str) -> Iterator[tuple[Any, Any]]:
    yield from _pair_variables(source.weights, target, place)


def _pair_variables(variables: Sequence[Any], target: Any, place: str) -> Iterator[tuple[Any, Any]]:
    ours = {variable.name: variable for variable in target.weights}
    for variable in variables:
        name = variable.name.split('/')[-1].split(':')[0]
        found = [ours[other] for other in VARIABLES.get(name, (name,)) if other in ours]
        if not found:
            raise ValueError(f'{place}: ours has no variable {name!r}, but {sorted(ours)}')
        yield variable, found[0]


def randomize_weights(source: Any, seed: int = 0, kernel_scale: float = 1.0) -> None:
    """Gives all variables of a model of either Keras values by which errors show.

    Batch normalisation gets scales, offsets and statistics that are not 1 and 0; kernels get unit
    variance preserving noise; biases get small noise.
    """
    generator = np.random.default_rng(seed)
    for variable in source.weights:
        name, shape = variable.name.split('/')[-1], tuple(variable.shape)
        if 'gamma' in name or 'moving_variance' in name:
            value = generator.uniform(0.7, 1.3, shape)
        elif 'kernel' in name:
            is_depthwise = len(shape) == 4 and shape[-1] == 1
            fan_in = np.prod(shape[:2] if is_depthwise else shape[:-1])
            value = generator.normal(0.0, kernel_scale / np.sqrt(fan_in), shape)
        else:
            value = generator.normal(0.0, 0.1, shape)
        variable.assign(value.astype(np.float32))
