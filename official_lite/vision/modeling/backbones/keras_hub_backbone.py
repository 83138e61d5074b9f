"""Image backbones of KerasHub (https://keras.io/keras_hub), which is an optional dependency."""

from __future__ import annotations

import importlib
import re
from typing import Any, NoReturn, Optional

import keras

from official_lite import errors
from official_lite.vision.modeling import builder_arguments
from official_lite.vision.modeling.backbones import factory, graph_levels, zoo
from official_lite.vision.modeling.layers import image_values as image_values_lib
from official_lite.vision.modeling.layers import nn_layers

_WHERE = 'backbone keras_hub'
_INSTALL = "pip install 'official-lite[keras-hub]'"
_PYRAMID_KEY = re.compile(r'P(\d+)')
# KerasHub raises ValueError for names and handles that it does not know, OSError (and what derives
# from it in requests and kagglehub) for files that are missing or cannot be fetched, and ImportError
# for the client of a hub that is not installed.
_LOAD_ERRORS = (ImportError, KeyError, OSError, ValueError)


@keras.saving.register_keras_serializable(package='official_lite')
class KerasHubBackbone(zoo.ZooBackbone):
    """An image backbone of KerasHub.

    Output: a dict from levels to feature maps [batch, height / 2^level, width / 2^level, channels]:
        those that KerasHub names P2, P3 and so on (`pyramid_outputs`); of a backbone that names
        none, those that `graph_levels.find_levels` finds.

    With `image_values` other than 'prepared' the preset's image converter says what the network
    takes (its scale and offset; it does not resize: the parser decides the size).

    Args:
        preset: Name, handle or folder of a preset.
        input_specs: Shape of the images, [batch, height, width, channels].
        load_weights: Whether the preset's weights are loaded. Not kept in `get_config`, since a copy
            is given the original's weights.
        image_values: What the images hold: 'normalized', 'pixels' or 'prepared'.
        use_sync_bn: Whether batch normalisation uses the moments of all replicas.
        kernel_regularizer: Regulariser of convolution kernels, depthwise ones excepted.
        name: Name of the model.

    Raises:
        UsageError: If KerasHub is not installed, the preset cannot be had, or it is not a backbone
            from images to feature maps.
    """

    def __init__(
        self,
        preset: str,
        input_specs: keras.layers.InputSpec = nn_layers.ANY_RGB_IMAGES,
        load_weights: bool = True,
        image_values: str = 'normalized',
        use_sync_bn: bool = False,
        kernel_regularizer: Optional[keras.regularizers.Regularizer] = None,
        name: str = 'keras_hub_backbone',
    ) -> None:
        config = {
            'preset': preset,
            'input_specs': nn_layers.to_input_spec(input_specs),
            'load_weights': False,
            'image_values': image_values,
            'use_sync_bn': use_sync_bn,
            'kernel_regularizer': keras.regularizers.get(kernel_regularizer),
        }
        keras_hub = _import_keras_hub()
        model = _load_backbone(keras_hub, preset, load_weights)
        inputs = _get_image_input(model, preset, config['input_specs'].shape)
        values_layer = _make_values_layer(keras_hub, preset, image_values)
        levels = _find_levels(model)
        if not levels:
            _refuse(preset, f'{type(model).__name__} gives no feature maps by level')
        super().__init__(levels, inputs, values_layer, config, name=name)


def _import_keras_hub() -> Any:
    try:
        return importlib.import_module('keras_hub')
    except ImportError as error:
        raise errors.UsageError(
            f'KerasHub cannot be imported ({error})',
            where=_WHERE,
            hint=f'install it: {_INSTALL}',
        ) from error


def _load_backbone(keras_hub: Any, preset: str, load_weights: bool) -> keras.Model:
    try:
        return keras_hub.models.Backbone.from_preset(preset, load_weights=load_weights)
    except _LOAD_ERRORS as error:
        raise errors.UsageError(
            f'the preset cannot be loaded: {error}',
            where=f'{_WHERE}: preset',
            received=repr(preset),
            hint='see https://keras.io/keras_hub/presets; a folder from save_to_preset needs no '
            'network',
        ) from error


def _get_image_input(
    model: keras.Model, preset: str, shape: tuple[Optional[int], ...]
) -> keras.KerasTensor:
    """The input of a backbone that takes images of this shape and nothing else."""
    if len(model.inputs) != 1 or len(model.inputs[0].shape) != 4:
        _refuse(preset, f'{type(model).__name__} takes something else than images')
    own = model.inputs[0].shape[1:]
    if any(a is not None and a != b for a, b in zip(own, shape[1:], strict=True)):
        raise errors.UsageError(
            'the preset takes images of one size',
            where=f'{_WHERE}: preset {preset!r}',
            expected=f'input_size {list(own)}',
            received=str(list(shape[1:])),
        )
    return model.inputs[0]


def _make_values_layer(
    keras_hub: Any, preset: str, image_values: str
) -> Optional[image_values_lib.ChannelScaling]:
    if image_values == 'prepared':
        return None
    try:
        converter = keras_hub.layers.ImageConverter.from_preset(preset)
    except _LOAD_ERRORS as error:
        raise errors.UsageError(
            f'the preset does not say what values its images have: {error}',
            where=f'{_WHERE}: preset {preset!r}',
            hint="set image_values to 'prepared' and give it images as it was trained with",
        ) from error
    return image_values_lib.make_image_values_layer(image_values, converter.scale, converter.offset)


def _find_levels(model: keras.Model) -> dict[str, keras.KerasTensor]:
    levels = {}
    for key, x in getattr(model, 'pyramid_outputs', {}).items():
        match = _PYRAMID_KEY.fullmatch(key)
        if match and len(x.shape) == 4:
            levels[match.group(1)] = x
    if levels or not isinstance(model.output, keras.KerasTensor):
        return levels
    return graph_levels.find_levels(model.output)


def _refuse(preset: str, reason: str) -> NoReturn:
    raise errors.UsageError(
        reason,
        where=f'{_WHERE}: preset {preset!r}',
        expected='a backbone from images to feature maps, such as ResNet or EfficientNet',
    )


@factory.register_backbone_builder('keras_hub')
def build_keras_hub(
    input_specs: keras.layers.InputSpec,
    backbone_config: Any,
    norm_activation_config: Any,
    l2_regularizer: Optional[keras.regularizers.Regularizer] = None,
) -> KerasHubBackbone:
    """Builds a backbone of KerasHub from a config whose type is 'keras_hub'.

    Of `norm_activation_config`, `use_sync_bn` counts; the rest (of which a warning tells) is the backbone's own.
    """
    config = builder_arguments.get_branch(backbone_config, 'keras_hub', 'backbone')
    factory.warn_of_own_layers(
        config.preset, norm_activation_config, 'activation', 'norm_momentum', 'norm_epsilon'
    )
    return KerasHubBackbone(
        preset=config.preset,
        input_specs=input_specs,
        load_weights=config.load_weights,
        image_values=config.image_values,
        use_sync_bn=norm_activation_config.use_sync_bn,
        kernel_regularizer=l2_regularizer,
    )
