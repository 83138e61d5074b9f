"""Reads a command line into flags; what is wrong with it is a UsageError."""

from __future__ import annotations

import difflib
import os
import re
import textwrap
from collections.abc import Callable, Sequence

from absl import flags

from official_lite import errors, manifest
from official_lite.cli import reporting
from official_lite.common import flags as common_flags

__all__ = ['parse_flags']

_WIDTH = 96
_ABSL_REPEAT = '; repeat this option to specify a list of values'


def parse_flags(
    argv: Sequence[str],
    define: Callable[[flags.FlagValues], None],
    description: str,
    positional: str = '',
) -> tuple[flags.FlagValues, list[str]]:
    """Returns the flags of a command line and its positional arguments.

    Args:
        argv: Program name and arguments.
        define: Defines the flags.
        description: What the command does, for --help.
        positional: Names of the arguments without a flag that the command takes at most, 'SRC DST'.

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
        raise reporting.Help(_format_help(f'{argv[0]} {positional}'.strip(), description, values))
    try:
        rest = list(values(list(argv)))[1:]
    except flags.UnrecognizedFlagError as error:
        known = [name for name in values if name not in common_flags.REFUSED]
        near = difflib.get_close_matches(error.flagname, known, n=1)
        hint = f'did you mean --{near[0]}?' if near else '--help lists all flags'
        raise errors.UsageError('unknown flag', where=f'--{error.flagname}', hint=hint) from error
    except flags.Error as error:
        problem = str(error).removeprefix('flag ')
        raise errors.UsageError(problem, hint=_find_near_value(problem)) from error
    _check_stray(rest[len(positional.split()) :], values)
    return values, rest


def _find_near_value(problem: str) -> str:
    """A hint where absl says of a flag that it takes one of a few words: `--a=b: ... <c|d>`."""
    match = re.match(r'--\w+=(.*): value should be one of <(.*)>', problem)
    near = difflib.get_close_matches(match[1], match[2].split('|'), n=1) if match else ()
    return f'did you mean {near[0]!r}?' if near else ''


def _check_stray(rest: Sequence[str], values: flags.FlagValues) -> None:
    if not rest:
        return
    if '=' in rest[0]:
        hint = f'to set a value write --params_override={rest[0]}'
    elif 'experiment' in values and rest[0] in manifest.EXPERIMENTS:
        hint = f'write --experiment={rest[0]}'
    else:
        hint = ''
    raise errors.UsageError('stray argument', where=repr(rest[0]), hint=hint)


def _format_help(program: str, description: str, values: flags.FlagValues) -> str:
    usage = f'usage: {os.path.basename(program)} [flags]'
    lines = [usage, '', textwrap.fill(description, width=_WIDTH), '']
    for name in sorted(set(values)):
        flag = values[name]
        if flag.help.startswith('Refused: ') or flag.name != name:
            continue
        shown = f'--[no]{name}' if flag.boolean and name != 'print_config' else f'--{name}'
        body = textwrap.fill(
            # absl's own words, which say what ours do already.
            ' '.join(flag.help.split()).replace(_ABSL_REPEAT, '').replace('.;', ';'),
            width=_WIDTH,
            initial_indent=' ' * 6,
            subsequent_indent=' ' * 6,
        )
        lines += [f'  {shown}', body]
    return '\n'.join(lines)
