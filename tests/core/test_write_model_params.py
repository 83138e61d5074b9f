"""The text file of a model's variables."""

from __future__ import annotations

import pathlib

import keras
import tensorflow as tf

from official_lite.core import train_utils


def test_keras_variables_are_listed_with_shapes_and_total(tmp_path: pathlib.Path) -> None:
    model = keras.Sequential([keras.Input([3]), keras.layers.Dense(4, name='dense')], name='net')
    path = tmp_path / 'params.txt'
    train_utils.write_model_params(model, str(path))
    lines = ['net/dense/kernel:0 [3, 4]', 'net/dense/bias:0 [4]', '', 'Total params: 16']
    assert path.read_text().splitlines() == lines


def test_variables_of_a_module_are_listed(tmp_path: pathlib.Path) -> None:
    module = tf.Module()
    module.scalar = tf.Variable(1.0, name='scalar')
    path = tmp_path / 'params.txt'
    train_utils.write_model_params(module, str(path))
    assert path.read_text() == 'scalar:0 []\n\nTotal params: 1\n'
