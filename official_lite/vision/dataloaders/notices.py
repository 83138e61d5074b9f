"""What the user is told on stderr while data is made and checked."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ['report_skipped', 'write']

_NUM_REPORTED = 10


def write(text: str) -> None:
    """Writes `text` at once."""
    sys.stderr.write(text)
    sys.stderr.flush()


def report_skipped(lines: Sequence[str]) -> None:
    """Says what is left out, and why; the first ten in full."""
    if not lines:
        return
    write(f'skipped {len(lines)} that cannot be read:\n')
    for line in lines[:_NUM_REPORTED]:
        write(f'  {line}\n')
    if len(lines) > _NUM_REPORTED:
        write(f'  and {len(lines) - _NUM_REPORTED} more\n')
