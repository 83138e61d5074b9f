"""EfficientNets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

import keras

from official_lite.modeling import initializers as initializers_lib
from official_lite.vision.modeling import builder_arguments
from official_lite.vision.modeling.backbones import factory, scale_permuted
from official_lite.vision.modeling.layers import feature_model, nn_layers
from official_lite.vision.modeling.layers.nn_blocks import InvertedBottleneckBlock

__all__ = ['EFFICIENTNET_SCALINGS', 'EfficientNet', 'build_efficientnet']

FIRST_LEVEL = 2
STEM_FILTERS = 32
LAST_FILTERS = 1280


class GroupSpec(NamedTuple):
    """Blocks in a row, of which the first has the stride.

    Attributes:
        repeats: Number of blocks.
        kernel_size: Side of the depthwise kernels.
        strides: Stride of the first block.
        expand_ratio: Factor by which blocks widen their input inside.
        filters: Channels of the output.
        is_output: Whether the last block's features are the output of a level.
    """

    repeats: int
    kernel_size: int
    strides: int
    expand_ratio: int
    filters: int
    is_output: bool


class Scaling(NamedTuple):
    """What makes one EfficientNet larger than another: factors of widths and of repeats."""

    width: float
    depth: float


# Found by architecture search: https://arxiv.org/abs/1905.11946, table 1.
EFFICIENTNET_GROUPS = (
    GroupSpec(1, 3, 1, 1, 16, False),
    GroupSpec(2, 3, 2, 6, 24, True),
    GroupSpec(2, 5, 2, 6, 40, True),
    GroupSpec(3, 3, 2, 6, 80, False),
    GroupSpec(3, 5, 1, 6, 112, True),
    GroupSpec(4, 5, 2, 6, 192, False),
    GroupSpec(1, 3, 1, 6, 320, True),
)

# The authors' release: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet.
EFFICIENTNET_SCALINGS: dict[str, Scaling] = {
    'b0': Scaling(1.0, 1.0),
    'b1': Scaling(1.0, 1.1),
    'b2': Scaling(1.1, 1.2),
    'b3': Scaling(1.2, 1.4),
    'b4': Scaling(1.4, 1.8),
    'b5': Scaling(1.6, 2.2),
    'b6': Scaling(1.8, 2.6),
    'b7': Scaling(2.0, 3.1),
}


@keras.saving.register_keras_serializable(package='official_lite')
class EfficientNet(feature_model.FeatureModel):
    """EfficientNet (https://arxiv.org/abs/1905.11946).

    Output: a dict from the levels '2' to '5' to feature maps [batch, height / 2^level, width /
    2^level, channels], rounded up; and under '6' the last layer's features, of level 5's size, which
    are meant for classification and not part of `output_specs`.

    Args:
        model_id: Which size, one of `EFFICIENTNET_SCALINGS`.
        input_specs: Shape of the images, [batch, height, width, channels].
        se_ratio: Ratio of squeeze-and-excitation to a block's input; 0 for none. The paper's is
            0.25.
        stochastic_depth_drop_rate: Drop rate of every residual branch.
        kernel_initializer: Initialiser of convolution kernels.
        kernel_regularizer: Regulariser of convolution kernels, not of depthwise ones.
        bias_regularizer: Regulariser of biases (of squeeze-and-excitation).
        activation: Name of the activation function. The paper's is swish.
        se_inner_activation: Name of the activation function inside squeeze-and-excitation.
        use_sync_bn: Whether batch normalisation uses the moments of all replicas.
        norm_momentum: Momentum of the moving statistics.
        norm_epsilon: Added to variances.
        name: Name of the model.

    Raises:
        ValueError: If the size is unknown or a ratio is out of range.
    """

    def __init__(
        self,
        model_id: str,
        input_specs: keras.layers.InputSpec = nn_layers.ANY_RGB_IMAGES,
        se_ratio: float = 0.0,
        stochastic_depth_drop_rate: float = 0.0,
        kernel_initializer: initializers_lib.Initializer = initializers_lib.DEFAULT,
        kernel_regularizer: Optional[keras.regularizers.Regularizer] = None,
        bias_regularizer: Optional[keras.regularizers.Regularizer] = None,
        activation: str = 'relu',
        se_inner_activation: str = 'relu',
        use_sync_bn: bool = False,
        norm_momentum: float = 0.99,
        norm_epsilon: float = 0.001,
        name: str = 'efficientnet',
    ) -> None:
        config = {
            'model_id': model_id,
            'input_specs': nn_layers.to_input_spec(input_specs),
            'se_ratio': se_ratio,
            'stochastic_depth_drop_rate': stochastic_depth_drop_rate,
            'kernel_initializer': kernel_initializer,
            'kernel_regularizer': keras.regularizers.get(kernel_regularizer),
            'bias_regularizer': keras.regularizers.get(bias_regularizer),
            'activation': activation,
            'se_inner_activation': se_inner_activation,
            'use_sync_bn': use_sync_bn,
            'norm_momentum': norm_momentum,
            'norm_epsilon': norm_epsilon,
        }
        if model_id not in EFFICIENTNET_SCALINGS:
            raise ValueError(
                f'Unknown EfficientNet. Expected model_id to be one of '
                f'{list(EFFICIENTNET_SCALINGS)}. Received: {model_id!r}'
            )
        inputs = keras.Input(config['input_specs'].shape[1:], name='images')
        endpoints, last = _apply_network(inputs, config)
        outputs = {**endpoints, str(FIRST_LEVEL + len(endpoints)): last}
        super().__init__(inputs, outputs, config, name=name, levels=endpoints)


def _apply_network(
    inputs: keras.KerasTensor, config: dict[str, Any]
) -> tuple[dict[str, keras.KerasTensor], keras.KerasTensor]:
    """Stem, groups of blocks and last convolution: features by level, and the last ones."""
    scaling = EFFICIENTNET_SCALINGS[config['model_id']]
    stem_filters = nn_layers.round_filters(STEM_FILTERS, scaling.width)
    x = scale_permuted.conv_norm(inputs, 'stem', stem_filters, 3, 2, config)
    endpoints: dict[str, keras.KerasTensor] = {}
    for index, group in enumerate(EFFICIENTNET_GROUPS):
        for repeat in range(math.ceil(scaling.depth * group.repeats)):
            name = f'group_{index}_block_{repeat}'
            x = _make_block(x.shape[-1], group, scaling, repeat, name, config)(x)
        if group.is_output:
            endpoints[str(FIRST_LEVEL + len(endpoints))] = x
    last_filters = nn_layers.round_filters(LAST_FILTERS, scaling.width)
    return endpoints, scale_permuted.conv_norm(x, 'last', last_filters, 1, 1, config)


def _make_block(
    in_filters: int,
    group: GroupSpec,
    scaling: Scaling,
    repeat: int,
    name: str,
    config: Mapping[str, Any],
) -> InvertedBottleneckBlock:
    names = (
        'se_ratio',
        'stochastic_depth_drop_rate',
        'kernel_initializer',
        'kernel_regularizer',
        'bias_regularizer',
        'activation',
        'se_inner_activation',
        'use_sync_bn',
        'norm_momentum',
        'norm_epsilon',
    )
    return InvertedBottleneckBlock(
        in_filters=in_filters,
        out_filters=nn_layers.round_filters(group.filters, scaling.width),
        expand_ratio=group.expand_ratio,
        strides=group.strides if repeat == 0 else 1,
        kernel_size=group.kernel_size,
        name=name,
        **{key: config[key] for key in names},
    )


@factory.register_backbone_builder('efficientnet')
def build_efficientnet(
    input_specs: keras.layers.InputSpec,
    backbone_config: Any,
    norm_activation_config: Any,
    l2_regularizer: Optional[keras.regularizers.Regularizer] = None,
    se_inner_activation: Optional[str] = None,
) -> EfficientNet:
    """Builds an EfficientNet from a `Backbone` config whose type is 'efficientnet'.

    `se_inner_activation` stands for the config's, if it is given.
    """
    config = builder_arguments.get_branch(backbone_config, 'efficientnet', 'backbone')
    return EfficientNet(
        model_id=config.model_id,
        input_specs=input_specs,
        se_ratio=config.se_ratio,
        stochastic_depth_drop_rate=config.stochastic_depth_drop_rate,
        activation=norm_activation_config.activation,
        se_inner_activation=se_inner_activation or config.se_inner_activation,
        use_sync_bn=norm_activation_config.use_sync_bn,
        norm_momentum=norm_activation_config.norm_momentum,
        norm_epsilon=norm_activation_config.norm_epsilon,
        kernel_regularizer=l2_regularizer,
    )
