"""Stable names for the variables of a model: `checkpoint item / layer path / variable name`.

Keras' own identifiers do not do for checkpoints or for name patterns: `variable.path` is not
unique (two modules may each have a `stem`), auto-generated names (`conv2d_17`) depend on what was
built before in the process, and TensorFlow's object graph leaves out Keras 3 layers that sit in
lists and dicts (keras#19425). So the keys come from the structure itself:

- a layer of a functional or sequential model goes by its explicit name; an auto-named one by its
  class and its position among the auto-named ones of that class in the same model (`conv2d`,
  `conv2d_1`, ...);
- everything else goes by the attribute, list index or dict key that holds it, private ones
  included;
- a variable goes by its name; by its attribute where the layer holds several of that name or it has
  none of its own.

What can be reached in several ways has the shortest path; among equally short ones the first of:
items in the order given, layers of a functional model, public attributes, private attributes (both
by name), list and dict elements in their order.
"""

import collections
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from official_lite import errors

Variable = Any  # keras.Variable or tf.Variable; Keras' class for it is chosen at run time.

# Book-keeping of Keras: lists of what other attributes hold, and the inside of a functional graph.
_INTERNAL_ATTRIBUTES = frozenset(
    {
        '_functional',
        '_inbound_nodes',
        '_input_layers',
        '_layers',
        '_losses',
        '_metrics',
        '_nodes',
        '_nodes_by_depth',
        '_non_trainable_variables',
        '_operations',
        '_operations_by_depth',
        '_outbound_nodes',
        '_output_layers',
        '_seed_generators',
        '_tracker',
        '_trainable_variables',
    }
)
_AUTO_VARIABLE_NAME = re.compile(r'variable(_\d+)?', re.IGNORECASE)


def variable_keys(items: Mapping[str, object]) -> dict[str, Variable]:
    """Names every variable of some modules.

    Args:
        items: Checkpoint items by name, e.g. `{'backbone': model.backbone, 'head': model.head}`. A
            value is a Keras layer or model (built), a `tf.Module`, a variable, or a list, tuple or
            dict of these.

    Returns:
        Key to variable, in the order in which they were found. Variables are the objects that the
        layers hold (`keras.Variable` or `tf.Variable`); each appears once.

    Raises:
        CheckpointError: two variables have the same key, or an item's `variables` has one that no
            attribute, list or dict leads to.
        TypeError: an item is none of the above.
    """
    return walk(items)[0]


def walk(items: Mapping[str, object]) -> tuple[dict[str, Variable], dict[str, object]]:
    """Names every variable, and every layer and module, of some modules.

    Args:
        items: As in `variable_keys`.

    Returns:
        Key to variable, and path to layer or module; of two with one path the first. A variable's
        key is the path of what holds it and the variable's name.

    Raises:
        CheckpointError: as in `variable_keys`.
        TypeError: as in `variable_keys`.
    """
    walked = _Walk()
    found = walked.run(items)
    _check_complete(items, found)
    return found, walked.nodes


def is_variable(value: object) -> bool:
    """Whether `value` is a Keras or TensorFlow variable."""
    return isinstance(value, keras.Variable | tf.Variable)


def to_tf_variable(variable: Variable) -> tf.Variable:
    """The `tf.Variable` (or distributed variable) inside `variable`, as checkpoints need it."""
    return variable.value if isinstance(variable, keras.Variable) else variable


def identity(variable: Variable) -> int:
    """A number that a Keras variable, the `tf.Variable` in it and its replicas have in common."""
    inner = (
        getattr(variable, '_value', variable) if isinstance(variable, keras.Variable) else variable
    )
    container = getattr(inner, '_distributed_container', None)
    if container is not None:
        inner = container() or inner
    return id(inner)


class _Walk:
    """Breadth-first over layers and modules, so that an object's key is its shortest path."""

    def __init__(self) -> None:
        self._keys: dict[str, Variable] = {}
        self.nodes: dict[str, object] = {}
        self._seen_variables: set[int] = set()
        self._seen_nodes: set[int] = set()
        self._queue: collections.deque[tuple[str, object]] = collections.deque()

    def run(self, items: Mapping[str, object]) -> dict[str, Variable]:
        for name, item in items.items():
            _check_item(name, item)
            self._add_children([(name, item)], prefix='')
        while self._queue:
            path, node = self._queue.popleft()
            self._add_children(_children(node), prefix=path)
        return self._keys

    def _add_children(self, children: Sequence[tuple[str, object]], *, prefix: str) -> None:
        variables = []
        for name, child in _flatten(children):
            if is_variable(child):
                variables.append((name, child))
            elif id(child) not in self._seen_nodes:
                self._seen_nodes.add(id(child))
                self.nodes.setdefault(_join(prefix, name), child)
                self._queue.append((_join(prefix, name), child))
        self._add_variables(variables, prefix=prefix)

    def _add_variables(self, variables: list[tuple[str, Variable]], *, prefix: str) -> None:
        fresh: dict[int, tuple[str, Variable]] = {}
        for attribute, variable in variables:
            if identity(variable) not in self._seen_variables:
                fresh.setdefault(identity(variable), (attribute, variable))
        self._seen_variables.update(fresh)
        counts = collections.Counter(_own_name(variable) for _, variable in fresh.values())
        for attribute, variable in fresh.values():
            name = _own_name(variable)
            # A root item that is itself a variable keeps the item's name.
            use_attribute = not prefix or not name or counts[name] > 1
            self._add(_join(prefix, attribute if use_attribute else name), variable)

    def _add(self, key: str, variable: Variable) -> None:
        if key in self._keys:
            raise errors.CheckpointError(
                f'two variables have the key {key!r}',
                where='variable_keys',
                expected='one variable for each key',
                received=f'{_describe(self._keys[key])} and {_describe(variable)}',
                hint='give the layers different names, or hold them in different attributes',
            )
        self._keys[key] = variable


def _children(node: object) -> list[tuple[str, object]]:
    children = _graph_layers(node) if isinstance(node, keras.Model) else []
    attributes = {k: v for k, v in vars(node).items() if not _is_internal(k)}
    children += sorted(attributes.items(), key=lambda pair: (pair[0].startswith('_'), pair[0]))
    # add_weight() without keeping the result: the layer's own list is then the only way to it.
    own = [
        *vars(node).get('_trainable_variables', ()),
        *vars(node).get('_non_trainable_variables', ()),
    ]
    return children + [
        (_own_name(v) or f'variable_{i}', v) for i, v in enumerate(own) if is_variable(v)
    ]


def _graph_layers(model: keras.Model) -> list[tuple[str, object]]:
    """Layers of a functional or sequential model by explicit name, or by class and position."""
    if not (hasattr(model, '_operations') or isinstance(model, keras.Sequential)):
        return []
    layers = list(model.layers)
    taken = {layer.name for layer in layers if not is_auto_named(layer)}
    named = []
    for layer in layers:
        name = layer.name
        if is_auto_named(layer):
            name = _first_free(_auto_prefix(layer), taken)
            taken.add(name)
        named.append((name, layer))
    return named


def _first_free(prefix: str, taken: set[str]) -> str:
    index, name = 0, prefix
    while name in taken:
        index += 1
        name = f'{prefix}_{index}'
    return name


def is_auto_named(layer: keras.layers.Layer) -> bool:
    """Whether Keras made the layer's name, from its class and what was built before."""
    return re.fullmatch(rf'{re.escape(_auto_prefix(layer))}(_\d+)?', layer.name) is not None


def _auto_prefix(layer: keras.layers.Layer) -> str:
    """The snake-case class name from which Keras makes names (`Conv2D` gives `conv2d`)."""
    name = re.sub(r'\W+', '', type(layer).__name__)
    name = re.sub('(.)([A-Z][a-z]+)', r'\1_\2', name)
    return re.sub('([a-z])([A-Z])', r'\1_\2', name).lower()


def _flatten(children: Sequence[tuple[str, object]]) -> Iterator[tuple[str, object]]:
    """Variables, layers and modules in `children` and its nested lists, tuples and dicts."""
    for name, value in children:
        if is_variable(value) or _is_node(value):
            yield name, value
        elif isinstance(value, Mapping):
            yield from _flatten([(f'{name}/{_clean(k)}', v) for k, v in value.items()])
        elif isinstance(value, list | tuple):
            yield from _flatten([(f'{name}/{i}', v) for i, v in enumerate(value)])


def _is_node(value: object) -> bool:
    if isinstance(value, keras.metrics.Metric | keras.optimizers.Optimizer):
        return False
    return isinstance(value, keras.layers.Layer | keras.random.SeedGenerator | tf.Module)


def _is_internal(attribute: str) -> bool:
    return attribute in _INTERNAL_ATTRIBUTES or attribute.startswith('_self_')


def _own_name(variable: Variable) -> str:
    """The name that somebody gave to `variable`, or '' for an auto-generated one."""
    name = variable.name.split('/')[-1].removesuffix(':0')
    return '' if _AUTO_VARIABLE_NAME.fullmatch(name) else name


def _clean(key: object) -> str:
    return str(key).replace('/', '.')


def _join(prefix: str, name: str) -> str:
    return f'{prefix}/{name}' if prefix else name


def _describe(variable: Variable) -> str:
    return f'{getattr(variable, "path", variable.name)} {tuple(variable.shape)}'


def _check_item(name: str, item: object) -> None:
    if not (is_variable(item) or _is_node(item) or isinstance(item, Mapping | list | tuple)):
        raise TypeError(
            f'checkpoint item {name!r}: expected a Keras layer or model, a tf.Module, a variable, '
            f'or a list or dict of these; received {type(item).__name__}'
        )


def _check_complete(items: Mapping[str, object], found: Mapping[str, Variable]) -> None:
    reached = {identity(variable) for variable in found.values()}
    for name, item in items.items():
        for _, node in _flatten([(name, item)]):
            for variable in [] if is_variable(node) else getattr(node, 'variables', ()):
                if identity(variable) not in reached:
                    raise errors.CheckpointError(
                        f'the variable {_describe(variable)} has no key',
                        where=f'checkpoint item {name!r}',
                        expected='a path to it over attributes, lists, tuples and dicts of layers',
                        hint='hold its layer in an attribute, list or dict, not in a set or a plain object',
                    )
