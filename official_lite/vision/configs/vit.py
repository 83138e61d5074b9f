"""Config of vision transformers, and the sizes that its model names stand for."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal, NamedTuple, Optional

from official_lite.modeling import hyperparams

__all__ = ['VIT_SPECS', 'Transformer', 'VisionTransformer', 'VitSizes', 'get_vit_sizes']

CUSTOM_VIT = 'vit-custom'


class VitSizes(NamedTuple):
    """Sizes of a vision transformer.

    Attributes:
        hidden_size: Channels of a token.
        patch_size: Side of a patch, in px.
        mlp_dim: Width of the feedforward networks.
        num_heads: Attention heads of a block.
        num_layers: Number of blocks.
    """

    hidden_size: int
    patch_size: int
    mlp_dim: int
    num_heads: int
    num_layers: int


# https://arxiv.org/abs/2010.11929, table 1 (b, l, h); ti and s: https://arxiv.org/abs/2012.12877,
# table 1; g and G: https://arxiv.org/abs/2106.04560, table 2 (where g is 6144 wide; 5632 is Model
# Garden's); e: https://arxiv.org/abs/2209.06794.
VIT_SPECS: dict[str, VitSizes] = {
    'vit-ti16': VitSizes(192, 16, 768, 3, 12),
    'vit-s16': VitSizes(384, 16, 1536, 6, 12),
    'vit-b16': VitSizes(768, 16, 3072, 12, 12),
    'vit-b32': VitSizes(768, 32, 3072, 12, 12),
    'vit-l16': VitSizes(1024, 16, 4096, 16, 24),
    'vit-l32': VitSizes(1024, 32, 4096, 16, 24),
    'vit-h14': VitSizes(1280, 14, 5120, 16, 32),
    'vit-g14': VitSizes(1408, 14, 5632, 16, 40),
    'vit-G14': VitSizes(1664, 14, 8192, 16, 48),
    'vit-e14': VitSizes(1792, 14, 15360, 16, 56),
}

VitName = Literal[
    'vit-ti16',
    'vit-s16',
    'vit-b16',
    'vit-b32',
    'vit-l16',
    'vit-l32',
    'vit-h14',
    'vit-g14',
    'vit-G14',
    'vit-e14',
    'vit-custom',
]


@dataclasses.dataclass
class Transformer(hyperparams.Config):
    """The transformer of a `VisionTransformer`; its sizes count with model_name 'vit-custom' only.

    Attributes:
        mlp_dim: Width of the feedforward networks.
        num_heads: Number of attention heads.
        num_layers: Number of blocks.
        attention_dropout_rate: Drop rate of attention.
        dropout_rate: Drop rate after the position embeddings and of the feedforward networks.
    """

    mlp_dim: int = 1
    num_heads: int = 1
    num_layers: int = 1
    attention_dropout_rate: float = 0.0
    dropout_rate: float = 0.0

    _weight_fields: ClassVar[tuple[str, ...]] = ('mlp_dim', 'num_heads', 'num_layers')

    def _check(self, report: hyperparams.Report) -> None:
        for name in ('mlp_dim', 'num_heads', 'num_layers'):
            if getattr(self, name) < 1:
                report(name, expected='1 or more')
        for name in ('attention_dropout_rate', 'dropout_rate'):
            if not 0 <= getattr(self, name) < 1:
                report(name, expected='at least 0 and less than 1')


@dataclasses.dataclass
class VisionTransformer(hyperparams.Config):
    """Vision transformers (arXiv:2010.11929), DeiT's training of them (arXiv:2012.12877).

    Images need a known size, since there is an embedding per position. With
    `output_2d_feature_maps` the level is the logarithm of `patch_size`, rounded: 4 for 14 and 16 px,
    5 for 32 px; there is this one level only.

    Attributes:
        model_name: Which sizes. 'vit-custom' (ours) takes those of the fields; with another name
            these fields may be left at their defaults or say the same as the name.
        pooler: What makes one vector of the sequence: 'token', a learned token before it; 'gap', the
            mean; 'none', nothing, and the sequence comes out.
        representation_size: Width of a last layer with tanh ("pre-logits"). 0 means none.
        hidden_size: Channels of a token, with 'vit-custom'.
        patch_size: Side of a patch in px, with 'vit-custom'.
        transformer: Drop rates, and the other sizes with 'vit-custom'.
        init_stochastic_depth_rate: Chance that the last block's branches are dropped in training.
        original_init: Initialisers of the paper (LeCun normal, Glorot uniform), or else those of
            DeiT (He uniform, truncated normal with deviation 0.02).
        pos_embed_shape: Height and width in patches that the position embeddings are for; they are
            resized to the images'. None means the images'.
        output_encoded_tokens: Whether the sequence comes out, with pooler 'none'.
        output_2d_feature_maps: Whether the tokens come out as a feature map, for decoders.
        layer_scale_init_value: What the factors of the branches (arXiv:2103.17239) start from. 0
            means no factors.
        transformer_partition_dims: For files of Model Garden, where it has no effect either: null.
        output_attention_scores: Whether the last block's attention weights come out.
    """

    model_name: VitName = 'vit-b16'
    pooler: Literal['token', 'gap', 'none'] = 'token'
    representation_size: int = 0
    hidden_size: int = 1
    patch_size: int = 16
    transformer: Transformer = dataclasses.field(default_factory=Transformer)
    init_stochastic_depth_rate: float = 0.0
    original_init: bool = True
    pos_embed_shape: Optional[tuple[int, int]] = None
    output_encoded_tokens: bool = True
    output_2d_feature_maps: bool = False
    layer_scale_init_value: float = 0.0
    transformer_partition_dims: Optional[tuple[int, int, int, int]] = None
    output_attention_scores: bool = False

    _weight_fields: ClassVar[tuple[str, ...]] = (
        'model_name',
        'pooler',
        'representation_size',
        'hidden_size',
        'patch_size',
        'pos_embed_shape',
        'layer_scale_init_value',
    )

    def _check(self, report: hyperparams.Report) -> None:
        if self.representation_size < 0:
            report('representation_size', expected='0 or more')
        if not 0 <= self.init_stochastic_depth_rate < 1:
            report('init_stochastic_depth_rate', expected='at least 0 and less than 1')
        if self.pos_embed_shape is not None and min(self.pos_embed_shape) < 1:
            report('pos_embed_shape', expected='a height and a width of 1 or more')
        if self.transformer_partition_dims is not None:
            report('transformer_partition_dims', expected='null: attention is not partitioned')
        self._check_outputs(report)
        self._check_sizes(report)

    def _check_outputs(self, report: hyperparams.Report) -> None:
        if self.output_encoded_tokens:
            return
        if self.pooler != 'none':
            report('output_encoded_tokens', expected=f'true with pooler={self.pooler}')
        elif not self.output_2d_feature_maps:
            report(
                'output_encoded_tokens',
                expected='true, because pooler=none without output_2d_feature_maps has no other '
                'output',
            )

    def _check_sizes(self, report: hyperparams.Report) -> None:
        """Refuses sizes that a name would overrule; a default is no choice."""
        if self.model_name == CUSTOM_VIT:
            self._check_custom_sizes(report)
            return
        defaults = VisionTransformer()
        sizes = VIT_SPECS[self.model_name]
        for field in VitSizes._fields:
            path = field if hasattr(self, field) else f'transformer.{field}'
            value, default = (_get(config, path) for config in (self, defaults))
            if value not in (default, getattr(sizes, field)):
                report(
                    path,
                    expected=f'{getattr(sizes, field)}, the size of {self.model_name}',
                    hint=f'leave it out, or set model_name={CUSTOM_VIT} and all sizes',
                )

    def _check_custom_sizes(self, report: hyperparams.Report) -> None:
        for name in ('hidden_size', 'patch_size'):
            if getattr(self, name) < 1:
                report(name, expected='1 or more')
        num_heads = self.transformer.num_heads
        if num_heads > 0 and self.hidden_size % num_heads:
            report('hidden_size', expected=f'a multiple of transformer.num_heads ({num_heads})')


def _get(config: VisionTransformer, path: str) -> int:
    """The value at a path such as 'transformer.mlp_dim'."""
    node, _, name = path.rpartition('.')
    return getattr(getattr(config, node) if node else config, name)


def get_vit_sizes(config: VisionTransformer) -> VitSizes:
    """The sizes that a config means: those of its name, or its own."""
    if config.model_name != CUSTOM_VIT:
        return VIT_SPECS[config.model_name]
    transformer = config.transformer
    return VitSizes(
        config.hidden_size,
        config.patch_size,
        transformer.mlp_dim,
        transformer.num_heads,
        transformer.num_layers,
    )
