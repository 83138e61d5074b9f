"""Checks of what a task's own methods return, before something else stumbles over it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import keras
import tensorflow as tf

from official_lite import errors


def check_model(model: Any, task: Any) -> None:
    """Checks what `build_model` returned.

    Raises:
        UsageError: If it is no Keras model, or has no variables yet.
    """
    where = f'{type(task).__name__}.build_model'
    if not isinstance(model, keras.Model):
        raise errors.UsageError(where=where, expected='a keras.Model', received=_describe(model))
    if not model.built and not model.variables:
        raise errors.UsageError(
            'the model has no variables yet, and the optimizer is made for them before the first step',
            where=where,
            hint='call the model once on a batch of zeros, or build it with model.build(shape)',
        )


def check_optimizer(optimizer: Any, task: Any) -> None:
    """Checks what `create_optimizer` returned.

    Raises:
        UsageError: If it does not apply gradients.
    """
    if not hasattr(optimizer, 'apply_gradients'):
        raise errors.UsageError(
            where=f'{type(task).__name__}.create_optimizer',
            expected='a keras.optimizers.Optimizer',
            received=_describe(optimizer),
        )


def check_dataset(dataset: Any, method: str = 'build_inputs_at of the task') -> None:
    """Checks what `build_inputs` or `build_inputs_at` returned.

    Args:
        dataset: What was returned.
        method: What returned it, as in 'MyTask.build_inputs'.

    Raises:
        UsageError: If it is no dataset.
    """
    if not isinstance(dataset, tf.data.Dataset):
        raise errors.UsageError(
            where=method, expected='a tf.data.Dataset of batches', received=_describe(dataset)
        )


def get_metrics(task: Any, training: bool) -> list[keras.metrics.Metric]:
    """What `build_metrics` returns.

    Raises:
        UsageError: If these are no metrics, or not in a list.
    """
    metrics = task.build_metrics(training=training)
    where = f'{type(task).__name__}.build_metrics'
    if not isinstance(metrics, Iterable) or isinstance(metrics, (str, Mapping)):
        raise errors.UsageError(
            where=where,
            expected='a list of keras.metrics.Metric, [] for none',
            received=_describe(metrics),
        )
    found = list(metrics)
    for index, metric in enumerate(found):
        if not all(hasattr(metric, name) for name in ('name', 'result', 'reset_state')):
            raise errors.UsageError(
                where=f'{where}[{index}]',
                expected='a keras.metrics.Metric',
                received=_describe(metric),
            )
    return found


def check_logs(logs: Any, task: Any, method: str) -> None:
    """Checks what a method that returns logs, or losses by name, returned.

    Args:
        logs: What was returned.
        task: The task.
        method: Name of the method.

    Raises:
        UsageError: If it is no dict.
    """
    if not isinstance(logs, Mapping):
        raise errors.UsageError(
            where=f'{type(task).__name__}.{method}',
            expected='a dict of tensors by name',
            received=_describe(logs),
        )


def get_loss(logs: Any, task: Any, method: str) -> Any:
    """The loss among the logs or losses that a method returned; arguments as of `check_logs`.

    Raises:
        UsageError: If it is not there, or they are no dict.
    """
    check_logs(logs, task, method)
    if logs.get(task.loss) is None:
        raise errors.UsageError(
            where=f'{type(task).__name__}.{method}',
            expected=f'the loss of the replica as {task.loss!r}',
            received=f'a dict of {sorted(map(str, logs))}'
            if task.loss not in logs
            else 'None as it',
        )
    return logs[task.loss]


def check_loss(loss: Any, task: Any, method: str = 'build_losses') -> None:
    """Checks the loss of a replica.

    Raises:
        UsageError: If it is no scalar tensor.
    """
    is_tensor = tf.is_tensor(loss)
    if not is_tensor or loss.shape.rank not in (0, None):
        raise errors.UsageError(
            where=f'{type(task).__name__}.{method}',
            expected='a scalar tensor, such as the mean of the losses of the examples',
            received=f'a tensor of shape {loss.shape}' if is_tensor else _describe(loss),
        )


def check_data_info(info: Any, task_cls: type) -> None:
    """Checks what `get_data_info` returned.

    Raises:
        UsageError: If it is neither None nor tells `num_examples`.
    """
    if info is not None and not hasattr(info, 'num_examples'):
        raise errors.UsageError(
            where=f'{task_cls.__name__}.get_data_info',
            expected='a core.data_info.DataInfo, or None',
            received=_describe(info),
        )


def _describe(value: Any) -> str:
    return 'None' if value is None else type(value).__name__
