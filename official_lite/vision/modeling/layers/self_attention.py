"""The self-attention block of MobileNet V4."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, Optional

import keras
import tensorflow as tf

from official_lite.modeling import norm
from official_lite.vision.modeling.layers import (
    layer_scale,
    multi_query_attention,
    nn_layers,
    thinned_attention,
)

Shape = nn_layers.Shape


@keras.saving.register_keras_serializable(package='official_lite')
class MultiHeadSelfAttentionBlock(keras.layers.Layer):
    """Batch normalisation, self-attention over all positions, layer scale and a shortcut
    (https://arxiv.org/abs/2404.10518, section 5).

    Inputs and output: [batch, height, width, channels].

    Args:
        input_dim: Number of channels, from which `num_heads` follows where it is None.
        num_heads: Number of heads; None means `input_dim // key_dim`.
        key_dim: Length of a query and of a key.
        value_dim: Length of a value.
        use_multi_query: Whether all heads share one key and value.
        query_h_strides: By how much queries are fewer, vertically; multi-query only, as the next
            three.
        query_w_strides: By how much queries are fewer, horizontally.
        kv_strides: By how much keys and values are fewer, in both directions.
        downsampling_dw_kernel_size: Side of the depthwise kernels that make them fewer.
        dropout: Chance that an attention weight is dropped in training.
        use_bias: Whether projections have biases; not multi-query.
        use_cpe: Whether a depthwise convolution of the input is added to it first, as a position
            encoding (https://arxiv.org/abs/2102.10882).
        cpe_dw_kernel_size: Side of its kernel.
        stochastic_depth_drop_rate: Drop rate of the branch; None or 0 for none.
        use_residual: Whether there is a shortcut.
        use_sync_bn: Whether batch normalisation uses the moments of all replicas.
        use_layer_scale: Whether the branch's channels have learned factors.
        layer_scale_init_value: What these start from.
        norm_momentum: Momentum of the moving statistics.
        norm_epsilon: Added to variances.
        output_intermediate_endpoints: Whether to return also an empty dict, for callers that treat
            all blocks alike.
    """

    def __init__(
        self,
        input_dim: int,
        num_heads: Optional[int] = 8,
        key_dim: int = 64,
        value_dim: int = 64,
        use_multi_query: bool = False,
        query_h_strides: int = 1,
        query_w_strides: int = 1,
        kv_strides: int = 1,
        downsampling_dw_kernel_size: int = 3,
        dropout: float = 0.0,
        use_bias: bool = False,
        use_cpe: bool = False,
        cpe_dw_kernel_size: int = 7,
        stochastic_depth_drop_rate: Optional[float] = None,
        use_residual: bool = True,
        use_sync_bn: bool = False,
        use_layer_scale: bool = True,
        layer_scale_init_value: float = 1e-5,
        norm_momentum: float = 0.99,
        norm_epsilon: float = 0.001,
        output_intermediate_endpoints: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        # A proxy, because Keras would wrap a plain dict.
        self._config: Mapping[str, Any] = types.MappingProxyType(
            {
                'input_dim': input_dim,
                'num_heads': num_heads,
                'key_dim': key_dim,
                'value_dim': value_dim,
                'use_multi_query': use_multi_query,
                'query_h_strides': query_h_strides,
                'query_w_strides': query_w_strides,
                'kv_strides': kv_strides,
                'downsampling_dw_kernel_size': downsampling_dw_kernel_size,
                'dropout': dropout,
                'use_bias': use_bias,
                'use_cpe': use_cpe,
                'cpe_dw_kernel_size': cpe_dw_kernel_size,
                'stochastic_depth_drop_rate': stochastic_depth_drop_rate,
                'use_residual': use_residual,
                'use_sync_bn': use_sync_bn,
                'use_layer_scale': use_layer_scale,
                'layer_scale_init_value': layer_scale_init_value,
                'norm_momentum': norm_momentum,
                'norm_epsilon': norm_epsilon,
                'output_intermediate_endpoints': output_intermediate_endpoints,
            }
        )
        self._num_heads = input_dim // key_dim if num_heads is None else num_heads
        self._is_thinned = max(query_h_strides, query_w_strides, kv_strides) > 1
        self._make_layers()

    def _make_layers(self) -> None:
        config, dtype = self._config, self.dtype_policy
        self.input_norm = norm.BatchNormalization(
            config['norm_momentum'],
            config['norm_epsilon'],
            synchronized=config['use_sync_bn'],
            dtype=dtype,
            name='input_norm',
        )
        self.cpe_dw_conv = None
        if config['use_cpe']:
            self.cpe_dw_conv = keras.layers.DepthwiseConv2D(
                config['cpe_dw_kernel_size'], padding='same', dtype=dtype, name='cpe_dw_conv'
            )
        # One of the two is a layer.
        self.multi_head_attention: Any = None
        self.multi_query_attention: Any = None
        if config['use_multi_query']:
            self.multi_query_attention = self._make_multi_query_attention()
        else:
            self.multi_head_attention = keras.layers.MultiHeadAttention(
                self._num_heads,
                config['key_dim'],
                config['value_dim'],
                dropout=config['dropout'],
                use_bias=config['use_bias'],
                dtype=dtype,
                name='multi_head_attention',
            )
        self.layer_scale = None
        if config['use_layer_scale']:
            self.layer_scale = layer_scale.MNV4LayerScale(
                config['layer_scale_init_value'], dtype=dtype, name='layer_scale'
            )
        self.stochastic_depth = None
        if config['use_residual'] and config['stochastic_depth_drop_rate']:
            self.stochastic_depth = nn_layers.StochasticDepth(
                config['stochastic_depth_drop_rate'], dtype=dtype, name='stochastic_depth'
            )

    def _make_multi_query_attention(self) -> keras.layers.Layer:
        config = self._config
        common = {
            'num_heads': self._num_heads,
            'key_dim': config['key_dim'],
            'value_dim': config['value_dim'],
            'dropout': config['dropout'],
            'dtype': self.dtype_policy,
            'name': 'multi_query_attention',
        }
        if not self._is_thinned:
            return multi_query_attention.MultiQueryAttentionLayerV2(**common)
        return thinned_attention.OptimizedMultiQueryAttentionLayerWithDownSampling(
            query_h_strides=config['query_h_strides'],
            query_w_strides=config['query_w_strides'],
            kv_strides=config['kv_strides'],
            dw_kernel_size=config['downsampling_dw_kernel_size'],
            use_sync_bn=config['use_sync_bn'],
            norm_momentum=config['norm_momentum'],
            norm_epsilon=config['norm_epsilon'],
            **common,
        )

    def build(self, input_shape: Shape) -> None:
        shape = tuple(input_shape)
        for layer in (self.input_norm, self.cpe_dw_conv, self.layer_scale):
            if layer is not None:
                layer.build(shape)
        if self.multi_head_attention is not None:
            self.multi_head_attention.build(shape, shape)
        elif self.multi_query_attention is not None:
            self.multi_query_attention.build(shape if self._is_thinned else (shape, shape))

    def compute_output_shape(self, input_shape: Shape) -> Any:
        shape = tuple(input_shape)
        return (shape, {}) if self._config['output_intermediate_endpoints'] else shape

    def _attend(self, x: tf.Tensor, training: Optional[bool]) -> tf.Tensor:
        if self.multi_query_attention is not None:
            inputs = x if self._is_thinned else (x, x)
            return self.multi_query_attention(inputs, training=training)
        return self.multi_head_attention(x, x, training=training)

    def call(self, inputs: tf.Tensor, training: Optional[bool] = None) -> Any:
        if self.cpe_dw_conv is not None:
            inputs = inputs + self.cpe_dw_conv(inputs)
        x = self._attend(self.input_norm(inputs, training=training), training)
        if self.layer_scale is not None:
            x = self.layer_scale(x)
        if self.stochastic_depth is not None:
            x = self.stochastic_depth(x, training=training)
        if self._config['use_residual']:
            x = x + inputs
        return (x, {}) if self._config['output_intermediate_endpoints'] else x

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._config}
