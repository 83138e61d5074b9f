"""Small layers that several networks share."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, Optional, Union

import keras
import tensorflow as tf

from official_lite import _lazy
from official_lite.modeling import activations
from official_lite.modeling import initializers as initializers_lib

Shape = tuple[Optional[int], ...]

ANY_RGB_IMAGES = keras.layers.InputSpec(shape=[None, None, None, 3])


def make_divisible(
    value: float,
    divisor: int,
    min_value: Optional[float] = None,
    round_down_protect: bool = True,
) -> int:
    """Rounds a number of channels to a multiple of `divisor`.

    Args:
        value: The wanted number.
        divisor: What the result is a multiple of.
        min_value: Lower bound of the result; None means `divisor`.
        round_down_protect: Whether to take the next multiple where rounding would lose more than
            10%.

    Returns:
        The multiple nearest to `value`, ties upwards. Source: MobileNet V2's reference code.
    """
    rounded = max(
        divisor if min_value is None else min_value, int(value + divisor / 2) // divisor * divisor
    )
    if round_down_protect and rounded < 0.9 * value:
        rounded += divisor
    return int(rounded)


def round_filters(
    filters: int,
    multiplier: float,
    divisor: int = 8,
    min_depth: Optional[int] = None,
    round_down_protect: bool = True,
    skip: bool = False,
) -> int:
    """Scales a number of filters by `multiplier` and rounds it with `make_divisible`."""
    if skip or not multiplier:
        return filters
    return make_divisible(filters * multiplier, divisor, min_depth, round_down_protect)


def get_stochastic_depth_rate(init_rate: Optional[float], i: int, n: int) -> Optional[float]:
    """Drop rate of block `i` of `n`: linear, up to `init_rate` (arXiv:1603.09382)."""
    if init_rate is None:
        return None
    if not 0.0 <= init_rate <= 1.0:
        raise ValueError(f'Expected a drop rate between 0 and 1. Received: init_rate={init_rate}')
    return init_rate * float(i) / n


def is_active_se_ratio(se_ratio: Optional[float]) -> bool:
    """Whether a squeeze-and-excitation ratio asks for the layer: None and 0 do not."""
    if se_ratio is None or se_ratio == 0:
        return False
    if not 0.0 < se_ratio <= 1.0:
        raise ValueError(
            'Expected a squeeze-and-excitation ratio between 0 and 1. '
            f'Received: se_ratio={se_ratio}'
        )
    return True


@keras.saving.register_keras_serializable(package='official_lite')
class SqueezeExcitation(keras.layers.Layer):
    """Scales each channel by a gate computed from the means of all channels
    (https://arxiv.org/abs/1709.01507).

    Args:
        in_filters: Number of channels that `se_ratio` refers to.
        out_filters: Number of channels of the input.
        se_ratio: Width of the hidden layer as a share of `in_filters`.
        divisible_by: What the hidden width is a multiple of.
        activation: Activation of the hidden layer.
        gating_activation: Activation of the gates.
        round_down_protect: See `make_divisible`.
    """

    def __init__(
        self,
        in_filters: int,
        out_filters: int,
        se_ratio: float,
        divisible_by: int = 1,
        kernel_initializer: initializers_lib.Initializer = initializers_lib.DEFAULT,
        kernel_regularizer: Optional[keras.regularizers.Regularizer] = None,
        bias_regularizer: Optional[keras.regularizers.Regularizer] = None,
        activation: str = 'relu',
        gating_activation: str = 'sigmoid',
        round_down_protect: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        # A proxy, because Keras would wrap a plain dict.
        self._config: Mapping[str, Any] = types.MappingProxyType(
            {
                'in_filters': in_filters,
                'out_filters': out_filters,
                'se_ratio': se_ratio,
                'divisible_by': divisible_by,
                'kernel_initializer': kernel_initializer,
                'kernel_regularizer': keras.regularizers.get(kernel_regularizer),
                'bias_regularizer': keras.regularizers.get(bias_regularizer),
                'activation': activation,
                'gating_activation': gating_activation,
                'round_down_protect': round_down_protect,
            }
        )
        hidden = make_divisible(
            max(1, int(in_filters * se_ratio)), divisible_by, round_down_protect=round_down_protect
        )
        self.se_reduce = self._conv('se_reduce', hidden)
        self.se_expand = self._conv('se_expand', out_filters)
        self._activation = activations.get_activation(activation)
        self._gating_activation = activations.get_activation(gating_activation)

    def _conv(self, name: str, filters: int) -> keras.layers.Conv2D:
        return keras.layers.Conv2D(
            filters,
            kernel_size=1,
            padding='same',
            kernel_initializer=initializers_lib.clone_initializer(
                self._config['kernel_initializer']
            ),
            kernel_regularizer=self._config['kernel_regularizer'],
            bias_regularizer=self._config['bias_regularizer'],
            dtype=self.dtype_policy,
            name=name,
        )

    def build(self, input_shape: Shape) -> None:
        self.se_reduce.build((None, 1, 1, input_shape[-1]))
        self.se_expand.build((None, 1, 1, self.se_reduce.filters))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        means = tf.reduce_mean(inputs, axis=[1, 2], keepdims=True)  # [batch, 1, 1, channels]
        hidden = self._activation(self.se_reduce(means))
        return self._gating_activation(self.se_expand(hidden)) * inputs

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **serialize_arguments(self._config)}


@keras.saving.register_keras_serializable(package='official_lite')
class StochasticDepth(keras.layers.Layer):
    """Drops whole examples of a residual branch in training, and scales the others
    (https://arxiv.org/abs/1603.09382).

    Args:
        stochastic_depth_drop_rate: Probability of dropping. None and 0 mean never.
    """

    def __init__(self, stochastic_depth_drop_rate: Optional[float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        rate = stochastic_depth_drop_rate
        if rate is not None and not 0.0 <= rate < 1.0:
            raise ValueError(f'Expected a drop rate of at least 0 and below 1. Received: {rate}')
        self.drop_rate = rate
        self.seed_generator = keras.random.SeedGenerator(name='seed_generator') if rate else None

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)

    def call(self, inputs: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        if not training or not self.drop_rate:
            return inputs
        keep_probability = 1.0 - self.drop_rate
        shape = [tf.shape(inputs)[0]] + [1] * (len(inputs.shape) - 1)
        # float32 whatever the compute dtype: bfloat16 has too few values for an exact rate.
        chance = keras.random.uniform(shape, dtype='float32', seed=self.seed_generator)
        is_kept = tf.cast(chance < keep_probability, inputs.dtype)
        return inputs / keep_probability * is_kept

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'stochastic_depth_drop_rate': self.drop_rate}


@keras.saving.register_keras_serializable(package='official_lite')
class NearestUpsampling(keras.layers.Layer):
    """Repeats each pixel `scale` times in both directions.

    Unlike `keras.layers.UpSampling2D`, whose gradient is a scatter, this is a broadcast, whose
    gradient is a sum.
    """

    def __init__(self, scale: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = scale

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, height, width, channels = input_shape
        return (
            batch,
            None if height is None else height * self.scale,
            None if width is None else width * self.scale,
            channels,
        )

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        shape = tf.shape(inputs)
        channels = inputs.shape[-1]
        tall = [shape[0], shape[1], self.scale, shape[2], self.scale, channels]
        # Not by indexing with None, which TFLite has not for so many dimensions.
        spread = tf.reshape(inputs, [shape[0], shape[1], 1, shape[2], 1, channels])
        pixels = tf.broadcast_to(spread, tall)
        outputs = tf.reshape(
            pixels, [shape[0], shape[1] * self.scale, shape[2] * self.scale, channels]
        )
        return tf.ensure_shape(outputs, self.compute_output_shape(tuple(inputs.shape)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'scale': self.scale}


def to_input_spec(
    value: Union[keras.layers.InputSpec, Mapping[str, Any]],
) -> keras.layers.InputSpec:
    """Reads an input specification back from what `serialize_arguments` made of it."""
    if isinstance(value, Mapping):
        return keras.layers.InputSpec(shape=value['shape'])
    return value


def serialize_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor arguments as plain values, initialisers and regularisers in Keras's form."""
    result = {}
    for name, value in arguments.items():
        if isinstance(value, keras.regularizers.Regularizer):
            value = keras.regularizers.serialize(value)
        elif isinstance(value, keras.initializers.Initializer):
            value = keras.initializers.serialize(value)
        elif isinstance(value, keras.layers.InputSpec):
            value = {'shape': list(value.shape)}
        result[name] = value
    return result


# Model Garden has these here too; their modules import this one.
_HERE = 'official_lite.vision.modeling.layers'
__getattr__, _ = _lazy.attach(
    __name__,
    attributes={
        'PanopticFPNFusion': f'{_HERE}.feature_fusion:PanopticFPNFusion',
        'SpatialPyramidPooling': f'{_HERE}.deeplab:SpatialPyramidPooling',
        'pyramid_feature_fusion': f'{_HERE}.feature_fusion:pyramid_feature_fusion',
    },
)
