"""The task of a task config."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from official_lite import manifest
from official_lite.core import config_definitions as cfg
from official_lite.core.registry import Registry, UnknownNameError

if TYPE_CHECKING:
    from official_lite.core import base_task

__all__ = ['get_task', 'get_task_cls', 'register_task_cls', 'register_task_module']

AnyCallable = TypeVar('AnyCallable', bound=Callable[..., Any])

# What `register_task_module` was told: config class, as 'module.Class' -> module.
_modules: dict[str, str] = {}

_TASKS: Registry[Callable[..., Any]] = Registry(
    'task of the config', lambda: {**manifest.TASKS, **_modules}
)


def register_task_cls(
    task_config_cls: type[cfg.TaskConfig],
) -> Callable[[AnyCallable], AnyCallable]:
    """Returns a decorator that registers a task, or a function that makes one, for a config class.

    Raises:
        DuplicateNameError: If the config class has another task (a KeyError too).
    """
    return _TASKS.register(task_config_cls)


def register_task_module(task_config_cls: type[cfg.TaskConfig], module: str) -> None:
    """Names the module whose import registers the task of a config class.

    The module, and TensorFlow with it, is imported when a task is built, so that configs stay fast.
    """
    _modules[f'{task_config_cls.__module__}.{task_config_cls.__qualname__}'] = module


def get_task(task_config: cfg.TaskConfig, **kwargs: Any) -> base_task.Task:
    """Returns the task of a config: of its BUILDER, its class, or the nearest class above it.

    Args:
        task_config: The config; goes to the task as its first argument.
        **kwargs: Further arguments of the task, such as `logging_dir`.
    """
    builder = task_config.BUILDER or get_task_cls(type(task_config))
    return builder(task_config, **kwargs)


def get_task_cls(task_config_cls: type[cfg.TaskConfig]) -> Any:
    """Returns the task registered for a config class, or for the nearest class above it.

    Raises:
        UnknownNameError: If there is none (a LookupError too).
    """
    for cls in task_config_cls.__mro__:
        if cls in _TASKS:
            return _TASKS.lookup(cls)
    raise UnknownNameError(_TASKS._explain_unknown(task_config_cls))
