"""`official-lite import-checkpoint SRC DST`: a checkpoint of Model Garden becomes one of ours."""

from __future__ import annotations

import os
from typing import Any

from absl import flags

from official_lite import errors
from official_lite.cli import arguments, reporting
from official_lite.common import flags as common_flags
from official_lite.core import checkpoint_experiments, parsing, run_files

__all__ = ['main']

_DESCRIPTION = (
    'import-checkpoint SRC DST reads a checkpoint that Model Garden wrote (of a run, its best export, '
    'an exported one, or a SavedModel) and writes DST/ckpt-<step> with the params.yaml that belongs '
    'to it. The params.yaml is looked for beside SRC and above. Those of Model Garden do not name '
    'their experiment: it is the nearest that has all their fields, or what --experiment says. Where '
    'tf-models-official is installed, outputs are compared.'
)


@reporting.command
def main(argv: list[str]) -> int:
    """Imports a checkpoint.

    Args:
        argv: Program name, source, target folder and flags.
    """
    values, rest = arguments.parse_flags(argv, _define, _DESCRIPTION, positional='SRC DST')
    if len(rest) != 2:
        raise errors.UsageError(
            'expected a checkpoint and a folder', hint='official-lite import-checkpoint SRC DST'
        )
    source, target_dir = rest
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
    from official_lite.core import checkpoint_conversion, checkpoint_files  # need TensorFlow

    path = checkpoint_files.find_checkpoint(source)
    _check_target(target_dir)
    params_file = checkpoint_conversion.find_params_file(path)
    if params_file:
        values['config_file'].value = [params_file, *(values.config_file or [])]
        print(f'Config: {params_file}')
    _name_experiment(values, source)
    parsed = parsing.parse_experiment(values)
    return _import(values, path, target_dir, parsed)


def _check_target(folder: str) -> None:
    """Refuses a folder in which files would be replaced, which may be the source's."""
    if os.path.isdir(folder) and any(
        name in ('checkpoint', 'params.yaml') or name.endswith('.index')
        for name in os.listdir(folder)
    ):
        raise errors.UsageError(
            'there is a run or a checkpoint already',
            where=folder,
            expected='a new or an empty folder',
            hint='name another one, or delete it',
        )


def _name_experiment(values: flags.FlagValues, source: str) -> None:
    """Infers the experiment from the config files where neither they nor a flag name it."""
    files = [parsing.find_config_file(name) for name in values.config_file or ()]
    if values.experiment or any(run_files.load_params(path).experiment for path in files):
        return
    if not files:
        raise errors.UsageError(
            'nothing says which model the checkpoint is of',
            where=source,
            expected='a params.yaml beside it or in a folder above it',
            hint='give the one it was trained with as --config_file=FILE, or --experiment=NAME '
            '(train.py --list_experiments lists them) with --params_override for what was changed',
        )
    values['experiment'].value = checkpoint_experiments.infer_experiment(files[0])
    print(
        f'Experiment: {values.experiment}, the nearest to {files[0]} (--experiment names another)'
    )


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
    return _compare(values, path, parsed, model, report)


def _compare(
    values: flags.FlagValues,
    path: str,
    parsed: parsing.ParsedExperiment,
    model: Any,
    report: Any,
) -> int:
    """Prints how far outputs are from Model Garden's; 1 if they are not the same."""
    from official_lite.core import checkpoint_conversion
    from official_lite.garden import comparison

    reason = ''
    if not checkpoint_conversion.is_of_model_garden(path):
        reason = 'the checkpoint is one of official_lite'
    elif not comparison.is_available():
        reason = 'tf-models-official is not installed'
    elif not report.is_complete:
        reason = 'parts were left out'
    elif values.averages:
        reason = 'its model has the weights, and not the averages'
    elif not comparison.has_experiment(parsed.experiment):
        reason = f'it has no experiment {parsed.experiment}'
    if reason:
        print(f"Outputs are not compared with Model Garden's: {reason}.")
        return 0
    theirs = comparison.build_garden_model(
        parsed.experiment, [*(values.config_file or ()), *(values.params_override or ())]
    )
    task: Any = parsed.config.task
    result = comparison.compare_models(theirs, path, model, task.model.input_size)
    print(f'{result}.')
    return 0 if result.is_equal else 1
