"""What the text of an unquoted scalar means, for a field of a known type and without one.

Numbers are those of YAML 1.2 plus Model Garden's float forms and digit groups (`1e-3`, `1_000`);
there are no octal (`012`) or sexagesimal (`12:30`) numbers and no dates.
"""

from __future__ import annotations

import math
import re
from typing import Any

_INT = re.compile(r'[-+]?[0-9](_?[0-9])*')
_BASED_INT = re.compile(r'[-+]?(0x[0-9a-fA-F]+|0o[0-7]+|0b[01]+)')
_FLOAT = re.compile(
    r'[-+]?([0-9](_?[0-9])*\.?([0-9](_?[0-9])*)?|\.[0-9](_?[0-9])*)([eE][-+]?[0-9]+)?'
)
_SPECIAL_FLOAT = re.compile(r'[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)')
_BARE_SPECIAL_FLOAT = re.compile(r'[-+]?(inf|nan|infinity)', re.IGNORECASE)
_FREE_INT = re.compile(r'[-+]?[0-9]+')
_FREE_FLOAT = re.compile(r'[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?')

NULLS = frozenset({'', '~', 'null', 'Null', 'NULL'})
TRUES = frozenset({'true', 'yes', 'on'})
FALSES = frozenset({'false', 'no', 'off'})
_FREE_BOOLS = {
    'true': True,
    'True': True,
    'TRUE': True,
    'false': False,
    'False': False,
    'FALSE': False,
}
_LARGEST_EXACT_FLOAT = 2**53
_MOST_DIGITS = 4000


def is_null(text: str) -> bool:
    """Whether the text of an unquoted scalar is YAML's null, or empty."""
    return text in NULLS


def parse_int(text: str) -> int | None:
    """Returns the integer that `text` writes (`12`, `012`, `1_000`, `0x1F`, `1e3`), else None."""
    if len(text) > _MOST_DIGITS:
        return None
    if _INT.fullmatch(text):
        return int(text)
    if _BASED_INT.fullmatch(text):
        return int(text, 0)
    number = parse_float(text) if _FLOAT.fullmatch(text) else None
    if number is not None and abs(number) <= _LARGEST_EXACT_FLOAT and number.is_integer():
        return int(number)
    return None


def parse_float(text: str) -> float | None:
    """Returns the number that `text` writes (`1`, `.5`, `1e-3`, `.inf`, `nan`), else None.

    A number too large for a float is none, rather than infinity.
    """
    if _FLOAT.fullmatch(text):
        number = float(text)
        return None if math.isinf(number) else number
    if _SPECIAL_FLOAT.fullmatch(text):
        return float(text.replace('.', ''))
    if _BARE_SPECIAL_FLOAT.fullmatch(text):
        return float(text)
    return None


def parse_bool(text: str) -> bool | None:
    """Returns the truth value that `text` writes (`true`, `yes`, `on` and opposites), else None."""
    folded = text.lower()
    if folded in TRUES:
        return True
    return False if folded in FALSES else None


def parse_free(text: str) -> Any:
    """Returns the value of an unquoted scalar that no field's type explains, by YAML 1.2."""
    if text in NULLS:
        return None
    if text in _FREE_BOOLS:
        return _FREE_BOOLS[text]
    if len(text) <= _MOST_DIGITS and _FREE_INT.fullmatch(text):
        return int(text)
    if _BASED_INT.fullmatch(text):
        return int(text, 0)
    if _FREE_FLOAT.fullmatch(text):
        return float(text)
    if _SPECIAL_FLOAT.fullmatch(text):
        return float(text.replace('.', ''))
    return str(text)
