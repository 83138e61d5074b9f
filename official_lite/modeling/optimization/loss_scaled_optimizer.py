"""Optimizers that scale the loss, so that small gradients do not vanish in float16."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

import keras
import tensorflow as tf

from official_lite.modeling.optimization import keyed_optimizer
from official_lite.modeling.optimization import loss_scale as loss_scale_lib

GradientsAndVariables = list[tuple[tf.Tensor, Any]]


class LossScaledOptimizer(keyed_optimizer.KeyedOptimizer):
    """A keyed optimizer with the scale of the loss, if there is one (see `loss_scale`)."""

    def __init__(
        self, *args: Any, loss_scale: loss_scale_lib.DynamicOrFixed = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._loss_scale: Optional[loss_scale_lib.LossScale] = None
        self.set_loss_scale(loss_scale)

    def set_loss_scale(self, loss_scale: loss_scale_lib.DynamicOrFixed) -> None:
        """Turns loss scaling on ('dynamic' or a number) or off (None), before `build`."""
        self._check_not_built('set_loss_scale')
        self._forget({} if self._loss_scale is None else self._loss_scale.variables())
        self.loss_scale = loss_scale
        scale = None
        if loss_scale is not None:
            scale = loss_scale_lib.LossScale(loss_scale, self.add_variable)
        self._loss_scale = scale

    def _forget(self, variables: Mapping[str, keras.Variable]) -> None:
        for variable in variables.values():
            self._untrack_variable(variable)

    def _named_scalars(self) -> dict[str, keras.Variable]:
        scalars = super()._named_scalars()
        return scalars if self._loss_scale is None else scalars | self._loss_scale.variables()

    def get_scaled_loss(self, loss: tf.Tensor) -> tf.Tensor:
        """The loss to take gradients of: `loss` times the loss scale, if there is one."""
        return loss if self._loss_scale is None else self._loss_scale.scaled_loss(loss)

    def get_unscaled_gradients(self, gradients: Sequence[Any]) -> list[Any]:
        """Gradients of the loss from those of the scaled loss; None stays None."""
        if self._loss_scale is None:
            return list(gradients)
        return self._loss_scale.unscaled_gradients(gradients)

    def scale_loss(self, loss: tf.Tensor) -> tf.Tensor:
        """Refused with loss scaling, where Keras 3 would unscale in `apply`; the identity without.

        Raises:
            NotImplementedError: loss scaling is on.
        """
        if self._loss_scale is not None:
            raise NotImplementedError(
                'use get_scaled_loss() on the loss and get_unscaled_gradients() on the gradients, '
                'not scale_loss()'
            )
        return loss

    def _check_finite(self, pairs: GradientsAndVariables) -> Optional[tf.Tensor]:
        """Whether all gradients are finite (scalar bool); None without loss scaling.

        The sums are the same on all replicas, and so is what is said here.
        """
        if self._loss_scale is None:
            return None
        is_finite = loss_scale_lib.all_finite([g for g, _ in pairs])
        self._loss_scale.update(is_finite)
        return is_finite

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {'loss_scale': self.loss_scale}
