"""Feature pyramid network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

import keras

from official_lite.modeling import activations, norm
from official_lite.modeling import initializers as initializers_lib
from official_lite.vision.modeling import builder_arguments
from official_lite.vision.modeling.decoders import convolutions, factory, feature_levels
from official_lite.vision.modeling.layers import feature_model, nn_layers

Features = dict[str, keras.KerasTensor]


@keras.saving.register_keras_serializable(package='official_lite')
class FPN(feature_model.LevelReader):
    """Feature pyramid network (https://arxiv.org/abs/1612.03144).

    A 1x1 convolution per backbone level, sums (or concatenations) from coarse to fine, a 3x3
    convolution per level, further levels by 3x3 convolutions with stride 2
    (https://arxiv.org/abs/1708.02002), and batch normalisation of every output.

    Input: a dict of feature maps by level, such as a backbone returns; levels that are not used are
        ignored.
    Output: a dict from the levels `min_level` to `max_level` to feature maps with `num_filters`
        channels.

    Args:
        input_specs: Shapes of the backbone's feature maps by level.
        min_level: Finest output level.
        max_level: Coarsest output level.
        num_filters: Number of channels of every output.
        fusion_type: 'sum' or 'concat': how a coarser map joins a finer one.
        use_separable_conv: Whether convolutions are depthwise separable.
        use_keras_layer: Whether maps are enlarged by Keras's own layer rather than by ours, which
            is faster to train.
        activation: Activation before the second and later further levels.
        use_sync_bn: Whether batch normalisation uses the moments of all replicas.
        norm_momentum: Momentum of the moving statistics.
        norm_epsilon: Added to variances.
        kernel_initializer: Initialiser of convolution kernels, also of depthwise and pointwise
            ones.
        kernel_regularizer: Regulariser of the same.
        bias_regularizer: Regulariser of biases.
        name: Name of the model.

    Raises:
        ValueError: If levels are missing, `fusion_type` is unknown, or maps do not fit onto one
            another.
    """

    def __init__(
        self,
        input_specs: Mapping[str, Any],
        min_level: int = 3,
        max_level: int = 7,
        num_filters: int = 256,
        fusion_type: str = 'sum',
        use_separable_conv: bool = False,
        use_keras_layer: bool = False,
        activation: str = 'relu',
        use_sync_bn: bool = False,
        norm_momentum: float = 0.99,
        norm_epsilon: float = 0.001,
        kernel_initializer: initializers_lib.Initializer = initializers_lib.DEFAULT,
        kernel_regularizer: Optional[keras.regularizers.Regularizer] = None,
        bias_regularizer: Optional[keras.regularizers.Regularizer] = None,
        name: str = 'fpn',
    ) -> None:
        config = {
            'input_specs': {level: tuple(shape) for level, shape in input_specs.items()},
            'min_level': min_level,
            'max_level': max_level,
            'num_filters': num_filters,
            'fusion_type': fusion_type,
            'use_separable_conv': use_separable_conv,
            'use_keras_layer': use_keras_layer,
            'activation': activation,
            'use_sync_bn': use_sync_bn,
            'norm_momentum': norm_momentum,
            'norm_epsilon': norm_epsilon,
            'kernel_initializer': kernel_initializer,
            'kernel_regularizer': keras.regularizers.get(kernel_regularizer),
            'bias_regularizer': keras.regularizers.get(bias_regularizer),
        }
        levels = _get_lateral_levels(config)
        inputs = {
            str(level): keras.Input(config['input_specs'][str(level)][1:], name=str(level))
            for level in levels
        }
        features = _apply_top_down(inputs, levels, config)
        features = _apply_coarser(features, levels, config)
        features = _apply_norms(features, config)
        super().__init__(inputs, features, config, name=name)

    def _select(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The levels that are read, after a check that their maps fit onto one another."""
        used = super()._select(inputs)
        shapes = {level: feature.shape for level, feature in used.items()}
        feature_levels.check_sizes(
            shapes, [int(level) for level in used], coarsest=max(map(int, used))
        )
        return used


def _get_lateral_levels(config: dict[str, Any]) -> list[int]:
    """Backbone levels that the pyramid reads; checks what would fail far from its cause."""
    if config['fusion_type'] not in ('sum', 'concat'):
        raise ValueError(
            f"Unknown fusion of the FPN. Expected fusion_type 'sum' or 'concat'. "
            f'Received: {config["fusion_type"]!r}'
        )
    levels = feature_levels.find_input_levels(
        config['input_specs'], config['min_level'], config['max_level'], decoder='FPN'
    )
    feature_levels.check_sizes(config['input_specs'], levels, coarsest=levels[-1])
    return levels


def _conv(name: str, kernel_size: int, strides: int, config: dict[str, Any]) -> keras.layers.Layer:
    return convolutions.make_conv(
        name,
        config['num_filters'],
        kernel_size,
        strides,
        is_separable=config['use_separable_conv'],
        kernel_initializer=config['kernel_initializer'],
        kernel_regularizer=config['kernel_regularizer'],
        bias_regularizer=config['bias_regularizer'],
    )


def _enlarge(x: keras.KerasTensor, level: int, config: dict[str, Any]) -> keras.KerasTensor:
    if config['use_keras_layer']:
        return keras.layers.UpSampling2D(2, interpolation='nearest', name=f'upsample_{level}')(x)
    return nn_layers.NearestUpsampling(2, name=f'upsample_{level}')(x)


def _apply_top_down(inputs: Features, levels: list[int], config: dict[str, Any]) -> Features:
    """Lateral convolutions, fusion from coarse to fine, and a 3x3 convolution per level."""
    features: Features = {}
    for level in reversed(levels):
        x = _conv(f'lateral_{level}', 1, 1, config)(inputs[str(level)])
        if level != levels[-1]:
            coarser = _enlarge(features[str(level + 1)], level + 1, config)
            merge = keras.layers.Add if config['fusion_type'] == 'sum' else keras.layers.Concatenate
            x = merge(name=f'merge_{level}')([coarser, x])
        features[str(level)] = x
    return {
        str(level): _conv(f'post_hoc_{level}', 3, 1, config)(features[str(level)])
        for level in levels
    }


def _apply_coarser(features: Features, levels: list[int], config: dict[str, Any]) -> Features:
    """Adds the levels above the backbone's; all but the first of them see activated features."""
    activation = activations.get_activation(config['activation'])
    for level in range(levels[-1] + 1, config['max_level'] + 1):
        x = features[str(level - 1)]
        if level > levels[-1] + 1:
            x = keras.layers.Activation(activation, name=f'activation_{level - 1}')(x)
        features[str(level)] = _conv(f'coarser_{level}', 3, 2, config)(x)
    return features


def _apply_norms(features: Features, config: dict[str, Any]) -> Features:
    return {
        level: norm.BatchNormalization(
            config['norm_momentum'],
            config['norm_epsilon'],
            synchronized=config['use_sync_bn'],
            name=f'norm_{level}',
        )(feature)
        for level, feature in sorted(features.items(), key=lambda item: int(item[0]))
    }


@factory.register_decoder_builder('fpn')
def build_fpn_decoder(
    input_specs: Mapping[str, Any],
    model_config: Any,
    l2_regularizer: Optional[keras.regularizers.Regularizer] = None,
) -> FPN:
    """Builds an FPN from a model config whose `decoder` is of type 'fpn'."""
    config = builder_arguments.get_branch(model_config.decoder, 'fpn', 'decoder')
    norm_activation = model_config.norm_activation
    return FPN(
        input_specs=input_specs,
        min_level=model_config.min_level,
        max_level=model_config.max_level,
        num_filters=config.num_filters,
        fusion_type=config.fusion_type,
        use_separable_conv=config.use_separable_conv,
        use_keras_layer=config.use_keras_layer,
        **builder_arguments.get_norm_arguments(norm_activation),
        kernel_regularizer=l2_regularizer,
    )
