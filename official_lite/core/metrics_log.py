"""What a run reports: TensorBoard events and `metrics.jsonl`.

Events have Model Garden's names (`training_loss`, `AP`), in `train/` and in the validation folder. The lines of
`metrics.jsonl` have paths: `loss`, `loss/cls`, `learning_rate`, `time/step_ms` for training, `eval/AP`,
`eval/loss` for validation.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from official_lite.core import checkpoint_files, metric_paths, run_files

JSONL_NAME = run_files.METRICS_FILE
TRAIN_SUBDIR = 'train'
train_path = metric_paths.train_path
validation_path = metric_paths.validation_path


class MetricsLog:
    """Writes the metrics of one run into its folder; a log without folder writes nothing."""

    def __init__(self, model_dir: str | None, validation_subdir: str = 'validation') -> None:
        """Opens nothing yet: files appear with their first content.

        Args:
            model_dir: Folder of the run, or None.
            validation_subdir: Where in it the events of validation go.
        """
        self._model_dir = model_dir
        self._subdirs = {'train': TRAIN_SUBDIR, 'validation': validation_subdir}
        self._writers: dict[str, tf.summary.SummaryWriter] = {}

    def write_train(self, step: int, logs: Mapping[str, Any]) -> None:
        """Logs training metrics: floats by Model Garden's names, or by paths."""
        self._write('train', step, logs, {train_path(k): v for k, v in scalars(logs).items()})

    def write_validation(self, step: int, logs: Mapping[str, Any]) -> None:
        """Logs the results of one evaluation; images in them go to TensorBoard only."""
        paths = {validation_path(k): v for k, v in scalars(logs).items()}
        self._write('validation', step, logs, paths)

    def drop_after(self, step: int) -> None:
        """Removes lines of `metrics.jsonl` beyond `step`, which a resumed run computes again."""
        path = self._jsonl_path()
        if path is None or not tf.io.gfile.exists(path):
            return
        with tf.io.gfile.GFile(path) as file:
            lines = file.read().splitlines()
        kept = [
            line for line in lines if (_step_of(line) or 0) <= step and _step_of(line) is not None
        ]
        if len(kept) < len(lines):
            checkpoint_files.write_atomically(path, ''.join(line + '\n' for line in kept))

    def in_step_summaries(
        self, step: tf.Variable, interval: int
    ) -> contextlib.AbstractContextManager[Any]:
        """A context in which `tf.summary` calls of a task's step are recorded, each `interval` steps."""
        stack = contextlib.ExitStack()
        if self._model_dir is not None and interval > 0:
            tf.summary.experimental.set_step(step)
            stack.callback(tf.summary.experimental.set_step, None)
            stack.enter_context(self._writer('train').as_default())
            stack.enter_context(tf.summary.record_if(lambda: tf.equal(step % interval, 0)))
        return stack

    def close(self) -> None:
        """Closes the event files."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _jsonl_path(self) -> str | None:
        return None if self._model_dir is None else os.path.join(self._model_dir, JSONL_NAME)

    def _writer(self, kind: str) -> tf.summary.SummaryWriter:
        if kind not in self._writers:
            folder = os.path.join(self._model_dir or '', self._subdirs[kind])
            self._writers[kind] = tf.summary.create_file_writer(folder)
        return self._writers[kind]

    def _write(
        self, kind: str, step: int, logs: Mapping[str, Any], paths: Mapping[str, float]
    ) -> None:
        path = self._jsonl_path()
        if path is None:
            return
        with self._writer(kind).as_default(), tf.summary.record_if(True):
            for name, value in flatten(logs).items():
                _write_event(name, value, step)
        self._writer(kind).flush()
        line = {'step': step, **{k: v if math.isfinite(v) else None for k, v in paths.items()}}
        tf.io.gfile.makedirs(os.path.dirname(path))
        with tf.io.gfile.GFile(path, 'a') as file:
            file.write(json.dumps(line) + '\n')


def flatten(logs: Mapping[str, Any], prefix: str = '') -> dict[str, np.ndarray]:
    """Nested logs as one dict of arrays with joined names; what is no number is left out."""
    flat: dict[str, np.ndarray] = {}
    for key, value in logs.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f'{prefix}{key}/'))
            continue
        array = np.asarray(value)
        if array.dtype.kind in 'fiub' or array.dtype.name == 'bfloat16':
            flat[f'{prefix}{key}'] = array
    return flat


def scalars(logs: Mapping[str, Any]) -> dict[str, float]:
    """The single numbers in nested logs, as floats."""
    return {k: float(v.reshape(())) for k, v in flatten(logs).items() if v.size == 1}


def _write_event(name: str, value: np.ndarray, step: int) -> None:
    if value.size == 1:
        tf.summary.scalar(name, float(value.reshape(())), step=step)
    elif value.ndim == 4 and value.shape[-1] in (1, 3, 4):
        tf.summary.image(name, value, step=step)
    elif value.ndim == 1:
        tf.summary.histogram(name, value, step=step)


def _step_of(line: str) -> int | None:
    """The step of a line, or None for one that was cut off."""
    try:
        return int(json.loads(line)['step'])
    except (ValueError, KeyError, TypeError):
        return None
