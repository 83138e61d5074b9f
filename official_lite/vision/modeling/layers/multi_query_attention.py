"""Multi-query attention: many queries per position, one key and one value
(https://arxiv.org/abs/1911.02150)."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Optional

import keras
import tensorflow as tf

from official_lite.vision.modeling.layers import nn_layers

Shape = nn_layers.Shape


def make_dropout(rate: float, dtype: Any) -> Optional[keras.layers.Dropout]:
    """A layer, or None for rate 0."""
    return keras.layers.Dropout(rate, dtype=dtype, name='dropout') if rate else None


def attend(
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


def flatten_positions(x: tf.Tensor) -> tf.Tensor:
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
        self.dropout = make_dropout(dropout, self.dtype_policy)

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
        x, m = (flatten_positions(each) for each in inputs)
        query = tf.einsum(f'bnd,{self._query_axes}->bnhk', x, self.query)
        key = tf.einsum('bmd,dk->bmk', m, self.key)
        value = tf.einsum('bmd,dv->bmv', m, self.value)
        heads = attend(query, key, value, self.dropout, training)
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
