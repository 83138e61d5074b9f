"""`official-lite import-checkpoint SRC DST`: a checkpoint of Model Garden becomes one of ours."""

from __future__ import annotations

import os
from typing import Any

from absl import flags

from official_lite import errors
from official_lite.cli import arguments, reporting
from official_lite.common import flags as common_flags
from official_lite.core import parsing, run_files

__all__ = ['main']

_DESCRIPTION = (
    'import-checkpoint SRC DST reads a checkpoint that Model Garden wrote (of a run, its best export, '
    'an exported one, or a SavedModel) and writes DST/ckpt-<step> with the params.yaml that belongs '
    'to it. The params.yaml is looked for beside SRC and above; --experiment names the experiment, '
    'which those of Model Garden do not. Where tf-models-official is installed, outputs are compared.'
)


@reporting.command
def main(argv: list[str]) -> int:
    """Imports a checkpoint.

    Args:
        argv: Program name, source, target folder and flags.
    """
    values, rest = arguments.parse_flags(argv, _define, _DESCRIPTION, num_positional=2)
    if len(rest) != 2:
        raise errors.UsageError(
            'expected a checkpoint and a folder', hint='official-lite import-checkpoint SRC DST'
        )
    source, target_dir = rest
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
    from official_lite.core import checkpoint_conversion, checkpoints  # need TensorFlow

    path = checkpoints.find_checkpoint(source)
    params_file = checkpoint_conversion.find_params_file(path)
    if params_file:
        values['config_file'].value = [params_file, *(values.config_file or [])]
        print(f'Config: {params_file}')
    parsed = parsing.parse_experiment(values)
    return _import(values, path, target_dir, parsed, params_file)


def _define(values: flags.FlagValues) -> None:
    common_flags.define_config_flags(values)
    common = {'flag_values': values}
    flags.DEFINE_string(
        'modules',
        'all',
        'What is taken, as task.init_checkpoint_modules: all; backbone; all,-head.',
        **common,
    )
    flags.DEFINE_boolean('averages', False, 'Take moving averages for weights.', **common)
    flags.DEFINE_boolean(
        'compare', True, "Compare outputs with Model Garden's, if it is installed.", **common
    )


def _import(
    values: flags.FlagValues,
    path: str,
    target_dir: str,
    parsed: parsing.ParsedExperiment,
    params_file: str,
) -> int:
    from official_lite.core import checkpoint_conversion, task_factory, train_lib

    config = parsed.config
    config.task.init_checkpoint = ''
    config.task.init_checkpoint_modules = 'all'
    config.task.init_checkpoint_averages = False
    model = task_factory.get_task(config.task).build_model()
    report = checkpoint_conversion.convert(
        model,
        path,
        target_dir,
        modules=values.modules,
        use_averages=values.averages,
        metadata=train_lib.make_metadata(config),
    )
    print(report.describe())
    written = run_files.save_params(config, target_dir, parsed.experiment, parsed.imports)
    print(f'Written: {target_dir} (checkpoint and {os.path.basename(written or "params.yaml")})')
    if not values.compare:
        return 0
    return _compare(values, path, parsed, params_file, model, report)


def _compare(
    values: flags.FlagValues,
    path: str,
    parsed: parsing.ParsedExperiment,
    params_file: str,
    model: Any,
    report: Any,
) -> int:
    """Prints how far outputs are from Model Garden's; 1 if they are not the same."""
    from official_lite.garden import comparison

    reason = ''
    if not comparison.is_available():
        reason = 'tf-models-official is not installed'
    elif not report.is_complete:
        reason = 'parts were left out'
    elif values.averages:
        reason = 'its model has the weights, and not the averages'
    if reason:
        print(f"Outputs are not compared with Model Garden's: {reason}.")
        return 0
    theirs = comparison.build_garden_model(
        parsed.experiment, params_file, values.params_override or ()
    )
    task: Any = parsed.config.task
    result = comparison.compare_models(theirs, path, model, task.model.input_size)
    print(f'{result}.')
    return 0 if result.is_equal else 1
