"""`official-lite experiments`: the experiments there are."""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from official_lite.cli import arguments, reporting
from official_lite.core import exp_factory, plugins

__all__ = ['main', 'print_experiments']


@reporting.command
def main(argv: list[str]) -> None:
    """Lists all experiments.

    Args:
        argv: Program name and flags.
    """
    values, _ = arguments.parse_flags(argv, _define, 'Lists all experiments.')
    print_experiments(getattr(values, 'import'))


def _define(values: flags.FlagValues) -> None:
    flags.DEFINE_multi_string(
        'import',
        None,
        'Module of yours that registers something. Repeat it for more.',
        flag_values=values,
    )


def print_experiments(imports: Sequence[str] | None = None) -> None:
    """Prints the name of each experiment and what it is."""
    plugins.import_modules(imports or [])
    names = exp_factory.list_experiments()
    width = max(map(len, names), default=0)
    for name in names:
        print(f'{name:<{width}}  {exp_factory.describe_experiment(name)}'.rstrip())
