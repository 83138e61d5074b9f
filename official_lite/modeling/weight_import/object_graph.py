"""The object graph inside a TensorFlow checkpoint: which object held which variable, under what name.

Every checkpoint that `tf.train.Checkpoint`, tf_keras or a SavedModel writes has it, as a
`TrackableObjectGraph`
(https://www.tensorflow.org/guide/checkpoint#loading_mechanics).
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import re
from collections.abc import Iterator
from typing import Any

from tensorflow.core.protobuf import trackable_object_graph_pb2

GRAPH_KEY = '_CHECKPOINTABLE_OBJECT_GRAPH'
AVERAGE_SLOT = 'average'

_VALUE = 'VARIABLE_VALUE'
_WEIGHTED_LAYER = re.compile(r'layer_with_weights-(\d+)')
# tf_keras lists in them, when it writes a SavedModel, what other names lead to already.
_LISTS = frozenset(
    {
        'keras_api',
        'layers',
        'layer_metrics',
        'metrics',
        'non_trainable_variables',
        'regularization_losses',
        'trainable_variables',
        'variables',
        '_self_saveable_object_factories',
    }
)


@dataclasses.dataclass(frozen=True)
class SavedVariable:
    """A variable in a checkpoint.

    Attributes:
        node_id: Number of its node.
        key: Where its value is in the file.
        full_name: The name that it had in the program, `conv2d_3/kernel`.
    """

    node_id: int
    key: str
    full_name: str


class ObjectGraph:
    """The parsed graph.

    Attributes:
        root: The object that was saved.
    """

    def __init__(self, serialized: bytes) -> None:
        """Parses the text under `GRAPH_KEY`."""
        proto = trackable_object_graph_pb2.TrackableObjectGraph()
        proto.ParseFromString(serialized)
        self._proto = proto
        self._nodes: dict[int, Node] = {}
        self.root = self.get_node(0)

    def get_node(self, node_id: int) -> Node:
        """The node with a number; one object each."""
        if node_id not in self._nodes:
            self._nodes[node_id] = Node(self, node_id, self._proto.nodes[node_id])
        return self._nodes[node_id]

    @property
    def is_of_tf_keras(self) -> bool:
        """Whether tf_keras made it: it numbers the layers of functional models."""
        return any(
            _WEIGHTED_LAYER.fullmatch(child.local_name)
            for node in self._proto.nodes
            for child in node.children
        )

    @functools.cached_property
    def averages(self) -> dict[int, SavedVariable]:
        """Moving averages by the number of the node that they are of."""
        found = {}
        for node in self._proto.nodes:
            for slot in node.slot_variables:
                average = self.get_node(slot.slot_variable_node_id).variable
                if slot.slot_name == AVERAGE_SLOT and average is not None:
                    found[slot.original_variable_node_id] = average
        return found


class Node:
    """An object: a layer, a list, a dict, or a variable."""

    def __init__(self, graph: ObjectGraph, node_id: int, proto: Any) -> None:
        self.node_id = node_id
        self._graph = graph
        self._proto = proto

    @functools.cached_property
    def children(self) -> dict[str, Node]:
        """What it holds that is a variable or leads to one, each once, by name."""
        found: dict[str, Node] = {}
        seen: set[int] = set()
        for child in self._proto.children:
            node = self._graph.get_node(child.node_id)
            if child.local_name in _LISTS or child.node_id in seen or not node.has_variables:
                continue
            seen.add(child.node_id)
            found[child.local_name] = node
        return found

    def get(self, name: str) -> Node | None:
        """The object under a name, also where another name leads to it too."""
        for child in self._proto.children:
            if child.local_name == name:
                return self._graph.get_node(child.node_id)
        return None

    @functools.cached_property
    def variable(self) -> SavedVariable | None:
        """The variable that it is, or None."""
        for attribute in self._proto.attributes:
            if attribute.name == _VALUE:
                return SavedVariable(self.node_id, attribute.checkpoint_key, attribute.full_name)
        return None

    @functools.cached_property
    def has_variables(self) -> bool:
        """Whether it is or leads to a variable."""
        return next(self.walk(), None) is not None

    @functools.cached_property
    def weighted_layers(self) -> list[Node]:
        """Layers with weights of a functional or sequential model, as tf_keras numbers them."""
        found = {}
        for child in self._proto.children:
            match = _WEIGHTED_LAYER.fullmatch(child.local_name)
            if match:
                found[int(match[1])] = self._graph.get_node(child.node_id)
        return [found[index] for index in sorted(found)]

    def walk(self) -> Iterator[tuple[str, SavedVariable]]:
        """All variables under it with their shortest paths (`_conv1/kernel`)."""
        queue: collections.deque[tuple[str, Node]] = collections.deque([('', self)])
        seen = {self.node_id}
        while queue:
            path, node = queue.popleft()
            if node.variable is not None:
                yield path, node.variable
            for child in node._proto.children:
                if child.local_name in _LISTS or child.node_id in seen:
                    continue
                seen.add(child.node_id)
                name = f'{path}/{child.local_name}' if path else child.local_name
                queue.append((name, self._graph.get_node(child.node_id)))
