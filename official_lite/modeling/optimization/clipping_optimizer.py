"""Optimizers that work on the gradients of an update: norm, transformers and clipping."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Optional

import tensorflow as tf

from official_lite.modeling.optimization import accumulating_optimizer, gradient_clipping

GradientsAndVariables = accumulating_optimizer.GradientsAndVariables
GradientsTransform = Callable[[GradientsAndVariables], GradientsAndVariables]


class ClippingOptimizer(accumulating_optimizer.AccumulatingOptimizer):
    """An accumulating optimizer that notes the gradients' norm, transforms and clips them.

    Attributes:
        gradient_norm: Global norm of the gradients of the last update, float32 variable.
    """

    def __init__(
        self,
        *args: Any,
        clipnorm: Optional[float] = None,
        clipvalue: Optional[float] = None,
        global_clipnorm: Optional[float] = None,
        gradient_clip_norm: Optional[float] = None,
        gradient_transformers: Optional[Sequence[GradientsTransform]] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.clipnorm, self.clipvalue, self.global_clipnorm = clipnorm, clipvalue, global_clipnorm
        self.gradient_clip_norm = gradient_clip_norm
        self._clipping = gradient_clipping.GradientClipping(
            gradient_clip_norm=gradient_clip_norm,
            clipvalue=clipvalue,
            clipnorm=clipnorm,
            global_clipnorm=global_clipnorm,
        )
        self._gradient_transformers = tuple(gradient_transformers or ())
        # No state: it is in no checkpoint, and not among `variables`.
        self.gradient_norm = _make_norm_variable()

    def _note_norm(self, pairs: GradientsAndVariables, is_applied: Optional[tf.Tensor]) -> None:
        """Sets `gradient_norm`, the same on all replicas, if this step is an update."""
        norm = tf.linalg.global_norm([tf.cast(g, tf.float32) for g, _ in pairs])
        if is_applied is not None:
            norm = tf.where(is_applied, norm, self.gradient_norm)
        self.gradient_norm.assign(norm)

    def _transform(self, pairs: GradientsAndVariables) -> GradientsAndVariables:
        for transformer in self._gradient_transformers:
            pairs = list(transformer(pairs))
        if not self._clipping:
            return pairs
        gradients = self._clipping.apply([g for g, _ in pairs])
        return [(g, v) for g, (_, v) in zip(gradients, pairs, strict=True)]

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {'gradient_clip_norm': self.gradient_clip_norm}


def _make_norm_variable() -> tf.Variable:
    return tf.Variable(
        0.0,
        dtype=tf.float32,
        name='gradient_norm',
        trainable=False,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )
