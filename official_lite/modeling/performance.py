"""Precision of a run: the policy of layers, and loss scaling for float16."""

from typing import Any, Literal, Union

import keras
import tensorflow as tf

_POLICIES = {'float32': 'float32', 'bfloat16': 'mixed_bfloat16', 'float16': 'mixed_float16'}


def set_mixed_precision_policy(dtype: Union[str, tf.DType, None], loss_scale: None = None) -> None:
    """Sets the global Keras policy: computation in `dtype`, variables in float32.

    Args:
        dtype: 'float32', 'bfloat16' or 'float16', as text or TensorFlow type; None is float32.
        loss_scale: None; loss scaling belongs to the optimizer (`configure_optimizer`).

    Raises:
        ValueError: `dtype` is another one, or `loss_scale` is not None.
    """
    if loss_scale is not None:
        raise ValueError('loss_scale: expected None; give it to configure_optimizer')
    name = 'float32' if dtype is None else getattr(dtype, 'name', dtype)
    if name not in _POLICIES:
        raise ValueError(f'Unexpected dtype: {name}; expected one of {", ".join(_POLICIES)}')
    keras.mixed_precision.set_global_policy(_POLICIES[name])


def configure_optimizer(
    optimizer: Any,
    use_float16: bool = False,
    loss_scale: Union[Literal['dynamic'], float, None] = None,
) -> Any:
    """Turns loss scaling on for float16.

    Args:
        optimizer: A `ReplicatedOptimizer` or `ExponentialMovingAverage`, not built yet.
        use_float16: Whether layers compute in float16.
        loss_scale: 'dynamic' or None for a dynamic scale, a number for a fixed one; not used
            without `use_float16`.

    Returns:
        `optimizer` itself.

    Raises:
        TypeError: it cannot scale losses.
        ValueError: `loss_scale` is neither 'dynamic' nor positive.
    """
    if not use_float16:
        return optimizer
    if not hasattr(optimizer, 'set_loss_scale'):
        raise TypeError(
            f'float16 needs an optimizer with loss scaling; received {type(optimizer).__name__}; '
            'build it with OptimizerFactory'
        )
    optimizer.set_loss_scale('dynamic' if loss_scale is None else loss_scale)
    return optimizer
