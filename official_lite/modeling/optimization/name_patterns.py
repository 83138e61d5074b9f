"""Regular expressions over variable keys, as in `include_in_weight_decay`."""

import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Optional, Union

from official_lite import errors

Patterns = Union[str, Sequence[str], None]

_STATISTIC = '/moving_variance'


class PatternError(errors.UsageError, ValueError):
    """A name pattern that is no regular expression, or that matches no variable."""


class NamePatterns:
    """A list of regular expressions, searched for anywhere in a variable key.

    Patterns written for TensorFlow's names work too. Each is also tried on the key with `:0` at its
    end, so `.*(kernel|weight):0$` matches `head/dense/kernel`; and, once `check_used` has seen the
    model's keys, on those of batch normalisation under the name that Keras 2 gives such layers, so
    `batch_normalization` matches `backbone/stem/norm/gamma`.
    """

    def __init__(self, field: str, patterns: Patterns) -> None:
        """Makes the list.

        Args:
            field: The config field that they come from, for errors.
            patterns: Regular expressions; one string is a list of one; None or empty matches
                nothing.

        Raises:
            PatternError: one of them cannot be compiled.
        """
        self.field = field
        self.patterns = [patterns] if isinstance(patterns, str) else list(patterns or [])
        self._compiled = [_compile(field, pattern) for pattern in self.patterns]
        self._batch_normalizations: set[str] = set()  # paths of layers

    def __bool__(self) -> bool:
        return bool(self.patterns)

    def match(self, key: str) -> bool:
        """Whether any of the patterns occurs in `key`."""
        return any(self._is_found(pattern, key) for pattern in self._compiled)

    def _is_found(self, pattern: re.Pattern[str], key: str) -> bool:
        names = [key, f'{key}:0']
        layer, _, name = key.rpartition('/')
        if layer in self._batch_normalizations:
            names.append(f'{layer}/batch_normalization/{name}:0')
        return any(pattern.search(name) for name in names)

    def check_used(self, keys: Iterable[str]) -> None:
        """Looks for patterns that match none of `keys`.

        Warns of them if others in the list do match: recipes list what any of their models may
        have. Notes which layers are batch normalisation: those with moving statistics.

        Raises:
            PatternError: there are patterns, and none of them matches any of `keys`.
        """
        keys = list(keys)
        self._batch_normalizations.update(
            key.removesuffix(_STATISTIC) for key in keys if key.endswith(_STATISTIC)
        )
        unused = [
            p.pattern for p in self._compiled if not any(self._is_found(p, key) for key in keys)
        ]
        if not unused:
            return
        if len(unused) == len(self.patterns):
            raise PatternError(
                'no pattern matches any variable',
                where=self.field,
                expected=f'patterns over variable keys such as {_examples(keys)}',
                received=repr(self.patterns),
            )
        warnings.warn(
            f'{self.field}: {", ".join(map(repr, unused))} matches no variable; there are keys such '
            f'as {_examples(keys)}',
            stacklevel=2,
        )


class WeightDecayRule:
    """Which variables decay: what `include` matches; without it, what `exclude` does not match.

    As in Model Garden, `include` wins where both match. Unlike there, what neither matches is not
    decayed when `include` is given.
    """

    def __init__(self, include: Patterns = None, exclude: Patterns = None) -> None:
        self._include = NamePatterns('include_in_weight_decay', include)
        self._exclude = NamePatterns('exclude_from_weight_decay', exclude)

    def check_used(self, keys: Iterable[str]) -> None:
        """Raises PatternError if one of the lists matches none of `keys`."""
        keys = list(keys)
        self._include.check_used(keys)
        self._exclude.check_used(keys)

    def applies_to(self, key: str) -> bool:
        """Whether the variable with this key decays."""
        return self._include.match(key) if self._include else not self._exclude.match(key)

    def get_config(self) -> dict[str, Optional[list[str]]]:
        """The patterns, as arguments of an optimizer."""
        return {p.field: p.patterns or None for p in (self._include, self._exclude)}


class Exclusions:
    """What LAMB and LARS leave out of weight decay, and of the adaptation to norms.

    Without patterns of its own, adaptation leaves out what weight decay does.
    """

    def __init__(self, from_decay: Patterns, from_adaptation: Patterns) -> None:
        self._decay = NamePatterns('exclude_from_weight_decay', from_decay)
        self._adaptation = NamePatterns('exclude_from_layer_adaptation', from_adaptation)

    def check_used(self, keys: Iterable[str]) -> None:
        """Raises PatternError if one of the lists matches none of `keys`."""
        keys = list(keys)
        self._decay.check_used(keys)
        self._adaptation.check_used(keys)

    def has_decay(self, key: str) -> bool:
        """Whether the variable with this key decays."""
        return not self._decay.match(key)

    def has_adaptation(self, key: str) -> bool:
        """Whether the step of the variable with this key adapts to its norm."""
        return not (self._adaptation or self._decay).match(key)

    def get_config(self) -> dict[str, Optional[list[str]]]:
        """The patterns, as arguments of an optimizer."""
        return {p.field: p.patterns or None for p in (self._decay, self._adaptation)}


def _compile(field: str, pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as e:
        raise PatternError(f'{pattern!r} is not a regular expression ({e})', where=field) from e


def _examples(keys: list[str]) -> str:
    return ', '.join(map(repr, keys[:3])) or '(there are no variables)'
