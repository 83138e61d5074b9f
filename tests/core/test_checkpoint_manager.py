"""Which checkpoints are kept, and writing in the background."""

from __future__ import annotations

import pathlib

import pytest
import tensorflow as tf

from official_lite import errors
from official_lite.core import checkpoint_manager, checkpoints


@pytest.mark.parametrize('use_async', [False, True])
def test_manager_keeps_the_last_ones(tmp_path: pathlib.Path, use_async: bool) -> None:
    value = tf.Variable(0.0)
    manager = checkpoint_manager.CheckpointManager(
        checkpoints.FlatCheckpoint({'v': value}),
        str(tmp_path),
        max_to_keep=2,
        use_async=use_async,
    )
    for step in (1, 5, 10):
        value.assign(step)
        manager.save(step)
        value.assign(-1.0)  # What is written in the background is a copy.
    manager.close()
    assert sorted(p.name for p in tmp_path.glob('*.index')) == ['ckpt-10.index', 'ckpt-5.index']
    assert manager.latest == tf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / 'ckpt-10')
    manager.checkpoint.read(manager.latest)
    assert value.numpy() == 10.0
    again = checkpoint_manager.CheckpointManager(manager.checkpoint, str(tmp_path), max_to_keep=2)
    again.save(11)
    assert [p.split('-')[-1] for p in again.checkpoints] == ['10', '11']


def test_only_the_chief_writes(tmp_path: pathlib.Path) -> None:
    manager = checkpoint_manager.CheckpointManager(
        checkpoints.FlatCheckpoint({'v': tf.Variable(0.0)}), str(tmp_path), is_chief=False
    )
    manager.save(1)
    assert list(tmp_path.iterdir()) == []


def test_an_error_in_the_background_is_raised(tmp_path: pathlib.Path) -> None:
    (tmp_path / 'file').write_text('')
    manager = checkpoint_manager.CheckpointManager(
        checkpoints.FlatCheckpoint({'v': tf.Variable(0.0)}),
        str(tmp_path / 'file' / 'below'),
        use_async=True,
    )
    manager.save(1)
    with pytest.raises(errors.CheckpointError, match='cannot write'):
        manager.close()
