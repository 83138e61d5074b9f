"""The files of checkpoints: which there are in a folder, and which one a user means."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable

import tensorflow as tf

from official_lite import errors

CHECKPOINT_NAME = 'ckpt'
# The file that names the checkpoints of a folder; of an exported model, a folder with one.
_LISTING = 'checkpoint'
_INDEX = '.index'
_ARCHIVE = re.compile(r'\.(tar|tgz|zip|tar\.(gz|bz2|xz))$')
_WEB = re.compile(r'https?://')
_BUCKETS = re.compile(r'\w+://')
_GOOGLE = 'gs://'
# Where Google's buckets are for those that need no credentials.
_GOOGLE_WEB = 'https://storage.googleapis.com/'
_STEP = re.compile(r'-\d+$')
_EXPECTED = 'a folder with checkpoints, or the prefix of one, e.g. my_run/ckpt-1000'


def find_checkpoint(path: str) -> str:
    """The checkpoint that a user means by `path`.

    Args:
        path: A prefix, its index file, or a folder: its newest checkpoint, the only one that is in it
            without being listed, the variables of the SavedModel that it is, or what its only folder
            with a checkpoint has, as archives of released models are once extracted.

    Raises:
        CheckpointError: there is none, it cannot be told which, or it is an address or an archive,
            which nothing is read from.
    """
    _refuse_what_is_no_folder(path)
    path = re.sub(r'\.(index|data-\d+-of-\d+)$', '', path.rstrip('/'))
    try:
        if tf.io.gfile.exists(path + _INDEX):
            return path
        found = _find_in_folder(path) if tf.io.gfile.isdir(path) else None
    except tf.errors.OpError as error:
        raise _make_unreachable_error(path, error) from error
    if found is None:
        raise errors.CheckpointError('there is no checkpoint', where=path, expected=_EXPECTED)
    return found


def latest_checkpoint(path: str) -> str | None:
    """Prefix of the newest complete checkpoint in the folder `path`, or None."""
    kept = list_checkpoints(path)
    return kept[-1] if kept else None


def list_checkpoints(directory: str) -> list[str]:
    """Prefixes of the complete checkpoints that the folder's file `checkpoint` names, oldest first.

    Those that are in the folder count where any are: a copied folder names the paths of where it was
    written.

    Raises:
        CheckpointError: that file is damaged.
    """
    named = _read_state(directory)
    here = [os.path.join(directory, os.path.basename(path)) for path in named]
    found = [path for path in here if tf.io.gfile.exists(path + _INDEX)]
    if found:
        return found
    elsewhere = [path for path in named if path not in here and not _BUCKETS.match(path)]
    return [path for path in elsewhere if tf.io.gfile.exists(path + _INDEX)]


def write_state(directory: str, prefixes: Iterable[str]) -> None:
    """Writes the file `checkpoint` in one step, in TensorFlow's format, with relative paths."""
    names = [os.path.basename(p) for p in prefixes]
    lines = [f'model_checkpoint_path: "{names[-1]}"'] if names else []
    lines += [f'all_model_checkpoint_paths: "{name}"' for name in names]
    write_atomically(os.path.join(directory, _LISTING), '\n'.join(lines) + '\n')


def write_atomically(path: str, text: str) -> None:
    """Writes a file under another name and renames it, so that no reader sees half of it."""
    temporary = f'{path}.tmp{os.getpid()}'
    with tf.io.gfile.GFile(temporary, 'w') as file:
        file.write(text)
    tf.io.gfile.rename(temporary, path, overwrite=True)


def delete_checkpoint(prefix: str) -> None:
    """Deletes the files of one checkpoint; what is already gone is no error."""
    for path in tf.io.gfile.glob(f'{prefix}{_INDEX}') + tf.io.gfile.glob(f'{prefix}.data-*'):
        with contextlib.suppress(tf.errors.NotFoundError):
            tf.io.gfile.remove(path)


def _read_state(directory: str) -> list[str]:
    """What the file `checkpoint` names, whether it is there or not."""
    listing = os.path.join(directory, _LISTING)
    if tf.io.gfile.isdir(listing):  # of an exported model
        return []
    state = tf.train.get_checkpoint_state(directory)
    if state is None and tf.io.gfile.exists(listing):
        raise errors.CheckpointError(
            'the list of checkpoints is damaged',
            where=listing,
            expected='lines such as all_model_checkpoint_paths: "ckpt-1000"',
            hint='mend it by hand, or choose another folder',
        )
    return list(state.all_model_checkpoint_paths) if state else []


def _find_in_folder(path: str) -> str | None:
    found = _find_directly_in(path)
    listing = os.path.join(path, _LISTING)
    if found is None and tf.io.gfile.isdir(listing):  # of an exported model
        found = _find_directly_in(listing)
    if found is not None:
        return found
    names = sorted(name.rstrip('/') for name in tf.io.gfile.listdir(path))
    folders = [os.path.join(path, name) for name in names]
    inner = [_find_directly_in(folder) for folder in folders if tf.io.gfile.isdir(folder)]
    return _choose_only([prefix for prefix in inner if prefix is not None], path)


def _find_directly_in(path: str) -> str | None:
    saved_model = os.path.join(path, 'variables', 'variables')
    if tf.io.gfile.exists(saved_model + _INDEX):
        return saved_model
    latest = latest_checkpoint(path)
    if latest is not None:
        return latest
    there = [
        prefix.removesuffix(_INDEX)
        for prefix in sorted(tf.io.gfile.glob(os.path.join(path, f'*{_INDEX}')))
        if not os.path.basename(prefix).startswith('.')  # as archives made on a Mac have beside it
    ]
    return _choose_only(there, path)


def _choose_only(prefixes: list[str], path: str) -> str | None:
    if len(prefixes) > 1:
        raise errors.CheckpointError(
            f'there are {len(prefixes)} checkpoints, and no list that says which is the newest',
            where=path,
            expected='the prefix of one',
            received=', '.join(prefixes[:5]),
        )
    return prefixes[0] if prefixes else None


def _refuse_what_is_no_folder(path: str) -> None:
    is_web, is_archive = bool(_WEB.match(path)), bool(_ARCHIVE.search(path))
    if not is_web and not is_archive:
        return
    is_here = not is_web and not path.startswith(_GOOGLE)
    commands = [] if is_here else [_make_download(path)]
    if is_archive:
        commands.append('tar -xf ' + (path if is_here else path.rsplit('/', 1)[-1]))
    raise errors.CheckpointError(
        'a checkpoint is not read from ' + ('a web address' if is_web else 'an archive'),
        where=path,
        expected=_EXPECTED,
        hint=f'{" && ".join(commands)}, then give the folder',
    )


def _make_unreachable_error(path: str, error: tf.errors.OpError) -> errors.CheckpointError:
    hint = 'copy the files to a disk, and give their folder' if _BUCKETS.match(path) else ''
    if path.startswith(_GOOGLE):
        copy = _make_download(path) if _STEP.search(path) else f'gsutil -m cp -r "{path}" .'
        hint = (
            'gs:// needs a network, and credentials for what is not public: where they are, '
            f'{copy}, and give the folder (task.init_checkpoint=null starts from random weights)'
        )
    return errors.CheckpointError(
        'the place cannot be reached',
        where=path,
        received=str(error).strip().split('\n', 1)[0],
        hint=hint,
    )


def _make_download(path: str) -> str:
    """The command that downloads an archive or, if `path` ends in a step, the files of a checkpoint."""
    address = path.replace(_GOOGLE, _GOOGLE_WEB, 1)
    if _STEP.search(path):
        return f'curl -LO "{address}.{{index,data-00000-of-00001}}"'
    return f'curl -LO {address}'
