"""Feature maps of several levels made into one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

import keras
import tensorflow as tf

from official_lite.modeling import activations
from official_lite.vision.modeling.layers import feature_model, nn_layers, resizing

# https://arxiv.org/abs/1803.08494, section 4.
NUM_GROUPS = 32


def pyramid_feature_fusion(inputs: Mapping[str, tf.Tensor], target_level: int) -> tf.Tensor:
    """Resizes all levels to one and adds them.

    Args:
        inputs: Feature maps by level, [batch, height_l, width_l, channels]; each has twice the size
            of the next coarser one.
        target_level: Level whose size the result has; it need not be one of `inputs`.

    Returns:
        [batch, height_t, width_t, channels].
    """
    features = {int(level): x for level, x in inputs.items()}
    size = _get_size_at(features, target_level)
    return tf.add_n(
        [
            x if level == target_level else resizing.resize(x, size)
            for level, x in sorted(features.items())
        ]
    )


def _get_size_at(features: Mapping[int, tf.Tensor], level: int) -> list[Any]:
    """Height and width at a level, from the nearest level that there is."""
    nearest = min(features, key=lambda other: abs(other - level))
    size = resizing.get_size(features[nearest])
    if nearest >= level:
        return [side * 2 ** (nearest - level) for side in size]
    return [side // 2 ** (level - nearest) for side in size]


@keras.saving.register_keras_serializable(package='official_lite')
class PanopticFPNFusion(feature_model.LevelReader):
    """Sum of levels, each enlarged step by step (https://arxiv.org/abs/1901.02446, section 3.1).

    Each level goes through as many steps as it is coarser than the target: a 3x3 convolution, group
    normalisation, activation, and pixels twice repeated. The target level itself has one step
    without the last part.

    Input: a dict of feature maps by level; levels that are not used are ignored.
    Output: features [batch, height_t, width_t, num_filters].

    Args:
        min_level: Finest level.
        max_level: Coarsest level.
        target_level: Level whose size the output has, at most `min_level`.
        num_filters: Number of channels of the output, a multiple of 32, the number of groups.
        num_fpn_filters: Number of channels of the input.
        activation: Name of the activation function.
        kernel_regularizer: Regulariser of convolution kernels.
        bias_regularizer: Regulariser of convolution biases.
        name: Name of the model.

    Raises:
        ValueError: If the levels or the number of filters do not fit.
    """

    def __init__(
        self,
        min_level: int = 2,
        max_level: int = 5,
        target_level: int = 2,
        num_filters: int = 128,
        num_fpn_filters: int = 256,
        activation: str = 'relu',
        kernel_regularizer: Optional[keras.regularizers.Regularizer] = None,
        bias_regularizer: Optional[keras.regularizers.Regularizer] = None,
        name: str = 'panoptic_fpn_fusion',
    ) -> None:
        config = {
            'min_level': int(min_level),
            'max_level': int(max_level),
            'target_level': int(target_level),
            'num_filters': num_filters,
            'num_fpn_filters': num_fpn_filters,
            'activation': activation,
            'kernel_regularizer': keras.regularizers.get(kernel_regularizer),
            'bias_regularizer': keras.regularizers.get(bias_regularizer),
        }
        _check(config)
        numbers = range(config['min_level'], config['max_level'] + 1)
        inputs = {
            str(level): keras.Input([None, None, num_fpn_filters], name=str(level))
            for level in numbers
        }
        enlarged = [_enlarge(inputs[str(level)], level, config) for level in numbers]
        outputs = keras.layers.Add(name='sum')(enlarged) if len(enlarged) > 1 else enlarged[0]
        levels = {str(config['target_level']): outputs}
        super().__init__(inputs, outputs, config, name=name, levels=levels)


def _check(config: dict[str, Any]) -> None:
    target, first, last = (config[f'{name}_level'] for name in ('target', 'min', 'max'))
    if not target <= first <= last:
        raise ValueError(
            'Panoptic FPN fusion enlarges levels to one that is not coarser. Expected '
            f'target_level <= min_level <= max_level. Received: target_level={target}, '
            f'min_level={first}, max_level={last}'
        )
    if config['num_filters'] % NUM_GROUPS:
        raise ValueError(
            f'Panoptic FPN fusion normalises {NUM_GROUPS} groups of channels. Expected num_filters '
            f'to be a multiple of {NUM_GROUPS}. Received: {config["num_filters"]}'
        )


def _enlarge(x: keras.KerasTensor, level: int, config: dict[str, Any]) -> keras.KerasTensor:
    """Features of a level in the size of the target level."""
    activation = activations.get_activation(config['activation'])
    for step in range(max(1, level - config['target_level'])):
        name = f'{level}_{step}'
        x = keras.layers.Conv2D(
            config['num_filters'],
            3,
            padding='same',
            kernel_initializer=keras.initializers.VarianceScaling(),
            kernel_regularizer=config['kernel_regularizer'],
            bias_regularizer=config['bias_regularizer'],
            name=f'conv_{name}',
        )(x)
        x = keras.layers.GroupNormalization(NUM_GROUPS, name=f'norm_{name}')(x)
        x = keras.layers.Activation(activation, name=f'activation_{name}')(x)
        if level != config['target_level']:
            x = nn_layers.NearestUpsampling(2, name=f'upsample_{name}')(x)
    return x
