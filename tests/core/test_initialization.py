"""Starting from the weights of another run."""

from __future__ import annotations

import pathlib
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite import errors
from official_lite.core import checkpoint_manager, checkpoints, initialization


class Model(keras.Model):
    def __init__(self, num_outputs: int = 3, has_mask_head: bool = False) -> None:
        super().__init__()
        self.backbone = keras.Sequential([keras.layers.Dense(4, name='stem')])
        self.decoder = keras.Sequential([keras.layers.Dense(4, name='lateral')])
        self.head = keras.Sequential([keras.layers.Dense(num_outputs, name='classifier')])
        self._has_mask_head = has_mask_head
        if has_mask_head:
            self.mask_head = keras.Sequential([keras.layers.Dense(1, name='mask')])
        self(tf.zeros([1, 2]))

    @property
    def checkpoint_items(self) -> dict[str, Any]:
        items = {'backbone': self.backbone, 'decoder': self.decoder, 'head': self.head}
        return items | ({'mask_head': self.mask_head} if self._has_mask_head else {})

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        x = self.decoder(self.backbone(inputs))
        return (self.head(x), self.mask_head(x)) if self._has_mask_head else self.head(x)


@pytest.fixture
def source(tmp_path: pathlib.Path) -> tuple[Model, str]:
    model = Model()
    variables = {
        **checkpoints.model_variables(model),
        'step': tf.Variable(5),
        'optimizer/default/iterations': tf.Variable(5),
    }
    manager = checkpoint_manager.CheckpointManager(
        checkpoints.FlatCheckpoint(variables), str(tmp_path)
    )
    manager.save(5)
    return model, str(tmp_path)


def _equal(first: Model, second: Model, item: str) -> bool:
    a, b = getattr(first, item).variables, getattr(second, item).variables
    return all(np.array_equal(x, y) for x, y in zip(a, b))


def test_all_modules_from_a_folder(source: tuple[Model, str]) -> None:
    trained, folder = source
    model = Model()
    report = initialization.load_pretrained(model, folder)
    assert len(report.matched) == 6
    assert report.is_complete
    assert report.left_over == ()
    assert all(_equal(trained, model, item) for item in ('backbone', 'decoder', 'head'))
    assert report.describe() == f'Initialized from {folder}/ckpt-5: 6 variables matched.'


@pytest.mark.parametrize(
    'modules', ['backbone,decoder', ['backbone', 'decoder'], '(backbone|decoder)/.*']
)
def test_d20_chosen_modules_are_loaded_and_reported(
    source: tuple[Model, str], modules: Any
) -> None:
    trained, folder = source
    model = Model(num_outputs=7)
    report = initialization.load_pretrained(model, folder, modules=modules)
    assert _equal(trained, model, 'backbone')
    assert _equal(trained, model, 'decoder')
    assert report.not_chosen == ('head/classifier/bias', 'head/classifier/kernel')
    assert '2 of modules that were not asked for' in report.describe()


def test_d20_a_pattern_over_keys(source: tuple[Model, str]) -> None:
    trained, folder = source
    model = Model()
    report = initialization.load_pretrained(model, folder, modules='.*kernel:0')
    assert [key.split('/')[-1] for key in report.matched] == ['kernel'] * 3
    np.testing.assert_array_equal(trained.head.layers[0].kernel, model.head.layers[0].kernel)


def test_d20_missing_and_left_over_are_reported(source: tuple[Model, str]) -> None:
    _, folder = source
    model = Model(has_mask_head=True)
    report = initialization.load_pretrained(model, folder)
    assert report.missing == ('mask_head/mask/bias', 'mask_head/mask/kernel')
    assert not report.is_complete
    assert '2 missing in the checkpoint' in report.describe()


def test_d20_a_typo_is_an_error(source: tuple[Model, str]) -> None:
    model = Model()
    before = model.get_weights()
    with pytest.raises(errors.CheckpointError, match="'backbon' matches nothing in the model") as e:
        initialization.load_pretrained(model, source[1], modules=['head', 'backbon'])
    assert "did you mean 'backbone'?" in str(e.value)
    assert 'backbone, decoder, head' in str(e.value)
    for a, b in zip(before, model.get_weights()):
        np.testing.assert_array_equal(a, b)


def test_d20_nothing_matched_is_an_error(tmp_path: pathlib.Path) -> None:
    prefix = checkpoints.FlatCheckpoint({'other/kernel': tf.Variable(1.0)}).write(
        str(tmp_path / 'ckpt-1')
    )
    with pytest.raises(errors.CheckpointError, match='no variable of the checkpoint matches one'):
        initialization.load_pretrained(Model(), prefix)
    with pytest.raises(errors.CheckpointError, match="'head' matches nothing in the checkpoint"):
        initialization.load_pretrained(Model(), prefix, modules='head')


def test_other_shapes_are_an_error_that_names_them(source: tuple[Model, str]) -> None:
    with pytest.raises(
        errors.CheckpointError, match=r'head/classifier/bias is \(3,\) there and'
    ) as e:
        initialization.load_pretrained(Model(num_outputs=7), source[1])
    assert 'init_checkpoint_modules' in str(e.value)


def test_no_checkpoint_and_a_bad_pattern(source: tuple[Model, str]) -> None:
    with pytest.raises(errors.CheckpointError, match='there is no checkpoint'):
        initialization.load_pretrained(Model(), '/nowhere/at/all')
    with pytest.raises(errors.CheckpointError, match='is not a regular expression'):
        initialization.load_pretrained(Model(), source[1], modules='head(')


def test_random_states_are_not_taken_over(tmp_path: pathlib.Path) -> None:
    def build(seed: int) -> keras.Model:
        keras.utils.set_random_seed(seed)
        return keras.Sequential(
            [keras.Input((2,)), keras.layers.Dense(2, name='d'), keras.layers.Dropout(0.5)]
        )

    first, second = build(1), build(2)
    keys = checkpoints.model_variables(first)
    assert sum(v.dtype.is_integer for v in keys.values()) == 1
    prefix = checkpoints.FlatCheckpoint(keys).write(str(tmp_path / 'c'))
    report = initialization.load_pretrained(second, prefix)
    assert len(report.matched) == 2
    assert report.is_complete
