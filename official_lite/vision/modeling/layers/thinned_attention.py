"""Multi-query attention of feature maps with fewer keys, values or queries than positions."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, Optional

import keras
import tensorflow as tf

from official_lite.modeling import norm
from official_lite.vision.modeling.layers import multi_query_attention as attention
from official_lite.vision.modeling.layers import nn_layers

Shape = nn_layers.Shape


@keras.saving.register_keras_serializable(package='official_lite')
class OptimizedMultiQueryAttentionLayerWithDownSampling(keras.layers.Layer):
    """Multi-query self-attention of a feature map, at reduced resolution where asked for
    (https://arxiv.org/abs/2404.10518, section 5).

    Inputs and output: [batch, height, width, channels] of any height and width. Keys and values
    come from a depthwise convolution with stride `kv_strides`; queries from means over windows of
    `query_h_strides` by `query_w_strides`, and the output is enlarged again, bilinearly.

    Args:
        num_heads: Number of queries per position.
        key_dim: Length of a query and of a key.
        value_dim: Length of a value.
        query_h_strides: By how much queries are fewer, vertically.
        query_w_strides: By how much queries are fewer, horizontally.
        kv_strides: By how much keys and values are fewer, in both directions.
        dropout: Chance that an attention weight is dropped in training.
        dw_kernel_size: Side of the depthwise kernels before keys and values.
        use_sync_bn: Whether batch normalisation uses the moments of all replicas.
        norm_momentum: Momentum of the moving statistics.
        norm_epsilon: Added to variances.
    """

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int,
        query_h_strides: int = 1,
        query_w_strides: int = 1,
        kv_strides: int = 1,
        dropout: float = 0.0,
        dw_kernel_size: int = 3,
        use_sync_bn: bool = False,
        norm_momentum: float = 0.99,
        norm_epsilon: float = 0.001,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        # A proxy, because Keras would wrap a plain dict.
        self._config: Mapping[str, Any] = types.MappingProxyType(
            {
                'num_heads': num_heads,
                'key_dim': key_dim,
                'value_dim': value_dim,
                'query_h_strides': query_h_strides,
                'query_w_strides': query_w_strides,
                'kv_strides': kv_strides,
                'dropout': dropout,
                'dw_kernel_size': dw_kernel_size,
                'use_sync_bn': use_sync_bn,
                'norm_momentum': norm_momentum,
                'norm_epsilon': norm_epsilon,
            }
        )
        self._query_strides = (query_h_strides, query_w_strides)
        self.dropout = attention.make_dropout(dropout, self.dtype_policy)
        self.query_downsampling: Optional[keras.layers.Layer] = None
        self.query_downsampling_norm: Optional[keras.layers.Layer] = None
        if max(self._query_strides) > 1:
            self.query_downsampling = keras.layers.AveragePooling2D(
                self._query_strides,
                padding='same',
                dtype=self.dtype_policy,
                name='query_downsampling',
            )
            self.query_downsampling_norm = self._norm('query_downsampling_norm')
        self.query_proj = self._conv('query_proj', num_heads * key_dim)
        self.key_dw_conv, self.key_dw_norm = self._depthwise('key')
        self.key_proj = self._conv('key_proj', key_dim)
        self.value_dw_conv, self.value_dw_norm = self._depthwise('value')
        self.value_proj = self._conv('value_proj', value_dim)

    def _conv(self, name: str, filters: int) -> keras.layers.Conv2D:
        return keras.layers.Conv2D(filters, 1, use_bias=False, dtype=self.dtype_policy, name=name)

    def _norm(self, name: str) -> norm.BatchNormalization:
        return norm.BatchNormalization(
            self._config['norm_momentum'],
            self._config['norm_epsilon'],
            synchronized=self._config['use_sync_bn'],
            dtype=self.dtype_policy,
            name=name,
        )

    def _depthwise(
        self, name: str
    ) -> tuple[Optional[keras.layers.Layer], Optional[keras.layers.Layer]]:
        """The convolution that thins out keys or values, and its normalisation."""
        if self._config['kv_strides'] <= 1:
            return None, None
        conv = keras.layers.DepthwiseConv2D(
            self._config['dw_kernel_size'],
            self._config['kv_strides'],
            padding='same',
            use_bias=False,
            dtype=self.dtype_policy,
            name=f'{name}_dw_conv',
        )
        return conv, self._norm(f'{name}_dw_norm')

    def build(self, input_shape: Shape) -> None:
        shape = tuple(input_shape)
        channels = shape[-1]
        if channels is None:
            raise ValueError(
                f'Attention needs a known number of channels. Received: input_shape={shape}'
            )
        self.output_proj = self._conv('output_proj', channels)
        for layer in (
            self.query_downsampling_norm,
            self.query_proj,
            self.key_dw_conv,
            self.key_dw_norm,
            self.key_proj,
            self.value_dw_conv,
            self.value_dw_norm,
            self.value_proj,
        ):
            if layer is not None:
                layer.build(shape)  # only the number of channels counts, and it stays
        heads = self._config['num_heads'] * self._config['value_dim']
        self.output_proj.build((*shape[:-1], heads))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)

    def _project_query(self, x: tf.Tensor, training: Optional[bool]) -> tf.Tensor:
        if self.query_downsampling is not None and self.query_downsampling_norm is not None:
            x = self.query_downsampling_norm(self.query_downsampling(x), training=training)
        return self.query_proj(x)

    def _project_key(self, x: tf.Tensor, training: Optional[bool]) -> tf.Tensor:
        if self.key_dw_conv is not None and self.key_dw_norm is not None:
            x = self.key_dw_norm(self.key_dw_conv(x), training=training)
        return attention.flatten_positions(self.key_proj(x))

    def _project_value(self, x: tf.Tensor, training: Optional[bool]) -> tf.Tensor:
        if self.value_dw_conv is not None and self.value_dw_norm is not None:
            x = self.value_dw_norm(self.value_dw_conv(x), training=training)
        return attention.flatten_positions(self.value_proj(x))

    def _enlarge(self, x: tf.Tensor, inputs: tf.Tensor) -> tf.Tensor:
        """Bilinear, by the strides of the queries; what is beyond the input's size is cut off."""
        shape, target = tf.shape(x), tf.shape(inputs)
        size = [shape[1] * self._query_strides[0], shape[2] * self._query_strides[1]]
        enlarged = tf.cast(tf.image.resize(x, size), x.dtype)
        return enlarged[:, : target[1], : target[2]]

    def call(self, inputs: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        heads, key_dim = self._config['num_heads'], self._config['key_dim']
        query = self._project_query(inputs, training)  # [batch, height', width', heads * key]
        batch = tf.shape(query)[0]
        height, width = (query.shape[axis] or tf.shape(query)[axis] for axis in (1, 2))
        # [batch, positions, heads, key]
        query = tf.reshape(query, [batch, height * width, heads, key_dim])
        key = self._project_key(inputs, training)
        value = self._project_value(inputs, training)
        x = attention.attend(query, key, value, self.dropout, training)
        # [batch, height', width', heads * value]
        x = tf.reshape(x, [batch, height, width, heads * self._config['value_dim']])
        if self.query_downsampling is not None:
            x = self._enlarge(x, inputs)
        return tf.ensure_shape(self.output_proj(x), inputs.shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._config}
