"""What to do about weights that do not fit into a model: the last part of the error about them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from official_lite.modeling import variable_keys

Shape = tuple[int, ...]
_MAX_LAYERS = 2
_BACKBONE = 'backbone'


def advise(model: keras.Model, keys: Mapping[str, Any], misfits: Mapping[str, Shape | None]) -> str:
    """What can be done: in the layers' own words, by another backbone, by leaving parts out.

    A layer that can use weights of another shape has a method `explain_misfit(shape)`, which says
    how.

    Args:
        model: The model.
        keys: Key to variable for what was to be loaded.
        misfits: Key of a variable that does not fit to its shape in the checkpoint; None where there
            is another number of such parts.
    """
    layers = {
        variable_keys.identity(variable): layer
        for layer in model._flatten_layers()
        if hasattr(layer, 'explain_misfit')
        for variable in layer.weights
    }
    words = {
        layers[variable_keys.identity(keys[key])].explain_misfit(shape)
        for key, shape in misfits.items()
        if shape is not None and variable_keys.identity(keys[key]) in layers
    }
    unexplained = [key for key in misfits if variable_keys.identity(keys[key]) not in layers]
    if any(key.startswith(f'{_BACKBONE}/') for key in unexplained):
        words.add('build the backbone that it is of: task.model.backbone as its params.yaml has it')
    modules = _list_layers(list(misfits))
    if len(set(misfits)) < len(keys):
        left_out = ','.join(f'-{module}' for module in modules)
        words.add(
            f'leave out what does not fit: task.init_checkpoint_modules=all,{left_out} '
            '(--modules of import-checkpoint)'
        )
    return ', or '.join(sorted(words - {''}))


def _list_layers(keys: list[str]) -> list[str]:
    """The layers of these variables, or if they are many, the modules."""
    layers = sorted({key.rsplit('/', 1)[0] for key in keys})
    return layers if len(layers) <= _MAX_LAYERS else sorted({key.split('/')[0] for key in keys})
