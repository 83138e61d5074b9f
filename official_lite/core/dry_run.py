"""A run without a run: builds everything, does one step, and tells sizes. Writes nothing."""

from __future__ import annotations

import collections
import resource
import sys
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from official_lite.core import (
    base_task,
    checkpoints,
    data_errors,
    model_sizes,
    runtime,
    train_lib,
)


@data_errors.clear_errors()
def dry_run(strategy: tf.distribute.Strategy, task: base_task.Task, params: Any) -> str:
    """Trains one step on one batch.

    Args:
        strategy: The strategy.
        task: The task.
        params: The resolved `ExperimentConfig`.

    Returns:
        A table of the layers, then loss, parameters of each module, floating-point operations of a forward
        pass, peak memory.
    """
    runtime.check_strategy(params, strategy)
    runtime.prepare(params)
    with strategy.scope():
        trainer = train_lib.make_trainer(params, task, train=True, evaluate=False)
        logs = trainer.train(1)
        flops = count_forward_flops(trainer)
        layers = trainer.layer_control.describe(trainer.model, trainer.optimizer, params)
    lines = ['layers:', *(f'  {line}' for line in layers.splitlines())]
    lines += [f'one step: loss {float(logs["training_loss"]):.4g}', 'parameters:']
    counts = count_parameters(trainer.model)
    width = max(map(len, counts))
    lines += [f'  {name:<{width}}  {count:>14,}' for name, count in counts.items()]
    lines += [
        f'forward pass: {flops / 1e9:.3f} GFLOPs for each example (a multiplication and an addition are two)',
        f'peak memory: {peak_memory_bytes() / 2**20:,.0f} MiB',
    ]
    return '\n'.join(lines)


def count_parameters(model: keras.Model) -> dict[str, int]:
    """Parameters of each module by name, then `total` and, of it, `trainable`.

    States of random generators are not parameters.
    """
    counts: dict[str, int] = collections.defaultdict(int)
    for key, variable in checkpoints.model_variables(model).items():
        if variable.dtype.is_floating:
            counts[key.split('/')[0]] += int(np.prod(variable.shape))
    total = sum(counts.values())
    trainable = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    return {**counts, 'total': total, 'trainable': trainable}


def count_forward_flops(trainer: Any) -> float:
    """Floating-point operations of the forward pass in training, for one example.

    Counted from the shapes in the graph: convolutions and matrix products, two for each multiply-add.
    """
    dataset = base_task.call_build_inputs(
        trainer.task, trainer.config.task.train_data, tf.distribute.InputContext()
    )
    features, _ = base_task.split_inputs(next(iter(dataset)))
    batch_size = int(tf.nest.flatten(features)[0].shape[0])
    forward = tf.function(lambda x: trainer.model(x, training=True), autograph=False)
    graph = forward.get_concrete_function(tf.nest.map_structure(_to_spec, features)).graph
    return sum(model_sizes.count_flops(graph).values()) / batch_size


def peak_memory_bytes() -> int:
    """Most memory that this process had so far: of the first GPU, or of the host without one."""
    if tf.config.list_logical_devices('GPU'):
        return int(tf.config.experimental.get_memory_info('GPU:0')['peak'])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == 'darwin' else peak * 1024


def _to_spec(value: tf.Tensor) -> tf.TensorSpec:
    return tf.TensorSpec(value.shape, value.dtype)
