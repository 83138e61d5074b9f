"""Mobile SpineNet."""

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

# Widths by level; 0 is the stem's convolution.
LEVEL_FILTERS = {0: 8, 1: 16, 2: 24, 3: 40, 4: 80, 5: 112, 6: 112, 7: 112}
# Strides of the stem's two blocks, which have the levels 1 and 2.
STEM_STRIDES = (1, 2)

# Found by architecture search: https://arxiv.org/abs/2010.11426.
SPINENET_BLOCK_SPECS: tuple[BlockSpec, ...] = (
    BlockSpec(2, 'mbconv', (0, 1), False),
    BlockSpec(2, 'mbconv', (1, 2), False),
    BlockSpec(4, 'mbconv', (1, 2), False),
    BlockSpec(3, 'mbconv', (3, 4), False),
    BlockSpec(4, 'mbconv', (3, 5), False),
    BlockSpec(6, 'mbconv', (4, 6), False),
    BlockSpec(4, 'mbconv', (4, 6), False),
    BlockSpec(5, 'mbconv', (7, 8), False),
    BlockSpec(7, 'mbconv', (7, 9), False),
    BlockSpec(5, 'mbconv', (9, 10), False),
    BlockSpec(5, 'mbconv', (9, 11), False),
    BlockSpec(4, 'mbconv', (6, 11), True),
    BlockSpec(3, 'mbconv', (5, 11), True),
    BlockSpec(5, 'mbconv', (8, 13), True),
    BlockSpec(7, 'mbconv', (6, 15), True),
    BlockSpec(6, 'mbconv', (13, 15), True),
)


@dataclasses.dataclass(frozen=True)
class Scaling:
    """What makes one mobile SpineNet larger than another.

    Attributes:
        endpoints_num_filters: Channels of every output.
        filter_size_scale: Factor of all widths.
        block_repeats: How many times each block stands in a row.
    """

    endpoints_num_filters: int
    filter_size_scale: float
    block_repeats: int


# https://arxiv.org/abs/2010.11426.
SPINENET_SCALINGS: dict[str, Scaling] = {
    '49': Scaling(48, 1.0, 1),
    '49S': Scaling(40, 0.65, 1),
    '49XS': Scaling(24, 0.6, 1),
}


@keras.saving.register_keras_serializable(package='official_lite')
class SpineNetMobile(feature_model.FeatureModel):
    """SpineNet of inverted bottlenecks (https://arxiv.org/abs/2010.11426).

    Output: a dict from the levels `min_level` to `max_level` to feature maps [batch, height /
        2^level, width / 2^level, endpoints_num_filters].

    Args:
        input_specs: Shape of the images, [batch, height, width, channels]; sides are multiples of
            2^max_level.
        min_level: Finest output level, 3 or more.
        max_level: Coarsest output level, 7 or less. Coarser blocks take this level.
        block_specs: The blocks after the stem, (level, 'mbconv', the two blocks that feed it,
            whether it is an output). None for the paper's.
        endpoints_num_filters: Number of channels of every output.
        se_ratio: Ratio of squeeze-and-excitation; 0 for none.
        expand_ratio: Factor by which blocks widen their input inside.
        block_repeats: How many times each block stands in a row.
        filter_size_scale: Factor of all widths.
        init_stochastic_depth_rate: Drop rate of the last block; those before it have less, in
            proportion, and the stem none.
        kernel_initializer: Initialiser of convolution kernels, depthwise ones too.
        kernel_regularizer: Regulariser of convolution kernels, of the depthwise ones between
            blocks too.
        bias_regularizer: Regulariser of biases (of squeeze-and-excitation).
        activation: Name of the activation function.
        use_sync_bn: Whether batch normalisation uses the moments of all replicas.
        norm_momentum: Momentum of the moving statistics.
        norm_epsilon: Added to variances.
        use_keras_upsampling_2d: Whether maps are enlarged by Keras's own layer rather than by ours,
            which is faster to train.
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
        se_ratio: float = 0.2,
        block_repeats: int = 1,
        filter_size_scale: float = 1.0,
        expand_ratio: int = 6,
        init_stochastic_depth_rate: float = 0.0,
        kernel_initializer: initializers_lib.Initializer = initializers_lib.DEFAULT,
        kernel_regularizer: Optional[keras.regularizers.Regularizer] = None,
        bias_regularizer: Optional[keras.regularizers.Regularizer] = None,
        activation: str = 'relu',
        use_sync_bn: bool = False,
        norm_momentum: float = 0.99,
        norm_epsilon: float = 0.001,
        use_keras_upsampling_2d: bool = False,
        name: str = 'spinenet_mobile',
    ) -> None:
        given = scale_permuted.to_block_specs(block_specs, SPINENET_BLOCK_SPECS)
        config = {
            'input_specs': nn_layers.to_input_spec(input_specs),
            'min_level': min_level,
            'max_level': max_level,
            'block_specs': None if block_specs is None else [list(block) for block in given],
            'endpoints_num_filters': endpoints_num_filters,
            'se_ratio': se_ratio,
            'block_repeats': block_repeats,
            'filter_size_scale': filter_size_scale,
            'expand_ratio': expand_ratio,
            'init_stochastic_depth_rate': init_stochastic_depth_rate,
            'kernel_initializer': kernel_initializer,
            'kernel_regularizer': keras.regularizers.get(kernel_regularizer),
            'bias_regularizer': keras.regularizers.get(bias_regularizer),
            'activation': activation,
            'use_sync_bn': use_sync_bn,
            'norm_momentum': norm_momentum,
            'norm_epsilon': norm_epsilon,
            'use_keras_upsampling_2d': use_keras_upsampling_2d,
        }
        _check(config, given)
        # No block is coarser than the coarsest output.
        blocks = [block._replace(level=min(block.level, max_level)) for block in given]
        scale_permuted.check_input_size(config['input_specs'].shape, blocks)
        inputs = keras.Input(config['input_specs'].shape[1:], name='images')
        endpoints = _apply_network(inputs, blocks, config)
        super().__init__(inputs, endpoints, config, name=name)


def _check(config: dict[str, Any], blocks: Sequence[BlockSpec]) -> None:
    for block in blocks:
        if block.block_fn != 'mbconv' or block.level not in LEVEL_FILTERS:
            raise ValueError(
                f"Unknown block. Expected a level of {sorted(LEVEL_FILTERS)} and 'mbconv'. "
                f'Received: {tuple(block)}'
            )
    for name, lowest in (('filter_size_scale', 0.0), ('expand_ratio', 0), ('max_level', 1)):
        if config[name] <= lowest:
            raise ValueError(f'Expected {name} above {lowest}. Received: {config[name]}')


def _apply_network(
    inputs: keras.KerasTensor, blocks: Sequence[BlockSpec], config: dict[str, Any]
) -> scale_permuted.Features:
    def apply_group(
        x: keras.KerasTensor, block: BlockSpec, drop_rate: Optional[float], name: str
    ) -> keras.KerasTensor:
        return _apply_group(x, _get_filters(block.level, config), 1, drop_rate, name, config)

    stem = _apply_stem(inputs, config)
    return scale_permuted.apply_network(
        stem, blocks, config, resample=_resample, apply_group=apply_group
    )


def _get_filters(level: int, config: dict[str, Any]) -> int:
    return int(LEVEL_FILTERS[level] * config['filter_size_scale'])


def _apply_stem(inputs: keras.KerasTensor, config: dict[str, Any]) -> list[Node]:
    """A 3x3 convolution with stride 2, and blocks of the levels 1 and 2."""
    x = scale_permuted.conv_norm(inputs, 'stem', _get_filters(0, config), 3, 2, config)
    nodes = []
    for index, strides in enumerate(STEM_STRIDES):
        level = index + 1
        filters = _get_filters(level, config)
        x = _apply_group(x, filters, strides, None, f'stem_block_{index}', config)
        nodes.append(Node(x, level, 'mbconv'))
    return nodes


def _apply_group(
    x: keras.KerasTensor,
    filters: int,
    strides: int,
    drop_rate: Optional[float],
    name: str,
    config: dict[str, Any],
) -> keras.KerasTensor:
    """Blocks in a row, of which the first has the stride."""
    for repeat in range(config['block_repeats']):
        x = nn_blocks.InvertedBottleneckBlock(
            in_filters=x.shape[-1],
            out_filters=filters,
            expand_ratio=config['expand_ratio'],
            strides=strides if repeat == 0 else 1,
            se_ratio=config['se_ratio'],
            se_gating_activation='hard_sigmoid',
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
    """Resizes a feature, by a depthwise convolution per level or by repetition; then a 1x1 one."""
    x, num_levels = node.feature, target.level - node.level
    for index in range(num_levels):
        x = _shrink(x, f'{name}_stride_{index}', config)
    if num_levels < 0:
        x = scale_permuted.enlarge(
            x, name, -num_levels, use_keras_layer=config['use_keras_upsampling_2d']
        )
    filters = _get_filters(target.level, config)
    return scale_permuted.conv_norm(x, f'{name}_project', filters, 1, 1, config, is_activated=False)


def _shrink(x: keras.KerasTensor, name: str, config: dict[str, Any]) -> keras.KerasTensor:
    x = keras.layers.DepthwiseConv2D(
        3,
        2,
        padding='same',
        use_bias=False,
        depthwise_initializer=initializers_lib.clone_initializer(config['kernel_initializer']),
        depthwise_regularizer=config['kernel_regularizer'],
        name=f'{name}_conv',
    )(x)
    x = scale_permuted.normalize(x, name, config)
    return scale_permuted.activate(x, name, config['activation'])


@factory.register_backbone_builder('spinenet_mobile')
def build_spinenet_mobile(
    input_specs: keras.layers.InputSpec,
    backbone_config: Any,
    norm_activation_config: Any,
    l2_regularizer: Optional[keras.regularizers.Regularizer] = None,
) -> SpineNetMobile:
    """Builds a mobile SpineNet from a `Backbone` config whose type is 'spinenet_mobile'."""
    config = builder_arguments.get_branch(backbone_config, 'spinenet_mobile', 'backbone')
    return SpineNetMobile(
        input_specs=input_specs,
        **scale_permuted.get_shared_arguments(
            config, SPINENET_SCALINGS, norm_activation_config, l2_regularizer
        ),
        se_ratio=config.se_ratio,
        expand_ratio=config.expand_ratio,
        use_keras_upsampling_2d=config.use_keras_upsampling_2d,
    )
