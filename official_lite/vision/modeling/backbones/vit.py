"""Vision transformers."""

from __future__ import annotations

import math
from typing import Any, Optional

import keras

from official_lite.vision.configs import vit as vit_cfg
from official_lite.vision.modeling import builder_arguments
from official_lite.vision.modeling.backbones import factory
from official_lite.vision.modeling.layers import feature_model, nn_layers
from official_lite.vision.modeling.layers.vit_encoder import AddPositionEmbs, Encoder, TokenLayer

__all__ = ['AddPositionEmbs', 'Encoder', 'TokenLayer', 'VisionTransformer', 'build_vit']

POOLERS = ('token', 'gap', 'none')
# https://arxiv.org/abs/2012.12877, as its reference implementation.
DEIT_STDDEV = 0.02


@keras.saving.register_keras_serializable(package='official_lite')
class VisionTransformer(feature_model.FeatureModel):
    """Vision transformer (https://arxiv.org/abs/2010.11929).

    Output: a dict, of which `output_specs` has the levels only:
        'pre_logits': [batch, 1, 1, representation_size or hidden_size], if there is a pooler.
        'encoded_tokens': [batch, tokens, representation_size or hidden_size] with pooler 'none'.
        the level, log2(patch_size) rounded: [batch, rows, columns, hidden_size] with
            `output_2d_feature_maps`.
        'attention_scores': [batch, heads, tokens, tokens] with `output_attention_scores`.

    Rows and columns are those of whole patches; what remains of an image at its right and its bottom
    is not seen. The regulariser acts on all kernels (Model Garden's passes by those of the blocks).

    Args:
        mlp_dim: Width of the feedforward networks.
        num_heads: Number of attention heads.
        num_layers: Number of blocks.
        attention_dropout_rate: Drop rate of attention.
        dropout_rate: Drop rate after the position embeddings and of the feedforward networks.
        init_stochastic_depth_rate: Drop rate of the branches of the last block; those before it have
            less, in proportion.
        input_specs: Shape of the images, [batch, height, width, channels], with a known size.
        patch_size: Side of a patch, in px.
        hidden_size: Channels of a token.
        representation_size: Width of a last layer with tanh. 0 for none.
        pooler: 'token', 'gap' or 'none'.
        kernel_regularizer: Regulariser of kernels.
        original_init: LeCun normal for patches and last layer and Glorot uniform for the blocks;
            otherwise He uniform, and a truncated normal with deviation 0.02.
        output_encoded_tokens: Whether 'encoded_tokens' come out, with pooler 'none'.
        output_2d_feature_maps: Whether the feature map comes out.
        pos_embed_shape: Rows and columns that position embeddings are for. None for the images'.
        layer_scale_init_value: What layer scale starts from. 0 for none.
        output_attention_scores: Whether the last block's attention weights come out.
        name: Name of the model.

    Raises:
        ValueError: If the size of the images is not known or less than a patch, the pooler is
            unknown, channels cannot be divided among the heads, or nothing would come out.
    """

    def __init__(
        self,
        mlp_dim: int = 3072,
        num_heads: int = 12,
        num_layers: int = 12,
        attention_dropout_rate: float = 0.0,
        dropout_rate: float = 0.1,
        init_stochastic_depth_rate: float = 0.0,
        input_specs: keras.layers.InputSpec = nn_layers.ANY_RGB_IMAGES,
        patch_size: int = 16,
        hidden_size: int = 768,
        representation_size: int = 0,
        pooler: str = 'token',
        kernel_regularizer: Optional[keras.regularizers.Regularizer] = None,
        original_init: bool = True,
        output_encoded_tokens: bool = True,
        output_2d_feature_maps: bool = False,
        pos_embed_shape: Optional[tuple[int, int]] = None,
        layer_scale_init_value: float = 0.0,
        output_attention_scores: bool = False,
        name: str = 'vit',
    ) -> None:
        config = {
            'mlp_dim': mlp_dim,
            'num_heads': num_heads,
            'num_layers': num_layers,
            'attention_dropout_rate': attention_dropout_rate,
            'dropout_rate': dropout_rate,
            'init_stochastic_depth_rate': init_stochastic_depth_rate,
            'input_specs': nn_layers.to_input_spec(input_specs),
            'patch_size': patch_size,
            'hidden_size': hidden_size,
            'representation_size': representation_size,
            'pooler': pooler,
            'kernel_regularizer': keras.regularizers.get(kernel_regularizer),
            'original_init': original_init,
            'output_encoded_tokens': output_encoded_tokens,
            'output_2d_feature_maps': output_2d_feature_maps,
            'pos_embed_shape': None if pos_embed_shape is None else tuple(pos_embed_shape),
            'layer_scale_init_value': layer_scale_init_value,
            'output_attention_scores': output_attention_scores,
        }
        _check(config)
        inputs = keras.Input(config['input_specs'].shape[1:], name='images')
        endpoints = _apply(inputs, config)
        levels = {key: x for key, x in endpoints.items() if key.isdecimal()}
        super().__init__(inputs, endpoints, config, name=name, levels=levels)


def _check(config: dict[str, Any]) -> None:
    height, width = config['input_specs'].shape[1:3]
    patch_size = config['patch_size']
    if height is None or width is None or min(height, width) < patch_size:
        raise ValueError(
            'A vision transformer has an embedding for each position. Expected images of a known '
            f'height and width of {patch_size} px or more. Received: height={height}, width={width}'
        )
    if config['pooler'] not in POOLERS:
        raise ValueError(
            f'Unknown pooler. Expected one of {list(POOLERS)}. Received: {config["pooler"]!r}'
        )
    if config['hidden_size'] % config['num_heads']:
        raise ValueError(
            f'Expected hidden_size to be a multiple of num_heads. Received: '
            f'hidden_size={config["hidden_size"]}, num_heads={config["num_heads"]}'
        )
    has_output = config['pooler'] != 'none' or config['output_encoded_tokens']
    if not has_output and not config['output_2d_feature_maps']:
        raise ValueError(
            'Nothing would come out. Expected output_encoded_tokens or output_2d_feature_maps '
            "with pooler 'none'."
        )


def _apply(inputs: keras.KerasTensor, config: dict[str, Any]) -> dict[str, keras.KerasTensor]:
    """Images to the dict of outputs."""
    endpoints = {}
    x = _make_patches(config)(inputs)
    grid = tuple(x.shape[1:3])
    x = keras.layers.Reshape((math.prod(grid), config['hidden_size']), name='tokens')(x)
    if config['pooler'] == 'token':
        x = TokenLayer(name='cls')(x)
    x = _make_encoder(grid, config)(x)
    if config['output_attention_scores']:
        x, endpoints['attention_scores'] = x
    if config['output_2d_feature_maps']:
        level = str(round(math.log2(config['patch_size'])))
        shape = (*grid, config['hidden_size'])
        has_token = config['pooler'] == 'token'
        tokens = keras.layers.Cropping1D((1, 0), name='patch_tokens')(x) if has_token else x
        endpoints[level] = keras.layers.Reshape(shape, name=f'level_{level}')(tokens)
    if config['pooler'] == 'none':
        if config['output_encoded_tokens']:
            endpoints['encoded_tokens'] = _apply_last_layer(x, config)
        return endpoints
    if config['pooler'] == 'token':
        x = keras.layers.Cropping1D((0, math.prod(grid)), name='class_token')(x)
    else:
        x = keras.layers.GlobalAveragePooling1D(keepdims=True, name='mean')(x)
    x = _apply_last_layer(x, config)  # [batch, 1, channels]
    endpoints['pre_logits'] = keras.layers.Reshape((1, 1, x.shape[-1]), name='pooled')(x)
    return endpoints


def _make_patches(config: dict[str, Any]) -> keras.layers.Conv2D:
    return keras.layers.Conv2D(
        config['hidden_size'],
        config['patch_size'],
        config['patch_size'],
        padding='valid',
        kernel_initializer='lecun_normal' if config['original_init'] else 'he_uniform',
        kernel_regularizer=config['kernel_regularizer'],
        name='patches',
    )


def _make_encoder(grid: tuple[int, ...], config: dict[str, Any]) -> Encoder:
    initializer: Any = 'glorot_uniform'
    if not config['original_init']:
        initializer = keras.initializers.TruncatedNormal(stddev=DEIT_STDDEV)
    return Encoder(
        num_layers=config['num_layers'],
        mlp_dim=config['mlp_dim'],
        num_heads=config['num_heads'],
        dropout_rate=config['dropout_rate'],
        attention_dropout_rate=config['attention_dropout_rate'],
        kernel_regularizer=config['kernel_regularizer'],
        kernel_initializer=initializer,
        init_stochastic_depth_rate=config['init_stochastic_depth_rate'],
        pos_embed_origin_shape=config['pos_embed_shape'],
        pos_embed_target_shape=(grid[0], grid[1]),
        layer_scale_init_value=config['layer_scale_init_value'],
        output_attention_scores=config['output_attention_scores'],
        name='encoder',
    )


def _apply_last_layer(x: keras.KerasTensor, config: dict[str, Any]) -> keras.KerasTensor:
    if not config['representation_size']:
        return x
    return keras.layers.Dense(
        config['representation_size'],
        activation='tanh',
        kernel_initializer='lecun_normal' if config['original_init'] else 'he_uniform',
        kernel_regularizer=config['kernel_regularizer'],
        name='pre_logits',
    )(x)


@factory.register_backbone_builder('vit')
def build_vit(
    input_specs: keras.layers.InputSpec,
    backbone_config: Any,
    norm_activation_config: Any,
    l2_regularizer: Optional[keras.regularizers.Regularizer] = None,
) -> VisionTransformer:
    """Builds a vision transformer from a `Backbone` config whose type is 'vit'.

    It has layer normalisation and GELU; a warning says so if `norm_activation_config` asks for more.
    """
    config = builder_arguments.get_branch(backbone_config, 'vit', 'backbone')
    factory.warn_of_own_layers(
        config.model_name, norm_activation_config, 'activation', 'norm_momentum', 'norm_epsilon'
    )
    sizes = vit_cfg.get_vit_sizes(config)
    return VisionTransformer(
        **sizes._asdict(),
        attention_dropout_rate=config.transformer.attention_dropout_rate,
        dropout_rate=config.transformer.dropout_rate,
        init_stochastic_depth_rate=config.init_stochastic_depth_rate,
        input_specs=input_specs,
        representation_size=config.representation_size,
        pooler=config.pooler,
        kernel_regularizer=l2_regularizer,
        original_init=config.original_init,
        output_encoded_tokens=config.output_encoded_tokens,
        output_2d_feature_maps=config.output_2d_feature_maps,
        pos_embed_shape=config.pos_embed_shape,
        layer_scale_init_value=config.layer_scale_init_value,
        output_attention_scores=config.output_attention_scores,
    )
