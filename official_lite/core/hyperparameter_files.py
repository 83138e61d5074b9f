"""Hyperparameters of what lies on a disk: runs, checkpoints, exports, SavedModels, `.keras` files."""

from __future__ import annotations

import json
import os
import re
import zipfile
from typing import Any

from official_lite import errors
from official_lite.core import run_files
from official_lite.core.hyperparameters import Hyperparameters
from official_lite.modeling.hyperparams import yaml_files

__all__ = ['is_saved_model', 'load_hyperparameters', 'save_hyperparameters']

# Where TensorFlow lets programs put files of their own into a SavedModel.
_EXTRA = 'assets.extra'
_SAVED_MODEL_FILES = ('saved_model.pb', 'saved_model.pbtxt')
# The name inside of a `.keras` file.
ASSET_NAME = 'hyperparameters.yaml'
_KERAS_MEMBER = re.compile(rf'(.*/)?{re.escape(ASSET_NAME)}')
_CHECKPOINT_FILE = re.compile(r'\.(index|data-\d+-of-\d+)$')
_CONFIG_KEY = 'config'


def load_hyperparameters(path: str | os.PathLike[str]) -> Hyperparameters:
    """Returns the hyperparameters that made what lies at a path.

    Args:
        path: The folder of a run or of an export, a SavedModel, a checkpoint (its prefix or one of
            its files), a `.keras` file, or a params.yaml.

    Raises:
        UsageError: Nothing is there, or it does not tell what made it.
    """
    name = os.fspath(path).rstrip('/')
    is_there = run_files.exists(name)
    if name.endswith('.keras') and is_there:
        found = _load_from_keras_file(name)
    elif name.endswith(('.yaml', '.yml', '.json')) and is_there:
        found = Hyperparameters.from_params(run_files.load_params(name))
    else:
        prefix = _CHECKPOINT_FILE.sub('', name)
        is_checkpoint = run_files.exists(prefix + '.index')
        is_there = is_there or is_checkpoint
        found = _load_from_checkpoint(prefix) if is_checkpoint else _load_from_folder(name)
    if found is None:
        raise errors.UsageError(
            'it does not tell which hyperparameters made it' if is_there else 'nothing is there',
            where=name,
            expected='a run, a checkpoint, an export, a SavedModel, a .keras file or a params.yaml',
            hint='official_lite.save_hyperparameters adds them to a model' if is_there else '',
        )
    return found


def save_hyperparameters(source: Any, path: str | os.PathLike[str]) -> str:
    """Adds hyperparameters to a model that was written by other means, such as `tf.saved_model.save`.

    Args:
        source: A model that a task built, a trainer, `Hyperparameters`, or a config.
        path: A SavedModel, a `.keras` file, or any other folder, which gets a params.yaml.

    Returns:
        The file that was written.

    Raises:
        UsageError: Nothing is at the path.
    """
    name = os.fspath(path).rstrip('/')
    found = getattr(source, 'hyperparameters', source)
    if not isinstance(found, Hyperparameters):
        found = Hyperparameters.of(found)
    if not run_files.exists(name):
        raise errors.UsageError('nothing is there', where=name, expected='a model')
    if name.endswith('.keras'):
        with zipfile.ZipFile(name, 'a') as archive:
            archive.writestr(f'assets/{ASSET_NAME}', found.to_yaml())
        return name
    folder = run_files.join(name, _EXTRA) if is_saved_model(name) else name
    run_files.make_dir(folder)
    target = run_files.join(folder, run_files.PARAMS_FILE)
    run_files.write_text(target, found.to_yaml())
    return target


def is_saved_model(folder: str) -> bool:
    """Whether a folder is a SavedModel."""
    return any(run_files.exists(run_files.join(folder, name)) for name in _SAVED_MODEL_FILES)


def _load_from_folder(folder: str) -> Hyperparameters | None:
    """Looks for a params.yaml, then into the newest checkpoint."""
    inside = (_EXTRA, '') if is_saved_model(folder) else ('',)
    for subfolder in inside:
        path = run_files.join(run_files.join(folder, subfolder), run_files.PARAMS_FILE)
        if run_files.exists(path):
            return Hyperparameters.from_params(run_files.load_params(path))
    if not run_files.exists(run_files.join(folder, 'checkpoint')):
        return None
    from official_lite.core import checkpoint_files  # needs TensorFlow

    latest = checkpoint_files.latest_checkpoint(folder)
    return _load_from_checkpoint(latest) if latest else None


def _load_from_checkpoint(prefix: str) -> Hyperparameters | None:
    """Reads the config in a checkpoint; an old one may have it in a params.yaml beside it."""
    from official_lite.core import checkpoints  # needs TensorFlow

    text = checkpoints.CheckpointSource(prefix).metadata
    config = json.loads(text).get(_CONFIG_KEY) if text else None
    if config is not None:
        return Hyperparameters.from_params(run_files.split_params(config, prefix))
    folder = os.path.dirname(prefix)
    path = run_files.join(folder, run_files.PARAMS_FILE) if folder else run_files.PARAMS_FILE
    if run_files.exists(path):
        return Hyperparameters.from_params(run_files.load_params(path))
    return None


def _load_from_keras_file(path: str) -> Hyperparameters | None:
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        members = [name for name in archive.namelist() if _KERAS_MEMBER.fullmatch(name)]
        if not members:
            return None
        # The nearest to the top is the model's own; what lies deeper came with a part of it.
        member = min(members, key=lambda name: name.count('/'))
        text = archive.read(member).decode('utf-8')
    return Hyperparameters.from_params(
        run_files.split_params(yaml_files.parse_yaml(text, path), path)
    )
