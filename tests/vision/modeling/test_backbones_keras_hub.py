"""Backbones of KerasHub: with a stand-in for the package, and with itself where it is installed."""

from __future__ import annotations

import importlib.util
import pathlib
import sys
import types
from typing import Any, Optional

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite import errors
from official_lite.modeling import hyperparams, norm
from official_lite.vision.configs import backbones as backbones_cfg
from official_lite.vision.configs import common, zoos
from official_lite.vision.modeling.backbones import factory, keras_hub_backbone
from official_lite.vision.ops import image_normalization

SIZE = (32, 64)
IMAGES = keras.layers.InputSpec(shape=[None, *SIZE, 3])

needs_keras_hub = pytest.mark.skipif(
    importlib.util.find_spec('keras_hub') is None, reason='KerasHub is not installed'
)


def _build(spec: keras.layers.InputSpec = IMAGES, **options: Any) -> Any:
    config = backbones_cfg.Backbone(type='keras_hub')
    config.override({'keras_hub': options})
    config.validate()
    return factory.build_backbone(spec, config, common.NormActivation(use_sync_bn=False))


def _conv(x: Any, name: str) -> Any:
    x = keras.layers.Conv2D(4, 3, 2, padding='same', use_bias=False, name=f'{name}_conv')(x)
    x = keras.layers.BatchNormalization(name=f'{name}_norm')(x)
    return keras.layers.ReLU(name=name)(x)


def _make_backbone(shape: Any = (None, None, 3), pyramid: Optional[str] = 'P') -> keras.Model:
    """Two strided convolutions; levels are named if `pyramid` is not None."""
    inputs = keras.Input(shape)
    first = _conv(inputs, 'first')
    second = _conv(first, 'second')
    model = keras.Model(inputs, second)
    if pyramid is not None:
        model.pyramid_outputs = {f'{pyramid}1': first, f'{pyramid}2': second}
    return model


class _Stand:
    """A stand-in for the package: one preset."""

    def __init__(self, model: Any, converter: Any = None) -> None:
        self.loads: list[bool] = []
        self._model, self._converter = model, converter
        self.models = types.SimpleNamespace(
            Backbone=types.SimpleNamespace(from_preset=self._load_backbone)
        )
        self.layers = types.SimpleNamespace(
            ImageConverter=types.SimpleNamespace(from_preset=self._load_converter)
        )

    def _load_backbone(self, preset: str, load_weights: bool) -> keras.Model:
        if preset != 'mine':
            raise ValueError(f'Unknown preset identifier. Received: {preset}')
        self.loads.append(load_weights)
        return self._model

    def _load_converter(self, preset: str) -> Any:
        if self._converter is None:
            raise FileNotFoundError(f'no image_converter.json in {preset}')
        return self._converter


def _use(monkeypatch: pytest.MonkeyPatch, *args: Any) -> _Stand:
    stand = _Stand(*args)
    monkeypatch.setitem(sys.modules, 'keras_hub', stand)  # type: ignore[arg-type]
    return stand


@pytest.mark.parametrize('pyramid', ['P', 'stage', None])
def test_levels_are_the_named_ones_or_those_of_the_graph(
    monkeypatch: pytest.MonkeyPatch, pyramid: Optional[str]
) -> None:
    stand = _use(monkeypatch, _make_backbone(pyramid=pyramid))
    model = _build(preset='mine', load_weights=False, image_values='prepared')
    assert stand.loads == [False]
    assert model.output_specs == {'1': (None, 16, 32, 4), '2': (None, 8, 16, 4)}
    outputs = model(tf.zeros([2, *SIZE, 3]))
    assert {level: tuple(x.shape) for level, x in outputs.items()} == {
        '1': (2, 16, 32, 4),
        '2': (2, 8, 16, 4),
    }
    layers = [x for x in model._flatten_layers() if 'BatchNormalization' in type(x).__name__]
    assert [type(layer) for layer in layers] == [norm.BatchNormalization] * 2


def test_the_converter_of_the_preset_says_what_values_it_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = _make_backbone()
    converter = types.SimpleNamespace(scale=[0.1, 0.2, 0.3], offset=-1.0)
    _use(monkeypatch, original, converter)
    pixels = np.random.default_rng(0).uniform(0, 255, [1, *SIZE, 3]).astype(np.float32)
    expected = original(pixels * np.float32([0.1, 0.2, 0.3]) - 1.0)
    normalized = image_normalization.normalize_images(tf.constant(pixels))
    for values, images in (('pixels', pixels), ('normalized', normalized)):
        got = _build(preset='mine', image_values=values)(images)['2']
        np.testing.assert_allclose(got, expected, atol=1e-3, rtol=1e-4)
    assert not np.allclose(_build(preset='mine', image_values='prepared')(pixels)['2'], expected)


def test_get_config_loads_no_weights_again(monkeypatch: pytest.MonkeyPatch) -> None:
    stand = _use(monkeypatch, _make_backbone())
    model = _build(preset='mine', image_values='prepared')
    copy = keras_hub_backbone.KerasHubBackbone.from_config(model.get_config())
    assert stand.loads == [True, False]
    assert copy.get_config() == model.get_config()


def test_without_the_package_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, 'keras_hub', None)
    with pytest.raises(
        errors.UsageError,
        match=r'^backbone keras_hub: KerasHub cannot be imported .*; install it: pip install '
        r"'official-lite\[keras-hub\]'$",
    ):
        _build(preset='mine')


def test_refuses_what_is_no_image_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = keras.Input([7])
    _use(monkeypatch, keras.Model(tokens, keras.layers.Dense(3)(tokens)))
    with pytest.raises(errors.UsageError, match=r"preset 'mine': .* takes something else than"):
        _build(preset='mine', image_values='prepared')

    images = keras.Input([None, None, 3])
    x = keras.layers.GlobalAveragePooling2D()(images)
    _use(monkeypatch, keras.Model(images, x))
    with pytest.raises(
        errors.UsageError, match=r"preset 'mine': .* gives no feature maps by level"
    ):
        _build(preset='mine', image_values='prepared')


def test_refuses_another_size_and_what_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    _use(monkeypatch, _make_backbone(shape=(64, 64, 3)))
    with pytest.raises(
        errors.UsageError, match=r'expected input_size \[64, 64, 3\]; received \[32, 64, 3\]'
    ):
        _build(preset='mine', image_values='prepared')
    with pytest.raises(errors.UsageError, match=r"cannot be loaded: Unknown preset.*'other'"):
        _build(preset='other')
    _use(monkeypatch, _make_backbone())
    with pytest.raises(errors.UsageError, match="set image_values to 'prepared'"):
        _build(preset='mine')


def test_configs_are_checked() -> None:
    for values, match in (
        ({'preset': ''}, 'preset: expected the name, handle or path'),
        ({'image_values': 'raw'}, "image_values: .*'normalized'"),
    ):
        with pytest.raises(hyperparams.ConfigError, match=match):
            zoos.KerasHub(default_params=values).validate()


def test_builder_refuses_the_config_of_another_backbone() -> None:
    other = backbones_cfg.Backbone(type='resnet')
    with pytest.raises(errors.UsageError, match="expected type 'keras_hub'; received 'resnet'"):
        keras_hub_backbone.build_keras_hub(IMAGES, other, common.NormActivation())


@needs_keras_hub
def test_a_preset_on_disk_gives_its_features(tmp_path: pathlib.Path) -> None:
    import keras_hub

    original = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 64, 64],
        stackwise_num_blocks=[1, 1, 1],
        stackwise_num_strides=[1, 2, 2],
        block_type='basic_block',
    )
    original.save_to_preset(str(tmp_path))
    converter = keras_hub.layers.ResNetImageConverter(scale=1 / 127.5, offset=-1.0)
    converter.save_to_preset(str(tmp_path))
    pixels = tf.random.stateless_uniform([1, *SIZE, 3], [1, 2], maxval=255.0)
    prepared = pixels / 127.5 - 1.0
    features = keras.Model(original.input, original.pyramid_outputs)(prepared)
    for values, images in (('pixels', pixels), ('prepared', prepared)):
        model = _build(preset=str(tmp_path), image_values=values)
        outputs = model(images)
        assert set(outputs) == {key.removeprefix('P') for key in features} == {'2', '3', '4'}
        for key, x in features.items():
            np.testing.assert_allclose(outputs[key.removeprefix('P')], x, atol=1e-4, rtol=1e-4)
        assert model.count_params() == original.count_params()


@needs_keras_hub
def test_a_network_without_named_levels_has_those_of_its_graph(tmp_path: pathlib.Path) -> None:
    import keras_hub

    original = keras_hub.models.VGGBackbone(
        stackwise_num_repeats=[1, 1, 1], stackwise_num_filters=[4, 8, 8], image_shape=(*SIZE, 3)
    )
    original.save_to_preset(str(tmp_path))
    model = _build(preset=str(tmp_path), load_weights=False, image_values='prepared')
    assert {level: shape[1:3] for level, shape in model.output_specs.items()} == {
        level: (32 // 2 ** int(level), 64 // 2 ** int(level)) for level in ('1', '2', '3')
    }
