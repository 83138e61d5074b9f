"""Reads a command line into flags; what is wrong with it is a UsageError."""

from __future__ import annotations

import difflib
import os
import textwrap
from collections.abc import Callable, Sequence

from absl import flags

from official_lite import errors
from official_lite.cli import reporting
from official_lite.common import flags as common_flags

__all__ = ['parse_flags']


def parse_flags(
    argv: Sequence[str],
    define: Callable[[flags.FlagValues], None],
    description: str,
    num_positional: int = 0,
) -> tuple[flags.FlagValues, list[str]]:
    """Returns the flags of a command line and its positional arguments.

    Args:
        argv: Program name and arguments.
        define: Defines the flags.
        description: What the command does, for --help.
        num_positional: How many arguments without a flag the command takes at most.

    Raises:
        Help: If --help is among the arguments.
        UsageError: If a flag is unknown or its value wrong, or if there is a stray argument.
    """
    values = flags.FlagValues()
    values.set_gnu_getopt(True)
    define(values)
    flags.DEFINE_integer(
        'verbosity',
        0,
        'With 1, errors keep their traceback.',
        short_name='v',
        flag_values=values,
    )
    if {'-h', '-help', '--help'} & set(argv[1:]):
        raise reporting.Help(_format_help(argv[0], description, values))
    try:
        rest = list(values(list(argv)))[1:]
    except flags.UnrecognizedFlagError as error:
        known = [name for name in values if name not in common_flags.REFUSED]
        near = difflib.get_close_matches(error.flagname, known, n=1)
        hint = f'did you mean --{near[0]}?' if near else '--help lists all flags'
        raise errors.UsageError('unknown flag', where=f'--{error.flagname}', hint=hint) from error
    except flags.Error as error:
        raise errors.UsageError(str(error).removeprefix('flag ')) from error
    if len(rest) > num_positional:
        stray = rest[num_positional]
        hint = f'to set a value write --params_override={stray}' if '=' in stray else ''
        raise errors.UsageError('stray argument', where=repr(stray), hint=hint)
    return values, rest


def _format_help(program: str, description: str, values: flags.FlagValues) -> str:
    lines = [f'usage: {os.path.basename(program)} [flags]', '', description, '']
    for name in sorted(set(values)):
        flag = values[name]
        if flag.help.startswith('Refused: ') or flag.name != name:
            continue
        shown = f'--[no]{name}' if flag.boolean and name != 'print_config' else f'--{name}'
        body = textwrap.fill(
            ' '.join(flag.help.split()).replace('.;', ';'),
            width=96,
            initial_indent=' ' * 6,
            subsequent_indent=' ' * 6,
        )
        lines += [f'  {shown}', body]
    return '\n'.join(lines)
