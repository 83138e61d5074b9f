"""Fusion of levels: values worked out by hand, refusals, and numbers of Model Garden."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite.modeling import performance, variable_keys
from official_lite.vision.modeling.layers import feature_fusion, resizing
from tests import garden_gradients


def _make_features(
    levels: str, channels: int = 3, size: tuple[int, int] = (32, 64), batch: int = 2
) -> dict[str, tf.Tensor]:
    return {
        level: tf.random.stateless_normal(
            [batch, size[0] // 2 ** int(level), size[1] // 2 ** int(level), channels],
            [7, int(level)],
        )
        for level in levels
    }


# Resizing


def test_resize_by_hand() -> None:
    row = tf.reshape([0.0, 4.0], [1, 1, 2, 1])
    # Centres of new pixels are at 1/4, 3/4, 5/4 and 7/4 of old ones, whose centres are at 1/2, 3/2.
    expected = [0.0, 1.0, 3.0, 4.0]
    np.testing.assert_allclose(np.ravel(resizing.resize(row, [1, 4])), expected)
    np.testing.assert_allclose(np.ravel(resizing.resize(row, [1, 4], 'nearest')), [0, 0, 4, 4])


@pytest.mark.parametrize('method', ['bilinear', 'nearest', 'bicubic', 'lanczos3'])
def test_resizing_one_pixel_repeats_it(method: str) -> None:
    pixel = tf.random.stateless_normal([2, 1, 1, 3], [1, 2])
    expected = tf.image.resize(pixel, [3, 5], method=method)
    got = resizing.resize(pixel, [3, tf.constant(5)], method)
    assert got.shape == (2, 3, 5, 3)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_resize_keeps_the_dtype() -> None:
    for size in ([1, 1], [2, 4]):
        x = tf.cast(tf.ones([2, *size, 3]), tf.bfloat16)
        assert resizing.resize(x, [8, 8]).dtype == tf.bfloat16


# Pyramid


def test_pyramid_fusion_by_hand() -> None:
    features = _make_features('345')
    fused = feature_fusion.pyramid_feature_fusion(features, 4)
    fine = features['3'].numpy()
    # Without antialiasing, the middle of the four pixels that a pixel covers.
    halved = fine.reshape([2, 2, 2, 4, 2, 3]).mean((2, 4))
    coarse = np.asarray(features['5'])[:, 0]  # [2, 2, 3]: a row of two pixels
    left, right = coarse[:, 0], coarse[:, 1]
    row = np.stack([left, 0.75 * left + 0.25 * right, 0.25 * left + 0.75 * right, right], axis=1)
    np.testing.assert_allclose(
        fused, halved + features['4'].numpy() + row[:, None], rtol=1e-5, atol=1e-5
    )


def test_pyramid_fusion_at_a_level_that_is_not_there() -> None:
    features = _make_features('45')
    finer = feature_fusion.pyramid_feature_fusion(features, 3)
    assert finer.shape == (2, 4, 8, 3)
    expected = sum(tf.image.resize(x, [4, 8]) for x in features.values())
    np.testing.assert_allclose(finer, expected, rtol=1e-5, atol=1e-5)
    assert feature_fusion.pyramid_feature_fusion(_make_features('34'), 5).shape == (2, 1, 2, 3)


@pytest.mark.garden
@pytest.mark.parametrize('target_level', [2, 3])
def test_pyramid_fusion_equals_model_garden(target_level: int) -> None:
    from official.vision.modeling.layers import nn_layers as garden_layers

    features = _make_features('345', size=(64, 96))
    expected = garden_layers.pyramid_feature_fusion(features, target_level)
    got = feature_fusion.pyramid_feature_fusion(features, target_level)
    np.testing.assert_allclose(got, expected, atol=1e-5)


# Panoptic FPN


def test_panoptic_fusion_by_hand() -> None:
    """Every convolution passes the sum of the input's channels; normalised groups are one channel."""
    model = feature_fusion.PanopticFPNFusion(3, 5, 3, num_filters=32, num_fpn_filters=3)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            kernel = np.zeros(layer.kernel.shape, np.float32)
            kernel[1, 1] = 1.0
            layer.kernel.assign(kernel)
    features = _make_features('2345')

    def step(x: np.ndarray) -> np.ndarray:
        x = x.sum(-1, keepdims=True)
        mean, variance = (f(x, axis=(1, 2), keepdims=True) for f in (np.mean, np.var))
        return np.maximum((x - mean) / np.sqrt(variance + 1e-3), 0).repeat(32, axis=-1)

    def enlarge(x: np.ndarray) -> np.ndarray:
        return x.repeat(2, axis=1).repeat(2, axis=2)

    arrays = {level: x.numpy() for level, x in features.items()}
    expected = (
        step(arrays['3']) + enlarge(step(arrays['4'])) + enlarge(step(enlarge(step(arrays['5']))))
    )
    np.testing.assert_allclose(model(features), expected, rtol=1e-3, atol=1e-4)


def test_panoptic_fusion_sizes() -> None:
    model = feature_fusion.PanopticFPNFusion(2, 5, 2, num_filters=64, num_fpn_filters=16)
    # One step for level 2 and for 3, two for 4, three for 5; the first of each reads 16 channels.
    first, other = 9 * 16 * 64 + 64, 9 * 64 * 64 + 64
    assert model.count_params() == 4 * first + 3 * other + 7 * 2 * 64
    assert model.output_specs == {'2': (None, None, None, 64)}
    single = feature_fusion.PanopticFPNFusion(3, 3, 3, num_filters=32, num_fpn_filters=16)
    assert single(_make_features('3', 16)).shape == (2, 4, 8, 32)


def test_panoptic_fusion_config_round_trip_and_keys() -> None:
    model = feature_fusion.PanopticFPNFusion(
        2, 4, 2, 32, 8, 'swish', keras.regularizers.L2(0.1), name='fuse'
    )
    copy = feature_fusion.PanopticFPNFusion.from_config(model.get_config())
    assert copy.get_config() == model.get_config()
    keys, copied = (list(variable_keys.variable_keys({'f': m})) for m in (model, copy))
    assert keys == copied
    assert len(keys) == len(model.variables)
    assert {'f/conv_4_1/kernel', 'f/norm_2_0/gamma'} <= set(keys)


def test_panoptic_fusion_in_bfloat16() -> None:
    features = _make_features('345', 16)
    exact = feature_fusion.PanopticFPNFusion(3, 5, 3, 32, 16)
    expected = exact(features)
    performance.set_mixed_precision_policy('bfloat16')
    rounded = feature_fusion.PanopticFPNFusion(3, 5, 3, 32, 16)
    rounded.set_weights(exact.get_weights())
    got = rounded(features)
    assert got.dtype == tf.bfloat16
    assert tf.norm(tf.cast(got, tf.float32) - expected) / tf.norm(expected) < 0.03


@pytest.mark.parametrize(
    ('build', 'match'),
    [
        (
            lambda: feature_fusion.PanopticFPNFusion(2, 5, 3),
            'target_level <= min_level <= max_level.*target_level=3, min_level=2, max_level=5',
        ),
        (
            lambda: feature_fusion.PanopticFPNFusion(2, 5, 2, num_filters=48),
            'multiple of 32. Received: 48',
        ),
        (
            lambda: feature_fusion.PanopticFPNFusion(2, 4, 2, 32, 3)(_make_features('34')),
            r"Missing data for input .2.*keys \['3', '4'\]",
        ),
    ],
)
def test_refuses_what_does_not_fit(build: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        build()


@pytest.mark.garden
@pytest.mark.parametrize(
    'options',
    [
        {'min_level': 2, 'max_level': 5, 'target_level': 2, 'activation': 'swish'},
        pytest.param({'min_level': 3, 'max_level': 4, 'target_level': 2}, marks=pytest.mark.slow),
    ],
    ids=['from the target on', 'coarser than the target'],
)
def test_panoptic_fusion_equals_model_garden(options: dict[str, Any]) -> None:
    from official.vision.modeling.layers import nn_layers as garden_layers

    options = {'num_filters': 64, 'num_fpn_filters': 16, **options}
    theirs = garden_layers.PanopticFPNFusion(**options)
    ours = feature_fusion.PanopticFPNFusion(**options)
    levels = ''.join(str(x) for x in range(options['min_level'], options['max_level'] + 1))
    garden_gradients.assert_equal(theirs, ours, _make_features(levels, 16, (64, 96), batch=4))
