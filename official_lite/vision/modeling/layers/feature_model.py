"""What backbones and decoders are: functional models to feature maps by level."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, Optional

import keras

from official_lite.vision.modeling.layers import nn_layers


class FeatureModel(keras.Model):
    """A functional model that knows its levels and the arguments that it was made of.

    A subclass lists its arguments in a dict, applies its layers to a `keras.Input`, and hands over
    both; `get_config` and `from_config` then work.

    Args:
        inputs: Symbolic input of the network, or a dict of them.
        outputs: Its output.
        config: Arguments of the subclass's constructor by name, all but `name`.
        levels: The feature maps that a decoder may read, by level. None for all of `outputs`.
        name: Name of the model.
    """

    def __init__(
        self,
        inputs: Any,
        outputs: Any,
        config: Mapping[str, Any],
        *,
        name: str,
        levels: Optional[Mapping[str, keras.KerasTensor]] = None,
    ) -> None:
        super().__init__(inputs=inputs, outputs=outputs, name=name)
        # Proxies, because Keras would wrap plain dicts.
        self._config = types.MappingProxyType(dict(config))
        self._output_specs = types.MappingProxyType(
            {level: tuple(x.shape) for level, x in (outputs if levels is None else levels).items()}
        )

    @property
    def output_specs(self) -> dict[str, nn_layers.Shape]:
        """Shapes of the outputs by level."""
        return dict(self._output_specs)

    def get_config(self) -> dict[str, Any]:
        return {'name': self.name, **nn_layers.serialize_arguments(self._config)}

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Optional[dict[str, Any]] = None
    ) -> Any:
        del custom_objects
        return cls(**config)


class LevelReader(FeatureModel):
    """A feature model whose input is a dict by level, of which it reads the levels it has inputs for."""

    def __init__(
        self,
        inputs: dict[str, keras.KerasTensor],
        outputs: Any,
        config: Mapping[str, Any],
        *,
        name: str,
        levels: Optional[Mapping[str, keras.KerasTensor]] = None,
    ) -> None:
        super().__init__(inputs, outputs, config, name=name, levels=levels)
        self._input_levels = tuple(inputs)

    def call(
        self, inputs: Mapping[str, Any], training: Optional[bool] = None, mask: Optional[Any] = None
    ) -> Any:
        return super().call(self._select(inputs), training=training, mask=mask)

    def compute_output_spec(
        self, inputs: Mapping[str, Any], training: Optional[bool] = None, mask: Optional[Any] = None
    ) -> Any:
        # Keras does not go through `call` for symbolic tensors.
        return super().compute_output_spec(self._select(inputs), training=training, mask=mask)

    def _select(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The levels that are read."""
        return {level: inputs[level] for level in self._input_levels}
