"""Search spaces as YAML: settings of the study, and a tree of paths whose leaves are domains.

sampler: {type: tpe}
n_trials: 20
space:
  trainer.optimizer_config.optimizer.type: {choice: [sgd, adamw]}
  trainer.optimizer_config.optimizer.sgd.momentum: {uniform: [0.8, 0.99]}
  task.train_data.global_batch_size: {choice: [8, 16]}
  task.model.min_level: 3
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from official_lite.modeling import hyperparams
from official_lite.modeling.hyperparams import errors, scalars, values
from official_lite.modeling.hyperparams.sources import Plain, Source, SourcedDict, source_in
from official_lite.tuning.domains import Choice, Constant, Domain, Int, LogUniform, Uniform
from official_lite.tuning.search_space import Parameter

__all__ = ['SPACE_KEY', 'SpaceFile', 'load_space_file', 'parse_space']

SPACE_KEY = 'space'
# Key of a domain -> names that may stand beside it.
_KINDS: dict[str, tuple[str, ...]] = {
    'uniform': ('step', 'num_points'),
    'log_uniform': ('num_points',),
    'int': ('step', 'log'),
    'choice': (),
    'value': (),
}
_DETAILS = {name for names in _KINDS.values() for name in names}


@dataclasses.dataclass(frozen=True)
class SpaceFile:
    """What a search space file says.

    Attributes:
        parameters: Paths and domains, not yet checked against a config.
        settings: What it says of the study: sampler, pruner, number of trials, ...
        problems: What is malformed; to be raised with what is found later.
    """

    parameters: list[Parameter]
    settings: SourcedDict
    problems: list[errors.Problem]


def load_space_file(path: str) -> SpaceFile:
    """Reads a search space.

    Raises:
        ConfigError: The file is missing or no YAML.
    """
    contents = hyperparams.load_yaml(path)
    source = Source('file', path)
    space = contents.pop(SPACE_KEY, None)
    problems: list[errors.Problem] = []
    parameters = parse_space(space, problems, source)
    return SpaceFile(parameters, contents, problems)


def parse_space(
    space: Any, problems: list[errors.Problem], source: Source | None = None
) -> list[Parameter]:
    """Parameters from the parsed YAML of a search space; what is malformed goes into `problems`."""
    if isinstance(space, Mapping):
        return list(_iterate_parameters(space, '', problems))
    received = errors.describe(space) if space is not None else 'nothing'
    expected = '`path: domain` lines'
    problems.append(errors.Problem(SPACE_KEY, expected=expected, received=received, source=source))
    return []


def _iterate_parameters(
    tree: Mapping[Any, Any], path: str, problems: list[errors.Problem]
) -> Iterator[Parameter]:
    for key, value in tree.items():
        here = f'{path}.{key}' if path else str(key)
        source = source_in(tree, key)
        if isinstance(value, Mapping) and not _is_domain(value):
            yield from _iterate_parameters(value, here, problems)
            continue
        try:
            yield Parameter(here, _parse_domain(value), source=source)
        except _Malformed as error:
            expected, received, suggestion = error.args
            problems.append(
                errors.Problem(
                    here,
                    expected=expected,
                    received=received,
                    suggestion=suggestion,
                    source=source,
                )
            )


class _Malformed(Exception):
    """A domain is not written as it should be: expected, received, suggestion."""


def _is_domain(mapping: Mapping[Any, Any]) -> bool:
    """Whether a mapping is a domain, maybe a misspelt one, rather than paths below."""
    names = [str(key) for key in mapping]
    if any(name in _KINDS for name in names):
        return True
    known = [*_KINDS, *_DETAILS]
    return bool(names) and all(difflib.get_close_matches(n, known, 1, 0.75) for n in names)


def _parse_domain(given: Any) -> Domain:
    if not isinstance(given, Mapping):
        return Constant(_to_value(given))
    kinds = [name for name in given if name in _KINDS]
    if len(kinds) != 1:
        expected = f'one of {errors.list_names(_KINDS)}'
        odd = next((str(name) for name in given if name not in _KINDS), '')
        nearest = errors.find_nearest(odd, _KINDS) if not kinds else ''
        raise _Malformed(expected, errors.describe(values.to_python(given)), nearest)
    kind = str(kinds[0])
    details = {str(name): value for name, value in given.items() if name != kind}
    for name in details:
        if name not in _KINDS[kind]:
            allowed = errors.list_names(_KINDS[kind]) if _KINDS[kind] else 'nothing'
            raise _Malformed(
                f'{allowed} beside {kind!r}', repr(name), errors.find_nearest(name, _KINDS[kind])
            )
    return _build_domain(kind, given[kind], details)


def _build_domain(kind: str, content: Any, details: dict[str, Any]) -> Domain:
    if kind == 'value':
        return Constant(_to_value(content))
    if kind == 'choice':
        if isinstance(content, Mapping):
            return Choice({str(name): _to_value(value) for name, value in content.items()})
        if not isinstance(content, list):
            raise _Malformed('a list of values', errors.describe(content), '')
        return Choice(tuple(_to_value(value) for value in content))
    if not isinstance(content, list) or len(content) != 2:
        received = errors.describe(values.to_python(content))
        raise _Malformed(f'{kind}: [lower end, upper end]', received, '')
    if kind == 'int':
        ends = [_read_int(value) for value in content]
        step = _read_int(details['step']) if 'step' in details else 1
        return Int(ends[0], ends[1], step=step, log=_read_bool(details.get('log', False)))
    low, high = (_read_float(value) for value in content)
    num_points = _read_int(details['num_points']) if 'num_points' in details else None
    if kind == 'log_uniform':
        return LogUniform(low, high, num_points=num_points)
    step_size = _read_float(details['step']) if 'step' in details else None
    return Uniform(low, high, step=step_size, num_points=num_points)


def _to_value(given: Any) -> Any:
    """A scalar keeps its text until the field reads it; in lists and mappings it is what it looks like."""
    return given if isinstance(given, Plain) else values.to_python(given)


def _read_float(given: Any) -> float:
    number = given if isinstance(given, (int, float)) else None
    if isinstance(given, Plain):
        number = scalars.parse_float(given)
        number = scalars.parse_int(given) if number is None else number
    if number is None or isinstance(number, bool):
        raise _Malformed('a number', errors.describe(given), '')
    return float(number)


def _read_int(given: Any) -> int:
    number = scalars.parse_int(given) if isinstance(given, Plain) else given
    if not isinstance(number, int) or isinstance(number, bool):
        raise _Malformed('a whole number', errors.describe(given), '')
    return number


def _read_bool(given: Any) -> bool:
    truth = scalars.parse_bool(given) if isinstance(given, Plain) else given
    if not isinstance(truth, bool):
        raise _Malformed('true or false', errors.describe(given), '')
    return truth
