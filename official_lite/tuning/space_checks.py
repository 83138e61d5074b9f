"""Checks a search space against a config, all of it, before the first trial.

Each value that stands for a domain (its ends, a point between them, every choice) is tried on a copy
of the config in which the branches above it are chosen. So types, ranges and names are those that
the config itself knows, and a problem reads as it would for the same value in a config file.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from official_lite.core import config_definitions as cfg
from official_lite.core import run_checks
from official_lite.modeling import hyperparams
from official_lite.modeling.hyperparams import errors, tree
from official_lite.modeling.hyperparams.places import MISSING
from official_lite.modeling.hyperparams.sources import Source
from official_lite.tuning.domains import Choice, Constant, Domain, Stored
from official_lite.tuning.search_space import Condition, Parameter, SearchSpace, find_conditions
from official_lite.tuning.space_names import resolve_names
from official_lite.tuning.space_variants import iterate_variants

__all__ = ['check_space', 'make_parameters']

_ONE_OF_TYPE = 'type'
_PACKAGE = __name__.rpartition('.')[0]


def make_parameters(space: Mapping[str, Any]) -> list[Parameter]:
    """Parameters from a mapping of dotted paths to domains; what is no domain is a constant."""
    caller = _find_caller()
    return [
        Parameter(path, domain if isinstance(domain, Domain) else Constant(domain), source=caller)
        for path, domain in space.items()
    ]


def check_space(
    config: hyperparams.Config,
    parameters: Iterable[Parameter],
    earlier: Iterable[errors.Problem] = (),
) -> SearchSpace:
    """Returns the search space with every value in the type of its field.

    Args:
        config: The config that the trials vary.
        parameters: What to search, with paths (or short names of them) and domains only.
        earlier: Problems found before, to be raised with those found here.

    Raises:
        ConfigError: With all problems: unknown paths, names that mean several, values of a wrong type or outside of what the
            config allows, empty ranges, branches that are never chosen.
    """
    problems = list(earlier)
    found: list[Parameter] = []
    resolved = resolve_names(config, parameters, problems)
    given_parameters = [_name_selector(config, parameter) for parameter in resolved]
    for named in given_parameters:
        domain_problems = list(_find_domain_problems(named))
        problems += domain_problems
        if not domain_problems:
            checked = _Check(config, named, given_parameters).run(problems)
            found += [checked] if checked is not None else []
    if not problems:
        problems += [*_find_double_paths(found), *_find_never_searched(config, found)]
    if not problems and not any(parameter.is_searched for parameter in found):
        problems.append(errors.Problem(message='the search space has nothing to search'))
    errors.raise_problems(problems)
    return SearchSpace(found)


def _find_caller() -> Source | None:
    """The line of code outside of this package that gives the search space."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_globals.get('__name__', '').startswith(_PACKAGE):
        frame = frame.f_back  # type: ignore[assignment]
    if frame is None:
        return None
    return Source('code', f'{os.path.relpath(frame.f_code.co_filename)}:{frame.f_lineno}')


def _name_selector(config: hyperparams.Config, parameter: Parameter) -> Parameter:
    """A choice of branch names at a OneOf is one of its `type`."""
    domain = parameter.domain
    values = domain.values if isinstance(domain, Choice) else [getattr(domain, 'value', None)]
    try:
        target = tree.value_at(config, parameter.path)
    except hyperparams.ConfigError:
        return parameter
    if isinstance(target, hyperparams.OneOfConfig) and all(isinstance(v, str) for v in values):
        return dataclasses.replace(parameter, path=f'{parameter.path}.{_ONE_OF_TYPE}')
    return parameter


def _has_problems(parameter: Parameter) -> bool:
    return any(True for _ in parameter.domain.find_problems())


def _find_domain_problems(parameter: Parameter) -> Iterator[errors.Problem]:
    for expected, received in parameter.domain.find_problems():
        yield errors.Problem(
            parameter.path, expected=expected, received=received, source=parameter.source
        )


class _Check:
    """The check of one parameter.

    Args:
        config: The config that the trials vary.
        parameter: What to check.
        everything: All parameters.
    """

    def __init__(
        self, config: hyperparams.Config, parameter: Parameter, everything: Sequence[Parameter]
    ) -> None:
        owner = parameter.path.rpartition('.')[0]
        self.config = config
        self.parameter = parameter
        self.others = [other for other in everything if other is not parameter]
        self.siblings = [other for other in self.others if other.path.rpartition('.')[0] == owner]
        self.conditions: tuple[Condition, ...] = ()

    def run(self, problems: list[errors.Problem]) -> Parameter | None:
        """Returns the parameter with all that the config knows of it; None after a problem."""
        if self.parameter.short is not None:
            return self._run_short(problems)
        try:
            self.conditions = find_conditions(self.config, self.parameter.path)
            base = self._choose_branches()
        except hyperparams.ConfigError as error:
            problems += [_from(problem, self.parameter) for problem in error.problems]
            return None
        known = _get_keys(_find_problems(base))
        before = len(problems)
        read: list[Any] = []
        for stored in self.parameter.domain.list_samples():
            problems += self._try(base, stored, known, read)
            if len(problems) > before and not isinstance(self.parameter.domain, Choice):
                return None
        if len(problems) > before:
            return None
        domain = self._read_domain(read)
        checked = dataclasses.replace(
            self.parameter,
            domain=domain,
            conditions=self.conditions,
            is_selector=self._is_selector(base),
        )
        problems += _find_domain_problems(checked)
        return checked

    def _run_short(self, problems: list[errors.Problem]) -> Parameter | None:
        """The same for a short name that sets other fields in other trials."""
        before = len(problems)
        for base in iterate_variants(self.config, self.others):
            known = _get_keys(_find_problems(base))
            for stored in self.parameter.domain.list_samples():
                config = base.replace()
                try:
                    self.parameter.apply(config, stored)
                    found = self._find_own_problems(config, known)
                except hyperparams.ConfigError as error:
                    found = error.problems
                problems += [_from(problem, self.parameter) for problem in found]
            if len(problems) > before:
                return None
        return self.parameter

    def _choose_branches(self) -> hyperparams.Config:
        config = self.config.replace()
        for condition in self.conditions:
            if not condition.holds(config):
                config.override({condition.type_path: condition.branch})
        return config

    def _try(
        self,
        base: hyperparams.Config,
        stored: Stored,
        known: set[tuple[str, str, str]],
        read: list[Any],
    ) -> list[errors.Problem]:
        """Problems of one value; what the field makes of it is added to `read`."""
        config = base.replace()
        try:
            self.parameter.apply(config, stored)
        except hyperparams.ConfigError as error:
            return [_from(problem, self.parameter) for problem in error.problems]
        read.append(tree.value_at(config, self.parameter.path))
        problems = self._find_own_problems(config, known)
        if problems and self._fits_with_a_sibling(base, stored, known):
            return []
        return [_from(problem, self.parameter) for problem in problems]

    def _find_own_problems(
        self, config: hyperparams.Config, known: set[Any]
    ) -> list[errors.Problem]:
        return [
            problem
            for problem in _find_problems(config)
            if _get_keys([problem]).isdisjoint(known) and self._is_about(problem)
        ]

    def _fits_with_a_sibling(
        self, base: hyperparams.Config, stored: Stored, known: set[Any]
    ) -> bool:
        """Whether the value is right beside some value of a parameter of the same part (`min_level`)."""
        for sibling in self.siblings:
            for other in sibling.domain.list_samples() if not _has_problems(sibling) else []:
                config = base.replace()
                try:
                    sibling.apply(config, other)
                    self.parameter.apply(config, stored)
                except hyperparams.ConfigError:
                    continue
                if not self._find_own_problems(config, known):
                    return True
        return False

    def _is_about(self, problem: errors.Problem) -> bool:
        """Whether a problem is this value's own; one between two fields depends on the other too."""
        paths = (path.removesuffix(f'.{_ONE_OF_TYPE}') for path in self.parameter.fields)
        return any(tree.is_inside(problem.path, path) for path in paths)

    def _read_domain(self, read: list[Any]) -> Domain:
        """The domain with values as the field has read them; branches stay as they were given."""
        domain = self.parameter.domain
        if any(tree.is_config(value) or value is MISSING for value in read):
            return domain
        return domain.replace_values(read)

    def _is_selector(self, base: hyperparams.Config) -> bool:
        owner, _, name = self.parameter.path.rpartition('.')
        is_type = name == _ONE_OF_TYPE and isinstance(
            tree.value_at(base, owner), hyperparams.OneOfConfig
        )
        return is_type or tree.is_config(tree.value_at(base, self.parameter.path))


def _find_problems(config: hyperparams.Config) -> list[errors.Problem]:
    """What is wrong with a config, and what it lacks to be trained and evaluated."""
    try:
        config.validate()
        if isinstance(config, cfg.ExperimentConfig):
            run_checks.check_runnable(config, 'train_and_eval')
    except hyperparams.ConfigError as error:
        return list(error.problems)
    return []


def _get_keys(problems: Iterable[errors.Problem]) -> set[tuple[str, str, str]]:
    """What tells problems apart."""
    return {(problem.path, problem.message, problem.expected) for problem in problems}


def _from(problem: errors.Problem, parameter: Parameter) -> errors.Problem:
    """A problem with the search space as its source."""
    return dataclasses.replace(problem, source=parameter.source)


def _find_double_paths(parameters: list[Parameter]) -> Iterator[errors.Problem]:
    seen: dict[str, Source | None] = {}
    for parameter in parameters:
        for path in [path for path in parameter.fields if path in seen][:1]:
            message = f'searched twice (the first time from {seen[path]})'
            yield errors.Problem(path, message, source=parameter.source)
        seen |= dict.fromkeys(parameter.fields, parameter.source)


def _find_never_searched(
    config: hyperparams.Config, parameters: list[Parameter]
) -> Iterator[errors.Problem]:
    """Parameters under a branch that neither the config nor the search space chooses."""
    for parameter in parameters:
        for condition in parameter.conditions:
            chosen = list(_list_branches(config, parameters, condition))
            if condition.branch not in chosen:
                yield errors.Problem(
                    parameter.path,
                    f'the branch {condition.branch!r} is never chosen '
                    f'({condition.type_path} is {" or ".join(map(repr, chosen))})',
                    source=parameter.source,
                    hint=f'add {condition.branch!r} to the choices of {condition.type_path}',
                )
                break


def _list_branches(
    config: hyperparams.Config, parameters: list[Parameter], condition: Condition
) -> Iterator[Any]:
    """The branches that trials may have at a OneOf."""
    is_decided = False
    for parameter in parameters:
        samples = parameter.domain.list_samples()
        if parameter.path == condition.type_path:
            is_decided = True
            yield from (parameter.domain.get_value(stored) for stored in samples)
        elif parameter.path == condition.one_of:
            is_decided = True
            yield from (parameter.domain.get_value(stored)[_ONE_OF_TYPE] for stored in samples)
        elif condition.one_of.startswith(f'{parameter.path}.'):
            copy = config.replace()
            for stored in samples:
                changed = copy.replace()
                parameter.apply(changed, stored)
                yield tree.value_at(changed, condition.type_path)
            is_decided = True
    if not is_decided:
        yield tree.value_at(config, condition.type_path)
