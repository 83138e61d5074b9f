"""Ties a config class to what builds from it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from official_lite.modeling.hyperparams import errors

B = TypeVar('B', bound=Callable[..., Any])


def bind(config_cls: type) -> Callable[[B], B]:
    """Makes a class or function the `BUILDER` of a config class and of its subclasses.

    Args:
        config_cls: The config class. Each can be bound once; a reload of the builder's module,
            which defines the same name again, may bind again.

    Returns:
        A decorator that returns the builder unchanged.

    Raises:
        ConfigError: `config_cls` is no class, is bound already, or the builder is neither a class
            nor a function (also a ValueError).
    """
    if not inspect.isclass(config_cls):
        _fail(f'bind takes a config class, received {config_cls!r}')

    def decorate(builder: B) -> B:
        bound = config_cls.__dict__.get('_BUILDER')
        bound = getattr(bound, '__func__', bound)
        if bound is not None and not _is_reload(bound, builder):
            _fail(
                f'Inside a program, we should not bind {config_cls.__qualname__} twice: '
                f'it builds {bound.__module__}.{bound.__qualname__}'
            )
        if inspect.isclass(builder):
            config_cls._BUILDER = builder  # type: ignore[attr-defined]
        elif inspect.isfunction(builder):
            config_cls._BUILDER = staticmethod(builder)  # type: ignore[attr-defined]
        else:
            _fail(f'The `BUILDER` type is not supported: {builder!r}')
        return builder

    return decorate


def _is_reload(bound: Any, builder: Any) -> bool:
    same_name = (bound.__module__, bound.__qualname__) == (
        getattr(builder, '__module__', None),
        getattr(builder, '__qualname__', None),
    )
    return same_name and bound is not builder


def _fail(message: str) -> None:
    raise errors.make_error([errors.Problem(message=message)])
