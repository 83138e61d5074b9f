"""Models that are put together from others: their parts in `get_config` and `from_config`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Optional

import keras

__all__ = ['deserialize_parts', 'serialize_parts']


def serialize_parts(model: keras.Model, names: Iterable[str]) -> dict[str, Any]:
    """Attributes of a model for its `get_config`: layers, lists of layers, or None."""
    return {name: _serialize(getattr(model, name)) for name in names}


def deserialize_parts(
    config: Mapping[str, Any], names: Iterable[str], custom_objects: Optional[dict[str, Any]]
) -> dict[str, Any]:
    """The arguments of a model: a copy of its config with parts in place of their configs.

    Args:
        config: What `get_config` returned; a part may be there as a layer, or not at all.
        names: Names of the parts.
        custom_objects: Classes by name that are not registered with Keras.
    """
    parts = {name: _deserialize(config[name], custom_objects) for name in names if name in config}
    return {**config, **parts}


def _serialize(part: Any) -> Any:
    if isinstance(part, list | tuple):
        return [_serialize(item) for item in part]
    return None if part is None else keras.saving.serialize_keras_object(part)


def _deserialize(part: Any, custom_objects: Optional[dict[str, Any]]) -> Any:
    if isinstance(part, list | tuple):
        return [_deserialize(item, custom_objects) for item in part]
    if isinstance(part, Mapping):
        return keras.saving.deserialize_keras_object(part, custom_objects)
    return part
