"""FPN: values worked out by hand, sizes and refusals."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite.vision.modeling.decoders import fpn
from tests.vision.modeling import pyramids


def _set_identity(model: keras.Model) -> None:
    """Each convolution passes the sum of its input's channels at the kernel's middle."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            kernel = np.zeros(layer.kernel.shape, np.float32)
            kernel[kernel.shape[0] // 2, kernel.shape[1] // 2] = 1.0
            layer.set_weights([kernel, np.zeros([1], np.float32)])


@pytest.mark.parametrize('use_keras_layer', [False, True])
@pytest.mark.parametrize('fusion_type', ['sum', 'concat'])
def test_fpn_values_by_hand(fusion_type: str, use_keras_layer: bool) -> None:
    channels = {'2': 3, '3': 1, '4': 1}
    model = fpn.FPN(
        pyramids.make_specs(channels, (64, 128)),
        min_level=3,
        max_level=6,
        num_filters=1,
        fusion_type=fusion_type,
        use_keras_layer=use_keras_layer,
        norm_epsilon=1.25,
    )
    _set_identity(model)
    features = pyramids.make_features(channels, (64, 128))
    fine, coarse = (features[level].numpy() for level in '34')
    # A coarser pixel is four finer ones; concatenated channels are summed by the convolution.
    expected = {'3': fine + coarse.repeat(2, axis=1).repeat(2, axis=2), '4': coarse}
    # Even sizes are padded at the end only, so that a kernel's middle meets the odd pixels; what is
    # made from a made level is activated first.
    expected['5'] = expected['4'][:, 1::2, 1::2]
    expected['6'] = np.maximum(expected['5'], 0)[:, 1::2, 1::2]
    got = model(features, training=False)
    assert got.keys() == expected.keys()
    for level, values in expected.items():
        # Untrained statistics: a mean of 0, a variance of 1.
        np.testing.assert_allclose(got[level], values / 1.5, rtol=1e-6, atol=1e-6)
    assert (got['5'].numpy() < 0).any()


def test_fpn_normalises_every_level() -> None:
    model = fpn.FPN(pyramids.make_specs(pyramids.SMALL), max_level=6, num_filters=8)
    outputs = model(pyramids.make_features(pyramids.SMALL, batch=4), training=True)
    for level, values in outputs.items():
        mean, variance = tf.nn.moments(values, [0, 1, 2])
        np.testing.assert_allclose(mean, np.zeros(8), atol=1e-5, err_msg=level)
        np.testing.assert_allclose(variance, np.ones(8), atol=0.02, err_msg=level)


@pytest.mark.parametrize(
    ('first', 'last', 'parameters', 'names'),
    [
        (3, 7, 3_873_792, {'lateral_3', 'lateral_5', 'post_hoc_3', 'coarser_6', 'coarser_7'}),
        (2, 6, 3_939_584, {'lateral_2', 'lateral_5', 'post_hoc_2', 'coarser_6'}),
        # Two laterals, two 3x3 convolutions and two of BatchNorm.
        (3, 4, 256 * (512 + 1024 + 2) + 2 * 256 * (9 * 256 + 1) + 2 * 4 * 256, {'post_hoc_4'}),
    ],
)
def test_fpn_parameters(first: int, last: int, parameters: int, names: set[str]) -> None:
    model = fpn.FPN(pyramids.make_specs(pyramids.R50), first, last)
    assert model.count_params() == parameters
    assert names <= {layer.name for layer in model.layers}
    assert list(model.output_specs) == [str(level) for level in range(first, last + 1)]


def test_fpn_ignores_what_it_does_not_read() -> None:
    channels = {**pyramids.SMALL, '2': 8, '2/depthwise': 4, '6': 8}
    model = fpn.FPN(
        {
            **pyramids.make_specs(pyramids.SMALL),
            '2': (None, 32, 64, 8),
            '2/depthwise': (None, 1, 1, 4),
        },
        3,
        5,
        8,
    )
    features = pyramids.make_features(pyramids.SMALL)
    extra = {
        level: tf.zeros([2, 1, 1, n])
        for level, n in channels.items()
        if level not in pyramids.SMALL
    }
    for level, values in model(features).items():
        np.testing.assert_array_equal(values, model({**extra, **features})[level])


@pytest.mark.parametrize(
    ('size', 'match'),
    [
        ((96, 72), 'width 9 at level 3 is not twice the 5 at level 4.*width .*multiple of 32'),
        ((80, 128), 'height 5 at level 4 is not twice the 3 at level 5.*height .*multiple of 32'),
    ],
)
def test_b27_fpn_refuses_maps_that_do_not_fit(size: tuple[int, int], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        fpn.FPN(pyramids.make_specs(pyramids.SMALL, size), 3, 7, 8)
    # Sizes that are only known with the images: the same text instead of one about broadcasting.
    model = fpn.FPN(pyramids.make_specs(pyramids.SMALL, (None, None)), 3, 7, 8)
    with pytest.raises(ValueError, match=match):
        model(pyramids.make_features(pyramids.SMALL, size))
    with pytest.raises(ValueError, match=match):
        tf.function(model)(pyramids.make_features(pyramids.SMALL, size))


def test_b27_fpn_needs_multiples_of_the_levels_that_it_adds_only() -> None:
    """Levels 6 and 7 are made from level 5, so that 96 px are enough."""
    outputs = fpn.FPN(pyramids.make_specs(pyramids.SMALL, (96, 32)), 3, 7, 8)(
        pyramids.make_features(pyramids.SMALL, (96, 32))
    )
    assert {level: tuple(x.shape[1:3]) for level, x in outputs.items()} == {
        '3': (12, 4),
        '4': (6, 2),
        '5': (3, 1),
        '6': (2, 1),
        '7': (1, 1),
    }
