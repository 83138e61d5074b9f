"""Whole runs that start from networks of keras.applications and KerasHub, as a user types them.

The weights are random ones, at the places where the libraries look for those that they offer.
"""

from __future__ import annotations

import importlib.util
import pathlib
import sys
import urllib.error
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras.src.legacy.saving import legacy_h5_format  # the format of the files that Keras offers

from official_lite import errors
from official_lite.core import checkpoints, initialization
from official_lite.vision.modeling import classification_model
from official_lite.vision.modeling.backbones import mobilenet
from tests.vision import fine_tuning, hub_presets

SIZE = 64
MOBILENET_FILE = 'mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5'


def _assert_same_kernels(prefix: pathlib.Path, network: keras.Model) -> None:
    """The 1x1 convolutions in a checkpoint's backbone are those of a network, bit for bit."""
    source = checkpoints.CheckpointSource(str(prefix))
    saved = [
        source.read(key).tobytes()
        for key, shape in source.shapes.items()
        if key.startswith('backbone/') and key.endswith('/kernel') and shape[:2] == (1, 1)
    ]
    expected = [
        np.asarray(layer.kernel).tobytes()
        for layer in network.layers
        if type(layer) is keras.layers.Conv2D and layer.kernel.shape[:2] == (1, 1)
    ]
    assert len(expected) > 10
    assert sorted(saved) == sorted(expected)


@pytest.mark.slow
def test_keras_applications(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=(SIZE, SIZE, 3)
    )
    hub_presets.randomize(network)
    folder = tmp_path / 'keras' / 'models'
    folder.mkdir(parents=True)
    with h5py.File(folder / MOBILENET_FILE, 'w') as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, network)
    monkeypatch.setenv('KERAS_HOME', str(tmp_path / 'keras'))
    result = fine_tuning.train(
        tmp_path,
        [SIZE, SIZE],
        'task.model.backbone.type=mobilenet,task.model.backbone.mobilenet.model_id=MobileNetV2',
        "task.init_checkpoint='keras_applications:MobileNetV2',task.init_checkpoint_modules=backbone",
    )
    assert result.exit_code == 0, result.stderr
    text = result.stdout + result.stderr
    assert (
        'Initialized from keras_applications:MobileNetV2 (of keras.applications): '
        '260 variables matched.' in text
    ), text
    _assert_same_kernels(tmp_path / 'run' / 'ckpt-2', network)


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec('keras_hub') is None, reason='KerasHub is not installed'
)
def test_keras_hub(tmp_path: pathlib.Path) -> None:
    import keras_hub

    network = hub_presets.make_efficientnet_b0()
    converter = keras_hub.layers.EfficientNetImageConverter(scale=1 / 255)
    name = hub_presets.save(network, converter, tmp_path / 'preset')
    backbone = 'task.model.backbone'
    result = fine_tuning.train(
        tmp_path,
        [SIZE, SIZE],
        f'{backbone}.type=efficientnet,{backbone}.efficientnet.model_id=b0,'
        f'{backbone}.efficientnet.se_ratio=0.25,'
        f'{backbone}.efficientnet.se_inner_activation=swish,'
        'task.model.norm_activation.activation=swish',
        f"task.init_checkpoint='{name}',task.init_checkpoint_modules=backbone",
    )
    assert result.exit_code == 0, result.stderr
    text = result.stdout + result.stderr
    assert f'Initialized from {name} (of KerasHub): ' in text, text
    assert 'missing' not in text.partition('Initialized from')[2].partition('\n')[0]
    _assert_same_kernels(tmp_path / 'run' / 'ckpt-2', network)


def _make_model() -> classification_model.ClassificationModel:
    specs = keras.layers.InputSpec(shape=[None, SIZE, SIZE, 3])
    return classification_model.ClassificationModel(
        mobilenet.MobileNet('MobileNetV2', input_specs=specs), 3
    )


def test_without_a_network(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise urllib.error.URLError('Name or service not known')

    monkeypatch.setattr('keras.src.utils.file_utils.urlretrieve', fail)
    monkeypatch.setattr('keras.src.backend.config._KERAS_DIR', str(tmp_path))
    name = 'keras_applications:MobileNetV2'
    with pytest.raises(errors.UsageError, match='the weights cannot be downloaded') as error:
        initialization.load_pretrained(_make_model(), name, modules='backbone')
    text = str(error.value)
    assert text.startswith(f'task.init_checkpoint={name}: the weights cannot be downloaded: URL')
    assert f'{MOBILENET_FILE}: None -- Name or service not known' in text
    assert 'put it into ~/.keras/models (the folder models of KERAS_HOME)' in text


def test_a_preset_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """KerasHub's client raises an OSError without a network."""

    class Backbone:
        @staticmethod
        def from_preset(preset: str, **kwargs: Any) -> None:
            raise ConnectionError(f'{preset}: Max retries exceeded')

    hub: Any = type('hub', (), {'models': type('models', (), {'Backbone': Backbone})})
    monkeypatch.setitem(sys.modules, 'keras_hub', hub)
    name = 'keras_hub:efficientnet_b0_ra_imagenet'
    with pytest.raises(errors.UsageError, match='the preset cannot be loaded') as error:
        initialization.load_pretrained(_make_model(), name, modules='backbone')
    text = str(error.value)
    assert text.startswith(f'task.init_checkpoint={name}: the preset cannot be loaded: efficien')
    assert 'a folder from save_to_preset needs no network' in text
