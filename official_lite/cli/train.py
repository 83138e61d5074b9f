"""`official-lite train` and `train.py`: flags -> config -> run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from official_lite import errors
from official_lite.cli import arguments, experiments, reporting
from official_lite.cli import config as config_command
from official_lite.common import flags
from official_lite.core import parsing, run_checks, run_files

__all__ = ['main']

_DESCRIPTION = 'Trains or evaluates an experiment.'


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what the command line says; returns the exit code.

    Args:
        argv: Program name and flags. None means those of this process.
    """
    return reporting.run_command(_run, argv)


def _run(argv: list[str]) -> None:
    try:
        values, _ = arguments.parse_flags(argv, flags.define_flags, _DESCRIPTION)
    except arguments.Help as text:
        print(text)
        return
    if values.list_experiments:
        experiments.print_experiments(getattr(values, 'import') or [])
        return
    parsed = parsing.parse_experiment(values)
    if values.print_config != 'false':
        with_sources = values.print_config == 'sources'
        print(config_command.format_config(parsed, with_sources=with_sources), end='')
    elif values.dry_run:
        _dry_run(parsed)
    else:
        _run_experiment(parsed, values)


def _run_experiment(parsed: parsing.ParsedExperiment, values: Any) -> None:
    mode, model_dir = _require(values, 'mode'), _require(values, 'model_dir')
    run_checks.check_runnable(parsed.config, mode)
    run_files.check_experiment(model_dir, parsed.experiment)
    strategy, task = _set_up(parsed, model_dir)
    from official_lite.core import train_lib

    train_lib.run_experiment(
        strategy,
        task,
        mode,
        parsed.config,
        model_dir,
        enable_async_checkpointing=values.enable_async_checkpointing,
    )


def _dry_run(parsed: parsing.ParsedExperiment) -> None:
    run_checks.check_runnable(parsed.config, 'train')
    strategy, task = _set_up(parsed, None)
    from official_lite.core import dry_run, train_lib

    train_lib.resolve(parsed.config, type(task))
    print(dry_run.dry_run(strategy, task, parsed.config))


def _set_up(parsed: parsing.ParsedExperiment, model_dir: str | None) -> tuple[Any, Any]:
    """Loads TensorFlow, and returns the strategy and the task."""
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
    from official_lite.core import runtime, task_factory

    strategy = runtime.set_up(parsed.config)
    with strategy.scope():
        return strategy, task_factory.get_task(parsed.config.task, logging_dir=model_dir)


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
