"""How a command ends: one line on standard error and an exit code, no traceback."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence

from official_lite import errors

__all__ = ['TRACEBACK_VARIABLE', 'run_command']

TRACEBACK_VARIABLE = 'OFFICIAL_LITE_TRACEBACK'
_INTERRUPTED = 130


def run_command(command: Callable[[list[str]], int | None], argv: Sequence[str] | None) -> int:
    """Runs a command and returns its exit code.

    Errors of ours are printed as `error: <text>`; with OFFICIAL_LITE_TRACEBACK=1 or --verbosity=1
    their traceback comes first. Other exceptions are bugs and keep their traceback.

    Args:
        command: Gets the program's name and its arguments, and may return an exit code.
        argv: Those. None means those of this process.
    """
    argv = list(sys.argv if argv is None else argv)
    try:
        return command(argv) or 0
    except errors.OfficialLiteError as error:
        if _wants_traceback(argv):
            traceback.print_exc()
        print(f'error: {error}', file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:  # the reader of `... | head` has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _wants_traceback(argv: Sequence[str]) -> bool:
    verbose = {'--verbosity=1', '-v=1', '--verbosity=2', '-v=2'}
    return os.environ.get(TRACEBACK_VARIABLE, '') not in ('', '0') or bool(verbose & set(argv))
