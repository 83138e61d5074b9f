"""Turns a checkpoint of Model Garden into one of ours for good."""

from __future__ import annotations

import os
from collections.abc import Sequence

import keras
import tensorflow as tf

from official_lite.core import checkpoint_files, checkpoints, garden_checkpoints, initialization

_NUM_PARENTS = 3
PARAMS_FILE = 'params.yaml'


def find_params_file(path: str) -> str:
    """The params.yaml that belongs to a checkpoint: beside it or in a folder above; '' if none.

    Args:
        path: What `checkpoint_files.find_checkpoint` returned.
    """
    folder = os.path.dirname(path)
    for _ in range(_NUM_PARENTS):
        candidate = os.path.join(folder, PARAMS_FILE)
        if tf.io.gfile.exists(candidate):
            return candidate
        folder = os.path.dirname(folder)
    return ''


def is_of_model_garden(path: str) -> bool:
    """Whether a checkpoint, what `find_checkpoint` returned, has a graph of objects; ours have none."""
    return garden_checkpoints.read_object_graph(checkpoints.CheckpointSource(path)) is not None


def convert(
    model: keras.Model,
    source: str,
    target_dir: str,
    *,
    modules: str | Sequence[str] = initialization.ALL,
    use_averages: bool = False,
    metadata: str = '',
) -> initialization.Report:
    """Loads a checkpoint into a model and writes the model as a checkpoint of ours.

    Args:
        model: The model, built.
        source: The checkpoint, as for `load_pretrained`.
        target_dir: Folder to write to.
        modules: Which parts, as for `load_pretrained`; the others are not written.
        use_averages: Whether moving averages are taken for weights.
        metadata: JSON text that goes with the checkpoint.

    Returns:
        What matched. The checkpoint is `<target_dir>/ckpt-<step>`.
    """
    report = initialization.load_pretrained(
        model, source, modules=modules, use_averages=use_averages
    )
    step = read_step(report.path)
    loaded = set(report.matched)
    left_out = {*report.missing, *report.not_chosen}
    variables = {
        key: variable
        for key, variable in checkpoints.model_variables(model).items()
        if key in loaded or key not in left_out
    }
    variables[checkpoints.STEP_KEY] = tf.Variable(step, dtype=tf.int64)
    prefix = os.path.join(target_dir, f'{checkpoint_files.CHECKPOINT_NAME}-{step}')
    checkpoints.FlatCheckpoint(variables, metadata).write(prefix)
    checkpoint_files.write_state(target_dir, [prefix])
    return report


def read_step(path: str) -> int:
    """The step at which a checkpoint was saved; 0 if it does not say."""
    source = checkpoints.CheckpointSource(path)
    for key in (checkpoints.STEP_KEY, garden_checkpoints.STEP_KEY):
        if key in source.shapes:
            return int(source.read(key))
    return 0
