"""Which variables are trained."""

from __future__ import annotations

from collections.abc import Collection

import keras

from official_lite.modeling import freezing
from official_lite.modeling.layer_overrides import selection


def freeze(model: keras.Model, layers: selection.Layers, keys: Collection[str]) -> None:
    """Takes variables out of training; BatchNorm without any other goes into inference mode."""
    freezing.freeze_variables(model, [layers.variables[key] for key in keys])


def unfreeze(model: keras.Model, layers: selection.Layers, keys: Collection[str]) -> None:
    """Trains variables, also those in modules that are frozen: of these the rest stays so.

    Statistics and states of generators are never trained.
    """
    owners = {layers.owner(key) for key in keys}
    around = {path for path in layers.layers if any(_holds(path, owner) for owner in owners)}
    for layer in (model, *(layers.layers[path] for path in around)):
        # Not by the property, which would hand it down to all that is inside.
        layer._trainable = True
    for path in owners & layers.layers.keys():
        weights = {id(v) for v in layers.layers[path]._trainable_variables}
        for key in keys:
            variable = layers.variables[key]
            if id(variable) in weights:
                variable.trainable = True


def _holds(path: str, owner: str) -> bool:
    return owner == path or owner.startswith(f'{path}/')
