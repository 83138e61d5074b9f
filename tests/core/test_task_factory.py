"""The task of a config: its builder, its class, a class above it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from official_lite.core import config_definitions as cfg
from official_lite.core import task_factory
from official_lite.modeling import hyperparams


@dataclasses.dataclass
class Config(cfg.TaskConfig):
    """A task of our own."""

    depth: int = 1


@dataclasses.dataclass
class SubConfig(Config):
    """Has no task of its own."""


@dataclasses.dataclass
class LonelyConfig(cfg.TaskConfig):
    """Has no task, nor has anything above it."""


@dataclasses.dataclass
class BoundConfig(cfg.TaskConfig):
    """Is bound to its task."""


@task_factory.register_task_cls(Config)
class Task:
    """Keeps what it is given."""

    def __init__(self, params: Any, **kwargs: Any) -> None:
        self.params, self.kwargs = params, kwargs


@hyperparams.bind(BoundConfig)
class BoundTask(Task):
    """Found through BUILDER."""


def test_the_task_gets_the_config_and_the_arguments() -> None:
    config = Config(depth=3)
    task = task_factory.get_task(config, logging_dir='here')
    assert type(task) is Task
    assert task.params is config
    assert task.kwargs == {'logging_dir': 'here'}


def test_a_subclass_has_the_task_of_its_parent() -> None:
    assert task_factory.get_task_cls(SubConfig) is Task


def test_the_nearest_class_counts() -> None:
    class Other(Task): ...

    task_factory.register_task_cls(SubConfig)(Other)
    try:
        assert type(task_factory.get_task(SubConfig())) is Other
        assert type(task_factory.get_task(Config())) is Task
    finally:
        task_factory._TASKS.remove(SubConfig)


def test_a_bound_builder_comes_first() -> None:
    assert type(task_factory.get_task(BoundConfig())) is BoundTask


def test_no_task_is_explained() -> None:
    with pytest.raises(
        LookupError,
        match=r"task of the config '.*LonelyConfig' is not registered.*RetinaNetTask",
    ):
        task_factory.get_task(LonelyConfig())


def test_a_config_has_one_task() -> None:
    with pytest.raises(KeyError, match=r'Config.* is registered already, by .*Task'):
        task_factory.register_task_cls(Config)(lambda params: None)


def test_the_task_of_retinanet_is_in_the_manifest() -> None:
    from official_lite.vision.configs import retinanet

    assert retinanet.RetinaNetTask in task_factory._TASKS
