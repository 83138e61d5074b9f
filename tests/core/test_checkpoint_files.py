"""Which checkpoint a path means, and what is said of paths that mean none."""

from __future__ import annotations

import pathlib
import re
import tarfile

import pytest
import tensorflow as tf

from official_lite import errors
from official_lite.core import checkpoint_files, checkpoint_manager, checkpoints


def _write(prefix: pathlib.Path) -> str:
    return checkpoints.FlatCheckpoint({'v': tf.Variable(0.0)}).write(str(prefix))


def test_prefix_index_file_and_folder(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.CheckpointError, match='there is no checkpoint'):
        checkpoint_files.find_checkpoint(str(tmp_path))
    manager = checkpoint_manager.CheckpointManager(
        checkpoints.FlatCheckpoint({'v': tf.Variable(0.0)}), str(tmp_path)
    )
    manager.save(1)
    prefix = manager.save(2)
    data = f'{prefix}.data-00000-of-00001'
    for path in (prefix, f'{prefix}.index', data, str(tmp_path), f'{tmp_path}/'):
        assert checkpoint_files.find_checkpoint(path) == prefix


def test_the_folder_of_a_released_archive(tmp_path: pathlib.Path) -> None:
    """A tar.gz with one folder, in which a checkpoint and a params.yaml are, and no list."""
    source = tmp_path / 'resnet-50-i224'
    _write(source / 'ckpt-62400')
    (source / 'params.yaml').write_text('task: {}\n')
    (source / '._ckpt-62400.index').write_bytes(b'of the Finder')
    archive = tmp_path / 'resnet-50-i224.tar.gz'
    with tarfile.open(archive, 'w:gz') as file:
        file.add(source, arcname=source.name)
    target = tmp_path / 'extracted'
    with tarfile.open(archive) as file:
        file.extractall(target, filter='data')
    expected = str(target / source.name / 'ckpt-62400')
    assert checkpoint_files.find_checkpoint(str(target)) == expected
    assert checkpoint_files.find_checkpoint(str(target / source.name)) == expected
    with pytest.raises(errors.CheckpointError, match='is not read from an archive') as error:
        checkpoint_files.find_checkpoint(str(archive))
    assert f'tar -xf {archive}, then give the folder' in str(error.value)


def test_a_folder_around_two_checkpoints(tmp_path: pathlib.Path) -> None:
    first, second = _write(tmp_path / 'a' / 'ckpt-1'), _write(tmp_path / 'b' / 'ckpt-2')
    with pytest.raises(errors.CheckpointError, match='there are 2 checkpoints, and no list') as e:
        checkpoint_files.find_checkpoint(str(tmp_path))
    assert f'{first}, {second}' in str(e.value)


def test_a_list_with_the_paths_of_another_machine(tmp_path: pathlib.Path) -> None:
    for step in (1, 2, 3):
        _write(tmp_path / f'ckpt-{step}')
    with pytest.raises(errors.CheckpointError, match='there are 3 checkpoints, and no list'):
        checkpoint_files.find_checkpoint(str(tmp_path))
    (tmp_path / 'checkpoint').write_text(
        'model_checkpoint_path: "/there/ckpt-2"\n'
        'all_model_checkpoint_paths: "/there/ckpt-1"\n'
        'all_model_checkpoint_paths: "/there/ckpt-2"\n'
    )
    assert checkpoint_files.find_checkpoint(str(tmp_path)) == str(tmp_path / 'ckpt-2')


def test_a_list_with_the_paths_of_a_bucket(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder copied out of a bucket, with some of its checkpoints: the bucket is not asked."""
    for step in (2, 3):
        _write(tmp_path / f'ckpt-{step}')
    lines = [f'all_model_checkpoint_paths: "gs://bucket/run/ckpt-{step}"' for step in (1, 2, 3)]
    (tmp_path / 'checkpoint').write_text(
        '\n'.join(['model_checkpoint_path: "gs://bucket/run/ckpt-3"', *lines])
    )
    exists = tf.io.gfile.exists

    def ask(path: str) -> bool:
        assert not path.startswith('gs://')
        return bool(exists(path))

    monkeypatch.setattr(tf.io.gfile, 'exists', ask)
    assert checkpoint_files.find_checkpoint(str(tmp_path)) == str(tmp_path / 'ckpt-3')
    (tmp_path / 'ckpt-3.index').unlink()
    assert checkpoint_files.find_checkpoint(str(tmp_path)) == str(tmp_path / 'ckpt-2')
    (tmp_path / 'ckpt-2.index').unlink()
    with pytest.raises(errors.CheckpointError, match='there is no checkpoint'):
        checkpoint_files.find_checkpoint(str(tmp_path))


@pytest.mark.parametrize(
    ('address', 'command'),
    [
        (
            'https://storage.googleapis.com/tf_model_garden/vision/resnet/resnet-50-i224.tar.gz',
            'curl -LO https://storage.googleapis.com/tf_model_garden/vision/resnet/'
            'resnet-50-i224.tar.gz && tar -xf resnet-50-i224.tar.gz, then give the folder',
        ),
        (
            'http://host/ckpt-1',
            'curl -LO "http://host/ckpt-1.{index,data-00000-of-00001}", then give the folder',
        ),
    ],
)
def test_a_web_address_is_refused_with_what_to_do(address: str, command: str) -> None:
    with pytest.raises(errors.CheckpointError, match='is not read from a web address') as error:
        checkpoint_files.find_checkpoint(address)
    assert command in str(error.value)
    assert 'expected a folder with checkpoints' in str(error.value)


def test_an_archive_in_a_bucket() -> None:
    path = 'gs://tf_model_garden/vision/retinanet/retinanet-resnet50fpn.tar.gz'
    with pytest.raises(errors.CheckpointError, match='is not read from an archive') as error:
        checkpoint_files.find_checkpoint(path)
    assert (
        'curl -LO https://storage.googleapis.com/tf_model_garden/vision/retinanet/'
        'retinanet-resnet50fpn.tar.gz && tar -xf retinanet-resnet50fpn.tar.gz, then give the folder'
    ) in str(error.value)


@pytest.mark.parametrize(
    ('path', 'commands'),
    [
        (
            'gs://bucket/resnet/ckpt-1',
            [
                'curl -LO "https://storage.googleapis.com/bucket/resnet/ckpt-1.'
                '{index,data-00000-of-00001}", and give the folder',
                'task.init_checkpoint=null starts from random weights',
            ],
        ),
        ('gs://bucket/resnet', ['gsutil -m cp -r "gs://bucket/resnet" ., and give the folder']),
        ('s3://bucket/resnet', ['; copy the files to a disk, and give their folder']),
    ],
)
def test_a_bucket_that_cannot_be_reached(
    path: str, commands: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: str) -> bool:
        message = f'Error executing an HTTP request: Could not resolve host\n\t when reading {path}'
        raise tf.errors.FailedPreconditionError(None, None, message)

    monkeypatch.setattr(tf.io.gfile, 'exists', fail)
    message = f'{path}: the place cannot be reached; received Error executing'
    with pytest.raises(errors.CheckpointError, match=re.escape(message)) as error:
        checkpoint_files.find_checkpoint(path)
    assert '\n' not in str(error.value)
    for command in commands:
        assert command in str(error.value)


def test_a_file_system_that_is_not_there() -> None:
    with pytest.raises(errors.CheckpointError, match="File system scheme 'nowhere' not implem"):
        checkpoint_files.find_checkpoint('nowhere://bucket/ckpt-1')


def test_a_bucket_is_looked_into_by_tensorflow(tmp_path: pathlib.Path) -> None:
    """TensorFlow's in-memory file system stands in for the bucket."""
    _write(tmp_path / 'ckpt-7')
    tf.io.gfile.makedirs('ram://bucket/released')
    for name in ('ckpt-7.index', 'ckpt-7.data-00000-of-00001'):
        tf.io.gfile.copy(str(tmp_path / name), f'ram://bucket/released/{name}', overwrite=True)
    for path in ('ram://bucket/released', 'ram://bucket/released/ckpt-7'):
        assert checkpoint_files.find_checkpoint(path) == 'ram://bucket/released/ckpt-7'
