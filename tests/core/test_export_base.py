"""Exported modules give the outputs of their model, also with layers that are held in a list."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite.core import export_base


class Tower(keras.layers.Layer):
    """Layers in a list inside a dict, which TensorFlow's own tracking does not see."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = {'a': [keras.layers.Dense(3), keras.layers.Dense(2)]}

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        for layer in self.stages['a']:
            inputs = layer(inputs)
        return inputs


class ServedModule(export_base.ExportModule):
    @tf.function
    def serve(self, inputs: tf.Tensor) -> Mapping[str, tf.Tensor]:
        return {'outputs': self.inference_step(inputs)}

    def get_inference_signatures(self, function_keys: Mapping[str, str]) -> Mapping[str, Any]:
        spec = tf.TensorSpec([None, 4], tf.float32)
        return {function_keys['serve']: self.serve.get_concrete_function(spec)}


def test_layers_in_a_list_are_exported(tmp_path: pathlib.Path) -> None:
    model = Tower()
    inputs = tf.random.stateless_normal([2, 4], seed=(1, 2))
    expected = model(inputs)
    path = export_base.export(ServedModule(None, model), ['serve'], str(tmp_path))
    outputs = tf.saved_model.load(path).signatures['serving_default'](inputs)
    np.testing.assert_allclose(outputs['outputs'], expected, rtol=1e-6)


def test_a_list_of_two_functions_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match=r"a list of one function; received \['a', 'b'\]"):
        export_base.export(ServedModule(None, Tower()), ['a', 'b'], str(tmp_path))


def test_a_folder_without_checkpoints_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError, match='there is no checkpoint in'):
        export_base.export(ServedModule(None, Tower()), ['serve'], str(tmp_path), str(tmp_path))
