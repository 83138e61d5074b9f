"""What is said to do about weights that do not fit."""

from __future__ import annotations

import keras
import pytest

from official_lite.core import checkpoint_misfits, checkpoints

BACKBONE = 'build the backbone that it is of: task.model.backbone as its params.yaml has it'
LEAVE_OUT = 'leave out what does not fit: task.init_checkpoint_modules=all,{} (--modules of import-checkpoint)'

HEADS = ('angle', 'boxes', 'classifier', 'depth', 'masks')


@keras.saving.register_keras_serializable(package='tests')
class Resizable(keras.layers.Dense):
    """A layer that takes weights of one more shape."""

    def explain_misfit(self, shape: tuple[int, ...]) -> str:
        return 'set units=7' if shape == (2, 7) else ''


class Model(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        stem = Resizable(4, use_bias=False, name='stem')
        self.backbone = keras.Sequential([keras.Input([2]), stem, keras.layers.Dense(4, name='b')])
        layers = [keras.layers.Dense(3, use_bias=False, name=name) for name in HEADS]
        self.head = keras.Sequential([keras.Input([4]), *layers])
        self(keras.ops.zeros([1, 2]))

    @property
    def checkpoint_items(self) -> dict[str, keras.Model]:
        return {'backbone': self.backbone, 'head': self.head}

    def call(self, inputs: object) -> object:
        return self.head(self.backbone(inputs))


@pytest.mark.parametrize(
    ('misfits', 'advice'),
    [
        ({'head/classifier/kernel': (4, 9)}, LEAVE_OUT.format('-head/classifier')),
        (
            {'head/classifier/kernel': (3, 9), 'head/boxes/kernel': (9, 3)},
            LEAVE_OUT.format('-head/boxes,-head/classifier'),
        ),
        ({f'head/{name}/kernel': None for name in HEADS}, LEAVE_OUT.format('-head')),
        (
            {'backbone/b/kernel': (4, 9), 'head/boxes/kernel': (9, 3)},
            f'{BACKBONE}, or {LEAVE_OUT.format("-backbone/b,-head/boxes")}',
        ),
        ({'backbone/stem/kernel': (2, 7)}, 'set units=7'),
        (
            {'backbone/stem/kernel': (2, 7), 'head/boxes/kernel': (9, 3)},
            f'set units=7, and {LEAVE_OUT.format("-head/boxes")}',
        ),
        (
            {'backbone/stem/kernel': (2, 9)},
            f'{BACKBONE}, or {LEAVE_OUT.format("-backbone/stem")}',
        ),
        (
            {'backbone/stem/kernel': None},
            f'{BACKBONE}, or {LEAVE_OUT.format("-backbone/stem")}',
        ),
    ],
)
def test_advice(misfits: dict[str, tuple[int, ...] | None], advice: str) -> None:
    model = Model()
    keys = checkpoints.model_variables(model)
    assert checkpoint_misfits.advise(model, keys, misfits) == advice


def test_nothing_else_was_chosen() -> None:
    """Then leaving out would load nothing."""
    model = Model()
    keys = {k: v for k, v in checkpoints.model_variables(model).items() if k.startswith('backbone')}
    misfits = dict.fromkeys(keys, None)
    assert checkpoint_misfits.advise(model, keys, misfits) == BACKBONE
