"""What to do about weights that do not fit into a model: the last part of the error about them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from official_lite.modeling import variable_keys

Shape = tuple[int, ...]
_MAX_LAYERS = 4
_BACKBONE = 'backbone'


def advise(model: keras.Model, keys: Mapping[str, Any], misfits: Mapping[str, Shape | None]) -> str:
    """What can be done: in the layers' own words, and for the rest another backbone or leaving it out.

    A layer that can use weights of another shape has a method `explain_misfit(shape)`, which says
    how, or nothing if it cannot.

    Args:
        model: The model.
        keys: Key to variable for what was to be loaded.
        misfits: Key of a variable that does not fit to its shape in the checkpoint; None where there
            is another number of such parts.
    """
    own = {key: _explain(model, keys[key], shape) for key, shape in misfits.items()}
    rest = [key for key, words in own.items() if not words]
    choices = []
    if any(key.startswith(f'{_BACKBONE}/') for key in rest):
        choices.append(
            'build the backbone that it is of: task.model.backbone as its params.yaml has it'
        )
    if rest and len(misfits) < len(keys):
        left_out = ','.join(f'-{module}' for module in _list_layers(rest))
        choices.append(
            f'leave out what does not fit: task.init_checkpoint_modules=all,{left_out} '
            '(--modules of import-checkpoint)'
        )
    words = sorted(set(own.values()) - {''})
    return ', and '.join([*words, *([', or '.join(choices)] if choices else [])])


def _explain(model: keras.Model, variable: Any, shape: Shape | None) -> str:
    """What the layer of a variable says of another shape, or ''."""
    if shape is None:
        return ''
    identity = variable_keys.identity(variable)
    for layer in model._flatten_layers():
        explain = getattr(layer, 'explain_misfit', None)
        if explain and any(variable_keys.identity(own) == identity for own in layer.weights):
            return str(explain(shape))
    return ''


def _list_layers(keys: list[str]) -> list[str]:
    """The layers of these variables, or if they are many, the modules."""
    layers = sorted({key.rsplit('/', 1)[0] for key in keys})
    return layers if len(layers) <= _MAX_LAYERS else sorted({key.split('/')[0] for key in keys})
