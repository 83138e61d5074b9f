"""Pairs the objects of a tf_keras checkpoint with the layers of one of our models.

Nothing is guessed from values or shapes. Parts correspond

- by the names of attributes, list indices and dict keys, private or not;
- in functional models by the names of layers where the file has such names; elsewhere tf_keras made
  the names, with a number per class that tells the order in which the layers were made: then layers
  of the same kind (with the same parts) correspond in that order. Their order in the graph,
  `layer_with_weights-N`, does not serve: it depends on layers that have no weights.

What is different on the two sides stays without a partner. Where a part of a list cannot be told from
another one because there are more on one side, all of them do, as a conflict.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras

from official_lite.modeling import variable_keys
from official_lite.modeling.weight_import import object_graph

# Model Garden's attributes that have another name here.
RENAMED_PARTS = {'shortcut1': 'shortcut'}
# Model Garden's variables that have another name here, or may have.
RENAMED_VARIABLES = {
    'depthwise_kernel': ('depthwise_kernel', 'kernel'),
    'output': ('output_projection',),  # of multi-query attention; `output` is Keras' own
}
_NUMBERED = re.compile(r'(.*?)(?:_(\d+))?')


@dataclasses.dataclass(frozen=True)
class Conflict:
    """Parts that cannot be told from one another, because the two sides have different numbers of them.

    Attributes:
        place: Where in the model.
        theirs: What the file has.
        ours: What the model has.
        variables: The variables of the model that get no value for it.
    """

    place: str
    theirs: str
    ours: str
    variables: tuple[Any, ...]

    def __str__(self) -> str:
        return f'{self.place} has {self.theirs} there and {self.ours} here'


class Matching:
    """What corresponds.

    Attributes:
        pairs: (variable of the file, variable of the model).
        conflicts: What cannot be decided.
    """

    def __init__(self) -> None:
        self.pairs: list[tuple[object_graph.SavedVariable, Any]] = []
        self.conflicts: list[Conflict] = []

    def match(self, node: object_graph.Node, target: Any, place: str) -> None:
        """Pairs what is inside of `node` with what is inside of `target`.

        Args:
            node: Object of the file.
            target: Layer, variable, list or dict of ours.
            place: Name of both in messages.
        """
        if variable_keys.is_variable(target):
            if node.variable is not None:
                self.pairs.append((node.variable, target))
        elif isinstance(target, Mapping):
            self._match_mapping(node, target, place)
        elif isinstance(target, list | tuple):
            self._match_sequence(node, target, place)
        elif is_functional(target):
            ours = sorted((layer for layer in target.layers if layer.weights), key=_call_order)
            self.match_layers(node.weighted_layers, ours, place)
        else:
            self._match_attributes(node, target, place)

    def match_layers(
        self, theirs: Sequence[object_graph.Node], ours: Sequence[Any], place: str
    ) -> None:
        """Pairs layers of functional models: by their names, else by kind and order.

        Args:
            theirs: Layers of the file.
            ours: Layers of ours, in the order in which they were made.
            place: Name of the model in messages.
        """
        their_names = [_layer_name(node) for node in theirs]
        by_name = {layer.name: layer for layer in ours}
        if by_name.keys() & set(their_names):
            for name, node in zip(their_names, theirs):
                if name in by_name:
                    self.match(node, by_name[name], f'{place}/{name}')
            return
        made = sorted(zip(map(_made_order, their_names), range(len(theirs)), theirs))
        groups = _group((_their_kind(node), node) for _, _, node in made)
        our_groups = _group((_our_kind(layer), layer) for layer in ours)
        for kind, nodes in groups.items():
            layers = our_groups.get(kind, [])
            if layers and self._has_same_number(nodes, layers, f'{place} ({", ".join(kind)})'):
                for node, layer in zip(nodes, layers):
                    self.match(node, layer, f'{place}/{layer.name}')

    def _match_attributes(self, node: object_graph.Node, target: Any, place: str) -> None:
        for name, child in node.children.items():
            part = _find_part(target, name, child)
            if part is not None:
                self.match(child, part, f'{place}/{name.removeprefix("_")}')

    def _match_mapping(
        self, node: object_graph.Node, target: Mapping[Any, Any], place: str
    ) -> None:
        named = {str(key): part for key, part in target.items()}
        if node.children.keys() & named.keys():
            for key, child in node.children.items():
                if key in named:
                    self.match(child, named[key], f'{place}/{key}')
        else:
            self._match_sequence(node, list(target.values()), place)

    def _match_sequence(self, node: object_graph.Node, target: Sequence[Any], place: str) -> None:
        theirs, ours = _list_parts(node), [part for part in target if _has_variables(part)]
        if theirs and ours and self._has_same_number(theirs, ours, place):
            for index, (child, part) in enumerate(zip(theirs, ours)):
                self.match(child, part, f'{place}/{index}')

    def _has_same_number(
        self, theirs: Sequence[object_graph.Node], ours: Sequence[Any], place: str
    ) -> bool:
        if len(theirs) == len(ours):
            return True
        variables = tuple(v for part in ours for v in _list_variables(part))
        self.conflicts.append(
            Conflict(place, f'{len(theirs)} parts', f'{len(ours)} parts', variables)
        )
        return False


def is_functional(target: Any) -> bool:
    """Whether `target` is a functional model of Keras 3."""
    return isinstance(target, keras.Model) and hasattr(target, '_operations')


def _list_parts(node: object_graph.Node) -> list[object_graph.Node]:
    """Elements of a list, or layers of a sequential model and those nested in it."""
    if not node.weighted_layers:
        children = node.children
        if all(name.isdecimal() for name in children):
            return [children[name] for name in sorted(children, key=int)]
        return [node]
    return [inner for layer in node.weighted_layers for inner in _list_parts_of_layer(layer)]


def _list_parts_of_layer(node: object_graph.Node) -> list[object_graph.Node]:
    return _list_parts(node) if node.weighted_layers else [node]


def _find_part(target: Any, name: str, node: object_graph.Node) -> Any:
    """The part of a layer of ours that has the name of one of theirs, or None."""
    plain = name.removeprefix('_')
    names: Iterable[str] = (RENAMED_PARTS.get(plain, plain),)
    if node.variable is not None:
        names = RENAMED_VARIABLES.get(plain, (plain,))
    for candidate in names:
        for attribute in (candidate, f'_{candidate}'):
            part = vars(target).get(attribute)
            if part is None and isinstance(getattr(type(target), attribute, None), property):
                part = getattr(target, attribute)
            if part is not None and _has_variables(part):
                return part
    return None


def _layer_name(node: object_graph.Node) -> str:
    """The name of a layer in a functional model: its variables' names begin with it."""
    for _, variable in node.walk():
        return variable.full_name.split('/')[0]
    return ''


def _made_order(name: str) -> tuple[int, str]:
    """Order in which tf_keras made the layers of one class: `conv2d` is before `conv2d_1`."""
    match = _NUMBERED.fullmatch(name)
    return (int(match[2] or 0), match[1]) if match else (0, name)


def _call_order(layer: Any) -> int:
    """Order in which layers of a functional model of ours were called."""
    name = layer._inbound_nodes[0].output_tensors[0].name
    return _made_order(name)[0]


def _their_kind(node: object_graph.Node) -> tuple[str, ...]:
    """Names of a layer's parts, which tell one kind of layer from another."""
    names = set()
    for name in node.children:
        plain = name.removeprefix('_')
        names.add(RENAMED_VARIABLES.get(plain, (RENAMED_PARTS.get(plain, plain),))[-1])
    return tuple(sorted(names))


def _our_kind(layer: Any) -> tuple[str, ...]:
    keys = variable_keys.variable_keys({'layer': layer})
    names = {key.split('/')[1].removeprefix('_') for key in keys}
    return tuple(sorted(RENAMED_VARIABLES.get(name, (name,))[-1] for name in names))


def _group(pairs: Iterable[tuple[tuple[str, ...], Any]]) -> dict[tuple[str, ...], list[Any]]:
    groups: dict[tuple[str, ...], list[Any]] = {}
    for kind, member in pairs:
        groups.setdefault(kind, []).append(member)
    return groups


def _has_variables(part: Any) -> bool:
    return bool(_list_variables(part))


def _list_variables(part: Any) -> list[Any]:
    if variable_keys.is_variable(part):
        return [part]
    if isinstance(part, Mapping):
        part = list(part.values())
    if isinstance(part, list | tuple):
        return [variable for inner in part for variable in _list_variables(inner)]
    return list(part.variables) if isinstance(part, keras.layers.Layer) else []
