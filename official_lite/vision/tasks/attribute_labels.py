"""Attributes of boxes that a detector is to learn, as its losses need them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from official_lite import errors

_HEADS = 'task.model.head.attribute_heads'


def get_attribute_labels(heads: Sequence[Any], labels: Mapping[str, Any]) -> dict[str, tf.Tensor]:
    """Takes the attributes that there are heads for out of the labels of a batch.

    Args:
        heads: `configs.retinanet.AttributeHead`s.
        labels: `attributes`, by name [batch, boxes, size], and `classes`, int [batch, boxes], below
            0 where there is no box.

    Returns:
        By name: numbers, float32 [batch, boxes, size], and classes, int32 [batch, boxes, 1].

    Raises:
        UsageError: The data has no such attribute, or one of another size. What only the values
            show raises InvalidArgumentError where the result is used.
    """
    attributes = labels.get('attributes', {})
    found = {}
    for head in heads:
        if head.name not in attributes:
            raise errors.UsageError(
                f'the data has no attribute {head.name!r}, which a head is to learn',
                where=_HEADS,
                expected=f'attributes of the data, which are {sorted(attributes)}',
                received=repr(head.name),
                hint='TFRecords: list it in decoder.simple_decoder.attribute_names, and it is '
                f'read from image/object/attribute/{head.name}',
            )
        size = head.size if head.type == 'regression' else 1
        values = _fit(attributes[head.name], size, head.name, labels['classes'])
        if head.type == 'classification':
            found[head.name] = _check_range(tf.cast(values, tf.int32), head)
        else:
            found[head.name] = tf.cast(values, tf.float32)
    return found


def _fit(values: tf.Tensor, size: int, name: str, classes: tf.Tensor) -> tf.Tensor:
    """Values [batch, boxes, size]; a batch without boxes may have come with another size."""
    if values.shape[-1] is None:
        is_fine = (tf.shape(values)[-1] == size) | tf.reduce_all(classes < 0)
        text = f'{_HEADS}: an object of the data does not have {size} values of {name!r} but'
        check = tf.debugging.Assert(is_fine, [text, tf.shape(values)[-1]])
        with tf.control_dependencies([check] if check is not None else []):
            missing = tf.maximum(size - tf.shape(values)[-1], 0)
        values = tf.pad(values, [[0, 0], [0, 0], [0, missing]])[..., :size]
    if values.shape[-1] != size:
        raise errors.UsageError(
            where=_HEADS,
            expected=f'{values.shape[-1]} values of {name!r}, as the data has',
            received=str(size),
        )
    return tf.ensure_shape(values, [None, None, size])


def _check_range(values: tf.Tensor, head: Any) -> tf.Tensor:
    """Classes, which must be 0 to size - 1."""
    is_fine = tf.reduce_all((values >= 0) & (values < head.size))
    text = f'{_HEADS}: classes of {head.name!r} are 0 to {head.size - 1}, but the data has'
    check = tf.debugging.Assert(is_fine, [text, tf.reduce_min(values), tf.reduce_max(values)])
    with tf.control_dependencies([check] if check is not None else []):
        return tf.identity(values)
