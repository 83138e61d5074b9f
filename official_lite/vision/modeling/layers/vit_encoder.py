"""What a vision transformer does with its sequence of patches (https://arxiv.org/abs/2010.11929)."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from typing import Any, Optional

import keras
import tensorflow as tf

from official_lite.modeling import initializers as initializers_lib
from official_lite.vision.modeling.layers import nn_layers, transformer_encoder_block

Shape = nn_layers.Shape

# https://arxiv.org/abs/2010.11929, as its reference implementation in Flax.
NORM_EPSILON = 1e-6
POSITION_STDDEV = 0.02


@keras.saving.register_keras_serializable(package='official_lite')
class TokenLayer(keras.layers.Layer):
    """Puts a learned token before a sequence: [batch, tokens, channels] to [batch, 1 + tokens, ...]."""

    def build(self, input_shape: Shape) -> None:
        """Makes `cls`, [1, 1, channels]."""
        self.cls = self.add_weight(
            name='cls', shape=(1, 1, input_shape[-1]), initializer=keras.initializers.Zeros()
        )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, tokens, channels = input_shape
        return batch, None if tokens is None else tokens + 1, channels

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        token = tf.cast(self.cls, inputs.dtype)
        tokens = tf.broadcast_to(token, [tf.shape(inputs)[0], 1, inputs.shape[-1]])
        return tf.concat([tokens, inputs], axis=1)


@keras.saving.register_keras_serializable(package='official_lite')
class AddPositionEmbs(keras.layers.Layer):
    """Adds learned position embeddings to a sequence [batch, tokens, channels].

    Embeddings of another grid are resized, bilinearly with half-pixel centres. What precedes the
    grid in the sequence (a class token) has embeddings of its own, which stay as they are. (Model
    Garden's fails where there is a class token, and does not resize between grids of one size such
    as 2x8 and 4x4.)

    Args:
        posemb_init: Initialiser. None for a normal distribution with deviation 0.02.
        posemb_origin_shape: Height and width of the grid that embeddings are for. None for a vector
            per token, whatever the grid.
        posemb_target_shape: Height and width of the inputs' grid. None for `posemb_origin_shape`.
    """

    def __init__(
        self,
        posemb_init: Optional[initializers_lib.Initializer] = None,
        posemb_origin_shape: Optional[tuple[int, int]] = None,
        posemb_target_shape: Optional[tuple[int, int]] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._config: Mapping[str, Any] = types.MappingProxyType(
            {
                'posemb_init': posemb_init,
                'posemb_origin_shape': _to_pair(posemb_origin_shape),
                'posemb_target_shape': _to_pair(posemb_target_shape),
            }
        )
        self._origin = _to_pair(posemb_origin_shape)
        self._target = _to_pair(posemb_target_shape) or self._origin

    def build(self, input_shape: Shape) -> None:
        """Makes `pos_embedding`, [1, tokens of the original grid and before it, channels]."""
        _, tokens, channels = input_shape
        if tokens is None:
            raise ValueError('Position embeddings need a sequence of known length. Received: None')
        self._num_before = 0
        if self._origin is not None and self._target is not None:
            self._num_before = tokens - self._target[0] * self._target[1]
            tokens = self._num_before + self._origin[0] * self._origin[1]
        if self._num_before < 0:
            raise ValueError(
                f'Expected at least as many tokens as the grid {self._target} has. '
                f'Received: a sequence of {input_shape[1]}'
            )
        initializer = self._config['posemb_init']
        if initializer is None:
            initializer = keras.initializers.RandomNormal(stddev=POSITION_STDDEV)
        self.pos_embedding = self.add_weight(
            name='pos_embedding', shape=(1, tokens, channels), initializer=initializer
        )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return inputs + tf.cast(
            self._resize(tf.convert_to_tensor(self.pos_embedding)), inputs.dtype
        )

    def _resize(self, embeddings: tf.Tensor) -> tf.Tensor:
        if self._origin is None or self._target is None or self._origin == self._target:
            return embeddings
        before, grid = embeddings[:, : self._num_before], embeddings[:, self._num_before :]
        channels = embeddings.shape[-1]
        grid = tf.reshape(grid, [1, *self._origin, channels])  # [1, height, width, channels]
        grid = tf.cast(tf.image.resize(grid, self._target), embeddings.dtype)
        # [1, tokens, channels]
        grid = tf.reshape(grid, [1, self._target[0] * self._target[1], channels])
        return tf.concat([before, grid], axis=1)

    def explain_misfit(self, shape: tuple[int, ...]) -> str:
        """What makes embeddings of a shape, [1, tokens, channels], fit images of another size.

        Empty if nothing does.
        """
        grid_here = self._origin or self._target
        if grid_here is None or len(shape) != 3 or shape[2] != self.pos_embedding.shape[2]:
            return ''
        num_before = self.pos_embedding.shape[1] - math.prod(grid_here)
        num_patches = shape[1] - num_before
        side = math.isqrt(max(num_patches, 0))
        grid = f'[{side},{side}]' if side * side == num_patches else '[rows,columns]'
        return (
            f'resize position embeddings of {num_patches} patches, as those of images of another '
            f'size: task.model.backbone.vit.pos_embed_shape={grid}'
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **nn_layers.serialize_arguments(self._config)}


@keras.saving.register_keras_serializable(package='official_lite')
class Encoder(keras.layers.Layer):
    """Position embeddings, dropout, transformer blocks that normalise first, and a last norm.

    Input and output: [batch, tokens, channels]; with `output_attention_scores` the output is a pair
    of it and the attention weights of the last block, [batch, heads, tokens, tokens].

    Args:
        num_layers: Number of blocks.
        mlp_dim: Width of their feedforward networks.
        num_heads: Number of attention heads.
        dropout_rate: Drop rate after the position embeddings and of the feedforward networks.
        attention_dropout_rate: Drop rate of attention.
        kernel_regularizer: Regulariser of the blocks' kernels.
        init_stochastic_depth_rate: Drop rate of the branches of the last block; those before it have
            less, in proportion.
        kernel_initializer: Initialiser of the blocks' kernels.
        add_pos_embed: Whether position embeddings are added.
        pos_embed_origin_shape: See `AddPositionEmbs`.
        pos_embed_target_shape: See `AddPositionEmbs`.
        layer_scale_init_value: What the blocks' layer scale starts from. 0 for none.
        output_attention_scores: Whether attention weights come out.
    """

    def __init__(
        self,
        num_layers: int,
        mlp_dim: int,
        num_heads: int,
        dropout_rate: float = 0.1,
        attention_dropout_rate: float = 0.1,
        kernel_regularizer: Optional[keras.regularizers.Regularizer] = None,
        init_stochastic_depth_rate: float = 0.0,
        kernel_initializer: initializers_lib.Initializer = 'glorot_uniform',
        add_pos_embed: bool = True,
        pos_embed_origin_shape: Optional[tuple[int, int]] = None,
        pos_embed_target_shape: Optional[tuple[int, int]] = None,
        layer_scale_init_value: float = 0.0,
        output_attention_scores: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if num_layers < 1:
            raise ValueError(f'Expected num_layers of 1 or more. Received: {num_layers}')
        self._config: Mapping[str, Any] = types.MappingProxyType(
            {
                'num_layers': num_layers,
                'mlp_dim': mlp_dim,
                'num_heads': num_heads,
                'dropout_rate': dropout_rate,
                'attention_dropout_rate': attention_dropout_rate,
                'kernel_regularizer': keras.regularizers.get(kernel_regularizer),
                'init_stochastic_depth_rate': init_stochastic_depth_rate,
                'kernel_initializer': kernel_initializer,
                'add_pos_embed': add_pos_embed,
                'pos_embed_origin_shape': _to_pair(pos_embed_origin_shape),
                'pos_embed_target_shape': _to_pair(pos_embed_target_shape),
                'layer_scale_init_value': layer_scale_init_value,
                'output_attention_scores': output_attention_scores,
            }
        )
        policy = self.dtype_policy
        self.pos_embed = None
        if add_pos_embed:
            self.pos_embed = AddPositionEmbs(
                posemb_origin_shape=pos_embed_origin_shape,
                posemb_target_shape=pos_embed_target_shape,
                dtype=policy,
                name='posembed_input',
            )
        self.dropout = keras.layers.Dropout(dropout_rate, dtype=policy)
        self.encoder_layers = [self._make_block(index) for index in range(num_layers)]
        self.norm = keras.layers.LayerNormalization(
            epsilon=NORM_EPSILON, dtype=policy, name='encoder_norm'
        )

    def _make_block(self, index: int) -> transformer_encoder_block.TransformerEncoderBlock:
        config = self._config
        is_last = index == config['num_layers'] - 1
        return transformer_encoder_block.TransformerEncoderBlock(
            num_attention_heads=config['num_heads'],
            inner_dim=config['mlp_dim'],
            inner_activation='gelu',
            kernel_initializer=config['kernel_initializer'],
            kernel_regularizer=config['kernel_regularizer'],
            norm_first=True,
            norm_epsilon=NORM_EPSILON,
            output_dropout=config['dropout_rate'],
            attention_dropout=config['attention_dropout_rate'],
            stochastic_depth_drop_rate=nn_layers.get_stochastic_depth_rate(
                config['init_stochastic_depth_rate'], index + 1, config['num_layers']
            )
            or 0.0,
            layer_scale_init_value=config['layer_scale_init_value'],
            return_attention_scores=is_last and config['output_attention_scores'],
            dtype=self.dtype_policy,
            name=f'encoder_layer_{index}',
        )

    def build(self, input_shape: Shape) -> None:
        for layer in (self.pos_embed, *self.encoder_layers, self.norm):
            if layer is not None:
                layer.build(tuple(input_shape))

    def compute_output_shape(self, input_shape: Shape) -> Any:
        batch, tokens, _ = shape = tuple(input_shape)
        if not self._config['output_attention_scores']:
            return shape
        return shape, (batch, self._config['num_heads'], tokens, tokens)

    def call(self, inputs: tf.Tensor, training: Optional[bool] = None) -> Any:
        x = inputs if self.pos_embed is None else self.pos_embed(inputs)
        x = self.dropout(x, training=training)
        for block in self.encoder_layers[:-1]:
            x = block(x, training=training)
        x = self.encoder_layers[-1](x, training=training)
        if not self._config['output_attention_scores']:
            return self.norm(x)
        x, scores = x
        return self.norm(x), scores

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **nn_layers.serialize_arguments(self._config)}


def _to_pair(value: Any) -> Optional[tuple[int, int]]:
    return None if value is None else (int(value[0]), int(value[1]))
