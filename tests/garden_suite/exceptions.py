"""Reads the list of Model Garden's tests that official_lite does not pass, with the reasons."""

from __future__ import annotations

import dataclasses
import fnmatch
import pathlib

import yaml

EXCEPTIONS_FILE = pathlib.Path(__file__).parent / 'exceptions.yaml'


@dataclasses.dataclass(frozen=True)
class Exceptions:
    """Which tests are expected to fail.

    Attributes:
        reasons: Short name of a reason -> the reason in a sentence.
        patterns: Test id, or a pattern in the style of a shell -> short name of the reason.
        left_out: Short names of the reasons that tell of parts which are not here at all.
    """

    reasons: dict[str, str]
    patterns: dict[str, str]
    left_out: tuple[str, ...] = ()

    def find(self, test_id: str) -> str | None:
        """Returns the pattern that covers `test_id`, or None."""
        if test_id in self.patterns:
            return test_id
        return next((p for p in self.patterns if fnmatch.fnmatchcase(test_id, p)), None)

    def describe(self, test_id: str) -> str:
        """Returns the reason, in a sentence, why `test_id` is expected to fail."""
        pattern = self.find(test_id)
        return '' if pattern is None else self.reasons[self.patterns[pattern]]

    def is_left_out(self, test_id: str) -> bool:
        """Returns whether `test_id` is of a part that is not here at all."""
        pattern = self.find(test_id)
        return pattern is not None and self.patterns[pattern] in self.left_out


def load_exceptions(path: pathlib.Path = EXCEPTIONS_FILE) -> Exceptions:
    """Reads the exceptions file.

    Raises:
        ValueError: An exception gives a reason that is not listed under `reasons`, or a reason is
            listed and not used, or left out and not listed.
    """
    content = yaml.safe_load(path.read_text(encoding='utf-8'))
    reasons = content['reasons']
    patterns = {
        pattern: reason for reason, tests in content['exceptions'].items() for pattern in tests
    }
    if set(patterns.values()) != set(reasons):
        odd = sorted(set(patterns.values()) ^ set(reasons))
        raise ValueError(f'{path}: reasons listed but unused, or used but not listed: {odd}')
    left_out = tuple(content.get('left_out', ()))
    if not set(left_out) <= set(reasons):
        raise ValueError(
            f'{path}: left_out: no such reason: {sorted(set(left_out) - set(reasons))}'
        )
    return Exceptions(reasons=reasons, patterns=patterns, left_out=left_out)
