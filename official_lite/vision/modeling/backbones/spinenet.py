"""SpineNet."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, Optional

import keras

from official_lite.modeling import initializers as initializers_lib
from official_lite.vision.modeling import builder_arguments
from official_lite.vision.modeling.backbones import factory, scale_permuted
from official_lite.vision.modeling.backbones.scale_permuted import BlockSpec, Node
from official_lite.vision.modeling.layers import feature_model, nn_blocks, nn_layers

# Widths by level; bottlenecks put out four times as many channels.
LEVEL_FILTERS = {1: 32, 2: 64, 3: 128, 4: 256, 5: 256, 6: 256, 7: 256}
NUM_STEM_BLOCKS = 2

# Found by architecture search: https://arxiv.org/abs/1912.05027.
SPINENET_BLOCK_SPECS: tuple[BlockSpec, ...] = (
    BlockSpec(2, 'bottleneck', (0, 1), False),
    BlockSpec(4, 'residual', (0, 1), False),
    BlockSpec(3, 'bottleneck', (2, 3), False),
    BlockSpec(4, 'bottleneck', (2, 4), False),
    BlockSpec(6, 'residual', (3, 5), False),
    BlockSpec(4, 'bottleneck', (3, 5), False),
    BlockSpec(5, 'residual', (6, 7), False),
    BlockSpec(7, 'residual', (6, 8), False),
    BlockSpec(5, 'bottleneck', (8, 9), False),
    BlockSpec(5, 'bottleneck', (8, 10), False),
    BlockSpec(4, 'bottleneck', (5, 10), True),
    BlockSpec(3, 'bottleneck', (4, 10), True),
    BlockSpec(5, 'bottleneck', (7, 12), True),
    BlockSpec(7, 'bottleneck', (5, 14), True),
    BlockSpec(6, 'bottleneck', (12, 14), True),
    BlockSpec(2, 'bottleneck', (2, 13), True),
)


@dataclasses.dataclass(frozen=True)
class Scaling:
    """What makes one SpineNet larger than another.

    Attributes:
        endpoints_num_filters: Channels of every output.
        filter_size_scale: Factor of all widths.
        resample_alpha: Width of the resampling between blocks, as a share of the feeding block's.
        block_repeats: How many times each block stands in a row.
    """

    endpoints_num_filters: int
    filter_size_scale: float
    resample_alpha: float
    block_repeats: int


# https://arxiv.org/abs/1912.05027, "SpineNet architectures" (143L is 143 with the widths of 190).
SPINENET_SCALINGS: dict[str, Scaling] = {
    '49S': Scaling(128, 0.65, 0.5, 1),
    '49': Scaling(256, 1.0, 0.5, 1),
    '96': Scaling(256, 1.0, 0.5, 2),
    '143': Scaling(256, 1.0, 1.0, 3),
    '143L': Scaling(256, 1.3, 1.0, 3),
    '190': Scaling(512, 1.3, 1.0, 4),
}

_BLOCKS: dict[str, Any] = {
    'residual': nn_blocks.ResidualBlock,
    'bottleneck': nn_blocks.BottleneckBlock,
}
_EXPANSION = {'residual': 1, 'bottleneck': 4}


@keras.saving.register_keras_serializable(package='official_lite')
class SpineNet(feature_model.FeatureModel):
    """SpineNet (https://arxiv.org/abs/1912.05027), a backbone that is its own decoder.

    Output: a dict from the levels `min_level` to `max_level` to feature maps [batch, height /
        2^level, width / 2^level, endpoints_num_filters].

    Args:
        input_specs: Shape of the images, [batch, height, width, channels]; sides are multiples of
            128, the stride of the coarsest block.
        min_level: Finest output level, 2 or more.
        max_level: Coarsest output level, 7 or less.
        block_specs: The blocks after the stem, (level, 'bottleneck' or 'residual', the two blocks
            that feed it, whether it is an output). None for the paper's.
        endpoints_num_filters: Number of channels of every output.
        resample_alpha: Width of the resampling between blocks, as a share of the feeding block's.
        block_repeats: How many times each block stands in a row.
        filter_size_scale: Factor of all widths.
        init_stochastic_depth_rate: Drop rate of the last block; those before it have less, in
            proportion, and the stem none.
        kernel_initializer: Initialiser of convolution kernels.
        kernel_regularizer: Regulariser of convolution kernels.
        bias_regularizer: Regulariser of biases; there are none.
        activation: Name of the activation function.
        use_sync_bn: Whether batch normalisation uses the moments of all replicas.
        norm_momentum: Momentum of the moving statistics.
        norm_epsilon: Added to variances.
        name: Name of the model.

    Raises:
        ValueError: If a level is not there, the image size does not fit, or a block is unknown.
    """

    def __init__(
        self,
        input_specs: keras.layers.InputSpec = nn_layers.ANY_RGB_IMAGES,
        min_level: int = 3,
        max_level: int = 7,
        block_specs: Optional[Iterable[Sequence[Any]]] = None,
        endpoints_num_filters: int = 256,
        resample_alpha: float = 0.5,
        block_repeats: int = 1,
        filter_size_scale: float = 1.0,
        init_stochastic_depth_rate: float = 0.0,
        kernel_initializer: initializers_lib.Initializer = initializers_lib.DEFAULT,
        kernel_regularizer: Optional[keras.regularizers.Regularizer] = None,
        bias_regularizer: Optional[keras.regularizers.Regularizer] = None,
        activation: str = 'relu',
        use_sync_bn: bool = False,
        norm_momentum: float = 0.99,
        norm_epsilon: float = 0.001,
        name: str = 'spinenet',
    ) -> None:
        blocks = scale_permuted.to_block_specs(block_specs, SPINENET_BLOCK_SPECS)
        config = {
            'input_specs': nn_layers.to_input_spec(input_specs),
            'min_level': min_level,
            'max_level': max_level,
            'block_specs': None if block_specs is None else [list(block) for block in blocks],
            'endpoints_num_filters': endpoints_num_filters,
            'resample_alpha': resample_alpha,
            'block_repeats': block_repeats,
            'filter_size_scale': filter_size_scale,
            'init_stochastic_depth_rate': init_stochastic_depth_rate,
            'kernel_initializer': kernel_initializer,
            'kernel_regularizer': keras.regularizers.get(kernel_regularizer),
            'bias_regularizer': keras.regularizers.get(bias_regularizer),
            'activation': activation,
            'use_sync_bn': use_sync_bn,
            'norm_momentum': norm_momentum,
            'norm_epsilon': norm_epsilon,
        }
        _check(config, blocks)
        inputs = keras.Input(config['input_specs'].shape[1:], name='images')
        endpoints = _apply_network(inputs, blocks, config)
        super().__init__(inputs, endpoints, config, name=name)


def _check(config: dict[str, Any], blocks: Sequence[BlockSpec]) -> None:
    for block in blocks:
        if block.block_fn not in _BLOCKS or block.level not in LEVEL_FILTERS:
            raise ValueError(
                f'Unknown block. Expected a level of {sorted(LEVEL_FILTERS)} and one of '
                f'{sorted(_BLOCKS)}. Received: {tuple(block)}'
            )
    if config['filter_size_scale'] <= 0:
        raise ValueError(
            f'Expected filter_size_scale above 0. Received: {config["filter_size_scale"]}'
        )
    scale_permuted.check_input_size(config['input_specs'].shape, blocks)


def _apply_network(
    inputs: keras.KerasTensor, blocks: Sequence[BlockSpec], config: dict[str, Any]
) -> scale_permuted.Features:
    def apply_group(
        x: keras.KerasTensor, block: BlockSpec, drop_rate: Optional[float], name: str
    ) -> keras.KerasTensor:
        filters = _get_filters(block.level, config)
        return _apply_group(x, block.block_fn, filters, drop_rate, name, config)

    stem = _apply_stem(inputs, config)
    return scale_permuted.apply_network(
        stem, blocks, config, resample=_resample, apply_group=apply_group
    )


def _get_filters(level: int, config: dict[str, Any]) -> int:
    return int(LEVEL_FILTERS[level] * config['filter_size_scale'])


def _apply_stem(inputs: keras.KerasTensor, config: dict[str, Any]) -> list[Node]:
    """A 7x7 convolution and a max-pool, each with stride 2, and two bottlenecks of level 2."""
    x = scale_permuted.conv_norm(inputs, 'stem', 64, 7, 2, config)
    x = keras.layers.MaxPooling2D(3, 2, padding='same', name='stem_pool')(x)
    nodes = []
    for index in range(NUM_STEM_BLOCKS):
        filters = _get_filters(2, config)
        x = _apply_group(x, 'bottleneck', filters, None, f'stem_block_{index}', config)
        nodes.append(Node(x, 2, 'bottleneck'))
    return nodes


def _apply_group(
    x: keras.KerasTensor,
    kind: str,
    filters: int,
    drop_rate: Optional[float],
    name: str,
    config: dict[str, Any],
) -> keras.KerasTensor:
    """Blocks in a row, the first of which projects if the number of channels changes."""
    for repeat in range(config['block_repeats']):
        x = _BLOCKS[kind](
            filters=filters,
            strides=1,
            use_projection=repeat == 0 and x.shape[-1] != filters * _EXPANSION[kind],
            stochastic_depth_drop_rate=drop_rate,
            kernel_initializer=config['kernel_initializer'],
            kernel_regularizer=config['kernel_regularizer'],
            bias_regularizer=config['bias_regularizer'],
            activation=config['activation'],
            use_sync_bn=config['use_sync_bn'],
            norm_momentum=config['norm_momentum'],
            norm_epsilon=config['norm_epsilon'],
            name=f'{name}_repeat_{repeat}' if repeat else name,
        )(x)
    return x


def _resample(
    node: Node, target: BlockSpec, name: str, config: dict[str, Any]
) -> keras.KerasTensor:
    """Narrows, resizes and widens a feature to the shape of the target's output."""
    narrow = int(node.feature.shape[-1] / _EXPANSION[node.block_fn] * config['resample_alpha'])
    x = scale_permuted.conv_norm(node.feature, f'{name}_narrow', narrow, 1, 1, config)
    num_levels = target.level - node.level
    if num_levels > 0:
        x = scale_permuted.conv_norm(x, f'{name}_stride', narrow, 3, 2, config)
        for index in range(1, num_levels):
            x = keras.layers.MaxPooling2D(3, 2, padding='same', name=f'{name}_pool_{index}')(x)
    elif num_levels < 0:
        x = scale_permuted.enlarge(x, name, -num_levels)
    filters = _get_filters(target.level, config) * _EXPANSION[target.block_fn]
    return scale_permuted.conv_norm(x, f'{name}_widen', filters, 1, 1, config, is_activated=False)


@factory.register_backbone_builder('spinenet')
def build_spinenet(
    input_specs: keras.layers.InputSpec,
    backbone_config: Any,
    norm_activation_config: Any,
    l2_regularizer: Optional[keras.regularizers.Regularizer] = None,
) -> SpineNet:
    """Builds a SpineNet from a `Backbone` config whose type is 'spinenet'."""
    config = builder_arguments.get_branch(backbone_config, 'spinenet', 'backbone')
    return SpineNet(
        input_specs=input_specs,
        **scale_permuted.get_shared_arguments(
            config, SPINENET_SCALINGS, norm_activation_config, l2_regularizer
        ),
    )
