"""Settings that single layers have: activation, dropout, normalization, activity, precision.

Each setting says which layers have it and how it is set on a built layer, so that it is in force
the next time that the layer is called, and in the layer's `get_config`.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from official_lite.modeling import activations, regularizers
from official_lite.modeling.layer_overrides import selection

_POLICIES = {'float32': 'float32', 'bfloat16': 'mixed_bfloat16', 'float16': 'mixed_float16'}
_DROPOUT = (keras.layers.Dropout, keras.layers.GaussianDropout, keras.layers.AlphaDropout)
_LINEAR = (None, activations.identity, keras.activations.linear, tf.identity)
# Names under which Keras and `activations` have different functions.
_OWN_ACTIVATIONS = ('exact_gelu', 'gelu', 'hard_sigmoid', 'identity', 'simple_swish')


class Setting(NamedTuple):
    """One kind of setting.

    Attributes:
        has: Whether a layer that a pattern names has it.
        has_inside: Whether a layer inside of such a layer has it.
        set: Sets it on a layer.
    """

    has: Callable[[keras.layers.Layer], bool]
    has_inside: Callable[[keras.layers.Layer], bool]
    set: Callable[[keras.layers.Layer, Any], None]


def _get_activation(layer: keras.layers.Layer) -> Any:
    own = vars(layer)
    return own.get('activation', own.get('_activation'))


def _has_activation(layer: keras.layers.Layer) -> bool:
    own = vars(layer)
    return 'activation' in own or callable(own.get('_activation'))


def _has_nonlinear_activation(layer: keras.layers.Layer) -> bool:
    return _has_activation(layer) and _get_activation(layer) not in _LINEAR


def _set_activation(layer: keras.layers.Layer, name: str) -> None:
    """Changes the activation, and others of the layer that are the same function."""
    old = _get_activation(layer)
    is_keras = type(layer).__module__.split('.')[0] == 'keras' and name not in _OWN_ACTIVATIONS
    new = keras.activations.get(name) if is_keras else activations.get_activation(name)
    for attribute, value in list(vars(layer).items()):
        if attribute.endswith('activation') and value is old:
            setattr(layer, attribute, new)
    _tell_config(layer, activation=name)


def check_activation(name: str, where: str) -> None:
    """Raises LayerOverrideError if there is no activation of this name."""
    try:
        activations.get_activation(name)
    except ValueError as error:
        raise selection.LayerOverrideError(str(error), where=where) from error


def _tell_config(layer: keras.layers.Layer, **arguments: Any) -> None:
    """Changes what a layer of ours remembers of its constructor's arguments."""
    config = vars(layer).get('_config')
    known = {k: v for k, v in arguments.items() if config is not None and k in config}
    if known:
        layer._config = types.MappingProxyType({**config, **known})


def _is_dropout(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, _DROPOUT)


def _has_rate(layer: keras.layers.Layer) -> bool:
    return _is_dropout(layer) or {'drop_rate', 'seed_generator'} <= vars(layer).keys()


def _set_rate(layer: keras.layers.Layer, rate: float) -> None:
    setattr(layer, 'rate' if _is_dropout(layer) else 'drop_rate', rate)
    if rate > 0 and getattr(layer, 'seed_generator', None) is None:
        _add_seed_generator(layer)


def _add_seed_generator(layer: keras.layers.Layer) -> None:
    """A layer that was made with a rate of 0 has none, and takes none once it is built."""
    was_locked = layer._tracker.locked
    layer._tracker.unlock()
    layer.seed_generator = keras.random.SeedGenerator(
        getattr(layer, 'seed', None), name='seed_generator'
    )
    if was_locked:
        layer._tracker.lock()


def sync_attention_dropout(layer: keras.layers.Layer) -> None:
    """Keras' attention asks a number of its own whether its dropout layer is called at all."""
    inner = vars(layer).get('_dropout_layer')
    if inner is not None and '_dropout' in vars(layer):
        layer._dropout = inner.rate


def _is_normalization(layer: keras.layers.Layer, attribute: str) -> bool:
    is_norm = any(c.__name__.endswith('Normalization') for c in type(layer).__mro__)
    return is_norm and isinstance(vars(layer).get(attribute), float | int)


def _norm_setting(attribute: str) -> Setting:
    def has(layer: keras.layers.Layer) -> bool:
        return _is_normalization(layer, attribute)

    return Setting(has, has, lambda layer, value: setattr(layer, attribute, float(value)))


def _set_activity_regularizer(layer: keras.layers.Layer, config: Any) -> None:
    is_none = config.type == 'none'
    regularizer = None if is_none else regularizers.ActivityL1L2(l1=config.l1, l2=config.l2)
    layer.activity_regularizer = regularizer


def _set_dtype(layer: keras.layers.Layer, dtype: str) -> None:
    layer.dtype_policy = _POLICIES[dtype]


def _always(layer: keras.layers.Layer) -> bool:
    del layer
    return True


def _never(layer: keras.layers.Layer) -> bool:
    del layer
    return False


SETTINGS = {
    'activation': Setting(_has_activation, _has_nonlinear_activation, _set_activation),
    'activity_regularizer': Setting(_always, _never, _set_activity_regularizer),
    'dropout_rate': Setting(_has_rate, _is_dropout, _set_rate),
    'dtype': Setting(_always, _always, _set_dtype),
    'norm_epsilon': _norm_setting('epsilon'),
    'norm_momentum': _norm_setting('momentum'),
}
