"""What backbones from other packages' collections have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

import keras

from official_lite.modeling import norm
from official_lite.vision.modeling.layers import feature_model, image_values

_REGULARISED = ('kernel', 'pointwise_kernel')


class ZooBackbone(feature_model.FeatureModel):
    """A network of another package, from images to feature maps by level.

    Its batch normalisation is replaced by this package's, with the same numbers: that runs on the
    fused kernel, and under several replicas as in all other backbones.

    Args:
        levels: Feature maps of the network, by level.
        inputs: What the network computes them from.
        values_layer: What makes the network's input of the images, None for nothing.
        config: Arguments of the subclass, with `input_specs`, `use_sync_bn` and
            `kernel_regularizer`.
        name: Name of the model.
    """

    def __init__(
        self,
        levels: Mapping[str, keras.KerasTensor],
        inputs: keras.KerasTensor,
        values_layer: Optional[image_values.ChannelScaling],
        config: Mapping[str, Any],
        *,
        name: str,
    ) -> None:
        features = keras.Model(inputs, dict(levels), name='network')
        features = _replace_batch_normalization(features, config['use_sync_bn'])
        _set_regularizer(features, config['kernel_regularizer'])
        images = keras.Input(config['input_specs'].shape[1:], name='images')
        endpoints = features(images if values_layer is None else values_layer(images))
        super().__init__(images, endpoints, config, name=name)


def _replace_batch_normalization(model: keras.Model, is_synchronized: bool) -> keras.Model:
    """The same layers and variables, but for Keras' batch normalisation over the last axis."""

    def replace(layer: Any) -> Any:
        is_found = isinstance(layer, keras.layers.BatchNormalization) and layer.axis in (-1, 3)
        return _make_normalization(layer, is_synchronized) if is_found else layer

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(layer, norm.BatchNormalization):
            kwargs.pop('mask', None)  # of sequences; feature maps have none
        return layer(*args, **kwargs)

    return keras.models.clone_model(model, clone_function=replace, call_function=call)


def _make_normalization(
    layer: keras.layers.BatchNormalization, is_synchronized: bool
) -> norm.BatchNormalization:
    new = norm.BatchNormalization(
        layer.momentum,
        layer.epsilon,
        synchronized=is_synchronized,
        center=layer.center,
        scale=layer.scale,
        trainable=layer.trainable,
        dtype=layer.dtype_policy,
        name=layer.name,
    )
    new.build((None, None, None, layer.moving_mean.shape[0]))
    new.built = True
    for name in ('gamma', 'beta', 'moving_mean', 'moving_variance'):
        variable = getattr(new, name)
        if variable is not None:
            variable.assign(getattr(layer, name))
    return new


def _set_regularizer(
    model: keras.Model, regularizer: Optional[keras.regularizers.Regularizer]
) -> None:
    """Regularises the kernels of convolutions and dense layers; not depthwise ones, as elsewhere."""
    if regularizer is None:
        return
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            continue
        for variable in layer._trainable_variables:
            if variable.name in _REGULARISED:
                variable.regularizer = regularizer
