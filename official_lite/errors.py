"""What can go wrong, as types that say whose turn it is.

The command line prints `error: <text>` and leaves with `exit_code`, without a traceback.
"""

from __future__ import annotations

from typing import ClassVar


class OfficialLiteError(Exception):
    """Something happened that a run cannot go on after.

    Args:
        message: What is wrong, without a full stop.
        where: The place it was found: a dotted config path, a file and a position, a flag.
        expected: What would have been right.
        received: What came instead.
        hint: What to do next.
    """

    exit_code: ClassVar[int] = 1

    # AutoGraph raises an error of a class of its own, unless it is told not to by this name.
    ag_pass_through: ClassVar[bool] = True

    def __init__(
        self,
        message: str = '',
        *,
        where: str = '',
        expected: str = '',
        received: str = '',
        hint: str = '',
    ) -> None:
        self.message = message
        self.where = where
        self.expected = expected
        self.received = received
        self.hint = hint
        super().__init__(message)

    def __str__(self) -> str:
        """Returns `where: message; expected ...; received ...; hint`, without the empty parts."""
        parts = [self.message] if self.message else []
        if self.expected:
            parts.append(f'expected {self.expected}')
        if self.received:
            parts.append(f'received {self.received}')
        if self.hint:
            parts.append(self.hint)
        text = '; '.join(parts)
        return f'{self.where}: {text}' if self.where else text


class UsageError(OfficialLiteError):
    """What the user wrote is wrong: a flag, a config, a name, a path that does not exist."""

    exit_code = 2


class DataError(OfficialLiteError):
    """The data is not what it should be: a corrupt record, an unreadable image, no boxes at all."""


class CheckpointError(OfficialLiteError):
    """A checkpoint is missing, incomplete, or of another model."""
