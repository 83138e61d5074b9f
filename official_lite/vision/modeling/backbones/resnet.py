"""ResNet and ResNet-RS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

import keras

from official_lite.modeling import activations, norm
from official_lite.modeling import initializers as initializers_lib
from official_lite.vision.modeling import builder_arguments
from official_lite.vision.modeling.backbones import factory
from official_lite.vision.modeling.layers import feature_model, nn_blocks, nn_layers

# By depth: the kind of block, and how many of them in stages 2 to 5, whose widths are 64, 128, 256
# and 512. Depths up to 152: https://arxiv.org/abs/1512.03385, table 1; 200 to 420:
# https://arxiv.org/abs/2103.07579, table 9.
RESNET_SPECS: dict[int, tuple[str, tuple[int, int, int, int]]] = {
    10: ('residual', (1, 1, 1, 1)),
    18: ('residual', (2, 2, 2, 2)),
    26: ('residual', (3, 3, 3, 3)),
    34: ('residual', (3, 4, 6, 3)),
    50: ('bottleneck', (3, 4, 6, 3)),
    101: ('bottleneck', (3, 4, 23, 3)),
    152: ('bottleneck', (3, 8, 36, 3)),
    200: ('bottleneck', (3, 24, 36, 3)),
    270: ('bottleneck', (4, 29, 53, 4)),
    350: ('bottleneck', (4, 36, 72, 4)),
    420: ('bottleneck', (4, 44, 87, 4)),
}
STAGE_FILTERS = (64, 128, 256, 512)
FIRST_LEVEL = 2

_BLOCKS: dict[str, Any] = {
    'residual': nn_blocks.ResidualBlock,
    'bottleneck': nn_blocks.BottleneckBlock,
}


@keras.saving.register_keras_serializable(package='official_lite')
class ResNet(feature_model.FeatureModel):
    """ResNet (https://arxiv.org/abs/1512.03385) and ResNet-RS (https://arxiv.org/abs/2103.07579).

    Output: a dict from the levels '2' to '5' to feature maps [batch, height / 2^level, width /
        2^level, channels], rounded up.

    Args:
        model_id: Depth, one of `RESNET_SPECS`.
        input_specs: Shape of the images, [batch, height, width, channels].
        depth_multiplier: Factor of the widths of all stages.
        stem_type: 'v0', one 7x7 convolution, or 'v1', three 3x3 ones.
        resnetd_shortcut: Whether shortcuts pool before they project
            (https://arxiv.org/abs/1812.01187).
        replace_stem_max_pool: Whether a convolution with stride 2 replaces the stem's max-pool.
        stem_pool: Whether the stem ends in a max-pool with stride 2. If not, the first stage has
            stride 2 instead: levels keep their strides, and stage 2 works on a finer map. Suits
            small images.
        se_ratio: Ratio of squeeze-and-excitation; None or 0 for none.
        init_stochastic_depth_rate: Drop rate of the last stage's blocks; those before it have less,
            in proportion.
        scale_stem: Whether `depth_multiplier` acts on the stem too.
        activation: Name of the activation function.
        use_sync_bn: Whether batch normalisation uses the moments of all replicas.
        norm_momentum: Momentum of the moving statistics.
        norm_epsilon: Added to variances.
        kernel_initializer: Initialiser of convolution kernels.
        kernel_regularizer: Regulariser of convolution kernels.
        bias_regularizer: Regulariser of biases (of squeeze-and-excitation).
        bn_trainable: Whether batch normalisation is trained; False puts it into inference mode.
        name: Name of the model.

    Raises:
        ValueError: If `model_id` or `stem_type` is unknown, or the stem is to have both kinds of
            pooling.
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
        scale_stem: bool = True,
        activation: str = 'relu',
        use_sync_bn: bool = False,
        norm_momentum: float = 0.99,
        norm_epsilon: float = 0.001,
        kernel_initializer: initializers_lib.Initializer = initializers_lib.DEFAULT,
        kernel_regularizer: Optional[keras.regularizers.Regularizer] = None,
        bias_regularizer: Optional[keras.regularizers.Regularizer] = None,
        bn_trainable: bool = True,
        stem_pool: bool = True,
        name: str = 'resnet',
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
            'scale_stem': scale_stem,
            'activation': activation,
            'use_sync_bn': use_sync_bn,
            'norm_momentum': norm_momentum,
            'norm_epsilon': norm_epsilon,
            'kernel_initializer': kernel_initializer,
            'kernel_regularizer': keras.regularizers.get(kernel_regularizer),
            'bias_regularizer': keras.regularizers.get(bias_regularizer),
            'bn_trainable': bn_trainable,
            'stem_pool': stem_pool,
        }
        _check(config)
        inputs = keras.Input(config['input_specs'].shape[1:], name='images')
        x = apply_stem(inputs, config)
        endpoints = {}
        for stage in range(len(STAGE_FILTERS)):
            x = _apply_stage(x, stage, config)
            endpoints[str(FIRST_LEVEL + stage)] = x
        super().__init__(inputs, endpoints, config, name=name)


def _check(config: dict[str, Any]) -> None:
    if config['model_id'] not in RESNET_SPECS:
        raise ValueError(
            f'Unknown ResNet. Expected model_id to be one of {sorted(RESNET_SPECS)}. '
            f'Received: {config["model_id"]}'
        )
    if config['stem_type'] not in ('v0', 'v1'):
        raise ValueError(
            f"Unknown ResNet stem. Expected stem_type 'v0' or 'v1'. "
            f'Received: {config["stem_type"]!r}'
        )
    if config['replace_stem_max_pool'] and not config['stem_pool']:
        raise ValueError(
            'replace_stem_max_pool=True puts a convolution in place of the pooling that '
            'stem_pool=False leaves out. '
            'Expected at most one of the two.'
        )


def apply_stem(
    inputs: keras.KerasTensor,
    config: dict[str, Any],
    widths_v1: tuple[int, int, int] = (32, 32, 64),
) -> keras.KerasTensor:
    """Convolutions and pooling before the first stage: stride 4, or 2 without the pooling.

    Args:
        inputs: Images.
        config: Constructor arguments of a ResNet.
        widths_v1: Filters of the three convolutions of stem 'v1'.
    """
    scale = config['depth_multiplier'] if config['scale_stem'] else 1.0
    if config['stem_type'] == 'v0':
        x = _conv_norm_activation(inputs, 'stem', int(64 * scale), 7, 2, config)
    else:
        x = inputs
        for index, width in enumerate(widths_v1):
            strides = 2 if index == 0 else 1
            x = _conv_norm_activation(x, f'stem_{index}', int(width * scale), 3, strides, config)
    if config['replace_stem_max_pool']:
        return _conv_norm_activation(
            x, 'stem_pool', int(64 * config['depth_multiplier']), 3, 2, config
        )
    if config['stem_pool']:
        return keras.layers.MaxPooling2D(3, 2, padding='same', name='stem_pool')(x)
    return x


def _conv_norm_activation(
    x: keras.KerasTensor,
    name: str,
    filters: int,
    kernel_size: int,
    strides: int,
    config: dict[str, Any],
) -> keras.KerasTensor:
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
    x = norm.BatchNormalization(
        config['norm_momentum'],
        config['norm_epsilon'],
        synchronized=config['use_sync_bn'],
        trainable=config['bn_trainable'],
        name=f'{name}_norm',
    )(x)
    return keras.layers.Activation(
        activations.get_activation(config['activation']), name=f'{name}_activation'
    )(x)


def _apply_stage(x: keras.KerasTensor, stage: int, config: dict[str, Any]) -> keras.KerasTensor:
    """A stage of blocks; the first one projects, with stride 2 unless a pooling came just before."""
    level = FIRST_LEVEL + stage
    has_stride = stage > 0 or not config['stem_pool']
    drop_rate = nn_layers.get_stochastic_depth_rate(config['init_stochastic_depth_rate'], level, 5)
    return apply_blocks(x, stage, 2 if has_stride else 1, drop_rate, config)


def apply_blocks(
    x: keras.KerasTensor,
    stage: int,
    strides: int,
    drop_rate: Optional[float],
    config: dict[str, Any],
    dilation_rates: Optional[Sequence[int]] = None,
) -> keras.KerasTensor:
    """A stage of blocks, the first of which has the stride and projects.

    Args:
        x: Features of the stage before.
        stage: Number of the stage, from 0; those beyond the fourth have its blocks.
        strides: Stride of the first block.
        drop_rate: Drop rate of each block.
        config: Constructor arguments of a ResNet.
        dilation_rates: Dilation of each block, which then must be bottlenecks.
    """
    kind, repeats = RESNET_SPECS[config['model_id']]
    spec = min(stage, len(STAGE_FILTERS) - 1)
    for index in range(repeats[spec]):
        dilation = {} if dilation_rates is None else {'dilation_rate': dilation_rates[index]}
        x = _BLOCKS[kind](
            filters=int(STAGE_FILTERS[spec] * config['depth_multiplier']),
            strides=strides if index == 0 else 1,
            use_projection=index == 0,
            se_ratio=config['se_ratio'],
            resnetd_shortcut=config['resnetd_shortcut'],
            stochastic_depth_drop_rate=drop_rate,
            activation=config['activation'],
            kernel_initializer=config['kernel_initializer'],
            kernel_regularizer=config['kernel_regularizer'],
            bias_regularizer=config['bias_regularizer'],
            use_sync_bn=config['use_sync_bn'],
            norm_momentum=config['norm_momentum'],
            norm_epsilon=config['norm_epsilon'],
            bn_trainable=config['bn_trainable'],
            name=f'stage_{FIRST_LEVEL + stage}_block_{index}',
            **dilation,
        )(x)
    return x


def get_shared_arguments(
    config: Any,
    norm_activation_config: Any,
    l2_regularizer: Optional[keras.regularizers.Regularizer],
) -> dict[str, Any]:
    """Arguments of every kind of ResNet, from its branch of the config."""
    return {
        'model_id': config.model_id,
        'stem_type': config.stem_type,
        'resnetd_shortcut': config.resnetd_shortcut,
        'replace_stem_max_pool': config.replace_stem_max_pool,
        'se_ratio': config.se_ratio,
        'init_stochastic_depth_rate': config.stochastic_depth_drop_rate,
        'kernel_regularizer': l2_regularizer,
        **builder_arguments.get_norm_arguments(norm_activation_config),
    }


@factory.register_backbone_builder('resnet')
def build_resnet(
    input_specs: keras.layers.InputSpec,
    backbone_config: Any,
    norm_activation_config: Any,
    l2_regularizer: Optional[keras.regularizers.Regularizer] = None,
) -> ResNet:
    """Builds a ResNet from a `Backbone` config whose type is 'resnet'."""
    config = builder_arguments.get_branch(backbone_config, 'resnet', 'backbone')
    return ResNet(
        input_specs=input_specs,
        **get_shared_arguments(config, norm_activation_config, l2_regularizer),
        depth_multiplier=config.depth_multiplier,
        scale_stem=config.scale_stem,
        bn_trainable=config.bn_trainable,
        stem_pool=config.stem_pool,
    )
