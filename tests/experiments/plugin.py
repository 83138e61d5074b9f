"""What a user's package brings: a task config of its own, free-form fields, a backbone's branch."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, List, Optional  # noqa: UP035

from official_lite.core import config_definitions as cfg
from official_lite.core import exp_factory
from official_lite.modeling import hyperparams
from official_lite.vision.configs import backbones, retinanet


@dataclasses.dataclass
class PluginNet(hyperparams.Config):
    """A backbone that somebody else wrote.

    Attributes:
        depth: Number of blocks.
        widths: Channels of each stage.
    """

    depth: int = 3
    widths: List[int] = dataclasses.field(default_factory=lambda: [8, 16])  # noqa: UP006


@dataclasses.dataclass
class PluginTask(retinanet.RetinaNetTask):
    """A task config that adds fields to an existing one.

    Attributes:
        notes: Anything.
        weights: Weight of each class, by name.
        teacher: Another network. None means none.
        extra: A config without declared fields.
    """

    notes: Dict = dataclasses.field(default_factory=dict)  # noqa: UP006
    weights: Dict[str, float] = dataclasses.field(default_factory=dict)  # noqa: UP006
    teacher: Optional[PluginNet] = None
    extra: hyperparams.Config = dataclasses.field(default_factory=hyperparams.Config)


@dataclasses.dataclass
class RenamedTask(retinanet.RetinaNetTask):
    """A task config that adds no fields: its keys do not tell it from its parent."""


def register() -> None:
    """Adds the branch and the experiment; doing it again changes nothing."""
    backbones.Backbone.register_branch('plugin_net', PluginNet)
    for name, factory in FACTORIES.items():
        exp_factory.register_config_factory(name)(factory)


def plugin_experiment() -> cfg.ExperimentConfig:
    """The digits' detector with all that a plugin may bring."""
    config = exp_factory.get_exp_config('retinanet_custom')
    task: dict[str, Any] = {
        'notes': {'author': 'me', 'tags': ['a', 'b'], 'nested': {'deep': [1, 2.5, None, True]}},
        'weights': {'1': 0.5, 'two': 2},
        'teacher': {'depth': 5},
        'extra': {'anything': 'goes', 'inner': {'x': 1}},
        'model': {'backbone': {'type': 'plugin_net', 'plugin_net': {'widths': [4, 5, 6]}}},
    }
    old = {f.name: getattr(config.task, f.name) for f in dataclasses.fields(config.task)}
    config.task = PluginTask(**old)
    config.task.override(task, is_strict=False)
    return config


def renamed_experiment() -> cfg.ExperimentConfig:
    """The digits' detector with a task of another class."""
    config = exp_factory.get_exp_config('retinanet_custom')
    old = {f.name: getattr(config.task, f.name) for f in dataclasses.fields(config.task)}
    config.task = RenamedTask(**old)
    return config


FACTORIES = {'plugin_experiment': plugin_experiment, 'renamed_experiment': renamed_experiment}
