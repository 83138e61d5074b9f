"""Gradient clipping, with TensorFlow's formulas.

Lists of dense gradients in, lists of the same shapes and dtypes out.
"""

import dataclasses
from collections.abc import Sequence
from typing import Optional

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class GradientClipping:
    """What is done to the gradients of a step, in the order of the fields.

    None and 0 turn a field off.

    Attributes:
        gradient_clip_norm: Largest norm of all gradients together, before the others
            (AdamWeightDecay's).
        clipvalue: Largest absolute value of an element.
        clipnorm: Largest norm of each gradient.
        global_clipnorm: Largest norm of all gradients together; not with `clipnorm`.
    """

    gradient_clip_norm: Optional[float] = None
    clipvalue: Optional[float] = None
    clipnorm: Optional[float] = None
    global_clipnorm: Optional[float] = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None and value < 0:
                raise ValueError(f'{field.name}: expected 0 or more, or None; received {value}')
        if self.clipnorm and self.global_clipnorm:
            raise ValueError(
                'expected at most one of clipnorm and global_clipnorm; '
                f'received clipnorm={self.clipnorm} and global_clipnorm={self.global_clipnorm}'
            )

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) for field in dataclasses.fields(self))

    def apply(self, gradients: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Returns the clipped gradients."""
        gradients = list(gradients)
        if self.gradient_clip_norm:
            gradients = clip_by_global_norm(gradients, self.gradient_clip_norm)
        if self.clipvalue:
            gradients = [tf.clip_by_value(g, -self.clipvalue, self.clipvalue) for g in gradients]
        if self.clipnorm:
            gradients = [tf.clip_by_norm(g, self.clipnorm) for g in gradients]
        if self.global_clipnorm:
            gradients = clip_by_global_norm(gradients, self.global_clipnorm)
        return gradients


def clip_by_global_norm(gradients: Sequence[tf.Tensor], norm: float) -> list[tf.Tensor]:
    """Scales all gradients by min(1, norm / their common norm); NaN if one is not finite."""
    clipped, _ = tf.clip_by_global_norm(list(gradients), norm)
    return clipped
