"""Experiments by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from official_lite import manifest
from official_lite.core import config_definitions as cfg
from official_lite.core import plugins
from official_lite.core.registry import Registry
from official_lite.modeling import hyperparams

__all__ = [
    'describe_experiment',
    'find_experiment',
    'get_exp_config',
    'list_experiments',
    'register_config_factory',
]

Factory = Callable[[], cfg.ExperimentConfig]
AnyFactory = TypeVar('AnyFactory', bound=Callable[[], object])

# How the source begins of what an experiment's factory set.
_FACTORY = 'factory: '

_EXPERIMENTS: Registry[Factory] = Registry('experiment', lambda: manifest.EXPERIMENTS)


def register_config_factory(name: str) -> Callable[[AnyFactory], AnyFactory]:
    """Returns a decorator that registers a function without arguments as an experiment.

    Raises:
        DuplicateNameError: If there is another experiment of this name (a KeyError too).
    """
    return _EXPERIMENTS.register(name)


def get_exp_config(exp_name: str) -> cfg.ExperimentConfig:
    """Returns a new config of the experiment.

    Raises:
        UnknownNameError: If there is none of this name (a LookupError too); lists all of them.
    """
    plugins.load_entry_points()
    config = _EXPERIMENTS.lookup(exp_name)()
    config.reset_sources(f'{_FACTORY}{exp_name}')
    return config


def find_experiment(config: hyperparams.Config) -> str:
    """Returns the name of the experiment that a config was made for, '' if that is unknown."""
    text = str(vars(config).get('_sources', {}).get('', ''))
    return text.removeprefix(_FACTORY) if text.startswith(_FACTORY) else ''


def list_experiments() -> list[str]:
    """Names of all experiments, in order."""
    plugins.load_entry_points()
    return _EXPERIMENTS.names()


def describe_experiment(exp_name: str) -> str:
    """First line of the docstring of the experiment's factory."""
    return (_EXPERIMENTS.lookup(exp_name).__doc__ or '').strip().partition('\n')[0]
