"""Checks of what a task's own methods return, before something else stumbles over it."""

from __future__ import annotations

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


def check_dataset(dataset: Any) -> None:
    """Checks what `build_inputs` returned.

    Raises:
        UsageError: If it is no dataset.
    """
    if not isinstance(dataset, tf.data.Dataset):
        raise errors.UsageError(
            where='build_inputs of the task',
            expected='a tf.data.Dataset of batches',
            received=_describe(dataset),
        )


@tf.autograph.experimental.do_not_convert
def check_loss(loss: Any, task: Any) -> None:
    """Checks the loss of a replica.

    Raises:
        ValueError: If it is no scalar tensor. (Of other classes AutoGraph would make one of its own.)
    """
    is_tensor = tf.is_tensor(loss)
    if not is_tensor or loss.shape.rank not in (0, None):
        received = f'a tensor of shape {loss.shape}' if is_tensor else _describe(loss)
        raise ValueError(
            f'{type(task).__name__}.build_losses: expected a scalar tensor, such as the mean of the '
            f'losses of the examples; received {received}'
        )


def _describe(value: Any) -> str:
    return 'None' if value is None else type(value).__name__
