"""`official-lite data ACTION`: one module per action, imported when it is used."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Sequence

from official_lite import errors
from official_lite.cli import reporting

__all__ = ['ACTIONS', 'main']

# Action -> (module with `main(argv)`, what it does).
ACTIONS: dict[str, tuple[str, str]] = {
    'convert': ('data_convert', 'Write any data set as TFRecords or as a COCO data set.'),
    'inspect': ('data_inspect', 'Counts, sizes, what looks wrong, and how well anchors fit.'),
    'preview': ('data_preview', 'Pictures of batches as the model gets them.'),
}


def main(argv: Sequence[str]) -> int:
    """Does what the action says and returns the exit code.

    Args:
        argv: Program name, action and flags.
    """
    if len(argv) > 1 and argv[1] in ACTIONS:
        module = importlib.import_module(f'official_lite.cli.{ACTIONS[argv[1]][0]}')
        return int(module.main([f'{argv[0]} {argv[1]}', *argv[2:]]))
    return _explain(list(argv))


@reporting.command
def _explain(argv: list[str]) -> int:
    """Says which actions there are, or that there is no such one."""
    if len(argv) < 2:
        print(_usage(), file=sys.stderr)
        return 2
    if argv[1] in ('-h', '--help', 'help'):
        raise reporting.Help(_usage())
    near = difflib.get_close_matches(argv[1], ACTIONS, n=1)
    hint = f'did you mean {near[0]!r}?' if near else 'put the action before the flags'
    raise errors.UsageError(
        f'there is no action {argv[1]!r}', expected=f'one of {", ".join(ACTIONS)}', hint=hint
    )


def _usage() -> str:
    lines = [f'  {name:<8} {text}' for name, (_, text) in ACTIONS.items()]
    return '\n'.join(
        [
            'usage: official-lite data ACTION [flags]',
            '',
            *lines,
            '',
            'The data is that of an experiment (--experiment, --config_file, --split), or what',
            '--source names, such as --source=coco:DIR/train.json.',
            'official-lite data ACTION --help tells its flags.',
        ]
    )
