"""MobileDets."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Optional

import keras

from official_lite.modeling import initializers as initializers_lib
from official_lite.vision.modeling import builder_arguments
from official_lite.vision.modeling.backbones import factory
from official_lite.vision.modeling.backbones.mobiledet_specs import MOBILEDET_SPECS, BlockSpec
from official_lite.vision.modeling.layers import feature_model, nn_blocks, nn_layers

__all__ = ['MOBILEDET_SPECS', 'MobileDet', 'build_mobiledet']

FIRST_LEVEL = 1


@keras.saving.register_keras_serializable(package='official_lite')
class MobileDet(feature_model.FeatureModel):
    """A network of the MobileDet family (https://arxiv.org/abs/2004.14525), for detectors.

    Output: a dict from the levels '1' to '5' to feature maps [batch, height / 2^level, width /
    2^level, channels], rounded up.

    Args:
        model_id: Name of the network, one of `MOBILEDET_SPECS`.
        filter_size_scale: Factor of all widths.
        input_specs: Shape of the images, [batch, height, width, channels].
        norm_momentum: Momentum of the moving statistics.
        norm_epsilon: Added to variances.
        kernel_initializer: Initialiser of convolution kernels.
        kernel_regularizer: Regulariser of convolution kernels, not of depthwise ones.
        bias_regularizer: Regulariser of biases (of squeeze-and-excitation).
        min_depth: Smallest width of a block's output.
        divisible_by: What widths are multiples of; rounding may lose more than 10%.
        regularize_depthwise: Whether depthwise kernels are regularised too.
        use_sync_bn: Whether batch normalisation uses the moments of all replicas.
        name: Name of the model.

    Raises:
        ValueError: If the name is unknown or the factor is not positive.
    """

    def __init__(
        self,
        model_id: str = 'MobileDetCPU',
        filter_size_scale: float = 1.0,
        input_specs: keras.layers.InputSpec = nn_layers.ANY_RGB_IMAGES,
        norm_momentum: float = 0.99,
        norm_epsilon: float = 0.001,
        kernel_initializer: initializers_lib.Initializer = initializers_lib.DEFAULT,
        kernel_regularizer: Optional[keras.regularizers.Regularizer] = None,
        bias_regularizer: Optional[keras.regularizers.Regularizer] = None,
        min_depth: int = 8,
        divisible_by: int = 8,
        regularize_depthwise: bool = False,
        use_sync_bn: bool = False,
        name: str = 'mobiledet',
    ) -> None:
        config = {
            'model_id': model_id,
            'filter_size_scale': filter_size_scale,
            'input_specs': nn_layers.to_input_spec(input_specs),
            'norm_momentum': norm_momentum,
            'norm_epsilon': norm_epsilon,
            'kernel_initializer': kernel_initializer,
            'kernel_regularizer': keras.regularizers.get(kernel_regularizer),
            'bias_regularizer': keras.regularizers.get(bias_regularizer),
            'min_depth': min_depth,
            'divisible_by': divisible_by,
            'regularize_depthwise': regularize_depthwise,
            'use_sync_bn': use_sync_bn,
        }
        _check(config)
        inputs = keras.Input(config['input_specs'].shape[1:], name='images')
        endpoints = _apply_blocks(inputs, config)
        super().__init__(inputs, endpoints, config, name=name)


def _check(config: Mapping[str, Any]) -> None:
    model_id = config['model_id']
    if model_id not in MOBILEDET_SPECS:
        nearest = difflib.get_close_matches(str(model_id), MOBILEDET_SPECS, n=1)
        hint = f'. Did you mean {nearest[0]!r}?' if nearest else ''
        raise ValueError(
            f'Unknown MobileDet. Expected model_id to be one of {list(MOBILEDET_SPECS)}. '
            f'Received: {model_id!r}{hint}'
        )
    if config['filter_size_scale'] <= 0.0:
        raise ValueError(
            'Expected filter_size_scale above 0. '
            f'Received: filter_size_scale={config["filter_size_scale"]}'
        )


def _apply_blocks(
    inputs: keras.KerasTensor, config: Mapping[str, Any]
) -> dict[str, keras.KerasTensor]:
    endpoints: dict[str, keras.KerasTensor] = {}
    x = inputs
    for index, block in enumerate(MOBILEDET_SPECS[config['model_id']]):
        x = _make_layer(x.shape[-1], block, f'block_{index}_{block.kind}', config)(x)
        if block.is_output:
            endpoints[str(FIRST_LEVEL + len(endpoints))] = x
    return endpoints


def _make_layer(
    in_filters: int, block: BlockSpec, name: str, config: Mapping[str, Any]
) -> keras.layers.Layer:
    filters = nn_layers.round_filters(
        block.filters,
        config['filter_size_scale'],
        config['divisible_by'],
        config['min_depth'],
        round_down_protect=False,
    )
    options = _get_shared_options(block, name, config)
    if block.kind == 'convbn':
        return nn_blocks.Conv2DBNBlock(filters, block.kernel_size, block.strides, **options)
    options = {
        **options,
        'in_filters': in_filters,
        'out_filters': filters,
        'strides': block.strides,
        'kernel_size': block.kernel_size,
        'use_residual': block.use_residual,
        'divisible_by': config['divisible_by'],
    }
    if block.kind == 'tucker':
        return nn_blocks.TuckerConvBlock(
            input_compression_ratio=block.input_compression_ratio,
            output_compression_ratio=block.output_compression_ratio,
            **options,
        )
    return nn_blocks.InvertedBottleneckBlock(
        expand_ratio=block.expand_ratio,
        se_ratio=block.se_ratio,
        se_inner_activation=block.activation,
        se_round_down_protect=False,
        expand_se_in_filters=True,
        use_depthwise=block.use_depthwise,
        regularize_depthwise=config['regularize_depthwise'],
        **options,
    )


def _get_shared_options(block: BlockSpec, name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of every kind of block."""
    names = (
        'kernel_initializer',
        'kernel_regularizer',
        'bias_regularizer',
        'use_sync_bn',
        'norm_momentum',
        'norm_epsilon',
    )
    return {
        'name': name,
        'activation': block.activation,
        **{key: config[key] for key in names},
    }


@factory.register_backbone_builder('mobiledet')
def build_mobiledet(
    input_specs: keras.layers.InputSpec,
    backbone_config: Any,
    norm_activation_config: Any,
    l2_regularizer: Optional[keras.regularizers.Regularizer] = None,
) -> MobileDet:
    """Builds a MobileDet from a `Backbone` config whose type is 'mobiledet'."""
    config = builder_arguments.get_branch(backbone_config, 'mobiledet', 'backbone')
    factory.warn_of_own_layers(config.model_id, norm_activation_config, 'activation')
    return MobileDet(
        model_id=config.model_id,
        filter_size_scale=config.filter_size_scale,
        input_specs=input_specs,
        use_sync_bn=norm_activation_config.use_sync_bn,
        norm_momentum=norm_activation_config.norm_momentum,
        norm_epsilon=norm_activation_config.norm_epsilon,
        kernel_regularizer=l2_regularizer,
    )
