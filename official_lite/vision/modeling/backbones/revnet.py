"""Reversible residual networks."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, Optional

import keras

from official_lite.modeling import initializers as initializers_lib
from official_lite.vision.modeling import builder_arguments
from official_lite.vision.modeling.backbones import factory, scale_permuted
from official_lite.vision.modeling.layers import feature_model, nn_layers
from official_lite.vision.modeling.layers.residual_inner import (
    BottleneckResidualInner,
    InnerBlock,
    ResidualInner,
)
from official_lite.vision.modeling.layers.reversible import ReversibleGroup, ReversibleLayer

__all__ = ['REVNET_SPECS', 'RevNet', 'build_revnet']

FIRST_LEVEL = 2


class GroupSpec(NamedTuple):
    """Blocks of one level.

    Attributes:
        kind: Kind of the inner functions.
        filters: Filters of the inner functions' first convolutions, those of both halves.
        repeats: Number of blocks.
    """

    kind: Literal['residual', 'bottleneck']
    filters: int
    repeats: int


# https://arxiv.org/abs/1707.04585, table 2: 38 is for CIFAR, 56 and 104 are for ImageNet.
REVNET_SPECS: dict[int, tuple[GroupSpec, ...]] = {
    38: (
        GroupSpec('residual', 32, 3),
        GroupSpec('residual', 64, 3),
        GroupSpec('residual', 112, 3),
    ),
    56: (
        GroupSpec('bottleneck', 128, 2),
        GroupSpec('bottleneck', 256, 2),
        GroupSpec('bottleneck', 512, 3),
        GroupSpec('bottleneck', 832, 2),
    ),
    104: (
        GroupSpec('bottleneck', 128, 2),
        GroupSpec('bottleneck', 256, 2),
        GroupSpec('bottleneck', 512, 11),
        GroupSpec('bottleneck', 832, 2),
    ),
}

_INNER_BLOCKS: dict[str, type[InnerBlock]] = {
    'residual': ResidualInner,
    'bottleneck': BottleneckResidualInner,
}


@keras.saving.register_keras_serializable(package='official_lite')
class RevNet(feature_model.FeatureModel):
    """A reversible residual network (https://arxiv.org/abs/1707.04585).

    In training, a `tf.function` keeps the features of each level, whatever the number of blocks, and
    computes what is between them once more (see `reversible_gradient`).

    Output: a dict from the levels '2' to '5' ('4' for RevNet-38) to feature maps [batch, height /
    2^level, width / 2^level, channels], rounded up.

    Args:
        model_id: Number of layers, one of `REVNET_SPECS`.
        input_specs: Shape of the images, [batch, height, width, channels].
        activation: Name of the activation function.
        use_sync_bn: Whether batch normalisation uses the moments of all replicas.
        norm_momentum: Momentum of the moving statistics.
        norm_epsilon: Added to variances.
        kernel_initializer: Initialiser of convolution kernels.
        kernel_regularizer: Regulariser of convolution kernels.
        name: Name of the model.

    Raises:
        ValueError: If `model_id` is unknown.
    """

    def __init__(
        self,
        model_id: int,
        input_specs: keras.layers.InputSpec = nn_layers.ANY_RGB_IMAGES,
        activation: str = 'relu',
        use_sync_bn: bool = False,
        norm_momentum: float = 0.99,
        norm_epsilon: float = 0.001,
        kernel_initializer: initializers_lib.Initializer = initializers_lib.DEFAULT,
        kernel_regularizer: Optional[keras.regularizers.Regularizer] = None,
        name: str = 'revnet',
    ) -> None:
        config = {
            'model_id': model_id,
            'input_specs': nn_layers.to_input_spec(input_specs),
            'activation': activation,
            'use_sync_bn': use_sync_bn,
            'norm_momentum': norm_momentum,
            'norm_epsilon': norm_epsilon,
            'kernel_initializer': kernel_initializer,
            'kernel_regularizer': keras.regularizers.get(kernel_regularizer),
        }
        if model_id not in REVNET_SPECS:
            raise ValueError(
                f'Unknown RevNet. Expected model_id to be one of {list(REVNET_SPECS)}. '
                f'Received: {model_id!r}'
            )
        inputs = keras.Input(config['input_specs'].shape[1:], name='images')
        endpoints = _apply_network(inputs, config)
        super().__init__(inputs, endpoints, config, name=name)


def _apply_network(
    inputs: keras.KerasTensor, config: dict[str, Any]
) -> dict[str, keras.KerasTensor]:
    specs = REVNET_SPECS[config['model_id']]
    x = scale_permuted.conv_norm(inputs, 'stem', specs[0].filters, 7, 2, config)
    x = keras.layers.MaxPooling2D(3, 2, padding='same', name='stem_pool')(x)
    endpoints = {}
    for index, spec in enumerate(specs):
        level = FIRST_LEVEL + index
        blocks = [
            # The stem has normalised and activated what the first group starts from.
            _make_block(spec, repeat, index > 0 and repeat == 0, config)
            for repeat in range(spec.repeats)
        ]
        x = ReversibleGroup(blocks, name=f'revblock_group_{level}')(x)
        endpoints[str(level)] = x
    return endpoints


def _make_block(
    spec: GroupSpec, repeat: int, shrinks: bool, config: dict[str, Any]
) -> ReversibleLayer:
    """A block; one that shrinks has a stride of 2, and normalisation and activation first."""
    inner_block = _INNER_BLOCKS[spec.kind]
    names = (
        'activation',
        'use_sync_bn',
        'norm_momentum',
        'norm_epsilon',
        'kernel_initializer',
        'kernel_regularizer',
    )
    options = {'batch_norm_first': shrinks, **{name: config[name] for name in names}}
    return ReversibleLayer(
        inner_block(spec.filters // 2, 2 if shrinks else 1, **options, name='f'),
        inner_block(spec.filters // 2, 1, **options, name='g'),
        name=f'block_{repeat}',
    )


@factory.register_backbone_builder('revnet')
def build_revnet(
    input_specs: keras.layers.InputSpec,
    backbone_config: Any,
    norm_activation_config: Any,
    l2_regularizer: Optional[keras.regularizers.Regularizer] = None,
) -> RevNet:
    """Builds a RevNet from a `Backbone` config whose type is 'revnet'."""
    config = builder_arguments.get_branch(backbone_config, 'revnet', 'backbone')
    return RevNet(
        model_id=config.model_id,
        input_specs=input_specs,
        **builder_arguments.get_norm_arguments(norm_activation_config),
        kernel_regularizer=l2_regularizer,
    )
