"""Which paths of a config are searched, in which order, and when.

What lies under a branch of a OneOf counts only while that branch is chosen, by the config or by the
search: this follows from the path, so a search space has no conditions to write.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from official_lite.modeling import hyperparams
from official_lite.modeling.hyperparams import overrides, tree
from official_lite.modeling.hyperparams.sources import Source, SourcedDict
from official_lite.tuning.domains import Constant, Domain, Stored

__all__ = ['Condition', 'Parameter', 'SearchSpace', 'Suggest', 'find_conditions', 'shorten_paths']

# Returns what Optuna stores for a parameter of this trial.
Suggest = Callable[['Parameter'], Stored]


@dataclasses.dataclass(frozen=True)
class Condition:
    """A branch that has to be chosen.

    Attributes:
        one_of: Dotted path of the OneOf.
        branch: Name of its branch.
    """

    one_of: str
    branch: str

    @property
    def type_path(self) -> str:
        """Path of the field that chooses the branch."""
        return f'{self.one_of}.type'

    def holds(self, config: hyperparams.Config) -> bool:
        """Whether the branch is chosen in `config`."""
        return bool(tree.value_at(config, self.type_path) == self.branch)


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A path of the config and what its value may be.

    Attributes:
        path: Dotted path.
        domain: What the value may be.
        conditions: Branches that have to be chosen, from the root of the config on.
        is_selector: Whether its value decides which other parameters count.
        source: Where the search space says so.
        short: A short name whose value is set in several fields, or elsewhere in each trial; `path`
            is then that name.
        sets: The fields that `short` sets.
    """

    path: str
    domain: Domain
    conditions: tuple[Condition, ...] = ()
    is_selector: bool = False
    source: Source | None = None
    short: hyperparams.ShortName | None = None
    sets: tuple[str, ...] = ()

    @property
    def fields(self) -> tuple[str, ...]:
        """Paths of the fields that it may set."""
        return self.sets if self.short is not None else (self.path,)

    @property
    def is_searched(self) -> bool:
        """Whether there is something to choose."""
        return not isinstance(self.domain, Constant)

    def is_active(self, config: hyperparams.Config) -> bool:
        """Whether all branches above it are chosen in `config`."""
        return all(condition.holds(config) for condition in self.conditions)

    def apply(self, config: hyperparams.Config, stored: Stored) -> None:
        """Sets the value in `config`.

        Raises:
            ConfigError: The config refuses the value.
        """
        value = self.domain.get_value(stored)
        values = {self.path: value} if self.short is None else self.short.expand(config, value)
        change = SourcedDict()
        for path, each in values.items():
            change.put(path, each, self.source)
        config.override(change, source='code: search space')

    def get_value_in(self, config: hyperparams.Config) -> Any:
        """The value that `config` has."""
        if self.short is None:
            return tree.value_at(config, self.path)
        return self.short.current(config) if self.short.current is not None else None


class SearchSpace:
    """Parameters in the order in which they have to be chosen: selectors from the root, then the rest.

    What scales values that are there (`learning_rate` of a schedule in steps) comes last.

    Args:
        parameters: What is searched or set; `space_checks.check_space` makes them.
    """

    def __init__(self, parameters: Iterable[Parameter]) -> None:
        given = list(parameters)
        selectors = sorted((p for p in given if p.is_selector), key=lambda p: p.path.count('.'))
        rest = sorted((p for p in given if not p.is_selector), key=lambda p: p.short is not None)
        self.parameters = (*selectors, *rest)

    @property
    def searched(self) -> list[Parameter]:
        """The parameters that are no constants."""
        return [p for p in self.parameters if p.is_searched]

    def list_conditional(self) -> list[Parameter]:
        """Searched parameters under a branch that the search may leave."""
        chosen = {p.path for p in self.searched if p.is_selector}
        return [
            p
            for p in self.searched
            if any(c.type_path in chosen or c.one_of in chosen for c in p.conditions)
        ]

    def build_config(self, base: hyperparams.Config, suggest: Suggest) -> hyperparams.Config:
        """Returns a copy of `base` with a value for each parameter that counts.

        Raises:
            ConfigError: The values do not fit together.
        """
        config = base.replace()
        for parameter in self.parameters:
            if parameter.is_active(config):
                stored = suggest(parameter) if parameter.is_searched else None
                parameter.apply(config, stored)
        config.validate()
        return config

    def find_defaults(self, base: hyperparams.Config) -> dict[str, Stored]:
        """What `base` itself says for each parameter that counts in it.

        Raises:
            ValueError: One of its values is outside of its domain; the text has the path.
        """
        defaults = {}
        for parameter in self.searched:
            if parameter.is_active(base):
                try:
                    value = parameter.get_value_in(base)
                    defaults[parameter.path] = parameter.domain.find_stored(value)
                except ValueError as error:
                    raise ValueError(f'{parameter.path}: {error}') from error
        return defaults

    def iterate_grid(self, base: hyperparams.Config) -> Iterator[dict[str, Stored]]:
        """Yields every combination once: a parameter under a branch only where that is chosen."""
        selectors = [p for p in self.parameters if p.is_selector]
        for config, chosen in _iterate_selections(base, selectors):
            rest = [p for p in self.searched if not p.is_selector and p.is_active(config)]
            for values in itertools.product(*(p.domain.list_grid() or () for p in rest)):
                yield {**chosen, **{p.path: value for p, value in zip(rest, values)}}


def _iterate_selections(
    config: hyperparams.Config, selectors: list[Parameter]
) -> Iterator[tuple[hyperparams.Config, dict[str, Stored]]]:
    """Yields each way to choose the branches, as a config and as what was chosen."""
    if not selectors:
        yield config, {}
        return
    first, rest = selectors[0], selectors[1:]
    if not first.is_active(config):
        yield from _iterate_selections(config, rest)
        return
    for stored in first.domain.list_grid() or ():
        changed = config.replace()
        first.apply(changed, stored)
        own = {first.path: stored} if first.is_searched else {}
        for below, chosen in _iterate_selections(changed, rest):
            yield below, {**own, **chosen}


def find_conditions(config: hyperparams.Config, path: str) -> tuple[Condition, ...]:
    """The branches of OneOfs that a path passes through, as far as the config knows the path."""
    conditions = []
    here = ''
    for step in overrides.split_path(path):
        node: Any = tree.value_at(config, here)
        if isinstance(node, hyperparams.OneOfConfig) and step in type(node).branches():
            conditions.append(Condition(here, str(step)))
        here = f'{here}[{step}]' if isinstance(step, int) else f'{here}.{step}'.lstrip('.')
    return tuple(conditions)


def shorten_paths(paths: Iterable[str]) -> Mapping[str, str]:
    """Each path with its shortest ending that no other path has, for tables and plots."""
    split = {path: path.split('.') for path in paths}
    short = {}
    for path, names in split.items():
        others = [other for key, other in split.items() if key != path]
        for count in range(2 if names[-1] == 'type' else 1, len(names) + 1):
            if all(other[-count:] != names[-count:] for other in others):
                break
        short[path] = '.'.join(names[-count:])
    return short
