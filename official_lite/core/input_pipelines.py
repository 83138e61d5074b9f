"""Datasets for several replicas and workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from official_lite.core import task_results

DatasetFn = Callable[[tf.distribute.InputContext | None], tf.data.Dataset]


def distribute(
    strategy: tf.distribute.Strategy,
    dataset_fn: DatasetFn,
    runtime: Any,
    *,
    is_finite: bool = False,
) -> Any:
    """The dataset of all replicas.

    Args:
        strategy: The strategy.
        dataset_fn: Makes the dataset of one input pipeline, in batches of one replica.
        runtime: The `RuntimeConfig`.
        is_finite: Whether the dataset ends, and its last batches must reach the replicas even when there are
            fewer of them than replicas.

    Returns:
        A `tf.data.Dataset` without replicas, else a `DistributedDataset`.
    """
    is_tpu = isinstance(strategy, tf.distribute.TPUStrategy)
    # TensorFlow drops what is left when all shapes are static, but hands out empty batches when they are not.
    must_relax = is_finite and strategy.num_replicas_in_sync > 1 and not is_tpu

    def make(context: tf.distribute.InputContext) -> tf.data.Dataset:
        dataset = dataset_fn(context)
        task_results.check_dataset(dataset)
        dataset = dataset.with_options(_make_options(runtime))
        return dataset.map(_forget_batch_size) if must_relax else dataset

    return strategy.distribute_datasets_from_function(make)


def skip_batches(dataset: Any, num_batches: int) -> Any:
    """`dataset` from its batch `num_batches` on; a distributed one is read up to there."""
    if not num_batches:
        return dataset
    if isinstance(dataset, tf.data.Dataset):
        return dataset.skip(num_batches)
    iterator = iter(dataset)
    for _ in range(num_batches):
        next(iterator)
    return iterator


def _make_options(runtime: Any) -> tf.data.Options:
    options = tf.data.Options()
    threads = getattr(runtime, 'dataset_num_private_threads', None)
    if threads:
        options.threading.private_threadpool_size = threads
    if getattr(runtime, 'deterministic', False):
        options.deterministic = True
    return options


def _forget_batch_size(*batch: Any) -> Any:
    """The same batch with an unknown first dimension."""
    batch = batch[0] if len(batch) == 1 else batch
    return tf.nest.map_structure(_forget_first_dimension, batch)


def _forget_first_dimension(value: Any) -> Any:
    if not isinstance(value, tf.Tensor) or value.shape.rank in (None, 0):
        return value
    return tf.compat.v1.placeholder_with_default(value, [None, *value.shape[1:]])
