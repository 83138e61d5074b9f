"""A few configs that stand for all those that trials of a search space may have."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from official_lite.modeling import hyperparams
from official_lite.tuning.domains import Choice, Stored
from official_lite.tuning.search_space import Parameter, find_conditions

__all__ = ['iterate_variants']


def iterate_variants(
    config: hyperparams.Config, parameters: Iterable[Parameter]
) -> Iterator[hyperparams.Config]:
    """Yields the config with the constants of the search space, then with each option of each choice.

    The branches above a choice are chosen for it. Paths and values that the config refuses are left
    out; whoever checks them says so.
    """
    given = list(parameters)
    constants = [parameter for parameter in given if not parameter.is_searched]
    yield _set_constants(config.replace(), constants)
    for parameter in given:
        if isinstance(parameter.domain, Choice) and parameter.short is None:
            for stored in parameter.domain.list_samples():
                with contextlib.suppress(hyperparams.ConfigError):
                    chosen = _choose(_set_constants(config.replace(), constants), parameter, stored)
                    yield _set_constants(chosen, constants)


def _set_constants(
    config: hyperparams.Config, constants: Iterable[Parameter]
) -> hyperparams.Config:
    """Sets those whose branches are chosen."""
    for parameter in constants:
        with contextlib.suppress(hyperparams.ConfigError):
            parameter.apply(config, None)
    return config


def _choose(config: hyperparams.Config, parameter: Parameter, stored: Stored) -> hyperparams.Config:
    for condition in find_conditions(config, parameter.path):
        if not condition.holds(config):
            config.override({condition.type_path: condition.branch})
    parameter.apply(config, stored)
    return config
