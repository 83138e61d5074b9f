"""Segmentation heads: values worked out by hand, every fusion, refusals, and Model Garden's numbers."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite.modeling import performance, variable_keys
from official_lite.vision.modeling.heads import segmentation_heads
from tests import garden_gradients

BACKBONE = {'2': 5, '3': 6, '4': 7}
DECODER = {'2': 8, '3': 8, '4': 8, '5': 8}


def _make_features(channels: dict[str, int], batch: int = 2) -> dict[str, tf.Tensor]:
    return {
        level: tf.random.stateless_normal([batch, 128 >> int(level), 192 >> int(level), n], [n, 1])
        for level, n in channels.items()
    }


def _make_inputs(batch: int = 2) -> tuple[dict, dict]:
    return _make_features(BACKBONE, batch), _make_features(DECODER, batch)


def _make_head(**options: Any) -> segmentation_heads.SegmentationHead:
    values = {'num_classes': 3, 'level': 3, 'num_filters': 32, 'num_decoder_filters': 8}
    return segmentation_heads.SegmentationHead(**{**values, **options})


FUSIONS: dict[str, dict[str, Any]] = {
    'none': {},
    'deeplabv3plus': {'feature_fusion': 'deeplabv3plus', 'low_level_num_filters': 4, 'level': 4},
    'deeplabv3plus, sum': {
        'feature_fusion': 'deeplabv3plus_sum_to_merge',
        'low_level_num_filters': 8,
        'level': 4,
    },
    'pyramid': {'feature_fusion': 'pyramid_fusion'},
    'panoptic': {
        'feature_fusion': 'panoptic_fpn_fusion',
        'decoder_min_level': 3,
        'decoder_max_level': 5,
    },
}


# By hand


def test_values_by_hand() -> None:
    """A 3x3 convolution that takes the pixel below, halved offsets, and a classifier with a bias."""
    head = _make_head(num_classes=1, num_convs=1, num_filters=1, norm_epsilon=3.0)
    pixels = np.random.default_rng(1).normal(size=[2, 4, 6, 1]).astype(np.float32)
    head.build(({}, {'3': pixels.shape}))
    kernel = np.zeros([3, 3, 1, 1], np.float32)
    kernel[2, 1] = 1.0
    head.convs[0].kernel.assign(kernel)
    head.norms[0].beta.assign([0.5])
    head.classifier.set_weights([np.full([1, 1, 1, 1], 10.0), np.array([7.0])])
    below = np.pad(pixels, [(0, 0), (0, 1), (0, 0), (0, 0)])[:, 1:]
    expected = 10 * np.maximum(below / 2 + 0.5, 0) + 7
    np.testing.assert_allclose(head(({}, {'3': pixels})), expected, rtol=1e-5)


def test_deeplabv3plus_by_hand() -> None:
    """The low level passes with a factor; the classifier reads both."""
    head = _make_head(
        num_classes=2,
        num_convs=0,
        level=4,
        low_level='2/depthwise',
        low_level_num_filters=1,
        feature_fusion='deeplabv3plus',
        norm_epsilon=3.0,
    )
    low = np.random.default_rng(1).normal(size=[2, 4, 8, 1]).astype(np.float32)
    high = np.ones([2, 1, 2, 1], np.float32) * np.float32([0.0, 4.0])[:, None]
    head.build(({'2/depthwise': low.shape}, {'4': high.shape}))
    head.dlv3p_conv.kernel.assign(tf.ones([1, 1, 1, 1]) * 6.0)
    head.classifier.set_weights([np.eye(2, dtype=np.float32)[None, None], np.zeros(2)])
    logits = np.asarray(head(({'2/depthwise': low}, {'4': high})))
    ramp = np.float32([0, 0, 0.5, 1.5, 2.5, 3.5, 4, 4])  # centres at quarters, then clamped
    np.testing.assert_allclose(logits[..., 0], np.broadcast_to(ramp, [2, 4, 8]), rtol=1e-5)
    np.testing.assert_allclose(logits[..., 1], np.maximum(3 * low[..., 0], 0), rtol=1e-5)


def test_upsampling_repeats_pixels_before_the_classifier() -> None:
    inputs = _make_inputs()
    head, large = (_make_head(num_convs=1, upsample_factor=n) for n in (1, 4))
    expected = head(inputs)
    large.build(tf.nest.map_structure(lambda x: tuple(x.shape), inputs))
    large.set_weights(head.get_weights())
    repeated = np.asarray(expected).repeat(4, axis=1).repeat(4, axis=2)
    np.testing.assert_allclose(large(inputs), repeated, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize('name', ['sigmoid', 'softmax'])
def test_logit_activation(name: str) -> None:
    inputs = _make_inputs()
    head, activated = (_make_head(num_convs=0, logit_activation=x) for x in (None, name))
    logits = head(inputs)
    activated(inputs)
    activated.set_weights(head.get_weights())
    np.testing.assert_allclose(activated(inputs), getattr(tf.nn, name)(logits), rtol=1e-5)


# Sizes


@pytest.mark.parametrize('use_depthwise', [False, True])
def test_parameters(use_depthwise: bool) -> None:
    head = _make_head(use_depthwise_convolution=use_depthwise, prediction_kernel_size=3)
    head.build((BACKBONE_SHAPES, DECODER_SHAPES))
    if use_depthwise:
        convs = 9 * 8 + 4 * 8 + 8 * 32 + 4 * 32 + 9 * 32 + 4 * 32 + 32 * 32 + 4 * 32
    else:
        convs = 9 * 8 * 32 + 4 * 32 + 9 * 32 * 32 + 4 * 32
    assert head.count_params() == convs + 9 * 32 * 3 + 3


BACKBONE_SHAPES = {level: (None, None, None, n) for level, n in BACKBONE.items()}
DECODER_SHAPES = {level: (None, None, None, n) for level, n in DECODER.items()}


@pytest.mark.parametrize('name', FUSIONS)
def test_shapes_round_trip_and_keys(name: str) -> None:
    head = _make_head(**FUSIONS[name], kernel_regularizer=keras.regularizers.L2(0.1))
    logits = head(_make_inputs())
    level = 2 if name.startswith('deeplab') else 3
    assert logits.shape == (2, 128 >> level, 192 >> level, 3)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(head))
    assert copy.get_config() == head.get_config()
    keys = list(variable_keys.variable_keys({'head': head}))
    assert keys == list(variable_keys.variable_keys({'head': copy}))
    assert len(keys) == len(head.variables)
    assert {'head/classifier/bias', 'head/convs/1/kernel', 'head/norms/1/gamma'} <= set(keys)


@pytest.mark.parametrize('name', FUSIONS)
def test_bfloat16_follows_float32(name: str) -> None:
    inputs = _make_inputs()
    exact = _make_head(**FUSIONS[name])
    exact(inputs)
    exact.set_weights([np.abs(w) + 0.1 for w in exact.get_weights()])
    expected = exact(inputs)
    performance.set_mixed_precision_policy('bfloat16')
    rounded = _make_head(**FUSIONS[name])
    rounded(inputs)
    rounded.set_weights(exact.get_weights())
    got = rounded(inputs)
    assert got.dtype == tf.bfloat16
    assert tf.norm(tf.cast(got, tf.float32) - expected) / tf.norm(expected) < 0.03


def test_pyramid_fusion_ignores_what_is_not_of_a_level() -> None:
    backbone, decoder = _make_inputs()
    head = _make_head(feature_fusion='pyramid_fusion')
    logits = head((backbone, decoder))
    extra = {**decoder, '2/depthwise': tf.zeros([2, 1, 1, 4])}
    np.testing.assert_array_equal(head((backbone, extra)), logits)


def test_one_map_in_place_of_a_dict() -> None:
    backbone, decoder = _make_inputs()
    head = _make_head(**FUSIONS['deeplabv3plus'])
    expected = head((backbone, decoder))
    np.testing.assert_array_equal(head((backbone['2'], decoder['4'])), expected)


# Refusals


def test_b16_an_unknown_fusion_is_refused() -> None:
    with pytest.raises(
        ValueError,
        match=r"None or one of .*'deeplabv3plus', .*'panoptic_fpn_fusion'.*"
        r"Received: feature_fusion='deeplabv3_plus'\. Did you mean 'deeplabv3plus'",
    ):
        _make_head(feature_fusion='deeplabv3_plus')


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        ({'level': 7}, r"decoder has no features of level 7.*\['2', '3', '4', '5'\]"),
        (
            {'feature_fusion': 'deeplabv3plus', 'low_level': 5},
            r"backbone has no features of level 5.*\['2', '3', '4'\]",
        ),
        (
            {'feature_fusion': 'deeplabv3plus_sum_to_merge', 'low_level_num_filters': 4},
            "decoder's 8 channels. Received: low_level_num_filters=4",
        ),
        (
            {'feature_fusion': 'panoptic_fpn_fusion'},
            'decoder_min_level and decoder_max_level. Received: None and None',
        ),
        (
            {
                'feature_fusion': 'panoptic_fpn_fusion',
                'decoder_min_level': 3,
                'decoder_max_level': 6,
            },
            'decoder has no features of level 6',
        ),
        ({'logit_activation': 'softmix'}, "Unknown activation.*'softmix'"),
    ],
)
def test_refuses_what_does_not_fit(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        _make_head(**options).build((BACKBONE_SHAPES, DECODER_SHAPES))


@pytest.mark.parametrize(
    ('shapes', 'match'),
    [
        (DECODER_SHAPES['3'], 'Received: one feature map'),
        ({**DECODER_SHAPES, '6': (None, None, None, 9)}, "same number of channels.*'6': 9"),
    ],
)
def test_pyramid_fusion_refuses_what_cannot_be_added(shapes: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        _make_head(feature_fusion='pyramid_fusion').build((BACKBONE_SHAPES, shapes))


# Mask scoring


def _make_scoring(**options: Any) -> segmentation_heads.MaskScoring:
    values = {'num_classes': 3, 'fc_input_size': [4, 5], 'num_filters': 6, 'fc_dims': 7}
    return segmentation_heads.MaskScoring(**{**values, **options})


def test_mask_scores_by_hand() -> None:
    """Without convolutions and dense layers, scores are sums of the resized logits."""
    head = _make_scoring(num_classes=1, num_convs=0, num_fcs=0, fc_input_size=[2, 2])
    logits = np.random.default_rng(1).normal(size=[3, 4, 4, 2]).astype(np.float32)
    head(logits)
    head.classifier.set_weights([np.ones([8, 1]), np.array([0.25])])
    expected = logits.reshape([3, 2, 2, 2, 2, 2]).mean((2, 4)).sum((1, 2, 3)) + 0.25
    np.testing.assert_allclose(head(logits)[:, 0], expected, rtol=1e-4, atol=1e-6)


def test_mask_scoring_has_no_gradient_for_logits() -> None:
    head = _make_scoring()
    logits = tf.random.stateless_normal([2, 8, 8, 3], [1, 2])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        scores = head(logits)
    assert scores.shape == (2, 3)
    assert tape.gradient(scores, logits) is None


@pytest.mark.parametrize('use_depthwise', [False, True])
def test_mask_scoring_parameters_round_trip_and_keys(use_depthwise: bool) -> None:
    head = _make_scoring(num_convs=2, num_fcs=1, use_depthwise_convolution=use_depthwise)
    head.build((None, None, None, 3))
    if use_depthwise:
        convs = 9 * 3 + 4 * 3 + 3 * 6 + 6 + 4 * 6 + 9 * 6 + 4 * 6 + 6 * 6 + 6 + 4 * 6
    else:
        convs = 9 * 3 * 6 + 6 + 4 * 6 + 9 * 6 * 6 + 6 + 4 * 6
    assert head.count_params() == convs + 4 * 5 * 6 * 7 + 7 + 4 * 7 + 7 * 3 + 3
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(head))
    assert copy.get_config() == head.get_config()
    keys = list(variable_keys.variable_keys({'head': head}))
    assert keys == list(variable_keys.variable_keys({'head': copy}))
    assert len(keys) == len(head.variables)


@pytest.mark.parametrize('size', [[], [7], [0, 7]])
def test_mask_scoring_needs_a_size(size: list[int]) -> None:
    with pytest.raises(ValueError, match=r'fc_input_size to be \[height, width\].*Received: \['):
        _make_scoring(fc_input_size=size)


# Parity

GARDEN_HEADS: dict[str, dict[str, Any]] = {
    **FUSIONS,
    # It cannot make finer levels coarser.
    'pyramid': {'feature_fusion': 'pyramid_fusion', 'level': 2},
    'depthwise, upsampled': {
        'use_depthwise_convolution': True,
        'upsample_factor': 2,
        'prediction_kernel_size': 3,
        'logit_activation': 'softmax',
        'activation': 'relu',
    },
    'three convolutions, sync': {'num_convs': 3, 'use_sync_bn': True, 'num_filters': 16},
}


_FAST = ('deeplabv3plus', 'pyramid', 'depthwise, upsampled')


@pytest.mark.garden
@pytest.mark.parametrize(
    'name',
    [pytest.param(name, marks=[] if name in _FAST else pytest.mark.slow) for name in GARDEN_HEADS],
)
def test_head_equals_model_garden(name: str) -> None:
    from official.vision.modeling.heads import segmentation_heads as garden_heads

    options = {
        'num_classes': 3,
        'level': 3,
        'num_filters': 32,
        'num_decoder_filters': 8,
        'activation': 'swish',
        'norm_momentum': 0.9,
        **GARDEN_HEADS[name],
    }
    inputs = _make_inputs()
    theirs = garden_heads.SegmentationHead(**options)
    ours = segmentation_heads.SegmentationHead(**options)
    theirs(inputs)
    ours(inputs)
    garden_gradients.assert_equal(theirs, ours, inputs)


@pytest.mark.garden
@pytest.mark.parametrize('use_depthwise', [False, True])
def test_mask_scoring_equals_model_garden(use_depthwise: bool) -> None:
    from official.vision.modeling.heads import segmentation_heads as garden_heads

    options = {
        'num_classes': 3,
        'fc_input_size': [4, 5],
        'num_convs': 2,
        'num_filters': 6,
        'fc_dims': 7,
        'activation': 'swish',
        'norm_momentum': 0.9,
        'use_depthwise_convolution': use_depthwise,
    }
    logits = tf.random.stateless_normal([16, 16, 24, 3], [1, 2])
    theirs = garden_heads.MaskScoring(**options)
    ours = segmentation_heads.MaskScoring(**options)
    theirs(logits)
    ours(logits)
    garden_gradients.assert_equal(theirs, ours, logits)


@pytest.mark.garden
def test_b16_model_garden_takes_an_unknown_fusion_for_none() -> None:
    from official.vision.modeling.heads import segmentation_heads as garden_heads

    plain, misspelt = (
        garden_heads.SegmentationHead(3, 3, num_filters=8, feature_fusion=name)
        for name in (None, 'deeplabv3_plus')
    )
    inputs = _make_inputs()
    plain(inputs)
    misspelt(inputs)
    assert [w.shape for w in misspelt.weights] == [w.shape for w in plain.weights]
