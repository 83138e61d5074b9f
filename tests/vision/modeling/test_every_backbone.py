"""Every backbone, by its name alone: levels, decoders, number formats, copies, replicas.

`python -m pytest tests/vision/modeling/test_every_backbone.py --backbone=my_package.module:my_net`
tests the one that this module registers.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import types
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from official_lite import manifest
from official_lite.modeling import performance, variable_keys
from official_lite.vision.configs import common
from official_lite.vision.configs import decoders as decoders_cfg
from official_lite.vision.modeling.decoders import factory as decoder_factory
from tests.vision.modeling import backbones

REPO = pathlib.Path(__file__).resolve().parents[3]
DECODERS: dict[str, dict[str, Any]] = {
    'aspp': {'num_filters': 8, 'dilation_rates': [2]},
    'fpn': {'num_filters': 8},
    'identity': {},
    'nasfpn': {'num_filters': 8, 'num_repeats': 1},
}
NAS_FPN_LEVELS = (3, 7)
# How far bfloat16, with 8 bits, may be from float32 after a network's depth, relative to the norm.
BFLOAT16_TOLERANCE = 0.1


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Gives `backbone` the names of this package's, or those of the command line."""
    if 'backbone' not in metafunc.fixturenames:
        return
    names = metafunc.config.getoption('--backbone') or [
        name if name in backbones.ORDINARY else pytest.param(name, marks=pytest.mark.slow)
        for name in backbones.list_names()
    ]
    metafunc.parametrize('backbone', names)


def _make_images(seed: int = 0) -> tf.Tensor:
    return tf.random.stateless_normal([2, *backbones.SIZE, 3], [seed, 1])


def _get_levels(model: Any) -> list[int]:
    return sorted(int(level) for level in model.output_specs)


def test_levels_are_what_the_specification_says(backbone: str) -> None:
    """Of images of a known size, and of any size if the network takes them."""
    model = backbones.build(backbone)
    outputs = model(_make_images(), training=False)
    specs = model.output_specs
    assert specs
    for level, shape in specs.items():
        assert tuple(outputs[level].shape) == (2, *shape[1:])
        assert np.isfinite(outputs[level]).all()
    sides = [specs[str(level)][1:3] for level in _get_levels(model)]
    for level, (height, width) in zip(_get_levels(model), sides, strict=True):
        assert (height, width) == (backbones.SIZE[0] >> level, backbones.SIZE[1] >> level)
    if backbone == 'vit':  # It has an embedding for each position.
        with pytest.raises(ValueError, match='Expected images of a known height and width'):
            backbones.build(backbone, size=None)
        return
    flexible = backbones.build(backbone, size=None)
    flexible.set_weights(model.get_weights())
    for level, x in flexible(_make_images(), training=False).items():
        np.testing.assert_allclose(x, outputs[level], atol=1e-4)


def test_a_copy_is_the_same_network(backbone: str) -> None:
    model = backbones.build(backbone)
    copy = type(model).from_config(model.get_config())
    assert copy.get_config() == model.get_config()
    keys, copied = (list(variable_keys.variable_keys({'backbone': m})) for m in (model, copy))
    assert keys == copied
    assert len(keys) == len(model.variables)
    copy.set_weights(model.get_weights())
    expected, got = (m(_make_images(), training=False) for m in (model, copy))
    for level in expected:
        np.testing.assert_allclose(got[level], expected[level], atol=1e-5)


def test_bfloat16_follows_float32(backbone: str) -> None:
    exact = backbones.build(backbone)
    performance.set_mixed_precision_policy('bfloat16')
    rounded = backbones.build(backbone)
    rounded.set_weights(exact.get_weights())
    assert {v.dtype for v in rounded.trainable_variables} == {'float32'}
    expected, got = (m(_make_images(), training=False) for m in (exact, rounded))
    for level in exact.output_specs:
        assert got[level].dtype == tf.bfloat16
        difference = tf.norm(tf.cast(got[level], tf.float32) - expected[level])
        assert difference < BFLOAT16_TOLERANCE * tf.norm(expected[level]), level


def _find_pyramid(decoder: str, levels: list[int]) -> tuple[int, int] | None:
    """Finest and coarsest level of a decoder on a backbone's levels; None if it cannot stand there."""
    if decoder == 'nasfpn':
        return NAS_FPN_LEVELS if NAS_FPN_LEVELS[0] in levels else None
    # One level more than the backbone has, as far as images can be halved.
    coarsest = min(levels[-1] + (decoder == 'fpn'), NAS_FPN_LEVELS[1])
    return max(levels[0], min(3, levels[-1])), coarsest


def _build_decoder(decoder: str, model: Any) -> Any:
    levels = _get_levels(model)
    pyramid = _find_pyramid(decoder, levels)
    config = decoders_cfg.Decoder(type=decoder)
    options = DECODERS[decoder]
    config.override({decoder: {**options, **({'level': levels[-1]} if decoder == 'aspp' else {})}})
    config.validate()
    model_config = types.SimpleNamespace(
        decoder=config,
        min_level=pyramid[0] if pyramid else NAS_FPN_LEVELS[0],
        max_level=pyramid[1] if pyramid else NAS_FPN_LEVELS[1],
        norm_activation=common.NormActivation(),
    )
    return decoder_factory.build_decoder(model.output_specs, model_config)


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_every_decoder_that_finds_its_levels(backbone: str, dtype: str) -> None:
    """Forward and backward; a decoder that cannot stand on the backbone says which levels it lacks."""
    performance.set_mixed_precision_policy(dtype)
    model = backbones.build(backbone)
    for decoder in manifest.DECODERS:
        if _find_pyramid(decoder, _get_levels(model)) is None:
            with pytest.raises(
                ValueError, match=r'starts at level 3, for which the backbone has no'
            ):
                _build_decoder(decoder, model)
            continue
        _check_decoder(_build_decoder(decoder, model), model, dtype)


def _check_decoder(decoder: Any, model: Any, dtype: str) -> None:
    with tf.GradientTape() as tape:
        features = model(_make_images(), training=True)
        if decoder is not None:
            features = decoder(features, training=True)
        loss = tf.add_n([tf.reduce_mean(tf.cast(x, tf.float32) ** 2) for x in features.values()])
    if decoder is None:  # The head reads the backbone.
        return
    specs = decoder.output_specs
    assert set(features) == set(specs)
    for level, x in features.items():
        assert tuple(x.shape) == (2, *specs[level][1:])
        assert x.dtype == dtype
        assert np.isfinite(tf.cast(x, tf.float32)).all()
    gradients = tape.gradient(loss, [v.value for v in decoder.trainable_variables])
    assert all(gradient is not None for gradient in gradients)
    copy = type(decoder).from_config(decoder.get_config())
    assert copy.get_config() == decoder.get_config()


@pytest.mark.slow
def test_two_replicas_compute_what_one_does(backbone: str, tmp_path: pathlib.Path) -> None:
    """Synchronised: features, moving statistics and the size of the gradient, in training mode."""
    program = REPO / 'tests' / 'vision' / 'modeling' / 'replica_backbone.py'
    output = tmp_path / 'result.json'
    done = subprocess.run(
        [sys.executable, str(program), backbone, str(output)],
        cwd=REPO,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    for name, (one, two) in json.loads(output.read_text()).items():
        assert two == pytest.approx(one, rel=2e-2, abs=1e-4), name


def test_all_decoders_are_in_the_table() -> None:
    assert set(manifest.DECODERS) == set(DECODERS)
