"""How a command ends: one line on standard error and an exit code, no traceback."""

from __future__ import annotations

import functools
import os
import sys
import traceback
from collections.abc import Callable, Sequence

from official_lite import errors

__all__ = ['TRACEBACK_VARIABLE', 'Help', 'command']

TRACEBACK_VARIABLE = 'OFFICIAL_LITE_TRACEBACK'
_INTERRUPTED = 130


class Help(Exception):
    """Somebody asked for help; the text is the message."""


def command(run: Callable[[list[str]], int | None]) -> Callable[..., int]:
    """Makes a function of program name and arguments the entry point of a command.

    The result takes them too, or those of this process, and returns the exit code. Errors of ours
    are printed as `error: <text>`; with OFFICIAL_LITE_TRACEBACK=1 or --verbosity=1 their traceback
    comes first. Other exceptions are bugs and keep their traceback.

    Args:
        run: Gets the program's name and its arguments, and may return an exit code.
    """

    @functools.wraps(run)
    def main(argv: Sequence[str] | None = None) -> int:
        arguments = list(sys.argv if argv is None else argv)
        try:
            return _run(run, arguments)
        except errors.OfficialLiteError as error:
            if _wants_traceback(arguments):
                traceback.print_exc()
            print(f'error: {error}', file=sys.stderr)
            return error.exit_code
        except KeyboardInterrupt:
            print('interrupted', file=sys.stderr)
            return _INTERRUPTED
        except BrokenPipeError:  # the reader of `... | head` has gone
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0

    return main


def _run(run: Callable[[list[str]], int | None], arguments: list[str]) -> int:
    try:
        code = run(arguments) or 0
    except Help as text:
        print(text)
        code = 0
    sys.stdout.flush()  # here, where a reader that has gone is known of
    return code


def _wants_traceback(argv: Sequence[str]) -> bool:
    verbose = {'--verbosity=1', '-v=1', '--verbosity=2', '-v=2'}
    return os.environ.get(TRACEBACK_VARIABLE, '') not in ('', '0') or bool(verbose & set(argv))
