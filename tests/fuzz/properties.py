"""What must hold for every input. The checks are functions, so that two profiles can share them."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import os
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import yaml

from official_lite.modeling import hyperparams
from tests.fuzz import oracle

IS_SLOW = os.environ.get('OFFICIAL_LITE_FUZZ') == 'slow'
_SLOW_FACTOR = 100

Refusal = hyperparams.ConfigError | None


def settings(max_examples: int) -> hypothesis.settings:
    """Returns hypothesis' settings: the same examples on each run, or far more and new ones.

    `OFFICIAL_LITE_FUZZ=slow` chooses the latter.
    """
    return hypothesis.settings(
        max_examples=max_examples * (_SLOW_FACTOR if IS_SLOW else 1),
        derandomize=not IS_SLOW,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(hypothesis.HealthCheck),
    )


def attempt(action: Callable[[], object]) -> Refusal:
    """Runs `action`; returns the package's error if it refused, lets any other error escape."""
    try:
        action()
    except hyperparams.ConfigError as error:
        return error
    return None


def note_event(text: str) -> None:
    """Counts `text` for `--hypothesis-show-statistics`, where hypothesis is at work."""
    if hypothesis.currently_in_test_context():
        hypothesis.event(text)


def check_refusal(error: hyperparams.ConfigError) -> None:
    """A refusal explains itself: a text, and problems that name what is wrong."""
    assert str(error).strip()
    assert 'Traceback' not in str(error)
    assert error.problems, 'an error without a problem'
    assert error.exit_code == 2


def check_types(config: hyperparams.Config) -> None:
    """Every value of the tree has its declared type."""
    assert list(oracle.find_problems(config)) == []


def check_unchanged(before: dict[str, Any], config: hyperparams.Config) -> None:
    """A refused input left nothing behind."""
    after = oracle.flatten(config)
    assert {k: v for k, v in after.items() if before.get(k, ...) != v} == {}
    assert before.keys() == after.keys()


def check_input(
    config: hyperparams.Config,
    raw: dict[Any, Any],
    action: Callable[[], object],
    *,
    replaces: bool = False,
) -> Refusal:
    """Checks what `action`, which gives `raw` to `config`, does to it, against the oracle.

    Args:
        config: What is changed.
        raw: What is given.
        action: Gives it.
        replaces: Whether what the fields had before may be gone, as after an assignment.
    """
    verdict = oracle.judge_tree(raw, type(config), config)
    before = oracle.flatten(config)
    error = attempt(action)
    note_event(f'{verdict.name}, {"accepted" if error is None else "refused"}')
    check_types(config)
    if error is not None:
        assert verdict is not oracle.Verdict.ACCEPT, f'refused what is right: {error}'
        check_refusal(error)
        check_unchanged(before, config)
        return error
    assert verdict is not oracle.Verdict.REFUSE, 'accepted what is wrong'
    if verdict is oracle.Verdict.ACCEPT:
        assert list(oracle.find_differences(raw, config)) == []
        named = dict.fromkeys(raw) if replaces else raw
        assert oracle.changed_outside(named, before, oracle.flatten(config)) == []
    return None


def check_override(config: hyperparams.Config, raw: dict[Any, Any]) -> None:
    """A mapping given to `override` is accepted or refused as the oracle says, and not changed."""
    given = repr(raw)
    check_input(config, raw, lambda: config.override(raw))
    assert repr(raw) == given


def check_text(config: hyperparams.Config, text: str) -> Refusal:
    """A text, right or wrong, leaves a tree of right types, or is refused and changes nothing."""
    before = oracle.flatten(config)
    error = attempt(lambda: hyperparams.override_params_dict(config, text, is_strict=True))
    note_event('accepted' if error is None else 'refused')
    check_types(config)
    if error is not None:
        check_refusal(error)
        check_unchanged(before, config)
    return error


def check_right_text(config: hyperparams.Config, raw: dict[str, Any], text: str) -> None:
    """A text that says `raw`, which is right, is accepted and does what it says."""
    check_input(
        config,
        raw,
        lambda: hyperparams.override_params_dict(config, text, is_strict=True),
    )


class _Quoting(yaml.SafeDumper):
    """Puts every text in quotes, because without them the field's type decides what it means."""


_Quoting.add_representer(
    str, lambda dumper, text: dumper.represent_scalar('tag:yaml.org,2002:str', text, style='"')
)


def dump_yaml(raw: Any, is_quoted: bool = True) -> str:
    """Writes plain data with PyYAML's own dumper, which knows nothing of the package."""
    dumper = _Quoting if is_quoted else yaml.SafeDumper
    return yaml.dump(_without_tuples(raw), Dumper=dumper, allow_unicode=True)


def _without_tuples(raw: Any) -> Any:
    if isinstance(raw, dict):
        return {key: _without_tuples(value) for key, value in raw.items()}
    return [_without_tuples(x) for x in raw] if isinstance(raw, list | tuple) else raw


def dump_override(raw: dict[str, Any]) -> str | None:
    """Writes plain data in the grammar of overrides, `a.b=1,c=[1,2]`; None if it cannot say it."""
    with contextlib.suppress(ValueError):
        return ','.join(f'{path}={_dump_value(value)}' for path, value in _leaves(raw))
    return None


def _leaves(raw: dict[str, Any], path: str = '') -> Iterator[tuple[str, Any]]:
    for key, value in raw.items():
        inner = f'{path}.{key}' if path else key
        if isinstance(value, dict):
            if not value:
                raise ValueError('the grammar has no empty mapping')
            yield from _leaves(value, inner)
        else:
            yield inner, value


def _dump_value(value: Any) -> str:
    if isinstance(value, str):
        if not value.isprintable() or "'" in value:
            raise ValueError('no quoting for this text that is beyond doubt')
        return f"'{value}'"
    if isinstance(value, list | tuple):
        return '[' + ','.join(map(_dump_value, value)) + ']'
    if isinstance(value, dict):
        raise ValueError('the grammar has no mapping inside a list')
    return yaml.safe_dump(value).removesuffix('\n...\n').strip()


def has_nan(config: hyperparams.Config) -> bool:
    """True if a leaf is not a number, and so not equal to itself."""
    return 'nan' in oracle.flatten(config).values()


def check_round_trips(config: hyperparams.Config) -> None:
    """An accepted config, written and read again, is the same config."""
    if has_nan(config):
        return
    config_class = type(config)
    copies = {
        'dict': config_class.from_dict(config.as_dict()),
        'json': config_class.from_json(config.to_json()),
        'deepcopy': copy.deepcopy(config),
        'replace': config.replace(),
    }
    for name, other in copies.items():
        assert other == config, name
        check_types(other)


def constructor_arguments(config_class: type, raw: dict[Any, Any]) -> dict[str, Any]:
    """Returns the part of `raw` that Python itself accepts as keyword arguments."""
    names = {field.name for field in dataclasses.fields(config_class)}
    return {key: value for key, value in raw.items() if key in names}
