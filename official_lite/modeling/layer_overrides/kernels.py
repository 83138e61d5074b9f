"""Kernels and biases: their regularizers, and new values for kernels."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, Optional

import keras

from official_lite.modeling import regularizers, variable_keys
from official_lite.modeling.layer_overrides import configs, selection

# Names of variables, and of the layers' arguments that tell their regularizers.
_KERNELS = {
    'kernel': ('kernel_regularizer', 'depthwise_regularizer'),
    'depthwise_kernel': ('depthwise_regularizer',),
    'pointwise_kernel': ('pointwise_regularizer',),
    '_kernel': ('kernel_regularizer',),
}
_BIASES = {'bias': ('bias_regularizer',)}
_ARGUMENTS: dict[str, Mapping[str, tuple[str, ...]]] = {
    'kernel_regularizer': _KERNELS,
    'kernel_initializer': _KERNELS,
    'bias_regularizer': _BIASES,
}


def find(layers: selection.Layers, chosen: selection.Selection, where: str) -> list[str]:
    """Keys of the kernels, or biases, that a selection has.

    Args:
        layers: The layers.
        chosen: What a pattern names.
        where: Place of the setting in the config, which ends with its name.

    Raises:
        LayerOverrideError: a layer, or all of the variables that it names, has none.
    """
    names = _ARGUMENTS[where.rsplit('.', 1)[-1]]
    every = [key for key in layers.variables if _name(key) in names]
    found = [key for key in every if key in set(chosen.keys)]
    having = [layers.owner(key) for key in every]
    for path in chosen.outermost:
        inside = [key for key in found if key.startswith(f'{path}/')]
        selection.check_found(layers, path, inside, having, where)
    selection.check_found(layers, chosen.pattern, found, having, where)
    return found


def regularize(
    layers: selection.Layers, key: str, config: configs.RegularizerConfig, name: str
) -> None:
    """Gives a variable another regularizer, and tells its layer's configuration.

    In Keras 3 the regularizer of a built layer's variable is the variable's own.
    """
    regularizer = build_regularizer(config)
    layers.variables[key].regularizer = regularizer
    layer = layers.layers.get(layers.owner(key))
    for argument in _ARGUMENTS[name][_name(key)]:
        if layer is not None and argument in vars(layer):
            setattr(layer, argument, regularizer)
            return


def build_regularizer(
    config: configs.RegularizerConfig,
) -> Optional[keras.regularizers.Regularizer]:
    """The Keras regularizer; None for type 'none'."""
    if config.type == 'l1':
        return keras.regularizers.L1(config.l1)
    if config.type == 'l2':
        return regularizers.L2(config.l2)
    if config.type == 'l1_l2':
        return keras.regularizers.L1L2(l1=config.l1, l2=config.l2)
    return None


def build_initializer(
    config: str | configs.InitializerConfig, where: str, seed: int = 0
) -> keras.initializers.Initializer:
    """The Keras initializer, seeded where it is random.

    Raises:
        LayerOverrideError: there is none of this name, or it has no such argument.
    """
    name, arguments = (config, {}) if isinstance(config, str) else (config.name, config.arguments)
    try:
        plain = keras.initializers.get(name)
        initializer_cls = plain if isinstance(plain, type) else type(plain)
        defaults = {} if isinstance(plain, type) else plain.get_config()
        if 'seed' in defaults:
            defaults = {**defaults, 'seed': seed}
        return initializer_cls(**{**defaults, **dict(arguments)})
    except (ValueError, TypeError) as error:
        raise selection.LayerOverrideError(
            str(error).split('\n')[0],
            where=where,
            expected="the name of a Keras initializer, such as 'he_normal', and its arguments",
            received=repr(name),
        ) from error


def reinitialize(
    key: str, variable: Any, config: str | configs.InitializerConfig, where: str, seed: int
) -> None:
    """Sets a variable to new values, which depend on its key and on the seed only."""
    own_seed = zlib.crc32(f'{seed}/{key}'.encode())
    initializer = build_initializer(config, where, own_seed)
    values = initializer(tuple(variable.shape), dtype=variable.dtype)
    variable_keys.to_tf_variable(variable).assign(values)


def _name(key: str) -> str:
    return key.rsplit('/', 1)[-1]
