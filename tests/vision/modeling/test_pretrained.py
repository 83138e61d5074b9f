"""Networks of keras.applications and KerasHub in our own backbones: random weights, same outputs."""

from __future__ import annotations

import importlib.util
import pathlib
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite import errors
from official_lite.core import checkpoints, initialization
from official_lite.vision.modeling import classification_model, pretrained
from official_lite.vision.modeling.backbones import (
    efficientnet,
    keras_applications,
    mobilenet,
    resnet,
    zoo,
)
from official_lite.vision.ops import image_normalization
from tests.vision import hub_presets

needs_keras_hub = pytest.mark.skipif(
    importlib.util.find_spec('keras_hub') is None, reason='KerasHub is not installed'
)
ODD = [65, 97]  # with odd sides, padding on both sides is padding as `same` does it


def _specs(size: list[int]) -> keras.layers.InputSpec:
    return keras.layers.InputSpec(shape=[None, *size, 3])


def _application(model_id: str, size: list[int], image_values: str = 'prepared') -> Any:
    network = keras_applications.KerasApplication(model_id, _specs(size), image_values=image_values)
    _randomize(network)
    return network


def _randomize(network: zoo.ZooBackbone) -> None:
    hub_presets.randomize(network.get_layer('network'))


def _carry(network: Any, backbone: Any, monkeypatch: pytest.MonkeyPatch) -> initialization.Report:
    """Carries the weights by the line that a user writes; only the download is not one."""
    source = pretrained.make_source(network, backbone, 'keras_applications:X')
    monkeypatch.setattr(pretrained, 'open_source', lambda model, path: source)
    model = classification_model.ClassificationModel(backbone, 3)
    return initialization.load_pretrained(model, 'keras_applications:X', modules='backbone')


def _assert_equal(found: Any, expected: Any) -> None:
    largest = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(found, expected, atol=1e-4 * largest, rtol=0)


def _images(size: list[int]) -> np.ndarray:
    return np.random.default_rng(2).normal(size=[2, *size, 3]).astype(np.float32)


def test_resnet_50_of_keras_applications(monkeypatch: pytest.MonkeyPatch) -> None:
    network = _application('ResNet50', ODD)
    ours = resnet.ResNet(50, _specs(ODD))
    report = _carry(network, ours, monkeypatch)
    assert len(report.matched) == len(ours.variables)
    assert report.missing == report.left_over == ()
    assert 'Initialized from keras_applications:X (of keras.applications)' in report.describe()
    found, expected = ours(_images(ODD)), network(_images(ODD))
    _assert_equal(found['2'], expected['2'])
    # Later stages have their stride at another convolution, and it is said so.
    assert np.abs(found['3'] - expected['3']).max() > 0.1
    (note,) = report.notes
    assert note.startswith(
        '6 convolutions have other strides (conv3_block1_1_conv: 2 there, 1 here)'
    )
    assert f'  Not as there: {note}' in report.describe()


def _hub_resnet(size: list[int]) -> zoo.ZooBackbone:
    """A network with the names, paddings and strides of KerasHub's ResNet-50."""
    layers = keras.layers

    def conv_norm(x: Any, name: str, filters: int, kernel: int, strides: int) -> Any:
        if strides > 1 and kernel > 1:
            x = layers.ZeroPadding2D(kernel // 2)(x)
        padding = 'valid' if strides > 1 else 'same'
        x = layers.Conv2D(
            filters, kernel, strides, padding=padding, use_bias=False, name=f'{name}_conv'
        )(x)
        return layers.BatchNormalization(epsilon=1e-5, name=f'{name}_bn')(x)

    inputs = keras.Input((*size, 3))
    x = layers.ReLU()(conv_norm(inputs, 'conv1', 64, 7, 2))
    x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x))
    levels = {}
    for stack, (filters, blocks) in enumerate(zip((64, 128, 256, 512), (3, 4, 6, 3))):
        for block in range(blocks):
            name, strides = f'stack{stack}_block{block}', 2 if stack and not block else 1
            shortcut = x if block else conv_norm(x, f'{name}_0', 4 * filters, 1, strides)
            x = layers.ReLU()(conv_norm(x, f'{name}_1', filters, 1, 1))
            x = layers.ReLU()(conv_norm(x, f'{name}_2', filters, 3, strides))
            x = layers.ReLU()(
                layers.Add()([shortcut, conv_norm(x, f'{name}_3', 4 * filters, 1, 1)])
            )
        levels[str(stack + 2)] = x
    config = {'input_specs': _specs(size), 'use_sync_bn': False, 'kernel_regularizer': None}
    return zoo.ZooBackbone(levels, inputs, None, config, name='hub')


@pytest.mark.slow
def test_resnet_50_of_keras_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    network = _hub_resnet(ODD)
    _randomize(network)
    ours = resnet.ResNet(50, _specs(ODD))
    report = _carry(network, ours, monkeypatch)
    assert report.missing == report.left_over == report.notes == ()
    found, expected = ours(_images(ODD)), network(_images(ODD))
    for level in '2345':
        _assert_equal(found[level], expected[level])


def test_mobilenet_v2(monkeypatch: pytest.MonkeyPatch) -> None:
    size = [64, 96]
    network = _application('MobileNetV2', size)
    ours = mobilenet.MobileNet('MobileNetV2', input_specs=_specs(size), norm_epsilon=0.01)
    report = _carry(network, ours, monkeypatch)
    assert report.missing == report.left_over == report.notes == ()
    assert len(report.matched) == len(ours.variables)
    last = max(ours.output, key=int)
    _assert_equal(ours(_images(size))[last], network(_images(size))['5'])


@pytest.mark.slow
def test_efficientnet(monkeypatch: pytest.MonkeyPatch) -> None:
    size = [64, 96]
    network = _application('EfficientNetB0', size)
    normalization = network.get_layer('network').get_layer('normalization')
    normalization.adapt_variance.assign(tf.fill(normalization.adapt_variance.shape, 0.25))
    normalization.finalize_state()
    ours = efficientnet.EfficientNet(
        'b0', _specs(size), 0.25, activation='swish', se_inner_activation='swish'
    )
    report = _carry(network, ours, monkeypatch)
    assert report.missing == report.left_over == report.notes == ()
    images = 100.0 * _images(size)
    _assert_equal(ours(images)['6'], network(images)['5'])

    ours = efficientnet.EfficientNet('b0', _specs(size), 0.25)
    assert _carry(network, ours, monkeypatch).notes == (
        "activation is 'silu' there and 'relu' here",
        "se_inner_activation is 'silu' there and 'relu' here",
    )
    with pytest.raises(errors.CheckpointError, match='not of the same architecture') as error:
        _carry(network, efficientnet.EfficientNet('b0', _specs(size)), monkeypatch)
    assert 'squeeze_excitation/se_expand/kernel (1, 1, 8, 32) is not here' in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize('model_id', ['ResNet50', 'MobileNetV2'])
def test_what_the_network_takes_goes_into_the_first_convolution(
    model_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blue first and other offsets; away from the border, where another grey is padded with."""
    network = _application(model_id, ODD, image_values='normalized')
    backbones = {'ResNet50': resnet.ResNet, 'MobileNetV2': mobilenet.MobileNet}
    ids = {'ResNet50': 50, 'MobileNetV2': 'MobileNetV2'}
    ours = backbones[model_id](ids[model_id], input_specs=_specs(ODD))
    _carry(network, ours, monkeypatch)
    features = network.get_layer('network')
    name = {'ResNet50': 'conv1_bn', 'MobileNetV2': 'bn_Conv1'}[model_id]
    stem = keras.Model(features.input, features.get_layer(name).output)
    expected = stem(network.get_layer('image_values')(_images(ODD)))
    if model_id == 'ResNet50':
        found = ours.get_layer('stem_norm')(ours.get_layer('stem_conv')(_images(ODD)))
    else:
        first = next(layer for layer in ours.layers if layer.name.startswith('block_0'))
        found = first.norm0(first.conv0(_images(ODD)))
    inner = (slice(None), slice(4, -4), slice(4, -4))
    _assert_equal(found[inner], expected[inner])


def test_another_width(monkeypatch: pytest.MonkeyPatch) -> None:
    network = _application('MobileNetV2', [64, 96])
    narrower = mobilenet.MobileNet('MobileNetV2', 0.5, _specs([64, 96]))
    with pytest.raises(errors.CheckpointError, match='shapes differ') as error:
        _carry(network, narrower, monkeypatch)
    assert 'conv0/kernel is (3, 3, 3, 32) there and (3, 3, 3, 16) here' in str(error.value)


def test_another_backbone() -> None:
    other = keras.Sequential([keras.Input([64, 96, 3]), keras.layers.Conv2D(2, 3)])
    with pytest.raises(errors.UsageError, match='weights of another library') as usage:
        initialization.load_pretrained(other, 'keras_applications:MobileNetV2')
    assert 'received Sequential' in str(usage.value)


@pytest.mark.slow
def test_another_depth() -> None:
    """ResNet-50's weights would leave most of a ResNet-101 as it was."""
    network = _application('ResNet50', ODD)
    with pytest.raises(errors.CheckpointError, match='not of the same architecture') as error:
        pretrained.convert(network, resnet.ResNet(101, _specs(ODD)))
    assert 'backbone/stage_4_block_10/conv1/kernel (1, 1, 1024, 256) is not there' in str(
        error.value
    )


def _stand_in_for_downloads(monkeypatch: pytest.MonkeyPatch) -> list[keras.Model]:
    """What `weights='imagenet'` gives from now on is in the list, with random weights."""
    downloaded: list[keras.Model] = []

    def download(function: Any, input_shape: tuple[int, ...]) -> keras.Model:
        model = function(include_top=False, weights=None, input_shape=input_shape)
        hub_presets.randomize(model)
        downloaded.append(model)
        return model

    monkeypatch.setattr(keras_applications, '_download', download)
    return downloaded


def test_one_line_gives_what_keras_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    size = [64, 96]
    downloaded = _stand_in_for_downloads(monkeypatch)
    backbone = mobilenet.MobileNet('MobileNetV2', input_specs=_specs(size))
    model = classification_model.ClassificationModel(backbone, 3)
    report = initialization.load_pretrained(model, 'keras_applications:MobileNetV2')
    assert report.origin == 'keras.applications'
    assert sorted(report.missing) == sorted(
        key for key in checkpoints.model_variables(model) if not key.startswith('backbone/')
    )
    assert report.left_over == report.notes == ()
    (original,) = downloaded
    pixels = np.random.default_rng(4).uniform(0, 255, [2, *size, 3]).astype(np.float32)
    stem = keras.Model(original.input, original.get_layer('bn_Conv1').output)
    expected = stem(pixels / 127.5 - 1)
    mean, stddev = image_normalization.MEAN_RGB, image_normalization.STDDEV_RGB
    first = next(layer for layer in backbone.layers if layer.name.startswith('block_0'))
    found = first.norm0(first.conv0((pixels / 255 - mean) / np.array(stddev, np.float32)))
    _assert_equal(found[:, :-1, :-1], expected[:, :-1, :-1])


@pytest.mark.slow
def test_numbers_are_those_of_float32_in_a_run_in_bfloat16(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    downloaded = _stand_in_for_downloads(monkeypatch)
    keras.config.set_dtype_policy('mixed_bfloat16')
    backbone = resnet.ResNet(50, _specs(ODD))
    source = pretrained.open_source(backbone, 'keras_applications:ResNet50')
    assert keras.config.dtype_policy().name == 'mixed_bfloat16'
    found = source.read('backbone/stem_conv/kernel')
    theirs = np.array(downloaded[0].get_layer('conv1_conv').kernel)[:, :, ::-1]  # of blue first
    scale = 255 * np.array(image_normalization.STDDEV_RGB, np.float32)
    np.testing.assert_allclose(found, theirs * scale[:, None], rtol=1e-4, atol=1e-5)


def _save_preset(network: Any, converter: Any, folder: pathlib.Path) -> str:
    """A preset whose images have the values that ours have."""
    mean, stddev = image_normalization.MEAN_RGB, image_normalization.STDDEV_RGB
    images = converter(
        scale=[1 / (255 * value) for value in stddev],
        offset=[-shift / value for shift, value in zip(mean, stddev)],
    )
    return hub_presets.save(network, images, folder)


@pytest.mark.slow
@needs_keras_hub
def test_a_resnet_preset_of_keras_hub(tmp_path: pathlib.Path) -> None:
    import keras_hub

    network = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 128, 256, 512],
        stackwise_num_blocks=[3, 4, 6, 3],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type='bottleneck_block',
    )
    path = _save_preset(network, keras_hub.layers.ResNetImageConverter, tmp_path)
    ours = resnet.ResNet(50, _specs(ODD))
    model = classification_model.ClassificationModel(ours, 3)
    report = initialization.load_pretrained(model, path, modules='backbone')
    assert report.origin == 'KerasHub'
    assert report.missing == report.left_over == ()
    assert [note.split(' pad ')[0] for note in report.notes] == [
        '4 convolutions with strides (conv1_conv is the first)'
    ]
    found = ours(_images(ODD))
    expected = keras.Model(network.input, network.pyramid_outputs)(_images(ODD))
    for level in '2345':
        _assert_equal(found[level], expected[f'P{level}'])


@pytest.mark.slow
@needs_keras_hub
def test_an_efficientnet_preset_of_keras_hub(tmp_path: pathlib.Path) -> None:
    import keras_hub

    network = hub_presets.make_efficientnet_b0()
    path = _save_preset(network, keras_hub.layers.EfficientNetImageConverter, tmp_path)
    ours = efficientnet.EfficientNet(
        'b0', _specs(ODD), 0.25, activation='swish', se_inner_activation='swish'
    )
    model = classification_model.ClassificationModel(ours, 3)
    report = initialization.load_pretrained(model, path, modules='backbone')
    assert report.missing == report.left_over == ()
    assert len(report.notes) == 1
    _assert_equal(ours(_images(ODD))['6'], network(_images(ODD)))


def test_a_network_that_does_not_exist() -> None:
    model = classification_model.ClassificationModel(resnet.ResNet(10, _specs([64, 64])), 3)
    with pytest.raises(errors.UsageError, match='this version of Keras has no such model'):
        initialization.load_pretrained(model, 'keras_applications:ResNet51')
