"""Multi-query attention: many queries per position, one key and one value
(https://arxiv.org/abs/1911.02150)."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from typing import Any, ClassVar, Optional

import keras
import tensorflow as tf

from official_lite.modeling import norm
from official_lite.vision.modeling.layers import nn_layers

Shape = nn_layers.Shape


def _make_dropout(rate: float, dtype: Any) -> Optional[keras.layers.Dropout]:
    return keras.layers.Dropout(rate, dtype=dtype, name='dropout') if rate else None


def _attend(
    query: tf.Tensor,
    key: tf.Tensor,
    value: tf.Tensor,
    dropout: Optional[keras.layers.Dropout],
    training: Optional[bool],
) -> tf.Tensor:
    """Scaled dot-product attention of all heads to one key and value.

    Args:
        query: [batch, positions, heads, key_dim].
        key: [batch, others, key_dim].
        value: [batch, others, value_dim].
        dropout: Dropout of the weights, or None.
        training: Whether dropout acts.

    Returns:
        [batch, positions, heads, value_dim], of the dtype of `value`.
    """
    query = query * (1.0 / math.sqrt(key.shape[-1]))
    logits = tf.einsum('bnhk,bmk->bnhm', query, key)
    # In float32 whatever the compute dtype: sums over many positions lose digits in bfloat16.
    weights = tf.cast(tf.nn.softmax(tf.cast(logits, tf.float32)), value.dtype)
    if dropout is not None:
        weights = dropout(weights, training=training)
    return tf.einsum('bnhm,bmv->bnhv', weights, value)


def _flatten_positions(x: tf.Tensor) -> tf.Tensor:
    """[batch, ..., channels] to [batch, positions, channels]."""
    sides = x.shape[1:-1]
    positions = math.prod(sides) if None not in sides else tf.reduce_prod(tf.shape(x)[1:-1])
    return tf.reshape(x, [tf.shape(x)[0], positions, x.shape[-1]])


class _MultiQueryAttention(keras.layers.Layer):
    """Attention of `x` to `m`; subclasses say how the weights lie in memory.

    Inputs: a pair of `x`, [batch, ..., channels], and `m`, [batch, ..., channels], of the same
    number of channels. Output: the shape of `x`.

    Args:
        num_heads: Number of queries per position.
        key_dim: Length of a query and of a key.
        value_dim: Length of a value.
        dropout: Chance that an attention weight is dropped in training.
    """

    # Axes of the two weights with a head axis: h heads, d channels, k key, v value.
    _query_axes: ClassVar[str]
    _output_axes: ClassVar[str]

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._num_heads = num_heads
        self._key_dim = key_dim
        self._value_dim = value_dim
        self._dropout_rate = dropout
        self.dropout = _make_dropout(dropout, self.dtype_policy)

    def build(self, input_shape: tuple[Shape, Shape]) -> None:
        x_shape, m_shape = input_shape
        channels = x_shape[-1]
        if channels is None or channels != m_shape[-1]:
            raise ValueError(
                'Multi-query attention needs two inputs with one number of channels. '
                f'Received: shapes {tuple(x_shape)} and {tuple(m_shape)}'
            )
        sizes = {'h': self._num_heads, 'd': channels, 'k': self._key_dim, 'v': self._value_dim}
        for name, axes in (
            ('query', self._query_axes),
            ('key', 'dk'),
            ('value', 'dv'),
            ('output_projection', self._output_axes),
        ):
            variable = self.add_weight(name=name, shape=tuple(sizes[axis] for axis in axes))
            setattr(self, name, variable)

    def compute_output_shape(self, input_shape: tuple[Shape, Shape]) -> Shape:
        return tuple(input_shape[0])

    def call(
        self, inputs: tuple[tf.Tensor, tf.Tensor], training: Optional[bool] = None
    ) -> tf.Tensor:
        x, m = (_flatten_positions(each) for each in inputs)
        query = tf.einsum(f'bnd,{self._query_axes}->bnhk', x, self.query)
        key = tf.einsum('bmd,dk->bmk', m, self.key)
        value = tf.einsum('bmd,dv->bmv', m, self.value)
        heads = _attend(query, key, value, self.dropout, training)
        outputs = tf.einsum(f'bnhv,{self._output_axes}->bnd', heads, self.output_projection)
        return tf.ensure_shape(tf.reshape(outputs, tf.shape(inputs[0])), inputs[0].shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            'num_heads': self._num_heads,
            'key_dim': self._key_dim,
            'value_dim': self._value_dim,
            'dropout': self._dropout_rate,
        }


@keras.saving.register_keras_serializable(package='official_lite')
class MultiQueryAttentionLayerV1(_MultiQueryAttention):
    """Multi-query attention with weights as the paper writes them: [heads, channels, length].

    See `MultiQueryAttentionLayerV2`, of which only the weights' axes differ.
    """

    _query_axes = 'hdk'
    _output_axes = 'hdv'

    def call(
        self,
        inputs: tuple[tf.Tensor, tf.Tensor],
        training: Optional[bool] = None,
        optimize_einsum: bool = False,
    ) -> tf.Tensor:
        """Attends; `optimize_einsum` is there for callers of Model Garden's layer, whose result it
        does not change either: the products are always taken in the cheap order."""
        del optimize_einsum
        return super().call(inputs, training=training)


@keras.saving.register_keras_serializable(package='official_lite')
class MultiQueryAttentionLayerV2(_MultiQueryAttention):
    """Multi-query attention with weights in the order in which products need no transposition.

    Inputs: a pair of `x`, [batch, ..., channels], and `m`, [batch, ..., channels]. Output: the
    shape of `x`.

        q = x query;  k = m key;  v = m value
        output = softmax(q k^T / sqrt(key_dim)) v output_projection, summed over heads

    Args:
        num_heads: Number of queries per position.
        key_dim: Length of a query and of a key.
        value_dim: Length of a value.
        dropout: Chance that an attention weight is dropped in training.
    """

    _query_axes = 'hkd'
    _output_axes = 'dhv'


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
        self.dropout = _make_dropout(dropout, self.dtype_policy)
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
        return _flatten_positions(self.key_proj(x))

    def _project_value(self, x: tf.Tensor, training: Optional[bool]) -> tf.Tensor:
        if self.value_dw_conv is not None and self.value_dw_norm is not None:
            x = self.value_dw_norm(self.value_dw_conv(x), training=training)
        return _flatten_positions(self.value_proj(x))

    def _enlarge(self, x: tf.Tensor, inputs: tf.Tensor) -> tf.Tensor:
        """Bilinear, by the strides of the queries; what is beyond the input's size is cut off."""
        shape, target = tf.shape(x), tf.shape(inputs)
        size = [shape[1] * self._query_strides[0], shape[2] * self._query_strides[1]]
        enlarged = tf.cast(tf.image.resize(x, size), x.dtype)
        return enlarged[:, : target[1], : target[2]]

    def call(self, inputs: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        heads, key_dim = self._config['num_heads'], self._config['key_dim']
        query = self._project_query(inputs, training)  # [batch, height', width', heads * key]
        shape = tf.shape(query)
        # [batch, positions, heads, key]
        query = tf.reshape(query, [shape[0], shape[1] * shape[2], heads, key_dim])
        key = self._project_key(inputs, training)
        value = self._project_value(inputs, training)
        x = _attend(query, key, value, self.dropout, training)
        # [batch, height', width', heads * value]
        x = tf.reshape(x, [shape[0], shape[1], shape[2], heads * self._config['value_dim']])
        if self.query_downsampling is not None:
            x = self._enlarge(x, inputs)
        return tf.ensure_shape(self.output_proj(x), inputs.shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._config}
