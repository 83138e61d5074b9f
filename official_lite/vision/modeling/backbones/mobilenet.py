"""MobileNets, versions 1 to 4 and their relatives."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any, Optional

import keras

from official_lite.modeling import initializers as initializers_lib
from official_lite.vision.modeling import builder_arguments
from official_lite.vision.modeling.backbones import factory
from official_lite.vision.modeling.backbones import mobilenet_layers as layers
from official_lite.vision.modeling.backbones.mobilenet_blocks import BlockSpec
from official_lite.vision.modeling.backbones.mobilenet_specs import MOBILENET_SPECS
from official_lite.vision.modeling.layers import feature_model, nn_layers
from official_lite.vision.modeling.layers.nn_blocks import Conv2DBNBlock

__all__ = ['MOBILENET_SPECS', 'Conv2DBNBlock', 'MobileNet', 'build_mobilenet']

FIRST_LEVEL = 2


@keras.saving.register_keras_serializable(package='official_lite')
class MobileNet(feature_model.FeatureModel):
    """A network of the MobileNet family; see `mobilenet_specs` for papers.

    Output: a dict from levels to feature maps [batch, height / 2^level, width / 2^level, channels],
    rounded up, starting at level '2', and under the next level the last layer's features, which are
    meant for classification and not part of `output_specs`. Under an output stride, the deepest
    features take the place of its level. `MobileNetMulti*Seg` without one have a level '6' at the
    stride of '5'.

    Args:
        model_id: Name of the network, one of `MOBILENET_SPECS`.
        filter_size_scale: Factor of all widths.
        input_specs: Shape of the images, [batch, height, width, channels].
        norm_momentum: Momentum of the moving statistics.
        norm_epsilon: Added to variances.
        kernel_initializer: Initialiser of convolution kernels.
        kernel_regularizer: Regulariser of convolution kernels, not of depthwise ones.
        bias_regularizer: Regulariser of biases.
        output_stride: Stride at which later strides become dilations, or None for none.
        min_depth: Smallest width.
        divisible_by: What widths are multiples of (not in version 1).
        stochastic_depth_drop_rate: Drop rate of residual branches.
        flat_stochastic_depth_drop_rate: Whether all blocks have this rate; if not, it is the last
            one's, and those before it have less, in proportion.
        regularize_depthwise: Whether depthwise kernels are regularised too.
        use_sync_bn: Whether batch normalisation uses the moments of all replicas.
        finegrain_classification_mode: Whether the last layer keeps its width where
            `filter_size_scale` is below 1 (not in version 1).
        output_intermediate_endpoints: Whether `<level>/depthwise` is part of the output: features
            after the depthwise convolution of a level's last block.
        name: Name of the model.

    Raises:
        ValueError: If the name is unknown or a number is out of range.
    """

    def __init__(
        self,
        model_id: str = 'MobileNetV2',
        filter_size_scale: float = 1.0,
        input_specs: keras.layers.InputSpec = nn_layers.ANY_RGB_IMAGES,
        norm_momentum: float = 0.99,
        norm_epsilon: float = 0.001,
        kernel_initializer: initializers_lib.Initializer = initializers_lib.DEFAULT,
        kernel_regularizer: Optional[keras.regularizers.Regularizer] = None,
        bias_regularizer: Optional[keras.regularizers.Regularizer] = None,
        output_stride: Optional[int] = None,
        min_depth: int = 8,
        divisible_by: int = 8,
        stochastic_depth_drop_rate: float = 0.0,
        flat_stochastic_depth_drop_rate: bool = True,
        regularize_depthwise: bool = False,
        use_sync_bn: bool = False,
        finegrain_classification_mode: bool = True,
        output_intermediate_endpoints: bool = False,
        name: str = 'mobilenet',
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
            'output_stride': output_stride,
            'min_depth': min_depth,
            'divisible_by': divisible_by,
            'stochastic_depth_drop_rate': stochastic_depth_drop_rate,
            'flat_stochastic_depth_drop_rate': flat_stochastic_depth_drop_rate,
            'regularize_depthwise': regularize_depthwise,
            'use_sync_bn': use_sync_bn,
            'finegrain_classification_mode': finegrain_classification_mode,
            'output_intermediate_endpoints': output_intermediate_endpoints,
        }
        _check(config)
        inputs = keras.Input(config['input_specs'].shape[1:], name='images')
        endpoints, last, last_level = _apply_blocks(inputs, config)
        outputs = {**endpoints, str(last_level): last}
        super().__init__(inputs, outputs, config, name=name, levels=endpoints)


def _check(config: Mapping[str, Any]) -> None:
    model_id, output_stride = config['model_id'], config['output_stride']
    if model_id not in MOBILENET_SPECS:
        nearest = difflib.get_close_matches(str(model_id), MOBILENET_SPECS, n=1)
        hint = f'. Did you mean {nearest[0]!r}?' if nearest else ''
        raise ValueError(
            f'Unknown MobileNet. Expected model_id to be one of {sorted(MOBILENET_SPECS)}. '
            f'Received: {model_id!r}{hint}'
        )
    if config['filter_size_scale'] <= 0.0:
        raise ValueError(
            'Expected filter_size_scale above 0. '
            f'Received: filter_size_scale={config["filter_size_scale"]}'
        )
    if output_stride is None:
        return
    allowed = (8, 16, 32) if model_id == layers.UNDIVIDED else (1, 2, 4, 8, 16, 32)
    if output_stride not in allowed:
        raise ValueError(
            f'Expected output_stride None or one of {list(allowed)} for {model_id}. '
            f'Received: output_stride={output_stride}'
        )


def _scale_blocks(config: Mapping[str, Any]) -> list[BlockSpec]:
    """The network's blocks with scaled widths."""
    blocks = list(MOBILENET_SPECS[config['model_id']])
    scale = config['filter_size_scale']
    scales = [scale] * len(blocks)
    is_last_kept = (
        config['finegrain_classification_mode'] and config['model_id'] != layers.UNDIVIDED
    )
    if is_last_kept and scale < 1.0:
        scales[-1] = 1.0
    return [
        dataclasses.replace(
            block,
            filters=nn_layers.round_filters(
                block.filters, factor, layers.get_divisor(config), config['min_depth']
            )
            if block.filters
            else 0,
        )
        for block, factor in zip(blocks, scales, strict=True)
    ]


def _place(
    block: BlockSpec, current_stride: int, rate: int, limit: Optional[int]
) -> tuple[layers.Placement, int]:
    """Stride and dilation of a block, and the rate for the blocks after it.

    Once the features have the output stride, strides turn into dilations of what follows, of the
    very block that would have had the stride too, as in Model Garden.
    """
    if limit is None or current_stride != limit:
        return layers.Placement(block.strides, 1, current_stride * block.strides), rate
    new_rate = rate * block.strides
    if block.kind in ('convbn', 'depsepconv'):
        return layers.Placement(1, 1 if block.kernel_size == 1 else rate, current_stride), new_rate
    dilation = rate if rate > 1 and block.kernel_size != 1 else new_rate
    return layers.Placement(1, dilation, current_stride), new_rate


def _apply_blocks(
    inputs: keras.KerasTensor, config: Mapping[str, Any]
) -> tuple[dict[str, keras.KerasTensor], keras.KerasTensor, int]:
    """All blocks: features by level, the last block's features, and the level these go under."""
    blocks = _scale_blocks(config)
    endpoints: dict[str, keras.KerasTensor] = {}
    x, level, stride, rate = inputs, FIRST_LEVEL, 1, 1
    for index, block in enumerate(blocks):
        placement, rate = _place(block, stride, rate, config['output_stride'])
        stride = placement.output_stride
        drop_rate = config['stochastic_depth_drop_rate']
        if not config['flat_stochastic_depth_drop_rate']:
            drop_rate = nn_layers.get_stochastic_depth_rate(drop_rate, index + 1, len(blocks))
        name = f'block_{index}_{block.kind}'
        slot = layers.Slot(x.shape[-1], block, placement, drop_rate, name, config)
        result = layers.make_layer(slot)(x)
        x, intermediate = result if isinstance(result, tuple) else (result, {})
        if block.is_output:
            endpoints[str(level)] = x
            endpoints.update({f'{level}/{key}': value for key, value in intermediate.items()})
            if stride != config['output_stride']:
                level += 1
    if str(level) in endpoints:
        level += 1
    return endpoints, x, level


@factory.register_backbone_builder('mobilenet')
def build_mobilenet(
    input_specs: keras.layers.InputSpec,
    backbone_config: Any,
    norm_activation_config: Any,
    l2_regularizer: Optional[keras.regularizers.Regularizer] = None,
) -> MobileNet:
    """Builds a MobileNet from a `Backbone` config whose type is 'mobilenet'."""
    config = builder_arguments.get_branch(backbone_config, 'mobilenet', 'backbone')
    factory.warn_of_own_layers(config.model_id, norm_activation_config, 'activation')
    return MobileNet(
        model_id=config.model_id,
        filter_size_scale=config.filter_size_scale,
        input_specs=input_specs,
        stochastic_depth_drop_rate=config.stochastic_depth_drop_rate,
        flat_stochastic_depth_drop_rate=config.flat_stochastic_depth_drop_rate,
        output_stride=config.output_stride,
        output_intermediate_endpoints=config.output_intermediate_endpoints,
        use_sync_bn=norm_activation_config.use_sync_bn,
        norm_momentum=norm_activation_config.norm_momentum,
        norm_epsilon=norm_activation_config.norm_epsilon,
        kernel_regularizer=l2_regularizer,
    )
