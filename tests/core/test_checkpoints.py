"""Checkpoints: keys and completeness."""

from __future__ import annotations

import pathlib
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite import errors
from official_lite.core import checkpoints


class Block(keras.layers.Layer):
    """Layers in a list of lists and in a dict, which TensorFlow's own tracking leaves out."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.towers = [[keras.layers.Dense(2), keras.layers.Dense(2)] for _ in range(2)]
        self.levels = {'3': keras.layers.Dense(2), '4': [keras.layers.BatchNormalization()]}

    def build(self, input_shape: Any) -> None:
        for layer in [*self.towers[0], *self.towers[1], self.levels['3'], *self.levels['4']]:
            layer.build(input_shape)
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        for layer in [*self.towers[0], *self.towers[1], self.levels['3'], *self.levels['4']]:
            inputs = layer(inputs)
        return inputs


class NestedModel(keras.Model):
    """Two modules with equal names inside."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        keras.utils.set_random_seed(seed)
        self.backbone = keras.Sequential([keras.layers.Dense(2, name='stem'), Block()])
        self.decoder = keras.Sequential([keras.layers.Dense(2, name='stem'), Block()])
        self.classifier = keras.layers.Dense(1)
        self(tf.zeros([1, 2]))

    @property
    def checkpoint_items(self) -> dict[str, Any]:
        return {'backbone': self.backbone, 'decoder': self.decoder}

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return self.classifier(self.decoder(self.backbone(inputs)))


def _write(model: Any, folder: pathlib.Path) -> str:
    checkpoint = checkpoints.FlatCheckpoint(checkpoints.model_variables(model), '{"a": 1}')
    return checkpoint.write(str(folder / 'ckpt-1'))


def _values(model: Any) -> dict[str, np.ndarray]:
    return {k: v.numpy() for k, v in checkpoints.model_variables(model).items()}


def test_a_second_build_restores_what_the_first_one_saved(tmp_path: pathlib.Path) -> None:
    first = NestedModel(seed=1)
    prefix = _write(first, tmp_path)
    keras.layers.Dense(3).build((None, 2))  # Moves on Keras' counters of names.
    second = NestedModel(seed=2)
    saved, initial = _values(first), _values(second)
    assert saved.keys() == initial.keys()
    assert len(saved) == len(first.variables) == 2 * (2 + 8 + 2 + 4) + 2
    assert any(not np.array_equal(saved[k], initial[k]) for k in saved)
    checkpoints.FlatCheckpoint(checkpoints.model_variables(second)).read(prefix)
    for key, value in _values(second).items():
        np.testing.assert_array_equal(value, saved[key], err_msg=key)
    x = tf.random.stateless_normal([3, 2], [1, 2])
    np.testing.assert_array_equal(first(x), second(x))


def test_keys_are_those_of_the_file(tmp_path: pathlib.Path) -> None:
    model = NestedModel(seed=1)
    names = [name for name, _ in tf.train.list_variables(_write(model, tmp_path))]
    suffix = '/.ATTRIBUTES/VARIABLE_VALUE'
    keys = {name.removesuffix(suffix) for name in names if name.endswith(suffix)}
    assert keys == set(checkpoints.model_variables(model))
    assert {'backbone/stem/kernel', 'decoder/stem/kernel', 'model/classifier/kernel'} <= keys
    assert 'backbone/block/towers/1/0/kernel' in keys
    assert 'backbone/block/levels/4/0/moving_mean' in keys


def test_order_of_building_does_not_matter(tmp_path: pathlib.Path) -> None:
    def build(names: list[str]) -> dict[str, Any]:
        layers = {name: keras.layers.Dense(2) for name in names}
        for layer in layers.values():
            layer.build((None, 2))
        return layers

    first, second = build(['a', 'b']), build(['b', 'a'])
    variables = checkpoints.variable_keys.variable_keys
    prefix = checkpoints.FlatCheckpoint({k: v.value for k, v in variables(first).items()}).write(
        str(tmp_path / 'c')
    )
    checkpoints.FlatCheckpoint({k: v.value for k, v in variables(second).items()}).read(prefix)
    for name in 'ab':
        np.testing.assert_array_equal(first[name].kernel, second[name].kernel)


def test_a_keras_applications_backbone(tmp_path: pathlib.Path) -> None:
    def build(seed: int) -> Any:
        keras.utils.set_random_seed(seed)
        return keras.applications.MobileNetV2(
            input_shape=(32, 32, 3), alpha=0.35, include_top=False, weights=None
        )

    first, second = build(1), build(2)
    prefix = _write(first, tmp_path)
    checkpoints.FlatCheckpoint(checkpoints.model_variables(second)).read(prefix)
    assert len(checkpoints.model_variables(first)) == len(first.variables)
    for a, b in zip(first.variables, second.variables):
        np.testing.assert_array_equal(a, b)


def test_a_checkpoint_of_another_model_is_refused_and_changes_nothing(
    tmp_path: pathlib.Path,
) -> None:
    model = NestedModel(seed=1)
    prefix = _write(model, tmp_path)
    variables = checkpoints.model_variables(model)
    variables['backbone/extra'] = tf.Variable([0.0])
    variables['decoder/stem/kernel'] = tf.Variable(tf.zeros([2, 3]))
    del variables['model/classifier/bias']
    variables['backbone/stem/bias'].assign([5.0, 5.0])
    with pytest.raises(errors.CheckpointError, match='does not fit') as caught:
        checkpoints.FlatCheckpoint(variables).read(prefix)
    text = str(caught.value)
    assert '1 missing: backbone/extra' in text
    assert 'does not have: model/classifier/bias' in text
    assert 'decoder/stem/kernel (2, 2) instead of (2, 3)' in text
    assert variables['backbone/stem/bias'].numpy().tolist() == [5.0, 5.0]


def test_damaged_and_missing_files_are_errors(tmp_path: pathlib.Path) -> None:
    variables = {'a': tf.Variable([1.0, 2.0])}
    checkpoint = checkpoints.FlatCheckpoint(variables)
    with pytest.raises(errors.CheckpointError, match='cannot read'):
        checkpoint.read(str(tmp_path / 'nothing'))
    prefix = checkpoint.write(str(tmp_path / 'ckpt-1'))
    (tmp_path / 'ckpt-1.data-00000-of-00001').write_bytes(b'xx')
    with pytest.raises(errors.CheckpointError, match='ckpt-1: cannot read'):
        checkpoint.read(prefix)


def test_keys_with_dots_and_metadata(tmp_path: pathlib.Path) -> None:
    variables = {'a.b/c..d': tf.Variable(3.0), 'a.Sb': tf.Variable(4.0)}
    prefix = checkpoints.FlatCheckpoint(variables, '{"class_names": ["é"]}').write(
        str(tmp_path / 'ckpt-1')
    )
    source = checkpoints.CheckpointSource(prefix)
    assert source.shapes == {'a.b/c..d': (), 'a.Sb': ()}
    assert source.read('a.Sb') == 4.0
    assert source.metadata == '{"class_names": ["é"]}'


@pytest.mark.parametrize(
    'keys', [['a', 'a/b'], ['a/b', 'a']], ids=['variable first', 'folder first']
)
def test_a_key_inside_another_is_refused(keys: list[str], tmp_path: pathlib.Path) -> None:
    checkpoint = checkpoints.FlatCheckpoint({key: tf.Variable(1.0) for key in keys})
    with pytest.raises(errors.CheckpointError, match='key'):
        checkpoint.write(str(tmp_path / 'c'))


def test_reserved_item_names_are_refused() -> None:
    model = NestedModel(seed=1)
    type(model).checkpoint_items = property(lambda self: {'optimizer': self.backbone})  # type: ignore[assignment]
    try:
        with pytest.raises(errors.CheckpointError, match="'optimizer' has a reserved name"):
            checkpoints.model_variables(model)
    finally:
        type(model).checkpoint_items = property(  # type: ignore[assignment]
            lambda self: {'backbone': self.backbone, 'decoder': self.decoder}
        )


def test_state_of_a_stock_keras_optimizer_has_keys(tmp_path: pathlib.Path) -> None:
    model = NestedModel(seed=1)
    optimizer = keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    keys = checkpoints.optimizer_variables(optimizer, checkpoints.model_variables(model))
    assert len(keys) == len(optimizer.variables)
    assert 'optimizer/default/backbone/stem/kernel/momentums' in keys
    assert 'optimizer/default/model/classifier/bias/velocities' in keys
    assert 'optimizer/default/iteration' in keys
