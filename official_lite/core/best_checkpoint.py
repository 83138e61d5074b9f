"""Keeps the checkpoint with the best value of one metric."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import tensorflow as tf

from official_lite import errors
from official_lite.core import checkpoint_files, metrics_log

BEST_CHECKPOINT_NAME = 'best_ckpt'
INFO_NAME = 'info.json'
STEP_NAME = 'best_ckpt_global_step'
_COMPARISONS = ('higher', 'lower')


class Writable(Protocol):
    """A `FlatCheckpoint` or a `tf.train.Checkpoint`."""

    def write(self, path: str) -> str: ...


class MetricError(errors.UsageError, KeyError):
    """The metric that is to decide is not among those that the evaluation returned."""

    __str__ = errors.UsageError.__str__


class BestCheckpointExporter:
    """Writes `best_ckpt-<step>` whenever an evaluation beats all before it, also those of earlier runs.

    A value that is not a number never counts as best. Beside the checkpoint `info.json` has the metrics of
    that evaluation and `best_ckpt_global_step`, and `params.yaml` the config.
    """

    def __init__(
        self,
        export_dir: str,
        metric_name: str,
        metric_comp: str,
        *,
        write_config: Callable[[str], None] | None = None,
        is_chief: bool = True,
    ) -> None:
        """Reads the best value so far from `info.json`.

        Args:
            export_dir: Folder of the best checkpoint.
            metric_name: Name of the metric; parts of nested logs are joined by `|`.
            metric_comp: 'higher' or 'lower': which values are better.
            write_config: Writes the config into the folder that it is given.
            is_chief: Whether this process writes.

        Raises:
            ValueError: `metric_comp` is neither.
        """
        if metric_comp not in _COMPARISONS:
            raise ValueError(
                f'best checkpoint metric comp must be one of higher, lower. Got: {metric_comp}'
            )
        self._export_dir = export_dir
        self._metric_name = metric_name
        self._metric_comp = metric_comp
        self._write_config = write_config
        self._is_chief = is_chief
        self._best_logs = self._load_best_logs()

    @property
    def best_ckpt_logs(self) -> Mapping[str, Any] | None:
        """Metrics of the best evaluation, or None."""
        return self._best_logs

    @property
    def best_ckpt_logs_path(self) -> str:
        """Path of `info.json`."""
        return os.path.join(self._export_dir, INFO_NAME)

    @property
    def best_ckpt_path(self) -> str | None:
        """Prefix of the best checkpoint, or None."""
        return checkpoint_files.latest_checkpoint(self._export_dir)

    @property
    def best_value(self) -> float | None:
        """The best value so far, or None."""
        return None if self._best_logs is None else self._get_value(self._best_logs)

    def maybe_export_checkpoint(
        self,
        checkpoint: Writable,
        eval_logs: Mapping[str, Any],
        global_step: int,
        write_logs: bool = True,
    ) -> bool:
        """Writes `checkpoint` if `eval_logs` has the best value so far.

        Returns:
            Whether it was the best.

        Raises:
            MetricError: `eval_logs` does not have the metric.
        """
        value = self._get_value(eval_logs)
        if not self._is_better(value):
            return False
        self._best_logs = metrics_to_json(eval_logs, global_step)
        if self._is_chief:
            self._export(checkpoint, eval_logs, int(global_step), write_logs)
        return True

    def export_best_eval_metric(self, eval_logs: Mapping[str, Any], global_step: int) -> None:
        """Writes `info.json`."""
        tf.io.gfile.makedirs(self._export_dir)
        text = json.dumps(metrics_to_json(eval_logs, global_step), indent=4)
        checkpoint_files.write_atomically(self.best_ckpt_logs_path, text + '\n')

    def _export(
        self, checkpoint: Writable, eval_logs: Mapping[str, Any], step: int, write_logs: bool
    ) -> None:
        tf.io.gfile.makedirs(self._export_dir)
        previous = self.best_ckpt_path
        prefix = os.path.join(self._export_dir, f'{BEST_CHECKPOINT_NAME}-{step}')
        checkpoint.write(prefix)
        if self._write_config is not None:
            self._write_config(self._export_dir)
        checkpoint_files.write_state(self._export_dir, [prefix])
        if write_logs:
            self.export_best_eval_metric(eval_logs, step)
        if previous and os.path.basename(previous) != os.path.basename(prefix):
            checkpoint_files.delete_checkpoint(previous)

    def _is_better(self, value: float) -> bool:
        if math.isnan(value):
            return False
        best = self.best_value
        if best is None or math.isnan(best):
            return True
        return value > best if self._metric_comp == 'higher' else value < best

    def _get_value(self, logs: Mapping[str, Any]) -> float:
        flat = metrics_log.scalars(logs)
        name = self._metric_name.replace('|', '/')
        if name not in flat:
            raise MetricError(
                f'the evaluation returned no metric {self._metric_name!r}',
                where='trainer.best_checkpoint_eval_metric',
                expected=f'one of {", ".join(sorted(flat)) or "(it returned none)"}',
            )
        return flat[name]

    def _load_best_logs(self) -> Mapping[str, Any] | None:
        if not tf.io.gfile.exists(self.best_ckpt_logs_path):
            return None
        with tf.io.gfile.GFile(self.best_ckpt_logs_path) as file:
            return _from_json(json.loads(file.read()))


def maybe_create_best_ckpt_exporter(
    params: Any, data_dir: str | None, *, is_chief: bool = True
) -> BestCheckpointExporter | None:
    """The exporter of the best checkpoint, or None if the config does not ask for it."""
    trainer = params.trainer
    subdir, metric = trainer.best_checkpoint_export_subdir, trainer.best_checkpoint_eval_metric
    if not (data_dir and subdir and metric):
        return None

    def write_config(folder: str) -> None:
        source = os.path.join(data_dir, 'params.yaml')
        if tf.io.gfile.exists(source):
            tf.io.gfile.copy(source, os.path.join(folder, 'params.yaml'), overwrite=True)

    return BestCheckpointExporter(
        os.path.join(data_dir, subdir),
        metric,
        trainer.best_checkpoint_metric_comp,
        write_config=write_config,
        is_chief=is_chief,
    )


def metrics_to_json(logs: Mapping[str, Any], global_step: int) -> dict[str, Any]:
    """The single numbers of nested logs as floats (null for what is not finite), and the step."""
    return {**_numbers(logs), STEP_NAME: float(global_step)}


def _numbers(logs: Mapping[str, Any]) -> dict[str, Any]:
    numbers: dict[str, Any] = {}
    for key, value in logs.items():
        if isinstance(value, Mapping):
            numbers[key] = _numbers(value)
            continue
        for number in metrics_log.scalars({key: value}).values():
            numbers[key] = number if math.isfinite(number) else None
    return numbers


def _from_json(logs: Mapping[str, Any]) -> dict[str, Any]:
    """Nulls as NaN again."""
    return {
        k: _from_json(v) if isinstance(v, Mapping) else math.nan if v is None else v
        for k, v in logs.items()
    }
