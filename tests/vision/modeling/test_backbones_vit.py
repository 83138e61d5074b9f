"""Vision transformers: sizes, outputs, position embeddings, configs, and numbers of Model Garden."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite import errors
from official_lite.modeling import hyperparams
from official_lite.vision.configs import backbones as backbones_cfg
from official_lite.vision.configs import common
from official_lite.vision.configs import vit as vit_cfg
from official_lite.vision.modeling.backbones import factory, vit, vit_specs
from official_lite.vision.modeling.decoders import fpn
from tests import garden_weights

SIZE = (48, 80)
GRID = (3, 5)
IMAGES = keras.layers.InputSpec(shape=[None, *SIZE, 3])
_SMALL: dict[str, Any] = {
    'hidden_size': 12,
    'num_heads': 3,
    'num_layers': 2,
    'mlp_dim': 20,
    'patch_size': 16,
    'dropout_rate': 0.0,
}

# model_garden.md, 5.2, at 224 px.
PARAMETERS = {'vit-ti16': 5_524_416, 'vit-s16': 21_665_664}
LARGE_PARAMETERS = {'vit-b16': 85_798_656, 'vit-b32': 87_455_232}


def _small(**options: Any) -> vit.VisionTransformer:
    return vit.VisionTransformer(**{'input_specs': IMAGES, **_SMALL, **options})


def _build(size: tuple[int, int] = SIZE, **options: Any) -> keras.Model:
    config = backbones_cfg.Backbone(type='vit')
    config.override({'vit': options})
    config.validate()
    spec = keras.layers.InputSpec(shape=[None, *size, 3])
    return factory.build_backbone(spec, config, common.NormActivation())


def _count(sizes: vit_cfg.VitSizes, num_positions: int) -> int:
    """Worked out by hand: patches, token, positions, blocks, last norm."""
    d, p, m = sizes.hidden_size, sizes.patch_size, sizes.mlp_dim
    block = 4 * (d * d + d) + 4 * d + (d * m + m) + (m * d + d)
    return (3 * p * p * d + d) + d + num_positions * d + sizes.num_layers * block + 2 * d


# Sizes


@pytest.mark.parametrize(
    'name',
    [*PARAMETERS, *(pytest.param(n, marks=pytest.mark.slow) for n in LARGE_PARAMETERS)],
)
def test_parameters(name: str) -> None:
    expected = {**PARAMETERS, **LARGE_PARAMETERS}[name]
    model = _build((224, 224), model_name=name)
    sizes = vit_specs.VIT_SPECS[name]
    assert model.count_params() == expected
    assert _count(sizes, (224 // sizes.patch_size) ** 2 + 1) == expected


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        # https://arxiv.org/abs/2010.11929, table 1, https://arxiv.org/abs/2106.04560, table 2, and
        # https://arxiv.org/abs/2209.06794: millions
        ('vit-l16', 304),
        ('vit-l32', 306),
        ('vit-h14', 632),
        # Model Garden's, whose feedforward networks are 5632 wide and not 6144 as in the paper: 1011
        ('vit-g14', 953.5),
        ('vit-G14', 1843),
        ('vit-e14', 3805.4),  # 3926 with the paper's pooling by attention
    ],
)
def test_sizes_of_the_large_ones(name: str, expected: float) -> None:
    sizes = vit_specs.VIT_SPECS[name]
    count = _count(sizes, (224 // sizes.patch_size) ** 2 + 1)
    assert count / 1e6 == pytest.approx(expected, rel=0.005)


# Outputs


@pytest.mark.parametrize(
    ('options', 'shapes'),
    [
        ({}, {'pre_logits': (2, 1, 1, 12)}),
        ({'pooler': 'gap', 'representation_size': 7}, {'pre_logits': (2, 1, 1, 7)}),
        ({'pooler': 'none', 'representation_size': 7}, {'encoded_tokens': (2, 15, 7)}),
        (
            {'output_2d_feature_maps': True, 'output_attention_scores': True},
            {
                '4': (2, *GRID, 12),
                'pre_logits': (2, 1, 1, 12),
                'attention_scores': (2, 3, 16, 16),
            },
        ),
        (
            {'pooler': 'none', 'output_encoded_tokens': False, 'output_2d_feature_maps': True},
            {'4': (2, *GRID, 12)},
        ),
    ],
)
def test_outputs(options: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> None:
    model = _small(**options)
    outputs = model(tf.random.stateless_normal([2, *SIZE, 3], [1, 2]))
    assert {key: tuple(x.shape) for key, x in outputs.items()} == shapes
    assert model.output_specs == (
        {'4': (None, *GRID, 12)} if options.get('output_2d_feature_maps') else {}
    )
    if 'attention_scores' in outputs:
        np.testing.assert_allclose(
            tf.reduce_sum(outputs['attention_scores'], -1), np.ones([2, 3, 16]), rtol=1e-5
        )


@pytest.mark.parametrize(('patch_size', 'level'), [(4, '2'), (6, '3'), (14, '4'), (32, '5')])
def test_level_is_that_of_the_patch_size(patch_size: int, level: str) -> None:
    model = _small(patch_size=patch_size, output_2d_feature_maps=True, num_layers=1)
    assert model.output_specs == {level: (None, 48 // patch_size, 80 // patch_size, 12)}


def test_a_feature_stands_where_its_patch_does() -> None:
    """Without attention and position embeddings a token depends on its patch alone."""
    model = _small(pooler='token', output_2d_feature_maps=True)
    garden_weights.randomize_weights(model)
    encoder = model.get_layer('encoder')
    encoder.pos_embed.pos_embedding.assign(tf.zeros([1, 16, 12]))
    for block in encoder.encoder_layers:
        for variable in block.attention_layer.variables:
            if variable.dtype == 'float32':
                variable.assign(tf.zeros(variable.shape))
    images = np.zeros([1, *SIZE, 3], np.float32)
    before = np.asarray(model(images)['4'])
    images[0, 16:32, 48:64] = 1.0  # row 1, column 3
    changed = np.abs(np.asarray(model(images)['4']) - before).max(-1)[0] > 1e-4
    assert np.argwhere(changed).tolist() == [[1, 3]]


def test_drop_rates_rise_block_by_block() -> None:
    model = _small(init_stochastic_depth_rate=0.4, num_layers=4)
    rates = [
        block.get_config()['stochastic_depth_drop_rate']
        for block in model.get_layer('encoder').encoder_layers
    ]
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize(
    ('original', 'bound', 'deviation'),
    # LeCun normal: 1 / sqrt(768); Glorot uniform: limit sqrt(6 / (64 + 128)), over sqrt(3).
    # He uniform: limit sqrt(6 / 768), over sqrt(3); truncated normal: 0.02 times 0.88.
    [(True, 768**-0.5, (2 / 192) ** 0.5), (False, (2 / 768) ** 0.5, 0.02 * 0.8796)],
)
def test_initialisers(original: bool, bound: float, deviation: float) -> None:
    model = _small(original_init=original, hidden_size=64, num_heads=2, mlp_dim=128)
    assert np.std(model.get_layer('patches').kernel) == pytest.approx(bound, rel=0.05)
    encoder = model.get_layer('encoder')
    first, second = encoder.encoder_layers
    assert np.std(first.intermediate_dense.kernel) == pytest.approx(deviation, rel=0.05)
    assert not np.allclose(first.intermediate_dense.kernel, second.intermediate_dense.kernel)
    assert np.std(encoder.pos_embed.pos_embedding) == pytest.approx(0.02, rel=0.15)


def test_regulariser_acts_on_all_kernels() -> None:
    model = _small(kernel_regularizer=keras.regularizers.L2(1.0), representation_size=5)
    kernels = [v for v in model.trainable_variables if v.path.endswith('kernel')]
    assert len(kernels) == 1 + 2 * 6 + 1
    expected = sum(float(tf.reduce_sum(tf.square(kernel.value))) for kernel in kernels)
    assert float(tf.add_n(model.losses)) == pytest.approx(expected, rel=1e-5)


def test_dropout_acts_in_training_only() -> None:
    model = _small(dropout_rate=0.5)
    images = tf.random.stateless_normal([1, *SIZE, 3], [1, 2])
    first, second = (model(images, training=True)['pre_logits'] for _ in range(2))
    assert not np.allclose(first, second)
    first, second = (model(images)['pre_logits'] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_bfloat16_is_near_float32() -> None:
    model = _small()
    garden_weights.randomize_weights(model)
    images = tf.random.stateless_normal([2, *SIZE, 3], [1, 2])
    keras.config.set_dtype_policy('mixed_bfloat16')
    try:
        mixed = _small()
    finally:
        keras.config.set_dtype_policy('float32')
    mixed.set_weights(model.get_weights())
    got = mixed(images)['pre_logits']
    assert got.dtype == tf.bfloat16
    expected = model(images)['pre_logits']
    np.testing.assert_allclose(tf.cast(got, tf.float32), expected, atol=0.05)


# Position embeddings


def _add_positions(layer: vit.AddPositionEmbs, num_tokens: int, values: Any) -> np.ndarray:
    layer.build((None, num_tokens, values.shape[-1]))
    layer.pos_embedding.assign(values[None])
    return np.asarray(layer(tf.zeros([2, num_tokens, values.shape[-1]])))[1]


def test_b19_resized_embeddings_keep_the_class_token() -> None:
    """Worked out by hand: 1x2 to 1x4, half-pixel centres; the token's own embedding stays."""
    layer = vit.AddPositionEmbs(posemb_origin_shape=(1, 2), posemb_target_shape=(1, 4))
    got = _add_positions(layer, 5, np.array([[9.0], [0.0], [4.0]]))
    np.testing.assert_allclose(got[:, 0], [9.0, 0.0, 1.0, 3.0, 4.0], atol=1e-6)


def test_grids_of_one_size_and_another_shape_are_resized() -> None:
    layer = vit.AddPositionEmbs(posemb_origin_shape=(1, 4), posemb_target_shape=(2, 2))
    got = _add_positions(layer, 4, np.array([[0.0], [2.0], [4.0], [6.0]]))
    np.testing.assert_allclose(got[:, 0], [1.0, 5.0, 1.0, 5.0], atol=1e-6)


def test_embeddings_of_the_same_grid_are_added_as_they_are() -> None:
    values = np.arange(8.0).reshape(4, 2)
    for options in ({}, {'posemb_origin_shape': (2, 2)}):
        got = _add_positions(vit.AddPositionEmbs(**options), 4, values)
        np.testing.assert_array_equal(got, values)


@pytest.mark.parametrize(
    ('shape', 'words'),
    [
        (
            (1, 1 + 16, 2),
            'resize position embeddings of 16 patches, as those of images of another size: '
            'task.model.backbone.vit.pos_embed_shape=[4,4]',
        ),
        (
            (1, 1 + 15, 2),
            'resize position embeddings of 15 patches, as those of images of another size: '
            'task.model.backbone.vit.pos_embed_shape=[rows,columns]',
        ),
        ((1, 1 + 16, 3), ''),
    ],
)
def test_what_is_said_of_embeddings_of_another_grid(shape: Any, words: str) -> None:
    layer = vit.AddPositionEmbs(posemb_target_shape=(2, 3))
    layer.build((None, 1 + 6, 2))
    assert layer.explain_misfit(shape) == words


@pytest.mark.parametrize('pooler', ['token', 'gap'])
def test_b19_weights_of_one_size_serve_another(pooler: str) -> None:
    """A model for 32x32 images, and the same weights for 48x80 ones."""
    small = _small(input_specs=keras.layers.InputSpec(shape=[None, 32, 32, 3]), pooler=pooler)
    large = _small(pos_embed_shape=(2, 2), pooler=pooler)
    garden_weights.randomize_weights(small)
    large.set_weights(small.get_weights())
    outputs = large(tf.random.stateless_normal([1, *SIZE, 3], [1, 2]))
    assert np.all(np.isfinite(outputs['pre_logits']))
    encoder = large.get_layer('encoder')
    assert encoder.pos_embed.pos_embedding.shape == (1, 5 if pooler == 'token' else 4, 12)


def test_b19_a_pyramid_stands_on_the_feature_map() -> None:
    spec = keras.layers.InputSpec(shape=[None, 64, 96, 3])
    model = _small(input_specs=spec, output_2d_feature_maps=True)
    decoder = fpn.FPN(model.output_specs, min_level=4, max_level=5, num_filters=8)
    outputs = decoder(model(tf.zeros([1, 64, 96, 3])))
    assert {key: tuple(x.shape) for key, x in outputs.items()} == {
        '4': (1, 4, 6, 8),
        '5': (1, 2, 3, 8),
    }
    with pytest.raises(ValueError, match=r'min_level to be one of its levels \[\]'):
        fpn.FPN(_small(input_specs=spec).output_specs, min_level=4, max_level=5)


# Configs


def test_config_round_trip() -> None:
    model = _small(kernel_regularizer=keras.regularizers.L2(1e-4), pos_embed_shape=(2, 2))
    copy = vit.VisionTransformer.from_config(model.get_config())
    assert copy.get_config() == model.get_config()
    assert copy.count_params() == model.count_params()


def test_custom_sizes_and_drop_rates_reach_the_model() -> None:
    transformer = {
        'mlp_dim': 20,
        'num_heads': 3,
        'num_layers': 2,
        'dropout_rate': 0.1,
        'attention_dropout_rate': 0.2,
    }
    model = _build(model_name='vit-custom', hidden_size=12, patch_size=8, transformer=transformer)
    config = model.get_config()
    assert {name: config[name] for name in transformer} == transformer
    assert (config['hidden_size'], config['patch_size']) == (12, 8)


@pytest.mark.parametrize(
    ('values', 'match'),
    [
        ({'hidden_size': 100}, 'hidden_size: expected 768, the size of vit-b16, received 100'),
        (
            {'model_name': 'vit-ti16', 'patch_size': 8},
            'patch_size: expected 16, the size of vit-ti16.*set model_name=vit-custom and all sizes',
        ),
        ({'transformer': {'num_layers': 6}}, 'transformer.num_layers: expected 12, the size of'),
        (
            {'model_name': 'vit-custom', 'hidden_size': 10, 'transformer': {'num_heads': 3}},
            r'hidden_size: expected a multiple of transformer.num_heads \(3\)',
        ),
        ({'transformer': {'mlp_dim': 0}}, 'mlp_dim: expected 1 or more'),
        ({'transformer': {'dropout_rate': 1.0}}, 'dropout_rate: expected at least 0 and less than'),
        ({'representation_size': -1}, 'representation_size: expected 0 or more'),
        ({'init_stochastic_depth_rate': 1.0}, 'init_stochastic_depth_rate: expected at least 0'),
        ({'pos_embed_shape': [0, 3]}, 'pos_embed_shape: expected a height and a width'),
        (
            {'output_encoded_tokens': False},
            'output_encoded_tokens: expected true with pooler=token',
        ),
        (
            {'output_encoded_tokens': False, 'pooler': 'none'},
            'output_encoded_tokens: expected true, because .* no other output',
        ),
        ({'transformer_partition_dims': [1, 1, 1, 1]}, 'transformer_partition_dims: expected null'),
        ({'pooler': 'tokens'}, "pooler: .*'token'"),
        ({'model_name': 'vit-b8'}, 'model_name: .*vit-b16'),
    ],
)
def test_d3_configs_are_checked(values: dict[str, Any], match: str) -> None:
    with pytest.raises(hyperparams.ConfigError, match=match):
        vit_cfg.VisionTransformer(default_params=values).validate()


def test_sizes_that_agree_with_the_name_are_accepted() -> None:
    for name, sizes in vit_specs.VIT_SPECS.items():
        config = vit_cfg.VisionTransformer(
            model_name=name, hidden_size=sizes.hidden_size, patch_size=sizes.patch_size
        )
        config.transformer.num_heads = sizes.num_heads
        config.validate()
        assert vit_cfg.get_vit_sizes(config) == sizes


_CUSTOM: dict[str, Any] = {
    'model_name': 'vit-custom',
    'hidden_size': 12,
    'transformer': {'mlp_dim': 20, 'num_heads': 3, 'num_layers': 2},
}
_CHANGES: dict[str, dict[str, Any]] = {
    'model_name': {'model_name': 'vit-ti16', 'hidden_size': 1, 'transformer': {}},
    'pooler': {'pooler': 'gap'},
    'representation_size': {'representation_size': 5},
    'hidden_size': {'hidden_size': 24},
    'patch_size': {'patch_size': 8},
    'transformer': {'transformer': {'mlp_dim': 20, 'num_heads': 3, 'num_layers': 1}},
    'init_stochastic_depth_rate': {'init_stochastic_depth_rate': 0.5},
    'original_init': {'original_init': False},
    'pos_embed_shape': {'pos_embed_shape': (2, 2)},
    'output_encoded_tokens': {'output_encoded_tokens': False},
    'output_2d_feature_maps': {'output_2d_feature_maps': True},
    'layer_scale_init_value': {'layer_scale_init_value': 0.1},
    'output_attention_scores': {'output_attention_scores': True},
}
_CONTEXT = {'output_encoded_tokens': {'pooler': 'none', 'output_2d_feature_maps': True}}


def _describe(**options: Any) -> list[Any]:
    model = _build(**options)
    parts: list[Any] = [(v.path, tuple(v.shape)) for v in model.variables]
    parts.append({key: tuple(x.shape) for key, x in model.output.items()})
    parts.append(type(model.get_layer('patches').kernel_initializer).__name__)
    for block in model.get_layer('encoder').encoder_layers:
        parts.append(block.stochastic_depth.get_config()['stochastic_depth_drop_rate'])
    return parts


@pytest.mark.parametrize('field', _CHANGES)
def test_d3_a_field_changes_the_model(field: str) -> None:
    fields = {f.name for f in dataclasses.fields(vit_cfg.VisionTransformer())}
    # transformer_partition_dims is refused.
    without_effect = {'default_params', 'restrictions', 'transformer_partition_dims'}
    assert fields - without_effect == set(_CHANGES)
    base = {**_CUSTOM, **_CONTEXT.get(field, {})}
    assert _describe(**{**base, **_CHANGES[field]}) != _describe(**base)


def test_d3_a_warning_tells_what_is_its_own() -> None:
    config = backbones_cfg.Backbone(type='vit')
    config.override({'vit': _CUSTOM})
    with pytest.warns(
        UserWarning, match=r"norm_activation.activation='swish' .*vit-custom has its"
    ):
        factory.build_backbone(IMAGES, config, common.NormActivation(activation='swish'))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        factory.build_backbone(IMAGES, config, common.NormActivation(use_sync_bn=False))


# Refusals


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        (
            {'input_specs': keras.layers.InputSpec(shape=[None, None, 80, 3])},
            'known height and width of 16 px or more. Received: height=None, width=80',
        ),
        ({'patch_size': 64}, 'width of 64 px or more. Received: height=48, width=80'),
        ({'pooler': 'cls'}, "Unknown pooler. Expected one of .*'token'.* Received: 'cls'"),
        ({'num_heads': 5}, 'multiple of num_heads. Received: hidden_size=12, num_heads=5'),
        ({'pooler': 'none', 'output_encoded_tokens': False}, 'Nothing would come out'),
        ({'num_layers': 0}, 'num_layers of 1 or more. Received: 0'),
    ],
)
def test_refuses_what_cannot_be_built(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        _small(**options)


def test_builder_refuses_the_config_of_another_backbone() -> None:
    other = backbones_cfg.Backbone(type='resnet')
    with pytest.raises(errors.UsageError, match="expected type 'vit'; received 'resnet'"):
        vit.build_vit(IMAGES, other, common.NormActivation())
