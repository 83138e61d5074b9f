"""What the layers between the stages of a two-stage detector share."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any

import keras


class RegionLayer(keras.layers.Layer):
    """A layer without weights whose boxes and scores are float32 whatever the compute dtype.

    Args:
        options: The constructor's own arguments, which `get_config` returns.
    """

    def __init__(self, options: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**{'dtype': 'float32', 'autocast': False, **kwargs})
        # A proxy, because Keras would wrap a plain dict.
        self._config: Mapping[str, Any] = types.MappingProxyType(dict(options))

    def build(self, *unused_shapes: Any) -> None:
        del unused_shapes  # there are no variables

    def get_config(self) -> dict[str, Any]:
        return dict(self._config)
