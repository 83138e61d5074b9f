"""A transformer's encoder block: self-attention and a feedforward network, each with a shortcut."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional, Union

import keras
import tensorflow as tf

from official_lite.modeling import activations
from official_lite.modeling import initializers as initializers_lib
from official_lite.vision.modeling.layers import layer_scale, nn_layers

Shape = nn_layers.Shape


class _Inputs(NamedTuple):
    """What a call is given: queries, what they attend to (None for themselves), and a mask."""

    query: tf.Tensor
    key_value: Optional[tf.Tensor]
    mask: Optional[tf.Tensor]


@keras.saving.register_keras_serializable(package='official_lite')
class TransformerEncoderBlock(keras.layers.Layer):
    """Attention and a feedforward network with shortcuts (https://arxiv.org/abs/1706.03762).

        with norm_first:  y = x + drop(scale(attention(norm(x))))
                          z = y + drop(scale(mlp(norm(y))))
        without:          y = norm(x + drop(scale(attention(x))))
                          z = norm(y + drop(scale(mlp(y))))

    `drop` is stochastic depth, `scale` layer scale (https://arxiv.org/abs/2103.17239).

    Inputs: a sequence [batch, tokens, channels]; or a pair of it and a mask [batch, tokens, others]
    whose zeros are not attended to; or a triple of it, what it attends to [batch, others, channels]
    and a mask or None. Output: [batch, tokens, channels], and with `return_attention_scores` also
    the attention weights, [batch, heads, tokens, others].

    Unlike Model Garden's, a block that normalises last drops its branches and not its shortcuts.

    Args:
        num_attention_heads: Number of heads.
        inner_dim: Width of the feedforward network.
        inner_activation: Activation inside the feedforward network, a name or a function.
        output_range: How many tokens, from the first, come out. None for all.
        kernel_initializer: Initialiser of kernels.
        bias_initializer: Initialiser of biases.
        kernel_regularizer: Regulariser of the kernels of attention and feedforward network.
        bias_regularizer: Regulariser of the biases.
        use_bias: Whether attention has biases.
        norm_first: Whether branches are normalised before they are computed.
        norm_epsilon: Added to variances.
        output_dropout: Drop rate of what the feedforward network returns.
        attention_dropout: Drop rate of attention weights, and of what attention returns.
        inner_dropout: Drop rate inside the feedforward network.
        attention_initializer: Initialiser of attention's kernels. None for `kernel_initializer`.
        attention_axes: Axes over which attention goes. None for all but batch and channels.
        use_query_residual: Whether attention has a shortcut.
        key_dim: Length of a key. None for the channels divided by the heads.
        value_dim: Length of a value. None for `key_dim`.
        output_last_dim: Channels of the output. None for those of the input.
        return_attention_scores: Whether attention weights come out too.
        stochastic_depth_drop_rate: Chance that a branch is dropped in training.
        layer_scale_init_value: What layer scale starts from. 0 for no layer scale.
    """

    def __init__(
        self,
        num_attention_heads: int,
        inner_dim: int,
        inner_activation: Union[str, activations.Activation],
        output_range: Optional[int] = None,
        kernel_initializer: initializers_lib.Initializer = 'glorot_uniform',
        bias_initializer: initializers_lib.Initializer = 'zeros',
        kernel_regularizer: Optional[keras.regularizers.Regularizer] = None,
        bias_regularizer: Optional[keras.regularizers.Regularizer] = None,
        use_bias: bool = True,
        norm_first: bool = False,
        norm_epsilon: float = 1e-12,
        output_dropout: float = 0.0,
        attention_dropout: float = 0.0,
        inner_dropout: float = 0.0,
        attention_initializer: Optional[initializers_lib.Initializer] = None,
        attention_axes: Optional[Sequence[int]] = None,
        use_query_residual: bool = True,
        key_dim: Optional[int] = None,
        value_dim: Optional[int] = None,
        output_last_dim: Optional[int] = None,
        return_attention_scores: bool = False,
        stochastic_depth_drop_rate: float = 0.0,
        layer_scale_init_value: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        # A proxy, because Keras would wrap a plain dict.
        self._config: Mapping[str, Any] = types.MappingProxyType(
            {
                'num_attention_heads': num_attention_heads,
                'inner_dim': inner_dim,
                'inner_activation': inner_activation,
                'output_range': output_range,
                'kernel_initializer': kernel_initializer,
                'bias_initializer': bias_initializer,
                'kernel_regularizer': keras.regularizers.get(kernel_regularizer),
                'bias_regularizer': keras.regularizers.get(bias_regularizer),
                'use_bias': use_bias,
                'norm_first': norm_first,
                'norm_epsilon': norm_epsilon,
                'output_dropout': output_dropout,
                'attention_dropout': attention_dropout,
                'inner_dropout': inner_dropout,
                'attention_initializer': attention_initializer,
                'attention_axes': attention_axes,
                'use_query_residual': use_query_residual,
                'key_dim': key_dim,
                'value_dim': value_dim,
                'output_last_dim': output_last_dim,
                'return_attention_scores': return_attention_scores,
                'stochastic_depth_drop_rate': stochastic_depth_drop_rate,
                'layer_scale_init_value': layer_scale_init_value,
            }
        )

    def build(self, input_shape: Any) -> None:
        """Makes all layers, for the shape of the sequence, or a list of the shapes of the inputs."""
        shapes = _list_shapes(input_shape)
        query_shape = shapes[0]
        key_value_shape = shapes[1] if len(shapes) == 3 else query_shape
        channels = int(query_shape[-1] or 0)
        out_channels = self._config['output_last_dim'] or channels
        if self._config['use_query_residual'] and out_channels != channels:
            raise ValueError(
                'The shortcut of attention adds its input to its output. '
                f'Expected output_last_dim={channels}, the channels of the input, or '
                f'use_query_residual=False. Received: output_last_dim={out_channels}'
            )
        self._make_layers(channels, out_channels)
        self.attention_layer.build(query_shape, key_value_shape)
        shape = (*query_shape[:-1], out_channels)
        self.attention_layer_norm.build(query_shape if self._config['norm_first'] else shape)
        for layer in (self.output_layer_norm, self.intermediate_dense):
            layer.build(shape)
        self.output_dense.build((*shape[:-1], self._config['inner_dim']))
        for scale in (self.layer_scale_attn, self.layer_scale_mlp):
            if scale is not None:
                scale.build(shape)

    def _make_layers(self, channels: int, out_channels: int) -> None:
        config, policy = self._config, self.dtype_policy
        self.attention_layer = self._make_attention(channels)
        self.attention_layer_norm = self._make_norm('self_attention_layer_norm')
        self.attention_dropout = keras.layers.Dropout(config['attention_dropout'], dtype=policy)
        self.output_layer_norm = self._make_norm('output_layer_norm')
        self.intermediate_dense = self._make_dense('intermediate', config['inner_dim'])
        # In float32, because the polynomial inside GELU's tanh loses digits in bfloat16.
        is_bfloat16 = policy.compute_dtype == 'bfloat16'
        self.intermediate_activation = keras.layers.Activation(
            activations.get_activation(config['inner_activation']),
            dtype='float32' if is_bfloat16 else policy,
        )
        self.inner_dropout = keras.layers.Dropout(config['inner_dropout'], dtype=policy)
        self.output_dense = self._make_dense('output_dense', out_channels)
        self.output_dropout = keras.layers.Dropout(config['output_dropout'], dtype=policy)
        self.layer_scale_attn = self._make_layer_scale('layer_scale_attn')
        self.layer_scale_mlp = self._make_layer_scale('layer_scale_mlp')
        self.stochastic_depth = nn_layers.StochasticDepth(
            config['stochastic_depth_drop_rate'], dtype=policy, name='stochastic_depth'
        )

    def _make_attention(self, channels: int) -> keras.layers.MultiHeadAttention:
        config = self._config
        initializer = config['attention_initializer'] or config['kernel_initializer']
        return keras.layers.MultiHeadAttention(
            config['num_attention_heads'],
            config['key_dim'] or channels // config['num_attention_heads'],
            config['value_dim'],
            dropout=config['attention_dropout'],
            use_bias=config['use_bias'],
            output_shape=config['output_last_dim'],
            attention_axes=config['attention_axes'],
            kernel_initializer=initializers_lib.clone_initializer(initializer),
            bias_initializer=initializers_lib.clone_initializer(config['bias_initializer']),
            kernel_regularizer=config['kernel_regularizer'],
            bias_regularizer=config['bias_regularizer'],
            dtype=self.dtype_policy,
            name='self_attention',
        )

    def _make_norm(self, name: str) -> keras.layers.LayerNormalization:
        return keras.layers.LayerNormalization(
            epsilon=self._config['norm_epsilon'], dtype=self.dtype_policy, name=name
        )

    def _make_dense(self, name: str, units: int) -> keras.layers.Dense:
        config = self._config
        return keras.layers.Dense(
            units,
            kernel_initializer=initializers_lib.clone_initializer(config['kernel_initializer']),
            bias_initializer=initializers_lib.clone_initializer(config['bias_initializer']),
            kernel_regularizer=config['kernel_regularizer'],
            bias_regularizer=config['bias_regularizer'],
            dtype=self.dtype_policy,
            name=name,
        )

    def _make_layer_scale(self, name: str) -> Optional[layer_scale.LayerScale]:
        value = self._config['layer_scale_init_value']
        if not value:
            return None
        return layer_scale.LayerScale(value, dtype=self.dtype_policy, name=name)

    def compute_output_shape(self, input_shape: Any) -> Any:
        shapes = _list_shapes(input_shape)
        batch, tokens, *others, channels = shapes[0]
        if self._config['output_range']:
            tokens = self._config['output_range']
        shape = (batch, tokens, *others, self._config['output_last_dim'] or channels)
        if not self._config['return_attention_scores']:
            return shape
        attended = shapes[1][1] if len(shapes) == 3 else shapes[0][1]
        return shape, (batch, self._config['num_attention_heads'], tokens, attended)

    def call(
        self,
        inputs: Any,
        output_range: Optional[int] = None,
        training: Optional[bool] = None,
    ) -> Any:
        """See the class; `output_range` goes before the constructor's."""
        query, key_value, mask = _unpack(inputs)
        shortcut = query
        if self._config['norm_first']:
            query = self.attention_layer_norm(query)
            key_value = None if key_value is None else self.attention_layer_norm(key_value)
        key_value = query if key_value is None else key_value
        if count := output_range or self._config['output_range']:
            shortcut, query = shortcut[:, :count], query[:, :count]
            mask = None if mask is None else mask[:, :count]
        x, scores = self._attend(query, key_value, mask, training)
        if self._config['use_query_residual']:
            x = shortcut + self.stochastic_depth(x, training=training)
        if not self._config['norm_first']:
            x = self.attention_layer_norm(x)
        outputs = self._apply_feedforward(x, training)
        return (outputs, scores) if self._config['return_attention_scores'] else outputs

    def _attend(
        self,
        query: tf.Tensor,
        key_value: tf.Tensor,
        mask: Optional[tf.Tensor],
        training: Optional[bool],
    ) -> tuple[tf.Tensor, Optional[tf.Tensor]]:
        scores = None
        options = {'attention_mask': mask, 'training': training}
        if self._config['return_attention_scores']:
            x, scores = self.attention_layer(
                query, key_value, return_attention_scores=True, **options
            )
        else:
            x = self.attention_layer(query, key_value, **options)
        x = self.attention_dropout(x, training=training)
        return (x if self.layer_scale_attn is None else self.layer_scale_attn(x)), scores

    def _apply_feedforward(self, inputs: tf.Tensor, training: Optional[bool]) -> tf.Tensor:
        x = self.output_layer_norm(inputs) if self._config['norm_first'] else inputs
        x = self.intermediate_activation(self.intermediate_dense(x))
        x = self.output_dense(self.inner_dropout(x, training=training))
        x = self.output_dropout(x, training=training)
        if self.layer_scale_mlp is not None:
            x = self.layer_scale_mlp(x)
        x = inputs + self.stochastic_depth(x, training=training)
        return x if self._config['norm_first'] else self.output_layer_norm(x)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **nn_layers.serialize_arguments(self._config)}


def _list_shapes(input_shape: Any) -> list[Shape]:
    """Shapes of one or several inputs; None for an input that is None."""
    if input_shape[0] is None or isinstance(input_shape[0], int):
        return [tuple(input_shape)]
    return [() if shape is None else tuple(shape) for shape in input_shape]


def _unpack(inputs: Any) -> _Inputs:
    if not isinstance(inputs, (list, tuple)):
        return _Inputs(inputs, None, None)
    if len(inputs) == 2:
        return _Inputs(inputs[0], None, inputs[1])
    if len(inputs) == 3:
        return _Inputs(*inputs)
    raise ValueError(
        'A transformer block takes a sequence, a pair (sequence, mask) or a triple (sequence, '
        f'what it attends to, mask). Received: {len(inputs)} inputs'
    )
