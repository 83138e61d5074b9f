"""Runs of the tiny task, and what they leave in their folder."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import tensorflow as tf

from official_lite.core import checkpoints, train_lib
from tests.core import tiny_task


class Killed(Exception):
    """What `KillAt` ends a run with."""


class KillAt:
    """A training action that ends the process' life as far as the run can see."""

    def __init__(self, calls: int) -> None:
        self._calls = calls

    def __call__(self, logs: Any) -> None:
        self._calls -= 1
        if not self._calls:
            raise Killed


def run(
    mode: str,
    model_dir: Any,
    task_cls: type[tiny_task.TinyTask] = tiny_task.TinyTask,
    run_kwargs: dict[str, Any] | None = None,
    **overrides: Any,
) -> tuple[Any, dict[str, Any]]:
    config = tiny_task.make_config(**overrides)
    return train_lib.run_experiment(
        tf.distribute.get_strategy(),
        task_cls(config.task),
        mode,
        config,
        str(model_dir),
        **(run_kwargs or {}),
    )


def weights(model: Any) -> dict[str, np.ndarray]:
    return {k: v.numpy() for k, v in checkpoints.model_variables(model).items()}


def assert_same_weights(first: Any, second: Any) -> None:
    a, b = weights(first), weights(second)
    assert a.keys() == b.keys()
    for key, value in a.items():
        np.testing.assert_array_equal(value, b[key], err_msg=key)


def read_lines(model_dir: pathlib.Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (model_dir / 'metrics.jsonl').read_text().splitlines()]


def saved_steps(model_dir: pathlib.Path) -> list[int]:
    return sorted(int(p.stem.split('-')[1]) for p in model_dir.glob('ckpt-*.index'))
