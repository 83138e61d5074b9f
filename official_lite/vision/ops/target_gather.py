"""Carries values of ground truth to the anchors that were matched with it."""

from __future__ import annotations

from typing import Optional

import tensorflow as tf


def gather_targets(
    values: tf.Tensor,
    match_indices: tf.Tensor,
    mask: Optional[tf.Tensor] = None,
    mask_val: float = 0.0,
) -> tf.Tensor:
    """Rows of ground truth by match, with one value where there is none.

    Args:
        values: Values of the boxes, [boxes] or [boxes, size], or with the batch in front. `boxes`
            may be 0.
        match_indices: Box of each anchor, int [anchors], or [batch, anchors].
        mask: Bool, broadcastable to the result: True where `mask_val` stands instead. None: nowhere.
        mask_val: The value of what is masked, and of everything where there are no boxes.

    Returns:
        [anchors] or [anchors, size], or with the batch in front, of the dtype of `values`.
    """
    batch_dims = len(match_indices.shape) - 1
    # One row more, so that there is something to gather from even if there are no boxes.
    paddings = [[0, int(axis == batch_dims)] for axis in range(len(values.shape))]
    fill = tf.cast(mask_val, values.dtype)
    padded = tf.pad(values, paddings, constant_values=fill)
    targets = tf.gather(padded, match_indices, batch_dims=batch_dims)
    return targets if mask is None else tf.where(mask, fill, targets)


class TargetGather:
    """`gather_targets` as an object, as Model Garden has it.

    Raises:
        ValueError: When called with labels of more than three dimensions.
    """

    def __call__(
        self,
        labels: tf.Tensor,
        match_indices: tf.Tensor,
        mask: Optional[tf.Tensor] = None,
        mask_val: float = 0.0,
    ) -> tf.Tensor:
        """Labels [boxes, size] or [batch, boxes, size] by match; see `gather_targets`."""
        if len(labels.shape) > 3:
            raise ValueError(
                f'Expected labels of at most 3 dimensions. Received: shape {tuple(labels.shape)}'
            )
        return gather_targets(labels, match_indices, mask, mask_val)
