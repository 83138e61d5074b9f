"""FPN and NAS-FPN: Model Garden's numbers with its weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from official_lite.vision.modeling.decoders import fpn, nasfpn
from tests import garden_weights
from tests.vision.modeling import pyramids

PAIRS: dict[str, dict[str, Any]] = {
    'fpn': {'type': 'fpn', 'num_filters': 16},
    'fpn concat': {'type': 'fpn', 'num_filters': 16, 'fusion_type': 'concat', 'max_level': 5},
    'fpn separable': {'type': 'fpn', 'num_filters': 16, 'use_separable_conv': True},
    'fpn, Keras layer, level 2': {
        'type': 'fpn',
        'num_filters': 16,
        'use_keras_layer': True,
        'min_level': 2,
        'max_level': 6,
        'use_sync_bn': True,
    },
    'nasfpn': {'type': 'nasfpn', 'num_repeats': 2},
    'nasfpn of other width': {'type': 'nasfpn', 'num_filters': 16, 'num_repeats': 1},
    'nasfpn separable': {
        'type': 'nasfpn',
        'num_repeats': 1,
        'use_separable_conv': True,
        'use_sync_bn': True,
    },
}


BACKBONE = {'2': 8, **pyramids.SMALL}


def _make_pair(settings: dict[str, Any]) -> tuple[Any, Any]:
    from official.vision.modeling.decoders import fpn as garden_fpn
    from official.vision.modeling.decoders import nasfpn as garden_nasfpn

    options = {'activation': 'swish', 'norm_momentum': 0.9, **settings}
    if options.pop('type') == 'fpn':
        garden, ours = garden_fpn.FPN, fpn.FPN
    else:
        garden, ours = garden_nasfpn.NASFPN, nasfpn.NASFPN
    specs = pyramids.make_specs(BACKBONE)
    garden_specs = {level: tf.TensorShape(shape) for level, shape in specs.items()}
    pair = garden(input_specs=garden_specs, **options), ours(input_specs=specs, **options)
    garden_weights.randomize_weights(pair[0])
    garden_weights.carry_weights(*pair)
    return pair


def _compute(model: Any, features: dict, variables: list, training: bool) -> tuple[dict, list]:
    """Outputs, and gradients of their products with fixed random numbers."""

    @tf.function(autograph=False)
    def compute() -> tuple[dict, list]:
        with tf.GradientTape() as tape:
            tape.watch([*variables, *features.values()])
            outputs = dict(model(features, training=training))
            loss = tf.add_n(
                [
                    tf.reduce_mean(x * tf.random.stateless_normal(x.shape, [5, int(level)]))
                    for level, x in outputs.items()
                ]
            )
        return outputs, tape.gradient(loss, [*variables, *features.values()])

    return compute()


@pytest.mark.garden
@pytest.mark.parametrize('name', PAIRS)
@pytest.mark.parametrize('training', [False, True])
def test_outputs_gradients_and_statistics_equal_model_garden(name: str, training: bool) -> None:
    theirs, ours = _make_pair(PAIRS[name])
    # Fewer values per channel would leave BatchNorm of the coarsest level to rounding errors.
    features = pyramids.make_features(BACKBONE, batch=6)
    pairs = [p for p in garden_weights.pair_variables(theirs, ours) if p[0].trainable]
    expected, expected_gradients = _compute(theirs, features, [p[0] for p in pairs], training)
    got, gradients = _compute(ours, features, [p[1].value for p in pairs], training)
    assert got.keys() == expected.keys()
    for level in expected:
        largest = max(1.0, float(tf.reduce_max(tf.abs(expected[level]))))
        np.testing.assert_allclose(got[level], expected[level], atol=1e-4 * largest, rtol=0)
    _assert_gradients_agree(gradients, expected_gradients, pairs, features)
    for variable, other in garden_weights.pair_variables(theirs, ours):
        np.testing.assert_allclose(other, variable, rtol=1e-4, atol=1e-4, err_msg=variable.name)


def _assert_gradients_agree(got: list, expected: list, pairs: list, features: dict) -> None:
    names = [variable.name for variable, _ in pairs] + list(features)
    whole = float(tf.linalg.global_norm([g for g in expected if g is not None]))
    for name, ours, theirs in zip(names, got, expected, strict=True):
        if theirs is None:  # a level that is not read
            assert ours is None, name
            continue
        # Biases before batch normalisation have no gradient but rounding errors.
        limit = max(1e-4 * np.linalg.norm(theirs), 1e-6 * whole)
        assert np.linalg.norm(ours - theirs) <= limit, name


@pytest.mark.garden
@pytest.mark.slow
def test_whole_nasfpn_equals_model_garden() -> None:
    theirs, ours = _make_pair({'type': 'nasfpn', 'activation': 'relu'})
    features = pyramids.make_features(BACKBONE)
    expected, got = theirs(features, training=False), ours(features, training=False)
    for level in expected:
        largest = max(1.0, float(tf.reduce_max(tf.abs(expected[level]))))
        np.testing.assert_allclose(got[level], expected[level], atol=1e-4 * largest, rtol=0)
