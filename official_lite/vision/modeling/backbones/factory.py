"""Backbones by name."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Optional

import keras

from official_lite import errors
from official_lite.vision import registries


def register_backbone_builder(
    key: str, config: Optional[type] = None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Registers a function that builds a backbone.

    Args:
        key: Name of the backbone, to be used as `task.model.backbone.type`.
        config: Config class of its options, which becomes the branch `task.model.backbone.<key>`.

    Returns:
        A decorator of a function with the arguments `input_specs`, `backbone_config`,
        `norm_activation_config` and `l2_regularizer`, which returns a model from images to a dict
        of feature maps by level, with `output_specs`.
    """

    return registries.register_backbone(key, config=config)


def warn_of_own_layers(name: str, norm_activation_config: Any, *fields: str) -> None:
    """Says that values that somebody chose for normalisation or activation are not the backbone's.

    Args:
        name: The backbone, for the text.
        norm_activation_config: Normalisation and activation.
        *fields: Its fields that the backbone does not read.
    """
    defaults = type(norm_activation_config)()
    for field in fields:
        value = getattr(norm_activation_config, field)
        if value != getattr(defaults, field):
            warnings.warn(
                f'task.model.norm_activation.{field}={value!r} is that of decoder and head: '
                f'{name} has its own',
                stacklevel=3,
            )


def build_backbone(
    input_specs: keras.layers.InputSpec,
    backbone_config: Any,
    norm_activation_config: Any,
    l2_regularizer: Optional[keras.regularizers.Regularizer] = None,
    **kwargs: Any,
) -> keras.Model:
    """Builds the backbone that a config names.

    Args:
        input_specs: Shape of the images, [batch, height, width, channels].
        backbone_config: A OneOf of backbone configs.
        norm_activation_config: Normalisation and activation.
        l2_regularizer: Regulariser of convolution kernels.
        **kwargs: Further arguments for the builder.

    Returns:
        A model with a property `output_specs`, shapes of feature maps by level.

    Raises:
        LookupError: If no backbone of that name is registered.
        UsageError: If images are not said to have height, width and channels.
    """
    sides = input_specs.shape[1:]
    if len(sides) != 3 or sides[-1] is None:
        raise errors.UsageError(
            'a backbone is built for images with a known number of channels',
            where='task.model.input_size',
            expected='[height, width, channels]',
            received=f'{list(sides)}',
            hint='for example [224, 224, 3], or [null, null, 3] for any height and width',
        )
    builder = registries.BACKBONES.get_builder(backbone_config.type)
    return builder(
        input_specs=input_specs,
        backbone_config=backbone_config,
        norm_activation_config=norm_activation_config,
        l2_regularizer=l2_regularizer,
        **kwargs,
    )
