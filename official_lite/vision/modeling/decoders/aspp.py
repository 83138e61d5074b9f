"""Atrous spatial pyramid pooling as a decoder."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import Any, Optional, Union

import keras
import tensorflow as tf

from official_lite.modeling import initializers as initializers_lib
from official_lite.vision.modeling import builder_arguments
from official_lite.vision.modeling.decoders import factory
from official_lite.vision.modeling.layers import deeplab, nn_layers

VERSIONS = ('v1', 'v2')


@keras.saving.register_keras_serializable(package='official_lite')
class ASPP(keras.layers.Layer):
    """Atrous spatial pyramid pooling of one level (https://arxiv.org/abs/1706.05587).

    Input: a dict of feature maps by level, such as a backbone returns, or the map of `level`.
    Output: a dict from `level` to the pooled map, [batch, height_l, width_l, num_filters], or that
        map itself with `output_tensor`.

    Args:
        level: Level that is read and given.
        dilation_rates: Dilations of the 3x3 convolutions.
        num_filters: Number of channels of the output.
        pool_kernel_size: Height and width, in pixels of the image, of the windows whose means are
            taken. None or [] for the whole image.
        use_sync_bn: Whether batch normalisation uses the moments of all replicas.
        norm_momentum: Momentum of the moving statistics.
        norm_epsilon: Added to variances.
        activation: Name of the activation function.
        dropout_rate: Chance that an output is dropped in training.
        kernel_initializer: Initialiser of convolution kernels.
        kernel_regularizer: Regulariser of convolution kernels.
        interpolation: How means are resized to the size of the map, see `resizing.METHODS`.
        use_depthwise_convolution: Whether 3x3 convolutions are depthwise separable.
        spp_layer_version: 'v1' or 'v2'. Both compute the same; depthwise kernels have
            `kernel_initializer` and `kernel_regularizer` in 'v2' alone.
        output_tensor: Whether the output is a tensor and not a dict.

    Raises:
        ValueError: If the version is unknown, a window is smaller than a pixel of the map, or there
            are no features of `level`.
    """

    def __init__(
        self,
        level: int,
        dilation_rates: Sequence[int],
        num_filters: int = 256,
        pool_kernel_size: Optional[Sequence[int]] = None,
        use_sync_bn: bool = False,
        norm_momentum: float = 0.99,
        norm_epsilon: float = 0.001,
        activation: str = 'relu',
        dropout_rate: float = 0.0,
        kernel_initializer: initializers_lib.Initializer = initializers_lib.DEFAULT,
        kernel_regularizer: Optional[keras.regularizers.Regularizer] = None,
        interpolation: str = 'bilinear',
        use_depthwise_convolution: bool = False,
        spp_layer_version: str = 'v1',
        output_tensor: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{'name': 'aspp', **kwargs})
        if spp_layer_version not in VERSIONS:
            raise ValueError(
                f'Unknown version. Expected spp_layer_version to be one of {list(VERSIONS)}. '
                f'Received: {spp_layer_version!r}'
            )
        # A proxy, because Keras would wrap a plain dict.
        self._config: Mapping[str, Any] = types.MappingProxyType(
            {
                'level': level,
                'dilation_rates': list(dilation_rates),
                'num_filters': num_filters,
                'pool_kernel_size': None if pool_kernel_size is None else list(pool_kernel_size),
                'use_sync_bn': use_sync_bn,
                'norm_momentum': norm_momentum,
                'norm_epsilon': norm_epsilon,
                'activation': activation,
                'dropout_rate': dropout_rate,
                'kernel_initializer': kernel_initializer,
                'kernel_regularizer': keras.regularizers.get(kernel_regularizer),
                'interpolation': interpolation,
                'use_depthwise_convolution': use_depthwise_convolution,
                'spp_layer_version': spp_layer_version,
                'output_tensor': output_tensor,
            }
        )
        self._output_shape: Optional[nn_layers.Shape] = None
        self.aspp = self._make_pooling()

    def _make_pooling(self) -> deeplab.SpatialPyramidPooling:
        config = self._config
        windows = config['pool_kernel_size']
        return deeplab.SpatialPyramidPooling(
            output_channels=config['num_filters'],
            dilation_rates=config['dilation_rates'],
            pool_kernel_size=[side // 2 ** config['level'] for side in windows]
            if windows
            else None,
            use_sync_bn=config['use_sync_bn'],
            batchnorm_momentum=config['norm_momentum'],
            batchnorm_epsilon=config['norm_epsilon'],
            activation=config['activation'],
            dropout=config['dropout_rate'],
            kernel_initializer=config['kernel_initializer'],
            kernel_regularizer=config['kernel_regularizer'],
            interpolation=config['interpolation'],
            use_depthwise_convolution=config['use_depthwise_convolution'],
            regularize_depthwise=config['spp_layer_version'] == 'v2',
            dtype=self.dtype_policy,
            name='aspp',
        )

    def build(self, input_shape: Any) -> None:
        """Creates the variables.

        Args:
            input_shape: Shape of the level's feature map, or shapes by level.
        """
        shape = tuple(self._select(input_shape))
        self.aspp.build(shape)
        self._output_shape = self.aspp.compute_output_shape(shape)

    def _select(self, values: Any) -> Any:
        """What belongs to the level."""
        level = str(self._config['level'])
        if not isinstance(values, Mapping):
            return values
        if level not in values:
            raise ValueError(
                f'There are no features of level {level} to pool. '
                f'Expected level to be one of {sorted(values)}. Received: {level}'
            )
        return values[level]

    def compute_output_spec(self, inputs: Any, training: Optional[bool] = None) -> Any:
        shape = self.aspp.compute_output_shape(tuple(self._select(inputs).shape))
        return self._wrap(keras.KerasTensor(shape, dtype=self.compute_dtype))

    def call(
        self, inputs: Union[tf.Tensor, Mapping[str, tf.Tensor]], training: Optional[bool] = None
    ) -> Union[tf.Tensor, dict[str, tf.Tensor]]:
        return self._wrap(self.aspp(self._select(inputs), training=training))

    def _wrap(self, features: Any) -> Any:
        config = self._config
        return features if config['output_tensor'] else {str(config['level']): features}

    @property
    def output_specs(self) -> dict[str, nn_layers.Shape]:
        """Shape of the output by level; known when the layer is built."""
        if self._output_shape is None:
            return {}
        return {str(self._config['level']): self._output_shape}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **nn_layers.serialize_arguments(self._config)}


@factory.register_decoder_builder('aspp')
def build_aspp_decoder(
    input_specs: Optional[Mapping[str, Any]],
    model_config: Any,
    l2_regularizer: Optional[keras.regularizers.Regularizer] = None,
) -> ASPP:
    """Builds an ASPP from a model config whose `decoder` is of type 'aspp'.

    It has its variables if `input_specs` has its level.
    """
    config = builder_arguments.get_branch(model_config.decoder, 'aspp', 'decoder')
    norm_activation = model_config.norm_activation
    decoder = ASPP(
        level=config.level,
        dilation_rates=config.dilation_rates,
        num_filters=config.num_filters,
        pool_kernel_size=config.pool_kernel_size,
        **builder_arguments.get_norm_arguments(norm_activation),
        dropout_rate=config.dropout_rate,
        kernel_regularizer=l2_regularizer,
        use_depthwise_convolution=config.use_depthwise_convolution,
        spp_layer_version=config.spp_layer_version,
        output_tensor=config.output_tensor,
    )
    if input_specs and str(config.level) in input_specs:
        decoder.build(input_specs)
    return decoder
