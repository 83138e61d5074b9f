"""Short names in search spaces: the same as in `--hparams_overrides`, turned into paths of the config.

`learning_rate`, `batch_size`, `sgd.momentum` mean what they mean there. What a trial may have counts, not
only what the config has: a branch that the search space chooses has candidates too.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

from official_lite.modeling import hyperparams
from official_lite.modeling.hyperparams import errors, short_names
from official_lite.tuning.search_space import Parameter
from official_lite.tuning.space_variants import iterate_variants

__all__ = ['resolve_names']

# A branch may be chosen by a name that only another choice makes known, and so on.
_MOST_ROUNDS = 5


def resolve_names(
    config: hyperparams.Config,
    parameters: Iterable[Parameter],
    problems: list[errors.Problem],
) -> list[Parameter]:
    """Returns the parameters with whole paths.

    A name that stands for several fields, or for another one in another trial (`learning_rate` of a
    schedule that is searched), keeps its name as path and gets `short`.

    Args:
        config: The config that trials vary.
        parameters: Paths or names, and domains.
        problems: Gets what is wrong: names that are unknown or mean several fields. Their parameters
            are left out.
    """
    given = list(parameters)
    if all(short_names.is_whole_path(config, parameter.path) for parameter in given):
        return given
    known = [p for p in given if short_names.is_whole_path(config, p.path)]
    for _ in range(_MOST_ROUNDS):
        variants = list(iterate_variants(config, known))
        found: list[errors.Problem] = []
        resolved = _resolve_all(variants, given, found)
        if [p.path for p in resolved] == [p.path for p in known]:
            break
        known = resolved
    problems += found
    return resolved


def _resolve_all(
    variants: Sequence[hyperparams.Config],
    parameters: Iterable[Parameter],
    problems: list[errors.Problem],
) -> list[Parameter]:
    resolved = []
    for parameter in parameters:
        try:
            resolved.append(_resolve(variants, parameter))
        except hyperparams.ConfigError as error:
            problems += [
                dataclasses.replace(problem, source=problem.source or parameter.source)
                for problem in error.problems
            ]
    return resolved


def _resolve(variants: Sequence[hyperparams.Config], parameter: Parameter) -> Parameter:
    short = short_names.declared_names(variants[0]).get(parameter.path)
    if short is not None:
        return _resolve_declared(variants, parameter, short)
    path = short_names.find_path_among(variants, parameter.path, parameter.source)
    return dataclasses.replace(parameter, path=path)


def _resolve_declared(
    variants: Sequence[hyperparams.Config], parameter: Parameter, short: hyperparams.ShortName
) -> Parameter:
    """A name that a config class declares: one field, where it always is one that gets the value itself."""
    domain = parameter.domain
    if any(True for _ in domain.find_problems()):
        return parameter
    values = [
        short.read(domain.get_value(stored), parameter.path, parameter.source)
        for stored in domain.list_samples()
    ]
    changes = [(value, short.expand(config, value)) for config in variants for value in values]
    fields = tuple(dict.fromkeys(path for _, change in changes for path in change))
    if len(fields) == 1 and all(_is_same(change[fields[0]], value) for value, change in changes):
        return dataclasses.replace(parameter, path=fields[0])
    domain = domain.replace_values(values)
    return dataclasses.replace(parameter, domain=domain, short=short, sets=fields)


def _is_same(value: Any, other: Any) -> bool:
    """Whether two values are equal, numbers to the digits that are kept when they are scaled."""
    if isinstance(value, float) and isinstance(other, float):
        return math.isclose(value, other, rel_tol=1e-12)
    return type(value) is type(other) and bool(value == other)
