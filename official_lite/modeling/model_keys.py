"""Keys of all variables of a model, and paths of all its layers, by one rule."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras

from official_lite.modeling import variable_keys

WHOLE = 'model'  # Where what no item holds is found.


@dataclasses.dataclass(frozen=True)
class ModelKeys:
    """What a model consists of, in the order of its parts.

    Attributes:
        variables: Key to variable, as the layers hold them.
        layers: Path to layer. A variable's key is its layer's path and the variable's name.
    """

    variables: dict[str, Any]
    layers: dict[str, keras.layers.Layer]

    def owner(self, key: str) -> str:
        """Path of the layer that holds a variable."""
        path = key
        while '/' in path:
            path = path.rsplit('/', 1)[0]
            if path in self.layers:
                return path
        return path


def find_variables(model: keras.Model) -> dict[str, Any]:
    """Names all variables of a model.

    The names of `model.checkpoint_items` (`backbone`, `decoder`, `head`) come first; what only the
    model itself holds is under `model`.

    Raises:
        CheckpointError: two variables have one key, or a variable cannot be reached.
    """
    items = _get_items(model)
    variables = variable_keys.variable_keys(items) if items else {}
    seen = {variable_keys.identity(v) for v in variables.values()}
    if any(variable_keys.identity(v) not in seen for v in model.variables):
        everything = variable_keys.variable_keys({WHOLE: model})
        _add_new(variables, everything, variable_keys.identity)
    return variables


def find(model: keras.Model) -> ModelKeys:
    """Names all variables (see `find_variables`) and all layers of a model.

    Raises:
        CheckpointError: two variables have one key, or a variable cannot be reached.
    """
    items = _get_items(model)
    layers = {} if not items else variable_keys.walk(items)[1]
    everything = variable_keys.walk({WHOLE: model})[1]
    if items:
        del everything[WHOLE]
    _add_new(layers, everything, id)
    found = {path: n for path, n in layers.items() if isinstance(n, keras.layers.Layer)}
    return ModelKeys(find_variables(model), found)


def _get_items(model: keras.Model) -> dict[str, Any]:
    return dict(getattr(model, 'checkpoint_items', None) or {})


def _add_new(found: dict[str, Any], more: Mapping[str, Any], identity: Any) -> None:
    """Adds to `found` what is not among its values yet."""
    seen = {identity(value) for value in found.values()}
    found.update({key: value for key, value in more.items() if identity(value) not in seen})
