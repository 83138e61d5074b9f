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
        norm_is_noted: Bool variable, by default True. While it is False, updates leave
            `gradient_norm` as it is, which saves a pass over all gradients where nothing else (an
            accumulation, a loss scale, clipping) needs one.
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
        self.gradient_norm = _make_variable('gradient_norm', 0.0, tf.float32)
        self.norm_is_noted = _make_variable('norm_is_noted', True, tf.bool)

    def _note_norm(
        self, pairs: GradientsAndVariables, is_applied: Optional[tf.Tensor]
    ) -> Optional[tf.Tensor]:
        """Sets `gradient_norm`, the same on all replicas, if this step is an update.

        Returns:
            The norm of these gradients, float32 scalar; None if it was not computed in every case.
        """

        def compute() -> tf.Tensor:
            return _compute_global_norm([tf.cast(g, tf.float32) for g, _ in pairs])

        before = tf.convert_to_tensor(self.gradient_norm)
        if is_applied is None and not self._clipping.by_global_norm:
            noted = tf.convert_to_tensor(self.norm_is_noted)
            self.gradient_norm.assign(tf.cond(noted, compute, lambda: before))
            return None
        norm = compute()
        self.gradient_norm.assign(
            norm if is_applied is None else tf.where(is_applied, norm, before)
        )
        return norm

    def _transform(
        self, pairs: GradientsAndVariables, norm: Optional[tf.Tensor]
    ) -> GradientsAndVariables:
        for transformer in self._gradient_transformers:
            pairs, norm = list(transformer(pairs)), None
        if not self._clipping:
            return pairs
        gradients = self._clipping.apply([g for g, _ in pairs], norm)
        return [(g, v) for g, (_, v) in zip(gradients, pairs, strict=True)]

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {'gradient_clip_norm': self.gradient_clip_norm}


def _compute_global_norm(gradients: Sequence[tf.Tensor]) -> tf.Tensor:
    """The norm of all together; vectors, of which models have hundreds, as one: fewer operations."""
    vectors = [g for g in gradients if g.shape.rank == 1]
    others = [g for g in gradients if g.shape.rank != 1]
    return tf.linalg.global_norm([*others, tf.concat(vectors, 0)] if vectors else others)


def _make_variable(name: str, value: Any, dtype: tf.DType) -> tf.Variable:
    return tf.Variable(
        value,
        dtype=dtype,
        name=name,
        trainable=False,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )
