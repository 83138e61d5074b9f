"""Checkpoints of Model Garden (tf_keras), read as if they had our keys.

All its forms have one graph: a trainer's checkpoint, its best export and moving averages, what an
export writes to `checkpoint`, and the variables of a SavedModel. They differ in where the model hangs:
next to its parts (`backbone`, `head`, ...), or alone, with the parts in attributes (`_backbone`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import keras

from official_lite.core import checkpoints
from official_lite.modeling import variable_keys
from official_lite.modeling.weight_import import layer_matching, object_graph

_MODEL = 'model'
STEP_KEY = 'global_step'
_VALUE_SUFFIX = '/.ATTRIBUTES/VARIABLE_VALUE'
# The trainer writes these files while the averages stand in the model, and the weights in the slots.
_AVERAGED_FILES = ('average_weights-', 'best_ckpt-')
# What a trainer saves beside the model.
_RUN_PARTS = ('optimizer', 'global_step', 'save_counter', 'signatures')


def read_object_graph(source: checkpoints.CheckpointSource) -> object_graph.ObjectGraph | None:
    """The object graph of a checkpoint that tf_keras wrote; None for one of ours or another one."""
    serialized = source.read_raw(object_graph.GRAPH_KEY)
    if source.is_ours or serialized is None:
        return None
    graph = object_graph.ObjectGraph(serialized)
    return graph if graph.is_of_tf_keras else None


class GardenSource:
    """A checkpoint of Model Garden as the weights of one model of ours.

    Attributes:
        origin: What the file is called in reports.
        path: Prefix of the files.
        shapes: Shape of every variable of the file's model: by the key of the model's variable that
            it is for; by its path in the file where it is for none.
        conflicts: Key of a variable of the model that has no value because the file has another
            number of such parts, to what is different.
    """

    def __init__(
        self,
        source: checkpoints.CheckpointSource,
        graph: object_graph.ObjectGraph,
        model: keras.Model,
        *,
        use_averages: bool = False,
    ) -> None:
        """Matches the file to `model`, which is built.

        Args:
            source: The file.
            graph: Its object graph.
            model: The model.
            use_averages: Whether moving averages are taken for weights.

        Raises:
            CheckpointError: averages are asked for, and a trainer that made none wrote the file.
        """
        self.path = source.path
        self.origin = 'Model Garden'
        self._source = source
        matching, parts = _match_model(graph.root, model)
        keys = {
            variable_keys.identity(variable): key
            for key, variable in checkpoints.model_variables(model).items()
        }
        averages = self._find_averages(graph, use_averages)
        self._file_keys: dict[str, str] = {}
        for saved, variable in matching.pairs:
            key = keys[variable_keys.identity(variable)]
            self._add(key, averages.get(saved.node_id, saved))
        used = {saved.node_id for saved, _ in matching.pairs}
        for path, saved in parts:
            if saved.node_id not in used:
                self._add(path, saved)
        self.conflicts = {
            keys[variable_keys.identity(variable)]: str(conflict)
            for conflict in matching.conflicts
            for variable in conflict.variables
        }
        all_shapes = source.shapes
        self.shapes = {key: all_shapes[name] for key, name in self._file_keys.items()}

    def read(self, key: str) -> Any:
        """The value under `key`, a NumPy array."""
        return self._source.read(self._file_keys[key])

    def _find_averages(
        self, graph: object_graph.ObjectGraph, use_averages: bool
    ) -> dict[int, object_graph.SavedVariable]:
        """The averages that stand beside the weights, if they are to be taken."""
        if os.path.basename(self.path).startswith(_AVERAGED_FILES) and graph.averages:
            self.origin += ', moving averages'
            return {}
        if not use_averages:
            return {}
        if graph.averages:
            self.origin += ', moving averages'
        elif graph.root.get('optimizer') is not None:
            raise checkpoints.make_no_averages_error(self.path)
        return graph.averages

    def _add(self, key: str, saved: object_graph.SavedVariable) -> None:
        self._file_keys[key] = checkpoints.unescape(saved.key.removesuffix(_VALUE_SUFFIX))


def _match_model(
    root: object_graph.Node, model: keras.Model
) -> tuple[layer_matching.Matching, list[tuple[str, object_graph.SavedVariable]]]:
    """What corresponds, and all variables of the file's model by their paths in it."""
    whole = root.get(_MODEL) or root
    items = dict(getattr(model, 'checkpoint_items', None) or {})
    matching = layer_matching.Matching()
    found: dict[str, object_graph.Node] = {}
    for name, target in items.items():
        node = root.get(name) or whole.get(f'_{name}') or whole.get(name)
        if node is not None:
            found[name] = node
            matching.match(node, target, name)
    taken = {node.node_id for node in found.values()}
    theirs = [node for node in whole.weighted_layers if node.node_id not in taken]
    in_items = {variable_keys.identity(v) for v in variable_keys.variable_keys(items).values()}
    ours = [
        layer
        for layer in model.layers
        if any(variable_keys.identity(v) not in in_items for v in layer.weights)
    ]
    if layer_matching.is_functional(model):
        matching.match(whole, model, _MODEL)
    elif theirs and ours:
        matching.match_layers(theirs, ours, _MODEL)
    return matching, list(_walk_once(found, root, whole))


def _walk_once(
    items: dict[str, object_graph.Node], root: object_graph.Node, whole: object_graph.Node
) -> Iterator[tuple[str, object_graph.SavedVariable]]:
    """Variables of the model, those of the items by the items' names, then the rest."""
    others = {name: node for name, node in root.children.items() if name not in _RUN_PARTS}
    seen: set[int] = set()
    for name, node in {**items, **others, _MODEL: whole}.items():
        for path, saved in node.walk():
            is_of_run = path.split('/')[0] in (*_RUN_PARTS, 'inference')
            if saved.node_id not in seen and not is_of_run:
                seen.add(saved.node_id)
                yield f'{name}/{path}' if path else name, saved
