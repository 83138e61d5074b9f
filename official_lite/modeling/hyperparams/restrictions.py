"""Restrictions: relations between two fields, or a field and a constant, written as text.

`'task.model.min_level == task.model.backbone.spinenet.min_level'`, `'name != "x"'`, `'size >= 32'`.
Constants are numbers, quoted text, None, True, False and lists of these.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Iterable
from typing import Any

from official_lite.modeling.hyperparams import errors
from official_lite.modeling.hyperparams.places import MISSING

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    '==': operator.eq,
    '!=': operator.ne,
    '<=': operator.le,
    '>=': operator.ge,
    '<': operator.lt,
    '>': operator.gt,
}
_TOKEN = re.compile(r"""'[^']*'|"[^"]*"|==|!=|<=|>=|<|>|[^'"=!<>]+|.""")
_CONSTANT = re.compile(r"""[-+\d.'"\[(].*|None|True|False|true|false|null""", re.DOTALL)
_WORDS = {'None': None, 'null': None, 'True': True, 'true': True, 'False': False, 'false': False}


class _NotChosen(Exception):
    """The path looks into a branch of a OneOf that is not chosen."""


def find_problems(config: Any, restrictions: Iterable[str], path: str = '') -> list[errors.Problem]:
    """Returns what is wrong with the restrictions of one config.

    A restriction that looks into a branch which its OneOf has not chosen does not apply.
    """
    problems = []
    for restriction in restrictions:
        problem = _check(config, restriction, path)
        if problem is not None:
            problems.append(problem)
    return problems


def _check(config: Any, restriction: str, path: str) -> errors.Problem | None:
    left_text, symbol, right_text = _split(restriction)
    if not symbol:
        return errors.Problem(
            path=path,
            message=f'Unsupported relation in restriction {restriction!r}',
            expected=f'two sides and one of {" ".join(_OPERATORS)}',
        )
    try:
        left, right = _value_of(config, left_text), _value_of(config, right_text)
        is_met = bool(_OPERATORS[symbol](left, right))
    except _NotChosen:
        return None
    except KeyError as error:
        name, owner = error.args
        return errors.Problem(
            path=path,
            message=f'the restriction {restriction!r} names {name!r}, which does not exist',
            suggestion=errors.find_nearest(name, getattr(owner, '_keys', list)()),
            kinds=(KeyError,),
        )
    except (TypeError, ValueError, SyntaxError) as error:
        return errors.Problem(
            path=path,
            message=f'the restriction {restriction!r} cannot be checked: {error}',
            kinds=(KeyError, TypeError),
        )
    if is_met:
        return None
    return errors.Problem(
        path=path,
        message=f'Found inconsistency between keys: {restriction!r} does not hold',
        received=f'{_show(left_text, left)} and {_show(right_text, right)}',
        kinds=(KeyError, ValueError),
    )


def _split(restriction: str) -> tuple[str, str, str]:
    """Returns both sides and the operator, which is '' unless there is exactly one."""
    sides, symbols = [''], []
    for token in _TOKEN.findall(restriction):
        if token in _OPERATORS:
            symbols.append(token)
            sides.append('')
        else:
            sides[-1] += token
    sides = [side.strip() for side in sides]
    if len(symbols) != 1 or not all(sides):
        return '', '', ''
    return sides[0], symbols[0], sides[1]


def _value_of(config: Any, text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if _CONSTANT.fullmatch(text):
        return ast.literal_eval(text)
    value = config
    for name in text.split('.'):
        value = _step(value, name)
    return value.as_dict() if hasattr(value, 'as_dict') else value


def _step(owner: Any, name: str) -> Any:
    if hasattr(owner, '_is_unchosen') and owner._is_unchosen(name):
        raise _NotChosen
    if isinstance(owner, dict):
        value = owner.get(name, MISSING)
    else:
        value = owner.get(name, MISSING) if hasattr(owner, '_keys') and name in owner else MISSING
    if value is MISSING:
        raise KeyError(name, owner)
    return value


def _show(text: str, value: Any) -> str:
    shown = errors.describe(value)
    return text if _CONSTANT.fullmatch(text) else f'{text} = {shown}'
