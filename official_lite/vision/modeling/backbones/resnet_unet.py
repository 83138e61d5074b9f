"""ResNets whose coarse levels are refined from the top down by ConvNeXt blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

import keras

from official_lite.modeling import activations
from official_lite.modeling import initializers as initializers_lib
from official_lite.vision.modeling import builder_arguments
from official_lite.vision.modeling.backbones import factory, resnet
from official_lite.vision.modeling.layers import convnext, feature_model, nn_layers

LAST_LEVEL = resnet.FIRST_LEVEL + len(resnet.STAGE_FILTERS) - 1
# MaskConver's: https://arxiv.org/abs/2312.06052.
UPSAMPLE_REPEATS = (18, 1, 1)
UPSAMPLE_FILTERS = (384, 384, 384)
UPSAMPLE_KERNEL_SIZES = (7, 7, 7)
_UPSAMPLE = ('upsample_repeats', 'upsample_filters', 'upsample_kernel_sizes')
# Stochastic depth counts the ResNet's levels 2 to 5 and the first three refined ones.
NUM_DEPTH_STEPS = 8


@keras.saving.register_keras_serializable(package='official_lite')
class ResNetUNet(feature_model.FeatureModel):
    """ResNet, and ConvNeXt blocks on its levels from 5 downwards, in the way of a U-Net.

    Each refined level is the sum of the level's projected features and of the next coarser refined
    level, projected and enlarged, after as many ConvNeXt blocks as `upsample_repeats` says, and an
    activation. It takes the ResNet's level's place.

    Output: a dict from the levels '2' to '5' to feature maps [batch, height / 2^level, width /
        2^level, channels]; with `classification_output` also '6', which is the finest refined level.

    Args:
        model_id: Depth, one of `RESNET_SPECS` of `resnet`.
        input_specs: Shape of the images, [batch, height, width, channels], height and width
            multiples of 32.
        depth_multiplier: Factor of the widths of all stages and refined levels.
        stem_type: 'v0', one 7x7 convolution, or 'v1', three 3x3 ones.
        resnetd_shortcut: Whether shortcuts pool before they project
            (https://arxiv.org/abs/1812.01187).
        replace_stem_max_pool: Whether a convolution with stride 2 replaces the stem's max-pool.
        se_ratio: Ratio of squeeze-and-excitation of the ResNet; None or 0 for none.
        init_stochastic_depth_rate: Drop rate of the third refined level's blocks; levels before it
            have less, in proportion, and the one after it more.
        upsample_repeats: Number of ConvNeXt blocks of level 5, 4 and so on. None for
            `UPSAMPLE_REPEATS`.
        upsample_filters: Channels of these levels. None for `UPSAMPLE_FILTERS`.
        upsample_kernel_sizes: Sides of the kernels of these levels. None for
            `UPSAMPLE_KERNEL_SIZES`.
        scale_stem: Whether `depth_multiplier` acts on the stem too.
        activation: Name of the activation function of the ResNet and of refined levels.
        use_sync_bn: Whether batch normalisation uses the moments of all replicas.
        norm_momentum: Momentum of the moving statistics.
        norm_epsilon: Added to variances.
        kernel_initializer: Initialiser of the ResNet's and the projections' kernels.
        kernel_regularizer: Regulariser of the same.
        bias_regularizer: Regulariser of biases (of squeeze-and-excitation).
        bn_trainable: Whether batch normalisation is trained; False puts it into inference mode.
        classification_output: Whether the finest refined level comes out as '6' too, where
            classifiers look.
        name: Name of the model.

    Raises:
        ValueError: If there is no such network, or the image's size does not fit.
    """

    def __init__(
        self,
        model_id: int,
        input_specs: keras.layers.InputSpec = nn_layers.ANY_RGB_IMAGES,
        depth_multiplier: float = 1.0,
        stem_type: str = 'v0',
        resnetd_shortcut: bool = False,
        replace_stem_max_pool: bool = False,
        se_ratio: Optional[float] = None,
        init_stochastic_depth_rate: float = 0.0,
        upsample_repeats: Optional[Sequence[int]] = None,
        upsample_filters: Optional[Sequence[int]] = None,
        upsample_kernel_sizes: Optional[Sequence[int]] = None,
        scale_stem: bool = True,
        activation: str = 'relu',
        use_sync_bn: bool = False,
        norm_momentum: float = 0.99,
        norm_epsilon: float = 0.001,
        kernel_initializer: initializers_lib.Initializer = initializers_lib.DEFAULT,
        kernel_regularizer: Optional[keras.regularizers.Regularizer] = None,
        bias_regularizer: Optional[keras.regularizers.Regularizer] = None,
        bn_trainable: bool = True,
        classification_output: bool = False,
        name: str = 'resnet_unet',
    ) -> None:
        config = {
            'model_id': model_id,
            'input_specs': nn_layers.to_input_spec(input_specs),
            'depth_multiplier': depth_multiplier,
            'stem_type': stem_type,
            'resnetd_shortcut': resnetd_shortcut,
            'replace_stem_max_pool': replace_stem_max_pool,
            'se_ratio': se_ratio,
            'init_stochastic_depth_rate': init_stochastic_depth_rate,
            'upsample_repeats': list(upsample_repeats or UPSAMPLE_REPEATS),
            'upsample_filters': list(upsample_filters or UPSAMPLE_FILTERS),
            'upsample_kernel_sizes': list(upsample_kernel_sizes or UPSAMPLE_KERNEL_SIZES),
            'scale_stem': scale_stem,
            'activation': activation,
            'use_sync_bn': use_sync_bn,
            'norm_momentum': norm_momentum,
            'norm_epsilon': norm_epsilon,
            'kernel_initializer': kernel_initializer,
            'kernel_regularizer': keras.regularizers.get(kernel_regularizer),
            'bias_regularizer': keras.regularizers.get(bias_regularizer),
            'bn_trainable': bn_trainable,
            'classification_output': classification_output,
        }
        _check(config)
        inputs = keras.Input(config['input_specs'].shape[1:], name='images')
        endpoints = _apply_top_down(_apply_stages(inputs, config), config)
        super().__init__(inputs, endpoints, config, name=name)


def _check(config: dict[str, Any]) -> None:
    choices: dict[str, Sequence[Any]] = {
        'model_id': list(resnet.RESNET_SPECS),
        'stem_type': ['v0', 'v1'],
    }
    for name, values in choices.items():
        if config[name] not in values:
            raise ValueError(
                f'Unknown ResNet-UNet. Expected {name} to be one of {list(values)}. '
                f'Received: {config[name]!r}'
            )
    lengths = {len(config[name]) for name in _UPSAMPLE}
    if len(lengths) != 1 or not lengths <= {1, 2, 3, 4}:
        received = ', '.join(f'{name}={config[name]}' for name in _UPSAMPLE)
        raise ValueError(
            'Levels from 5 downwards are refined. Expected as many repeats, filters and kernel '
            f'sizes as such levels, 1 to 4. Received: {received}'
        )
    stride = 2**LAST_LEVEL
    sides = config['input_specs'].shape[1:3]
    if any(side is not None and side % stride for side in sides):
        raise ValueError(
            f'Coarse levels are laid onto finer ones. Expected height and width of images to be '
            f'multiples of {stride}. Received: {list(sides)}'
        )


def _apply_stages(
    inputs: keras.KerasTensor, config: dict[str, Any]
) -> dict[str, keras.KerasTensor]:
    """The ResNet's levels."""
    block_config = {**config, 'stem_pool': True}  # what ResNet has more of
    x = resnet.apply_stem(inputs, block_config)
    endpoints = {}
    for stage in range(len(resnet.STAGE_FILTERS)):
        level = resnet.FIRST_LEVEL + stage
        drop_rate = nn_layers.get_stochastic_depth_rate(
            config['init_stochastic_depth_rate'], level, NUM_DEPTH_STEPS
        )
        x = resnet.apply_blocks(x, stage, 1 if stage == 0 else 2, drop_rate, block_config)
        endpoints[str(level)] = x
    return endpoints


def _apply_top_down(
    endpoints: dict[str, keras.KerasTensor], config: dict[str, Any]
) -> dict[str, keras.KerasTensor]:
    """All levels, the coarse ones refined."""
    refined = dict(endpoints)
    x = None
    level = LAST_LEVEL
    for index, filters in enumerate(config['upsample_filters']):
        level = LAST_LEVEL - index
        width = int(filters * config['depth_multiplier'])
        lateral = _project(endpoints[str(level)], f'lateral_{level}', width, config)
        if x is None:
            x = lateral
        else:
            x = _project(x, f'upsample_{level}', width, config)
            x = nn_layers.NearestUpsampling(2, name=f'upsample_{level}')(x)
            x = keras.layers.Add(name=f'merge_{level}')([x, lateral])
        x = _apply_convnext(x, index, level, width, config)
        refined[str(level)] = x
    if config['classification_output']:
        refined['6'] = refined[str(level)]
    return refined


def _apply_convnext(
    x: keras.KerasTensor, index: int, level: int, width: int, config: dict[str, Any]
) -> keras.KerasTensor:
    drop_rate = nn_layers.get_stochastic_depth_rate(
        config['init_stochastic_depth_rate'], index + 6, NUM_DEPTH_STEPS
    )
    for repeat in range(config['upsample_repeats'][index]):
        x = convnext.ConvNeXtBlock(
            width,
            drop_rate=drop_rate,
            kernel_size=config['upsample_kernel_sizes'][index],
            name=f'refine_{level}_block_{repeat}',
        )(x)
    activation = activations.get_activation(config['activation'])
    return keras.layers.Activation(activation, name=f'refine_{level}_activation')(x)


def _project(
    x: keras.KerasTensor, name: str, filters: int, config: dict[str, Any]
) -> keras.KerasTensor:
    """A 1x1 convolution and layer normalisation."""
    x = keras.layers.Conv2D(
        filters,
        1,
        padding='same',
        use_bias=False,
        kernel_initializer=initializers_lib.clone_initializer(config['kernel_initializer']),
        kernel_regularizer=config['kernel_regularizer'],
        name=f'{name}_conv',
    )(x)
    return keras.layers.LayerNormalization(
        epsilon=convnext.LAYER_NORM_EPSILON, name=f'{name}_norm'
    )(x)


@factory.register_backbone_builder('resnet_unet')
def build_resnet_unet(
    input_specs: keras.layers.InputSpec,
    backbone_config: Any,
    norm_activation_config: Any,
    l2_regularizer: Optional[keras.regularizers.Regularizer] = None,
) -> ResNetUNet:
    """Builds a ResNet-UNet from a `Backbone` config whose type is 'resnet_unet'."""
    config = builder_arguments.get_branch(backbone_config, 'resnet_unet', 'backbone')
    return ResNetUNet(
        input_specs=input_specs,
        **resnet.get_shared_arguments(config, norm_activation_config, l2_regularizer),
        depth_multiplier=config.depth_multiplier,
        upsample_repeats=config.upsample_repeats,
        upsample_filters=config.upsample_filters,
        upsample_kernel_sizes=config.upsample_kernel_sizes,
        scale_stem=config.scale_stem,
        bn_trainable=config.bn_trainable,
        classification_output=config.classification_output,
    )
