"""The command `official-lite`: one module per subcommand, imported when it is used."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Sequence

__all__ = ['SUBCOMMANDS', 'main']

# Subcommand -> (module with `main(argv)`, what it does).
SUBCOMMANDS: dict[str, tuple[str, str]] = {
    'train': ('train', 'Train or evaluate an experiment; the same as train.py.'),
    'experiments': ('experiments', 'List all experiments.'),
    'config': ('config', "Print an experiment's config, or its JSON Schema."),
    'data': ('data', 'Convert, inspect or preview a data set.'),
    'tune': ('tune', 'Search for the best values of an experiment.'),
    'diff': ('diff', 'Show what differs between two runs, and what came of it.'),
    'runs': ('runs', 'List the runs in a folder.'),
    'export': ('export', 'Write the model of a run as a SavedModel.'),
    'check-eval': ('check_eval', 'Evaluate the ground truth as if it were detected: AP must be 1.'),
    'import-checkpoint': (
        'import_checkpoint',
        'Convert a checkpoint of Model Garden, with its params.yaml.',
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a subcommand and returns its exit code.

    Args:
        argv: Program name, subcommand and its arguments. None means those of this process.
    """
    argv = list(sys.argv if argv is None else argv)
    if len(argv) < 2 or argv[1] in ('-h', '--help', 'help'):
        print(_usage(), file=sys.stdout if len(argv) > 1 else sys.stderr)
        return 0 if len(argv) > 1 else 2
    name = argv[1]
    if name == '--version':
        from official_lite import __version__

        print(__version__)
        return 0
    if name not in SUBCOMMANDS:
        print(_explain_unknown(name), file=sys.stderr)
        return 2
    module = importlib.import_module(f'{__name__}.{SUBCOMMANDS[name][0]}')
    return int(module.main([f'official-lite {name}', *argv[2:]]))


def _usage() -> str:
    width = max(map(len, SUBCOMMANDS))
    lines = [f'  {name:<{width}} {text}' for name, (_, text) in SUBCOMMANDS.items()]
    return '\n'.join(
        [
            'usage: official-lite SUBCOMMAND [flags]',
            '',
            *lines,
            '',
            'official-lite SUBCOMMAND --help tells its flags.',
        ]
    )


def _explain_unknown(name: str) -> str:
    if name.startswith('-'):
        hint = f'; put a subcommand before the flags: official-lite train {name}'
    else:
        near = difflib.get_close_matches(name, SUBCOMMANDS, n=1)
        hint = f'; did you mean {near[0]!r}?' if near else ''
    return f'error: there is no subcommand {name!r}{hint} (known: {", ".join(SUBCOMMANDS)})'
