"""What SpineNets share: blocks whose scales go up and down, each fed by two earlier ones.

Source: Du et al., SpineNet (https://arxiv.org/abs/1912.05027).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Optional

import keras

from official_lite.modeling import activations, norm
from official_lite.modeling import initializers as initializers_lib
from official_lite.vision.modeling import builder_arguments
from official_lite.vision.modeling.layers import nn_layers

Features = dict[str, keras.KerasTensor]


class BlockSpec(NamedTuple):
    """A block of the network.

    Attributes:
        level: Its level; it has a stride of 2^level px.
        block_fn: Kind of block, such as 'bottleneck'.
        input_offsets: The two blocks that feed it, counted from the first one of the stem.
        is_output: Whether it is the output of its level.
    """

    level: int
    block_fn: str
    input_offsets: tuple[int, int]
    is_output: bool


class Node(NamedTuple):
    """A block's output.

    Attributes:
        feature: [batch, height / 2^level, width / 2^level, channels].
        level: Level of the block.
        block_fn: Kind of block.
    """

    feature: keras.KerasTensor
    level: int
    block_fn: str


# Node, target, prefix of the layers' names and constructor arguments -> the feature with the
# target's shape.
Resample = Callable[[Node, BlockSpec, str, dict[str, Any]], keras.KerasTensor]
# Feature, specification, drop rate and name of the block -> its output.
Group = Callable[[keras.KerasTensor, BlockSpec, Optional[float], str], keras.KerasTensor]


def to_block_specs(
    specs: Optional[Iterable[Sequence[Any]]], default: Sequence[BlockSpec]
) -> tuple[BlockSpec, ...]:
    """Returns block specifications as such, those of `default` for None.

    Raises:
        ValueError: If a block is fed by one that does not come before it (two blocks are in the
            stem).
    """
    blocks = tuple(
        BlockSpec(level, block_fn, (offsets[0], offsets[1]), is_output)
        for level, block_fn, offsets, is_output in (default if specs is None else specs)
    )
    for index, block in enumerate(blocks):
        if not all(0 <= offset < index + 2 for offset in block.input_offsets):
            raise ValueError(
                f'Block {index + 1} is fed by blocks that do not come before it. '
                f'Expected input_offsets from 0 to {index + 1}. Received: {block.input_offsets}'
            )
    return blocks


def check_input_size(shape: Sequence[Optional[int]], blocks: Iterable[BlockSpec]) -> None:
    """Checks that every block's map has a whole size, so that maps fit onto one another.

    Args:
        shape: Of images, [batch, height, width, channels]; None is not checked.
        blocks: The network's blocks.

    Raises:
        ValueError: If a side is not a multiple of the largest stride.
    """
    stride = 2 ** max(block.level for block in blocks)
    for name, size in zip(('height', 'width'), tuple(shape)[1:3], strict=True):
        if size is not None and size % stride:
            raise ValueError(
                f'SpineNet has blocks with a stride of {stride} px. '
                f'Expected an image {name} that is a multiple of {stride}. Received: {size}'
            )


def get_shared_arguments(
    config: Any,
    scalings: Mapping[str, Any],
    norm_activation_config: Any,
    l2_regularizer: Optional[keras.regularizers.Regularizer],
) -> dict[str, Any]:
    """Arguments of every SpineNet, from its branch of the config.

    Args:
        config: The branch.
        scalings: Sizes by `model_id`, dataclasses of arguments.
        norm_activation_config: Normalisation and activation.
        l2_regularizer: Regulariser of convolution kernels.

    Raises:
        ValueError: there is no such `model_id`.
    """
    if config.model_id not in scalings:
        raise ValueError(
            f'Unknown SpineNet. Expected model_id to be one of {list(scalings)}. '
            f'Received: {config.model_id!r}'
        )
    return {
        'min_level': config.min_level,
        'max_level': config.max_level,
        **dataclasses.asdict(scalings[config.model_id]),
        'init_stochastic_depth_rate': config.stochastic_depth_drop_rate,
        'kernel_regularizer': l2_regularizer,
        **builder_arguments.get_norm_arguments(norm_activation_config),
    }


def apply_network(
    stem: Sequence[Node],
    blocks: Sequence[BlockSpec],
    config: dict[str, Any],
    *,
    resample: Resample,
    apply_group: Group,
) -> Features:
    """Builds the blocks one after the other, and the endpoints.

    A block gets the sum of its two resampled inputs, activated. An output block also gets what has
    fed no other block and has its shape. Of several output blocks with one level, the last one counts.

    Args:
        stem: Outputs of the two blocks of the stem.
        blocks: Specifications.
        config: Constructor arguments of the network.
        resample: Gives an earlier block's output a later one's shape.
        apply_group: Builds a block, which may stand several times in a row.

    Returns:
        Features by level, as `apply_endpoints` makes them.
    """
    nodes, num_uses = list(stem), [0] * len(stem)
    outputs: Features = {}
    for index, block in enumerate(blocks, 1):
        name = f'block_{index}'
        parents = []
        for place, offset in enumerate(block.input_offsets):
            parents.append(resample(nodes[offset], block, f'{name}_input_{place}', config))
            num_uses[offset] += 1
        if block.is_output:
            for j in _find_unused(nodes, num_uses, block.level, parents[0].shape[-1]):
                parents.append(nodes[j].feature)
                num_uses[j] += 1
        x = activate(keras.layers.Add(name=f'{name}_merge')(parents), name, config['activation'])
        drop_rate = nn_layers.get_stochastic_depth_rate(
            config['init_stochastic_depth_rate'], index, len(blocks)
        )
        x = apply_group(x, block, drop_rate, name)
        nodes.append(Node(x, block.level, block.block_fn))
        num_uses.append(0)
        if block.is_output:
            outputs[str(block.level)] = x
    return apply_endpoints(outputs, config)


def _find_unused(
    nodes: Sequence[Node], num_uses: Sequence[int], level: int, channels: int
) -> list[int]:
    """Indices of blocks that feed none yet and have this level and number of channels."""
    return [
        j
        for j, node in enumerate(nodes)
        if not num_uses[j] and node.level == level and node.feature.shape[-1] == channels
    ]


def apply_endpoints(outputs: Features, config: dict[str, Any]) -> Features:
    """Gives the outputs from `min_level` to `max_level` the same number of channels.

    Raises:
        ValueError: If the network has no output of one of the levels.
    """
    first, last = config['min_level'], config['max_level']
    levels = [str(level) for level in range(first, last + 1)]
    available = sorted(int(level) for level in outputs)
    if not levels or any(level not in outputs for level in levels):
        raise ValueError(
            f'SpineNet has outputs of the levels {available}. Expected min_level and max_level '
            f'among them. Received: min_level={first}, max_level={last}'
        )
    filters = config['endpoints_num_filters']
    return {
        level: conv_norm(outputs[level], f'endpoint_{level}', filters, 1, 1, config)
        for level in levels
    }


def conv_norm(
    x: keras.KerasTensor,
    name: str,
    filters: int,
    kernel_size: int,
    strides: int,
    config: dict[str, Any],
    *,
    is_activated: bool = True,
) -> keras.KerasTensor:
    """Applies a convolution without bias, batch normalisation and, if wanted, the activation."""
    x = keras.layers.Conv2D(
        filters,
        kernel_size,
        strides,
        padding='same',
        use_bias=False,
        kernel_initializer=initializers_lib.clone_initializer(config['kernel_initializer']),
        kernel_regularizer=config['kernel_regularizer'],
        name=f'{name}_conv',
    )(x)
    x = normalize(x, name, config)
    return activate(x, name, config['activation']) if is_activated else x


def normalize(x: keras.KerasTensor, name: str, config: dict[str, Any]) -> keras.KerasTensor:
    """Applies batch normalisation as `config` has it."""
    return norm.BatchNormalization(
        config['norm_momentum'],
        config['norm_epsilon'],
        synchronized=config['use_sync_bn'],
        name=f'{name}_norm',
    )(x)


def activate(x: keras.KerasTensor, name: str, activation: str) -> keras.KerasTensor:
    """Applies an activation function."""
    return keras.layers.Activation(
        activations.get_activation(activation), name=f'{name}_activation'
    )(x)


def enlarge(
    x: keras.KerasTensor, name: str, num_levels: int, *, use_keras_layer: bool = False
) -> keras.KerasTensor:
    """Repeats each pixel 2^num_levels times in both directions."""
    scale = 2**num_levels
    if use_keras_layer:
        return keras.layers.UpSampling2D(scale, interpolation='nearest', name=f'{name}_upsample')(x)
    return nn_layers.NearestUpsampling(scale, name=f'{name}_upsample')(x)
