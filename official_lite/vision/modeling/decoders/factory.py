"""Decoders by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Optional

import keras

from official_lite.vision import registries


def register_decoder_builder(
    key: str, config: Optional[type] = None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Registers a function that builds a decoder.

    Args:
        key: Name of the decoder, to be used as `task.model.decoder.type`.
        config: Config class of its options, which becomes the branch `task.model.decoder.<key>`.

    Returns:
        A decorator of a function with the arguments `input_specs`, `model_config` and
        `l2_regularizer`, which returns a model from a dict of feature maps to a dict of feature
        maps, with `output_specs`, or None for no decoder.
    """

    return registries.register_decoder(key, config=config)


@register_decoder_builder('identity')
def build_identity(
    input_specs: Any = None, model_config: Any = None, l2_regularizer: Any = None
) -> None:
    """Returns None, which models take for 'no decoder'; arguments are those of every builder."""
    del input_specs, model_config, l2_regularizer


def build_decoder(
    input_specs: Mapping[str, Any],
    model_config: Any,
    l2_regularizer: Optional[keras.regularizers.Regularizer] = None,
    **kwargs: Any,
) -> Optional[keras.Model]:
    """Builds the decoder that a model config names.

    Args:
        input_specs: Shapes of the backbone's feature maps by level.
        model_config: A model config with a OneOf `decoder`.
        l2_regularizer: Regulariser of convolution kernels.
        **kwargs: Further arguments for the builder.

    Returns:
        The decoder, or None where heads read the backbone.

    Raises:
        LookupError: If no decoder of that name is registered.
    """
    builder = registries.DECODERS.get_builder(model_config.decoder.type)
    return builder(
        input_specs=input_specs, model_config=model_config, l2_regularizer=l2_regularizer, **kwargs
    )
