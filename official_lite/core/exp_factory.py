"""Experiments by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from official_lite import errors, manifest
from official_lite.core import config_definitions as cfg
from official_lite.core import plugins
from official_lite.core.registry import Registry
from official_lite.modeling import hyperparams
from official_lite.modeling.hyperparams import tree

__all__ = [
    'describe_experiment',
    'find_experiment',
    'get_exp_config',
    'list_experiments',
    'register_config_factory',
]

Factory = Callable[[], cfg.ExperimentConfig]
AnyFactory = TypeVar('AnyFactory', bound=Callable[[], object])

# Among the sources of a config's fields: the factory that made it. No field has this name.
_EXPERIMENT_KEY = '(experiment)'

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
        UsageError: If its factory returned something else.
    """
    plugins.load_entry_points()
    config = _EXPERIMENTS.lookup(exp_name)()
    # A plain config with the fields of one is one, as in Model Garden.
    if not isinstance(config, hyperparams.Config):
        raise errors.UsageError(
            where=f'the factory of the experiment {exp_name!r}',
            expected='an ExperimentConfig',
            received='None' if config is None else type(config).__name__,
            hint='does it return its config?',
        )
    _name_sources(config, exp_name)
    return config


def _name_sources(config: hyperparams.Config, exp_name: str) -> None:
    """What the factory's code has set counts as set by the factory, not as somebody's choice."""
    factory = hyperparams.Source('factory', f'factory: {exp_name}')
    for node in tree.nodes(config):
        sources = vars(node)['_sources']
        sources.update({k: factory for k, source in sources.items() if source.kind == 'code'})
    vars(config)['_sources'][_EXPERIMENT_KEY] = factory


def find_experiment(config: hyperparams.Config) -> str:
    """Returns the name of the experiment that a config was made for, '' if that is unknown."""
    source = vars(config).get('_sources', {}).get(_EXPERIMENT_KEY)
    return '' if source is None else str(source).removeprefix('factory: ')


def list_experiments() -> list[str]:
    """Names of all experiments, in order."""
    plugins.load_entry_points()
    return _EXPERIMENTS.names()


def describe_experiment(exp_name: str) -> str:
    """First line of the docstring of the experiment's factory."""
    return (_EXPERIMENTS.lookup(exp_name).__doc__ or '').strip().partition('\n')[0]
