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

    @property
    def by_global_norm(self) -> bool:
        """Whether the norm of all gradients together is needed."""
        return bool(self.gradient_clip_norm or self.global_clipnorm)

    def apply(
        self, gradients: Sequence[tf.Tensor], norm: Optional[tf.Tensor] = None
    ) -> list[tf.Tensor]:
        """Returns the clipped gradients.

        Args:
            gradients: What to clip.
            norm: The norm of all of them together, if it is known already, float32 scalar.
        """
        gradients = list(gradients)
        if self.gradient_clip_norm:
            gradients, norm = clip_by_global_norm(gradients, self.gradient_clip_norm, norm), None
        if self.clipvalue:
            low, high = -self.clipvalue, self.clipvalue
            gradients, norm = [tf.clip_by_value(g, low, high) for g in gradients], None
        if self.clipnorm:
            gradients = [tf.clip_by_norm(g, self.clipnorm) for g in gradients]
        if self.global_clipnorm:
            gradients = clip_by_global_norm(gradients, self.global_clipnorm, norm)
        return gradients


def clip_by_global_norm(
    gradients: Sequence[tf.Tensor], limit: float, norm: Optional[tf.Tensor] = None
) -> list[tf.Tensor]:
    """Scales all gradients by min(1, limit / their common norm); NaN if one is not finite."""
    clipped, _ = tf.clip_by_global_norm(list(gradients), limit, use_norm=norm)
    return clipped
