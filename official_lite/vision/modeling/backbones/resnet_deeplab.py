"""ResNets whose last stages keep the resolution, for DeepLab."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

import keras

from official_lite.modeling import initializers as initializers_lib
from official_lite.vision.modeling import builder_arguments
from official_lite.vision.modeling.backbones import factory, resnet
from official_lite.vision.modeling.layers import feature_model, nn_layers

# The depths that have bottlenecks, which can be dilated, and that DeepLab is published with.
DILATED_RESNET_IDS = (50, 101, 152, 200)
OUTPUT_STRIDES = (4, 8, 16, 32)
NUM_STAGES = len(resnet.STAGE_FILTERS)
# Wider than ResNet-D's: DeepLab's "beta" ResNets.
STEM_WIDTHS_V1 = (64, 64, 128)


@keras.saving.register_keras_serializable(package='official_lite')
class DilatedResNet(feature_model.FeatureModel):
    """ResNet with dilated convolutions in place of the last strides
    (https://arxiv.org/abs/1706.05587).

    Stages are those of a ResNet down to `output_stride`. Those after it have stride 1 and
    dilations of 2, 4 and so on, and their last one gives the coarsest level.

    Output: a dict from the levels '2' to log2(`output_stride`) to feature maps [batch, height /
        2^level, width / 2^level, channels], rounded up.

    Args:
        model_id: Depth, one of `DILATED_RESNET_IDS`.
        output_stride: Ratio of the image's resolution to the coarsest level's, one of
            `OUTPUT_STRIDES`.
        input_specs: Shape of the images, [batch, height, width, channels].
        stem_type: 'v0', one 7x7 convolution, or 'v1', three 3x3 ones.
        resnetd_shortcut: Whether shortcuts pool before they project
            (https://arxiv.org/abs/1812.01187).
        replace_stem_max_pool: Whether a convolution with stride 2 replaces the stem's max-pool.
        se_ratio: Ratio of squeeze-and-excitation; None or 0 for none.
        init_stochastic_depth_rate: Drop rate of the last stage's blocks; those before it have less,
            in proportion.
        multigrid: Factors of the dilation of each block of the last stage and its repetitions.
            None for 1.
        last_stage_repeats: How often there is a last stage, each with twice the dilation.
        activation: Name of the activation function.
        use_sync_bn: Whether batch normalisation uses the moments of all replicas.
        norm_momentum: Momentum of the moving statistics.
        norm_epsilon: Added to variances.
        kernel_initializer: Initialiser of convolution kernels.
        kernel_regularizer: Regulariser of convolution kernels.
        bias_regularizer: Regulariser of biases (of squeeze-and-excitation).
        name: Name of the model.

    Raises:
        ValueError: If there is no such network.
    """

    def __init__(
        self,
        model_id: int,
        output_stride: int,
        input_specs: keras.layers.InputSpec = nn_layers.ANY_RGB_IMAGES,
        stem_type: str = 'v0',
        resnetd_shortcut: bool = False,
        replace_stem_max_pool: bool = False,
        se_ratio: Optional[float] = None,
        init_stochastic_depth_rate: float = 0.0,
        multigrid: Optional[Sequence[int]] = None,
        last_stage_repeats: int = 1,
        activation: str = 'relu',
        use_sync_bn: bool = False,
        norm_momentum: float = 0.99,
        norm_epsilon: float = 0.001,
        kernel_initializer: initializers_lib.Initializer = initializers_lib.DEFAULT,
        kernel_regularizer: Optional[keras.regularizers.Regularizer] = None,
        bias_regularizer: Optional[keras.regularizers.Regularizer] = None,
        name: str = 'dilated_resnet',
    ) -> None:
        config = {
            'model_id': model_id,
            'output_stride': output_stride,
            'input_specs': nn_layers.to_input_spec(input_specs),
            'stem_type': stem_type,
            'resnetd_shortcut': resnetd_shortcut,
            'replace_stem_max_pool': replace_stem_max_pool,
            'se_ratio': se_ratio,
            'init_stochastic_depth_rate': init_stochastic_depth_rate,
            'multigrid': None if multigrid is None else list(multigrid),
            'last_stage_repeats': last_stage_repeats,
            'activation': activation,
            'use_sync_bn': use_sync_bn,
            'norm_momentum': norm_momentum,
            'norm_epsilon': norm_epsilon,
            'kernel_initializer': kernel_initializer,
            'kernel_regularizer': keras.regularizers.get(kernel_regularizer),
            'bias_regularizer': keras.regularizers.get(bias_regularizer),
        }
        _check(config)
        inputs = keras.Input(config['input_specs'].shape[1:], name='images')
        endpoints = _apply_stages(inputs, config)
        super().__init__(inputs, endpoints, config, name=name)


def _check(config: dict[str, Any]) -> None:
    choices: dict[str, tuple[Any, ...]] = {
        'model_id': DILATED_RESNET_IDS,
        'output_stride': OUTPUT_STRIDES,
        'stem_type': ('v0', 'v1'),
    }
    for name, values in choices.items():
        if config[name] not in values:
            raise ValueError(
                f'Unknown dilated ResNet. Expected {name} to be one of {list(values)}. '
                f'Received: {config[name]!r}'
            )
    if config['last_stage_repeats'] < 1:
        raise ValueError(
            'There is at least one last stage. Expected last_stage_repeats of 1 or more. '
            f'Received: {config["last_stage_repeats"]}'
        )
    num_blocks = resnet.RESNET_SPECS[config['model_id']][1][-1]
    if config['multigrid'] is not None and len(config['multigrid']) != num_blocks:
        raise ValueError(
            f'multigrid has a factor for each block of the last stage. Expected {num_blocks} '
            f'numbers. Received: {config["multigrid"]}'
        )


def _apply_stages(
    inputs: keras.KerasTensor, config: dict[str, Any]
) -> dict[str, keras.KerasTensor]:
    """All levels' features."""
    # What ResNet has more of.
    block_config = {**config, 'depth_multiplier': 1.0, 'scale_stem': True, 'bn_trainable': True}
    block_config['stem_pool'] = True
    x = resnet.apply_stem(inputs, block_config, STEM_WIDTHS_V1)
    num_strided = config['output_stride'].bit_length() - 1 - resnet.FIRST_LEVEL
    endpoints = {}
    for stage in range(NUM_STAGES - 1 + config['last_stage_repeats']):
        level = resnet.FIRST_LEVEL + stage
        drop_rate = nn_layers.get_stochastic_depth_rate(
            config['init_stochastic_depth_rate'], level, 4 + config['last_stage_repeats']
        )
        x = resnet.apply_blocks(
            x,
            stage,
            2 if 0 < stage <= num_strided else 1,
            drop_rate,
            block_config,
            _get_dilation_rates(stage, num_strided, config),
        )
        endpoints[str(min(level, resnet.FIRST_LEVEL + num_strided))] = x
    return endpoints


def _get_dilation_rates(stage: int, num_strided: int, config: dict[str, Any]) -> list[int]:
    """Dilation of each block of a stage: 1 down to the output stride, then 2, 4, ..."""
    last = NUM_STAGES - 1
    num_blocks = resnet.RESNET_SPECS[config['model_id']][1][min(stage, last)]
    if stage <= num_strided:
        return [1] * num_blocks
    factors = config['multigrid'] if stage >= last and config['multigrid'] else [1] * num_blocks
    return [2 ** (stage - num_strided) * factor for factor in factors]


@factory.register_backbone_builder('dilated_resnet')
def build_dilated_resnet(
    input_specs: keras.layers.InputSpec,
    backbone_config: Any,
    norm_activation_config: Any,
    l2_regularizer: Optional[keras.regularizers.Regularizer] = None,
) -> DilatedResNet:
    """Builds a dilated ResNet from a `Backbone` config whose type is 'dilated_resnet'."""
    config = builder_arguments.get_branch(backbone_config, 'dilated_resnet', 'backbone')
    return DilatedResNet(
        output_stride=config.output_stride,
        input_specs=input_specs,
        **resnet.get_shared_arguments(config, norm_activation_config, l2_regularizer),
        multigrid=config.multigrid,
        last_stage_repeats=config.last_stage_repeats,
    )
