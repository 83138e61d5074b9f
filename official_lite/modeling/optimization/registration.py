"""Optimizers, learning rates and warm-ups of other packages, by name. None of this imports TensorFlow.

    @dataclasses.dataclass
    class MyConfig(optimization.BaseOptimizerConfig):
        ...

    optimization.register_optimizer_cls('mine', 'my_pkg.optimizer:MyOptimizer', config=MyConfig)

makes `optimizer.type=mine` and the fields of MyConfig, as `optimizer.mine.*`, valid everywhere. The
fields are the arguments of the class. A class given as 'package.module:name' is imported when it is
built.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any, Optional, Union

from official_lite import errors
from official_lite.modeling import hyperparams
from official_lite.modeling.optimization.configs import optimization_config as opt_cfg

__all__ = [
    'import_registered',
    'register_lr_cls',
    'register_optimizer_cls',
    'register_warmup_cls',
]

ClassOrPath = Union[Callable[..., Any], str]
ConfigClass = Optional[type[hyperparams.Config]]

# By name: classes or 'package.module:name'. Of optimizers, those for `use_legacy_optimizer` True
# and False.
LEGACY_OPTIMIZERS: dict[str, ClassOrPath] = {}
NEW_OPTIMIZERS: dict[str, ClassOrPath] = {}
LEARNING_RATES: dict[str, ClassOrPath] = {}
WARMUPS: dict[str, ClassOrPath] = {}


def register_optimizer_cls(
    key: str,
    optimizer_config_cls: ClassOrPath,
    use_legacy_optimizer: bool = True,
    *,
    config: ConfigClass = None,
) -> None:
    """Makes an optimizer class available as `optimizer.type=key`.

    Args:
        key: Name of the type.
        optimizer_config_cls: An optimizer class, or where it is. A Keras optimizer that is not a
            `ReplicatedOptimizer` becomes one when it is built.
        use_legacy_optimizer: Which of the two tables it goes into; both know it if the other has
            nothing of that name.
        config: Class of its config, which becomes a branch of `OptimizerConfig`. None if that has
            the branch already.

    Raises:
        ValueError: there is an optimizer of this name.
    """
    table, other = LEGACY_OPTIMIZERS, NEW_OPTIMIZERS
    if not use_legacy_optimizer:
        table, other = other, table
    _register(key, optimizer_config_cls, table, opt_cfg.OptimizerConfig, config)
    other.setdefault(key, optimizer_config_cls)


def register_lr_cls(key: str, schedule_cls: ClassOrPath, *, config: ConfigClass = None) -> None:
    """Makes a schedule available as `learning_rate.type=key`.

    Args:
        key: Name of the type.
        schedule_cls: The class, or where it is.
        config: Class of its config, which becomes a branch of `LrConfig`. None if that has it.

    Raises:
        ValueError: there is a schedule of this name.
    """
    _register(key, schedule_cls, LEARNING_RATES, opt_cfg.LrConfig, config)


def register_warmup_cls(key: str, warmup_cls: ClassOrPath, *, config: ConfigClass = None) -> None:
    """Makes a warm-up available as `warmup.type=key`.

    Args:
        key: Name of the type.
        warmup_cls: The class, or where it is; its first argument is the rate or schedule after it.
        config: Class of its config, which becomes a branch of `WarmupConfig`. None if that has it.

    Raises:
        ValueError: there is a warm-up of this name.
    """
    _register(key, warmup_cls, WARMUPS, opt_cfg.WarmupConfig, config)


def import_registered(cls: ClassOrPath, where: str) -> Any:
    """Returns the class, imported if it is given by its place.

    Args:
        cls: The class, or 'package.module:name'.
        where: Place in the config, for errors.

    Raises:
        UsageError: there is no such module, or nothing of that name in it.
    """
    if not isinstance(cls, str):
        return cls
    module_name, _, attribute = cls.partition(':')
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise errors.UsageError(
            f'{cls!r}: there is no module {error.name!r}', where=where
        ) from error
    if not callable(getattr(module, attribute, None)):
        raise errors.UsageError(
            f'{cls!r}: module {module_name!r} has no class {attribute!r}', where=where
        )
    return getattr(module, attribute)


def _register(
    key: str,
    cls: ClassOrPath,
    table: dict[str, ClassOrPath],
    oneof: type[hyperparams.OneOfConfig],
    config: ConfigClass,
) -> None:
    if isinstance(cls, str) and ':' not in cls:
        raise errors.UsageError(
            where=key, expected="a class, or 'package.module:name'", received=repr(cls)
        )
    built_in = {field.name for field in dataclasses.fields(oneof)}
    if key in built_in or key in table:
        known = getattr(table[key], '__name__', table[key]) if key in table else 'a built-in class'
        raise ValueError(f'{key} already registered in {oneof.__name__}, as {known}')
    if config is not None:
        oneof.register_branch(key, config)
    table[key] = cls
