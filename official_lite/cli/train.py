"""`official-lite train` and `train.py`: flags -> config -> run."""

from __future__ import annotations

import os
from typing import Any

from official_lite import errors
from official_lite.cli import arguments, experiments, reporting
from official_lite.cli import config as config_command
from official_lite.common import flags
from official_lite.core import garbage, parsing, run_checks, run_files

__all__ = ['main', 'run']

_DESCRIPTION = 'Trains or evaluates an experiment.'


@reporting.command
def main(argv: list[str]) -> None:
    """Does what the command line says.

    Args:
        argv: Program name and flags.
    """
    run(arguments.parse_flags(argv, flags.define_flags, _DESCRIPTION)[0])


def run(values: Any) -> None:
    """Does what flags say.

    Args:
        values: The flags of `common.flags.define_flags`.
    """
    if values.list_experiments:
        return experiments.print_experiments(getattr(values, 'import'))
    parsed = parsing.parse_experiment(values)
    if values.print_config != 'false':
        with_sources = values.print_config == 'sources'
        return print(config_command.format_config(parsed, with_sources=with_sources), end='')
    mode = 'train' if values.dry_run else _require(values, 'mode')
    model_dir = None if values.dry_run else _require(values, 'model_dir')
    run_checks.check_runnable(parsed.config, mode)
    if model_dir is not None:
        run_files.check_experiment(model_dir, parsed.experiment)

    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
    with garbage.run():
        _run(parsed, values, mode, model_dir)


def _run(parsed: parsing.ParsedExperiment, values: Any, mode: str, model_dir: str | None) -> None:
    from official_lite.core import dry_run, runtime, task_factory, train_lib  # loads TensorFlow

    strategy = runtime.set_up(parsed.config)
    with strategy.scope():
        task = task_factory.get_task(parsed.config.task, logging_dir=model_dir)
    if model_dir is None:
        train_lib.resolve(parsed.config, type(task))
        return print(dry_run.dry_run(strategy, task, parsed.config))
    use_async = values.enable_async_checkpointing
    train_lib.run_experiment(
        strategy, task, mode, parsed.config, model_dir, enable_async_checkpointing=use_async
    )


def _require(values: Any, name: str) -> str:
    value = getattr(values, name)
    if not value:
        choices = f', one of {", ".join(flags.MODES)}' if name == 'mode' else ''
        raise errors.UsageError(
            f'a run needs this flag{choices}',
            where=f'--{name}',
            hint='--print_config, --dry_run and --list_experiments do without it',
        )
    return str(value)
