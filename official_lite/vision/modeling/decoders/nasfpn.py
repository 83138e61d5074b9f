"""NAS-FPN."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Optional

import keras
import tensorflow as tf

from official_lite.modeling import activations, norm
from official_lite.modeling import initializers as initializers_lib
from official_lite.vision.modeling import builder_arguments
from official_lite.vision.modeling.decoders import convolutions, factory, feature_levels
from official_lite.vision.modeling.layers import feature_model, nn_layers


class BlockSpec(NamedTuple):
    """A node of the cell.

    Attributes:
        level: Its level.
        combine_fn: 'sum' or 'attention', how its two inputs are combined.
        input_offsets: The two inputs: first the levels from fine to coarse, then the nodes.
        is_output: Whether it is the cell's output of its level.
    """

    level: int
    combine_fn: str
    input_offsets: tuple[int, int]
    is_output: bool


class _Node(NamedTuple):
    feature: keras.KerasTensor
    level: int


# Found by architecture search, for the levels 3 to 7: https://arxiv.org/abs/1904.07392.
NASFPN_BLOCK_SPECS: tuple[BlockSpec, ...] = (
    BlockSpec(4, 'attention', (1, 3), False),
    BlockSpec(4, 'sum', (1, 5), False),
    BlockSpec(3, 'sum', (0, 6), True),
    BlockSpec(4, 'sum', (6, 7), True),
    BlockSpec(5, 'attention', (7, 8), True),
    BlockSpec(7, 'attention', (6, 9), True),
    BlockSpec(6, 'attention', (9, 10), True),
)

# Channels at which Model Garden combines nodes, whatever the pyramid's number of channels is.
MERGE_FILTERS = 256


@keras.saving.register_keras_serializable(package='official_lite')
class GlobalAttention(keras.layers.Layer):
    """Adds to the first map the second one, each channel weighted by the first one's maximum.

    `first + second * sigmoid(max over all places of first)`, for two maps [batch, height, width,
    channels]. Source: https://arxiv.org/abs/1904.07392.
    """

    def build(self, input_shape: Any) -> None:
        del input_shape

    def compute_output_shape(self, input_shape: Sequence[nn_layers.Shape]) -> nn_layers.Shape:
        return tuple(input_shape[0])

    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        first, second = inputs
        gate = tf.sigmoid(tf.reduce_max(first, axis=[1, 2], keepdims=True))  # [batch, 1, 1, C]
        return first + second * gate


@keras.saving.register_keras_serializable(package='official_lite')
class NASFPN(feature_model.LevelReader):
    """NAS-FPN (https://arxiv.org/abs/1904.07392).

    The backbone's levels become maps with `num_filters` channels (1x1 convolution and batch
    normalisation), further levels are made by max-pooling, and a cell of seven nodes is applied
    `num_repeats` times. A node resizes two maps to its level, combines them, and applies an
    activation, a 3x3 convolution and batch normalisation.

    Input: a dict of feature maps by level, such as a backbone returns; levels that are not used are
        ignored.
    Output: a dict from the levels `min_level` to `max_level` to feature maps with `num_filters`
        channels.

    Args:
        input_specs: Shapes of the backbone's feature maps by level.
        min_level: Finest output level; 3 with the paper's cell.
        max_level: Coarsest output level; 7 with the paper's cell.
        block_specs: Nodes of the cell, (level, 'sum' or 'attention', the two inputs, whether it is
            an output). None for the paper's.
        num_filters: Number of channels of every output.
        num_repeats: How often the cell is applied, 1 or more.
        use_separable_conv: Whether convolutions are depthwise separable.
        activation: Activation of combined maps.
        use_sync_bn: Whether batch normalisation uses the moments of all replicas.
        norm_momentum: Momentum of the moving statistics.
        norm_epsilon: Added to variances.
        kernel_initializer: Initialiser of convolution kernels, also of depthwise and pointwise
            ones. None: variance 2 / fan-out, normal.
        kernel_regularizer: Regulariser of the same.
        bias_regularizer: Regulariser of biases.
        merge_filters: Number of channels at which maps are combined; maps of another number are
            projected first, each by a 1x1 convolution and batch normalisation of its own. None
            for `num_filters`: no projections.
        name: Name of the model.

    Raises:
        ValueError: If levels are missing, maps do not fit onto one another, or the cell does not
            make the pyramid's levels.
    """

    def __init__(
        self,
        input_specs: Mapping[str, Any],
        min_level: int = 3,
        max_level: int = 7,
        block_specs: Optional[Iterable[Sequence[Any]]] = None,
        num_filters: int = 256,
        num_repeats: int = 5,
        use_separable_conv: bool = False,
        activation: str = 'relu',
        use_sync_bn: bool = False,
        norm_momentum: float = 0.99,
        norm_epsilon: float = 0.001,
        kernel_initializer: Optional[initializers_lib.Initializer] = None,
        kernel_regularizer: Optional[keras.regularizers.Regularizer] = None,
        bias_regularizer: Optional[keras.regularizers.Regularizer] = None,
        merge_filters: Optional[int] = MERGE_FILTERS,
        name: str = 'nasfpn',
    ) -> None:
        blocks = _to_block_specs(block_specs)
        config = {
            'input_specs': {level: tuple(shape) for level, shape in input_specs.items()},
            'min_level': min_level,
            'max_level': max_level,
            'block_specs': None if block_specs is None else [list(block) for block in blocks],
            'num_filters': num_filters,
            'num_repeats': num_repeats,
            'use_separable_conv': use_separable_conv,
            'activation': activation,
            'use_sync_bn': use_sync_bn,
            'norm_momentum': norm_momentum,
            'norm_epsilon': norm_epsilon,
            'kernel_initializer': kernel_initializer,
            'kernel_regularizer': keras.regularizers.get(kernel_regularizer),
            'bias_regularizer': keras.regularizers.get(bias_regularizer),
            'merge_filters': merge_filters,
        }
        _check_cell(blocks, config)
        levels = feature_levels.find_input_levels(
            config['input_specs'], min_level, max_level, decoder='NAS-FPN'
        )
        feature_levels.check_sizes(config['input_specs'], levels, coarsest=max_level)
        inputs = {
            str(level): keras.Input(config['input_specs'][str(level)][1:], name=str(level))
            for level in levels
        }
        nodes = _apply_input_pyramid(inputs, config)
        for repeat in range(num_repeats):
            nodes = _apply_cell(nodes, blocks, f'cell_{repeat}', config)
        features = {str(node.level): node.feature for node in nodes}
        super().__init__(inputs, features, config, name=name)

    def _select(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The levels that are read, after a check that their maps fit onto one another."""
        used = super()._select(inputs)
        shapes = {level: feature.shape for level, feature in used.items()}
        feature_levels.check_sizes(
            shapes, [int(level) for level in used], coarsest=self._config['max_level']
        )
        return used


def _to_block_specs(specs: Optional[Iterable[Sequence[Any]]]) -> tuple[BlockSpec, ...]:
    return tuple(
        BlockSpec(level, combine_fn, (offsets[0], offsets[1]), is_output)
        for level, combine_fn, offsets, is_output in (
            NASFPN_BLOCK_SPECS if specs is None else specs
        )
    )


def _check_cell(blocks: Sequence[BlockSpec], config: dict[str, Any]) -> None:
    if config['num_repeats'] < 1:
        raise ValueError(f'Expected num_repeats of 1 or more. Received: {config["num_repeats"]}')
    levels = list(range(config['min_level'], config['max_level'] + 1))
    outputs = sorted(block.level for block in blocks if block.is_output)
    if outputs != levels:
        raise ValueError(
            f'The cell of the NAS-FPN has the outputs {outputs}. Expected one of each level from '
            f'min_level to max_level. Received: {levels}'
        )
    for index, block in enumerate(blocks):
        num_earlier = len(levels) + index
        if not all(0 <= offset < num_earlier for offset in block.input_offsets):
            raise ValueError(
                f'Node {index} of the NAS-FPN combines what does not come before it. '
                f'Expected input_offsets below {num_earlier}. Received: {block.input_offsets}'
            )
        if block.combine_fn not in ('sum', 'attention'):
            raise ValueError(
                f"Unknown combination. Expected combine_fn 'sum' or 'attention'. "
                f'Received: {block.combine_fn!r}'
            )


def _conv_norm(
    x: keras.KerasTensor, name: str, filters: int, kernel_size: int, config: dict[str, Any]
) -> keras.KerasTensor:
    """A convolution with bias, and batch normalisation."""
    initializer = config['kernel_initializer']
    conv = convolutions.make_conv(
        f'{name}_conv',
        filters,
        kernel_size,
        is_separable=config['use_separable_conv'],
        kernel_initializer=_make_default_initializer() if initializer is None else initializer,
        kernel_regularizer=config['kernel_regularizer'],
        bias_regularizer=config['bias_regularizer'],
    )
    return norm.BatchNormalization(
        config['norm_momentum'],
        config['norm_epsilon'],
        synchronized=config['use_sync_bn'],
        name=f'{name}_norm',
    )(conv(x))


def _make_default_initializer() -> keras.initializers.Initializer:
    return keras.initializers.VarianceScaling(2.0, 'fan_out', 'untruncated_normal')


def _resample(
    node: _Node, level: int, filters: int, name: str, config: dict[str, Any]
) -> keras.KerasTensor:
    """Brings a node to a level and to a number of channels."""
    x = node.feature
    if x.shape[-1] != filters:
        x = _conv_norm(x, name, filters, 1, config)
    scale = 2 ** abs(level - node.level)
    if level > node.level:
        return keras.layers.MaxPooling2D(scale, scale, padding='same', name=f'{name}_pool')(x)
    if level < node.level:
        return nn_layers.NearestUpsampling(scale, name=f'{name}_upsample')(x)
    return x


def _apply_input_pyramid(
    inputs: dict[str, keras.KerasTensor], config: dict[str, Any]
) -> list[_Node]:
    """Nodes of all levels from fine to coarse."""
    nodes: list[_Node] = []
    filters = config['num_filters']
    for level in range(config['min_level'], config['max_level'] + 1):
        source = _Node(inputs[str(level)], level) if str(level) in inputs else nodes[-1]
        nodes.append(_Node(_resample(source, level, filters, f'input_{level}', config), level))
    return nodes


def _apply_cell(
    levels: Sequence[_Node], blocks: Sequence[BlockSpec], name: str, config: dict[str, Any]
) -> list[_Node]:
    """Applies all nodes, and returns the outputs from fine to coarse."""
    nodes, num_uses = list(levels), [0] * len(levels)
    outputs = []
    filters = config['merge_filters'] or config['num_filters']
    for index, block in enumerate(blocks):
        prefix = f'{name}_node_{index}'
        pair = []
        for place, offset in enumerate(block.input_offsets):
            x = _resample(nodes[offset], block.level, filters, f'{prefix}_input_{place}', config)
            pair.append(_Node(x, nodes[offset].level))
            num_uses[offset] += 1
        x = _combine(pair, block.combine_fn, prefix)
        if block.is_output:
            x = _add_unused(x, nodes, num_uses, block.level, prefix, config)
        x = keras.layers.Activation(
            activations.get_activation(config['activation']), name=f'{prefix}_activation'
        )(x)
        nodes.append(_Node(_conv_norm(x, prefix, config['num_filters'], 3, config), block.level))
        num_uses.append(0)
        if block.is_output:
            outputs.append(nodes[-1])
    return sorted(outputs, key=lambda node: node.level)


def _combine(pair: Sequence[_Node], combine_fn: str, prefix: str) -> keras.KerasTensor:
    """Sum, or attention in which the input of the coarser level weights the other one."""
    first, second = pair
    if combine_fn == 'sum':
        return keras.layers.Add(name=f'{prefix}_sum')([first.feature, second.feature])
    if first.level < second.level:
        first, second = second, first
    return GlobalAttention(name=f'{prefix}_attention')([first.feature, second.feature])


def _add_unused(
    x: keras.KerasTensor,
    nodes: Sequence[_Node],
    num_uses: list[int],
    level: int,
    prefix: str,
    config: dict[str, Any],
) -> keras.KerasTensor:
    """Adds the maps of this level that no node has combined, and counts them as used."""
    for index, node in enumerate(nodes):
        if not num_uses[index] and node.level == level:
            num_uses[index] += 1
            name = f'{prefix}_unused_{index}'
            unused = _resample(node, level, x.shape[-1], name, config)
            x = keras.layers.Add(name=f'{name}_sum')([x, unused])
    return x


@factory.register_decoder_builder('nasfpn')
def build_nasfpn_decoder(
    input_specs: Mapping[str, Any],
    model_config: Any,
    l2_regularizer: Optional[keras.regularizers.Regularizer] = None,
) -> NASFPN:
    """Builds a NAS-FPN from a model config whose `decoder` is of type 'nasfpn'."""
    config = builder_arguments.get_branch(model_config.decoder, 'nasfpn', 'decoder')
    norm_activation = model_config.norm_activation
    return NASFPN(
        input_specs=input_specs,
        min_level=model_config.min_level,
        max_level=model_config.max_level,
        num_filters=config.num_filters,
        num_repeats=config.num_repeats,
        use_separable_conv=config.use_separable_conv,
        **builder_arguments.get_norm_arguments(norm_activation),
        kernel_regularizer=l2_regularizer,
        merge_filters=config.merge_filters,
    )
