"""The backbone: stages of plain convolutions, levels 1 to 5."""

from __future__ import annotations

from typing import Any

import keras

from digit_counter import configs
from official_lite.modeling import activations, norm

_LEVELS = range(1, 6)


class PlainNet(keras.Model):
    """Images to features.

    Output: a dict from the levels '1' to '5' to feature maps
        [batch, height / 2^level, width / 2^level, num_filters * 2^(level - 1)].

    Args:
        input_specs: Shape of the images, [batch, height, width, channels].
        num_filters: Channels of the first stage.
        convs_per_stage: Convolutions of a stage.
        activation: Name of the activation function.
        norm_momentum: Momentum of BatchNorm's moving statistics.
        norm_epsilon: Added to BatchNorm's variances.
        kernel_regularizer: Regulariser of kernels.
    """

    def __init__(
        self,
        input_specs: keras.layers.InputSpec,
        *,
        num_filters: int = 32,
        convs_per_stage: int = 1,
        activation: str = 'relu',
        norm_momentum: float = 0.99,
        norm_epsilon: float = 1e-3,
        kernel_regularizer: keras.regularizers.Regularizer | None = None,
    ) -> None:
        images = keras.Input(input_specs.shape[1:], name='images')
        x, endpoints = images, {}
        for level in _LEVELS:
            for i in range(convs_per_stage):
                x = keras.layers.Conv2D(
                    num_filters * 2 ** (level - 1),
                    3,
                    strides=2 if i == 0 else 1,
                    padding='same',
                    use_bias=False,
                    kernel_initializer='he_normal',
                    kernel_regularizer=kernel_regularizer,
                    name=f'conv_{level}_{i}',
                )(x)
                x = norm.BatchNormalization(norm_momentum, norm_epsilon, name=f'norm_{level}_{i}')(
                    x
                )
                x = keras.layers.Activation(
                    activations.get_activation(activation), name=f'act_{level}_{i}'
                )(x)
            endpoints[str(level)] = x
        super().__init__(inputs=images, outputs=endpoints, name='plainnet')

    @property
    def output_specs(self) -> dict[str, tuple[int | None, ...]]:
        """Shapes of the outputs by level, which decoders read."""
        return {level: tuple(x.shape) for level, x in self.output.items()}


def build_plainnet(
    input_specs: keras.layers.InputSpec,
    backbone_config: Any,
    norm_activation_config: Any,
    l2_regularizer: keras.regularizers.Regularizer | None = None,
) -> PlainNet:
    """Builds the backbone from `task.model.backbone`, a OneOf whose type is 'plainnet'."""
    config: configs.PlainNet = backbone_config.get()
    return PlainNet(
        input_specs,
        num_filters=config.num_filters,
        convs_per_stage=config.convs_per_stage,
        activation=norm_activation_config.activation,
        norm_momentum=norm_activation_config.norm_momentum,
        norm_epsilon=norm_activation_config.norm_epsilon,
        kernel_regularizer=l2_regularizer,
    )
