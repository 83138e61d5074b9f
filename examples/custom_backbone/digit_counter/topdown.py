"""The decoder: every level gets the same number of channels and the sum of what lies above it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras


class TopDown(keras.Model):
    """Features by level to features by level, with `num_filters` channels each.

    Args:
        input_specs: Shapes of the backbone's feature maps by level.
        min_level: Finest level.
        max_level: Coarsest level; the backbone must have it.
        num_filters: Channels of every level.
        kernel_regularizer: Regulariser of kernels.
    """

    def __init__(
        self,
        input_specs: Mapping[str, tuple[int | None, ...]],
        *,
        min_level: int,
        max_level: int,
        num_filters: int = 64,
        kernel_regularizer: keras.regularizers.Regularizer | None = None,
    ) -> None:
        inputs = {
            level: keras.Input(shape[1:], name=f'level_{level}')
            for level, shape in input_specs.items()
        }
        outputs: dict[str, Any] = {}
        above = None
        for level in range(max_level, min_level - 1, -1):
            x = keras.layers.Conv2D(
                num_filters, 1, kernel_regularizer=kernel_regularizer, name=f'lateral_{level}'
            )(inputs[str(level)])
            if above is not None:
                up = keras.layers.UpSampling2D(2, name=f'up_{level}')(above)
                x = keras.layers.Add(name=f'add_{level}')([x, up])
            outputs[str(level)] = above = x
        super().__init__(inputs=inputs, outputs=outputs, name='topdown')

    @property
    def output_specs(self) -> dict[str, tuple[int | None, ...]]:
        """Shapes of the outputs by level, which heads read."""
        return {level: tuple(x.shape) for level, x in self.output.items()}


def build_topdown(
    input_specs: Mapping[str, tuple[int | None, ...]],
    model_config: Any,
    l2_regularizer: keras.regularizers.Regularizer | None = None,
) -> TopDown:
    """Builds the decoder from a model config whose `decoder.type` is 'topdown'."""
    return TopDown(
        input_specs,
        min_level=model_config.min_level,
        max_level=model_config.max_level,
        num_filters=model_config.decoder.get().num_filters,
        kernel_regularizer=l2_regularizer,
    )
