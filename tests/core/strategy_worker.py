"""Trains the tiny task under one strategy and writes what came out as JSON.

One process for each strategy, because several of them in one process can hang on logical CPUs.
Usage: strategy_worker.py STRATEGY OUTPUT.json
"""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import sys
import tempfile
from typing import Any

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')

import keras
import numpy as np
import tensorflow as tf

from official_lite.common import distribute_utils
from official_lite.core import checkpoints, replicas, runtime, train_lib
from tests.core import tiny_task

NUM_STEPS = 5
# After this a worker that hangs shows where.
HANG_SECS = float(os.environ.get('HANG_SECS', '200'))


def make_strategy(name: str) -> tf.distribute.Strategy:
    if name == 'mirrored':
        cpu = tf.config.list_physical_devices('CPU')[0]
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * 2
        )
        # The default collectives can wait for each other for ever on logical CPUs.
        operations = tf.distribute.ReductionToOneDevice()
        return tf.distribute.MirroredStrategy(['CPU:0', 'CPU:1'], cross_device_ops=operations)
    return distribute_utils.get_distribution_strategy(name)


def make_trainer(strategy: Any, task_cls: Any, evaluate: bool = False, **overrides: Any) -> Any:
    config = tiny_task.make_config(**overrides)
    runtime.prepare(config)
    with strategy.scope():
        return train_lib.make_trainer(config, task_cls(config.task), evaluate=evaluate)


def train(strategy: Any, task_cls: Any) -> dict[str, Any]:
    trainer = make_trainer(strategy, task_cls)
    with strategy.scope():
        logs = [trainer.train(1) for _ in range(NUM_STEPS)]
    losses, norms = ([float(log[k]) for log in logs] for k in ('training_loss', 'gradient_norm'))
    return {'losses': losses, 'norms': norms, 'weights': get_weights(trainer)}


def get_weights(trainer: Any) -> dict[str, Any]:
    return {k: v.numpy().tolist() for k, v in checkpoints.model_variables(trainer.model).items()}


def train_compiled(strategy: Any) -> dict[str, Any]:
    """The loss is given to `model.compile`, and Keras divides it by the number of replicas itself."""

    class CompiledTask(tiny_task.TinyTask):
        def build_model(self) -> Any:
            model = super().build_model()
            model.compile(loss=keras.losses.MeanSquaredError())
            return model

        def build_losses(self, labels: Any, model_outputs: Any, aux_losses: Any = None) -> Any:
            return tf.constant(0.0)

    return train(strategy, CompiledTask)


def train_accumulated(strategy: Any) -> dict[str, Any]:
    """Half the batch and two micro steps for each update: the same updates as `train`."""
    overrides = {
        'task__train_data__global_batch_size': 4,
        'trainer__optimizer_config__gradient_accumulation_steps': 2,
    }
    trainer = make_trainer(strategy, tiny_task.TinyTask, **overrides)
    with strategy.scope():
        logs = [trainer.train(2) for _ in range(NUM_STEPS)]
    losses, norms = ([float(log[k]) for log in logs] for k in ('training_loss', 'gradient_norm'))
    return {'losses': losses, 'norms': norms, 'weights': get_weights(trainer)}


def train_float16(strategy: Any) -> dict[str, Any]:
    """One replica of several gets an infinite gradient at the second step."""

    class OverflowTask(tiny_task.TinyTask):
        def build_losses(self, labels: Any, model_outputs: Any, aux_losses: Any = None) -> Any:
            loss = super().build_losses(labels, model_outputs, aux_losses)
            context = tf.distribute.get_replica_context()
            is_last = context.replica_id_in_sync_group == context.num_replicas_in_sync - 1
            is_bad = tf.logical_and(tf.equal(optimizer.iterations, 1), is_last)
            return loss * tf.where(is_bad, 1e38, 1.0) * tf.where(is_bad, 1e38, 1.0)

    trainer = make_trainer(
        strategy,
        OverflowTask,
        runtime__mixed_precision_dtype='float16',
        runtime__loss_scale=8.0,
    )
    optimizer = trainer.optimizer
    weights = [get_weights(trainer)]
    with strategy.scope():
        for _ in range(2):
            trainer.train(1)
            weights.append(get_weights(trainer))
    keras.mixed_precision.set_global_policy('float32')
    return {'weights': weights, 'on_all_replicas': read_replicas(trainer)}


def read_replicas(trainer: Any) -> list[Any]:
    kernel = checkpoints.model_variables(trainer.model)['head/stem/kernel']
    return [np.asarray(v).tolist() for v in getattr(kernel, 'values', [kernel])]


def train_batch_norm(strategy: Any) -> dict[str, Any]:
    """Statistics differ between replicas until they are averaged."""
    trainer = make_trainer(strategy, tiny_task.TinyTask, task__use_batch_norm=True)
    mean = checkpoints.model_variables(trainer.model)['backbone/batch_normalization/moving_mean']
    with strategy.scope():
        trainer.train(1)
        before = [v.numpy().tolist() for v in strategy.experimental_local_results(mean)]
        trainer.synchronize_statistics()
        after = [v.numpy().tolist() for v in strategy.experimental_local_results(mean)]
    return {'before': before, 'after': after}


# One of each kind that acts in a step: factors of rate and decay, a schedule, a penalty, what is frozen.
LAYERS = [
    {'pattern': 'backbone/stem', 'learning_rate_multiplier': 0.1, 'weight_decay_multiplier': 3.0},
    {'pattern': 'backbone/batch_normalization', 'trainable': False},
    {
        'pattern': 'head',
        'learning_rate': {
            'type': 'stepwise',
            'stepwise': {'boundaries': [2], 'values': [0.04, 0.02]},
        },
        'kernel_regularizer': {'l2': 0.1},
    },
]


def train_layers(strategy: Any) -> dict[str, Any]:
    """Layers of their own rates, and BatchNorm that is frozen; then the same without overrides."""
    adamw = {'type': 'adamw', 'adamw': {'weight_decay_rate': 0.5}}
    fields = {
        'task__use_batch_norm': True,
        'trainer__optimizer_config__optimizer': adamw,
        'trainer__optimizer_config__layerwise_lr_decay': 0.5,
    }
    trainer = make_trainer(strategy, tiny_task.TinyTask, task__layer_overrides=LAYERS, **fields)
    before = get_weights(trainer)
    with strategy.scope():
        losses = [float(trainer.train(1)['training_loss']) for _ in range(NUM_STEPS)]
        trainer.synchronize_statistics()
    variables = checkpoints.model_variables(trainer.model)
    names = ('moving_mean', 'moving_variance', 'gamma')
    frozen = [variables[f'backbone/batch_normalization/{name}'] for name in names]
    return {
        'losses': losses,
        'before': before,
        'weights': get_weights(trainer),
        'frozen': [
            [v.numpy().tolist() for v in strategy.experimental_local_results(variable)]
            for variable in frozen
        ],
    }


def read_seeds(strategy: Any) -> dict[str, Any]:
    """States of the dropout layer's generator on every replica, new and restored."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(strategy, tiny_task.TinyTask, task__dropout=0.5)
        state = next(
            v
            for v in checkpoints.model_variables(trainer.model).values()
            if replicas.is_seed_state(v)
        )
        with strategy.scope():
            trainer.train(2)
            saved = [v.numpy().tolist() for v in strategy.experimental_local_results(state)]
            if not replicas.is_multi_worker(strategy):
                prefix = trainer.checkpoint.write(f'{folder}/ckpt')
                trainer.train(1)
                trainer.restore(prefix)
        restored = [v.numpy().tolist() for v in strategy.experimental_local_results(state)]
    return {'saved': saved, 'restored': restored}


def evaluate(strategy: Any) -> dict[str, Any]:
    """Evaluates 10 examples in batches of 4: the last batches reach some of the replicas only."""
    trainer = make_trainer(strategy, tiny_task.TinyTask, evaluate=True)
    with strategy.scope():
        return {k: float(v) for k, v in trainer.evaluate().items()}


def run_twice(strategy: Any, model_dir: str) -> dict[str, Any]:
    """Trains three steps and evaluates; then the same command, for six steps."""
    results = []
    for steps in (3, 6):
        config = tiny_task.make_config(trainer__train_steps=steps)
        task = tiny_task.TinyTask(config.task)
        model, logs = train_lib.run_experiment(strategy, task, 'train_and_eval', config, model_dir)
        weights = {k: v.numpy().tolist() for k, v in checkpoints.model_variables(model).items()}
        results.append({'logs': {k: float(v) for k, v in logs.items()}, 'weights': weights})
    return {'first': results[0], 'second': results[1], 'files': sorted(os.listdir(model_dir))}


def main(name: str, output: str) -> None:
    faulthandler.dump_traceback_later(HANG_SECS, exit=True)
    # Collecting an old trainer's multi-device iterator in the middle of a trace can block for ever.
    gc.disable()
    strategy = make_strategy(name)
    results = {
        'num_replicas': strategy.num_replicas_in_sync,
        'base': train(strategy, tiny_task.TinyTask),
        'overridden': train(strategy, tiny_task.OverriddenTask),
        'accumulated': train_accumulated(strategy),
        'evaluation': evaluate(strategy),
        'batch_norm': train_batch_norm(strategy),
        'layers': train_layers(strategy),
        'seeds': read_seeds(strategy),
        'runs': run_twice(strategy, f'{output}.run'),
        'any_worker': replicas.any_worker(strategy, replicas.is_chief(strategy)),
    }
    if not replicas.is_multi_worker(strategy):
        results['compiled'] = train_compiled(strategy)
        results['float16'] = train_float16(strategy)
    if replicas.is_chief(strategy):
        with open(output, 'w') as file:
            json.dump(results, file)


if __name__ == '__main__':
    main(sys.argv[1], sys.argv[2])
    sys.stdout.flush()
    os._exit(0)  # Neither are they collected at the end.
