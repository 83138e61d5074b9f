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

import collections
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
    'layerscale_gamma': ('gamma',),
    'output': ('output_projection',),  # of multi-query attention; `output` is Keras' own
}
# Names of parts -> layers that have these parts.
_Groups = Mapping[tuple[str, ...], Sequence[Any]]
_DEPTHWISE = ' (depthwise)'
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
            self.match_layers(node.weighted_layers, ours, place, is_whole=True)
        else:
            self._match_attributes(node, target, place)

    def match_layers(
        self,
        theirs: Sequence[object_graph.Node],
        ours: Sequence[Any],
        place: str,
        *,
        is_whole: bool = False,
    ) -> None:
        """Pairs layers of functional models: by their names, else by kind and order.

        Args:
            theirs: Layers of the file.
            ours: Layers of ours, in the order in which they were made.
            place: Name of the model in messages.
            is_whole: Whether these are all layers of a model, so that a kind that only one side has
                makes it another architecture.
        """
        num_theirs = len(theirs)
        ours = [part for layer in ours for part in _unwrap(layer)]
        theirs, ours = self._match_by_name(theirs, ours, place)
        names = {node.node_id: _layer_name(node) for node in theirs}
        made = sorted(theirs, key=lambda node: _split_name(names[node.node_id])[::-1])
        groups = _group((_their_kind(node), node) for node in made)
        our_groups = _group((_our_kind(layer), layer) for layer in ours)
        for kind in groups.keys() & our_groups.keys():
            nodes, layers = groups[kind], our_groups[kind]
            stems = {_split_name(names[node.node_id])[0] for node in nodes}
            where = f'{place} (layers with {", ".join(kind)})'
            if len(stems) > 1:
                their_stems = f'layers called {", ".join(sorted(stems))}'
                self._add_conflict(where, their_stems, 'one kind of them', layers)
            elif self._has_same_number(nodes, layers, where):
                for node, layer in zip(nodes, layers):
                    self.match(node, layer, f'{place}/{layer.name}')
        if is_whole and len(theirs) == num_theirs:  # none had a name
            self._check_kinds(groups, our_groups, place)

    def _check_kinds(self, theirs: _Groups, ours: _Groups, place: str) -> None:
        """Adds conflicts for kinds of layers that only one side has."""
        for kind in sorted(theirs.keys() ^ ours.keys()):
            found, wanted = theirs.get(kind, ()), ours.get(kind, ())
            where = f'{place} (layers with {", ".join(kind)})'
            parts = wanted or [layer for layers in ours.values() for layer in layers]
            self._add_conflict(where, f'{len(found)} parts', f'{len(wanted)} parts', parts)

    def _match_by_name(
        self, theirs: Sequence[object_graph.Node], ours: Sequence[Any], place: str
    ) -> tuple[list[object_graph.Node], list[Any]]:
        """Pairs layers with the same name, and returns those that have none of the names of ours.

        `lateral_2` has such a name where ours has a `lateral_3`: it is the name of another layer. Only
        a name that is unique without its number stands for a layer whatever the number is: tf_keras
        numbers layers that were made more than once in a process.
        """
        named = [layer for layer in ours if not variable_keys.is_auto_named(layer)]
        our_names = collections.Counter(layer.name for layer in named)
        by_name = {layer.name: layer for layer in named if our_names[layer.name] == 1}
        num_theirs = collections.Counter(_split_name(_layer_name(node))[0] for node in theirs)
        num_ours = collections.Counter(_split_name(layer.name)[0] for layer in named)
        rest = []
        matched: set[int] = set()
        for node in theirs:
            name = _layer_name(node)
            stem = _split_name(name)[0]
            if name not in by_name and stem in by_name and num_theirs[stem] == num_ours[stem] == 1:
                name = stem
            if name in by_name:
                matched.add(id(by_name[name]))
                self.match(node, by_name[name], f'{place}/{name}')
            elif stem not in num_ours:
                rest.append(node)
        return rest, [layer for layer in ours if id(layer) not in matched]

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
        self._add_conflict(place, f'{len(theirs)} parts', f'{len(ours)} parts', ours)
        return False

    def _add_conflict(self, place: str, theirs: str, ours: str, parts: Sequence[Any]) -> None:
        variables = tuple(v for part in parts for v in _list_variables(part))
        self.conflicts.append(Conflict(place, theirs, ours, variables))


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


def _split_name(name: str) -> tuple[str, int]:
    """`conv2d_3` is ('conv2d', 3); without a number it is 0, the first that tf_keras makes."""
    match = _NUMBERED.fullmatch(name)
    return (match[1], int(match[2] or 0)) if match else (name, 0)


def _call_order(layer: Any) -> int:
    """Order in which layers of a functional model of ours were called."""
    return _split_name(layer._inbound_nodes[0].output_tensors[0].name)[1]


def _unwrap(layer: Any) -> list[Any]:
    """A layer, or those in its list `blocks` if it has nothing else."""
    return list(layer.blocks) if _our_kind(layer) == ('blocks',) else [layer]


def _their_kind(node: object_graph.Node) -> tuple[str, ...]:
    """Names of a layer's parts, which tell one kind of layer from another."""
    names = []
    for name, child in node.children.items():
        plain = name.removeprefix('_')
        suffix = _DEPTHWISE if set(child.children) & {'depthwise_kernel'} else ''
        names.append(RENAMED_PARTS.get(plain, plain) + suffix)
    return tuple(sorted(names))


def _our_kind(layer: Any) -> tuple[str, ...]:
    weights = {variable_keys.identity(weight) for weight in layer.weights}
    keys = [
        key
        for key, variable in variable_keys.variable_keys({'layer': layer}).items()
        if variable_keys.identity(variable) in weights
    ]
    names = {key.split('/')[1].removeprefix('_') for key in keys}
    if isinstance(layer, keras.layers.DepthwiseConv2D):  # tf_keras calls it so
        names = {'depthwise_kernel' if name == 'kernel' else name for name in names}
    depthwise = keras.layers.DepthwiseConv2D | keras.layers.SeparableConv2D
    parts = {name: getattr(layer, name, getattr(layer, f'_{name}', None)) for name in names}
    return tuple(
        sorted(name + _DEPTHWISE * isinstance(part, depthwise) for name, part in parts.items())
    )


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
    # Without the states of random generators, which no file of tf_keras has.
    return list(part.weights) if isinstance(part, keras.layers.Layer) else []
