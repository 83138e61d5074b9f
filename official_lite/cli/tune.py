"""`official-lite tune`: searches for the best values of an experiment's config."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

from absl import flags

from official_lite import errors, tuning
from official_lite.cli import arguments, reporting
from official_lite.common import flags as common_flags
from official_lite.core import parsing
from official_lite.modeling import hyperparams
from official_lite.tuning import space_files, study

__all__ = ['main']

_DESCRIPTION = (
    'Searches for the best values of an experiment: each trial is a run of its own. The same command '
    'goes on where the last one ended.'
)
# Flag -> field of the study's settings.
_SETTINGS = {
    'sampler': 'sampler.type',
    'pruner': 'pruner.type',
    'objective': 'objectives',
    'n_trials': 'n_trials',
    'timeout_mins': 'timeout_mins',
    'seed': 'seed',
    'workers': 'workers',
    'try_default': 'try_default',
}
# Where search spaces live among the files that come with the package.
_FOLDER = 'tuning'


@reporting.command
def main(argv: list[str]) -> int:
    """Runs a study.

    Args:
        argv: Program name and flags.
    """
    values, _ = arguments.parse_flags(argv, _define, _DESCRIPTION)
    for name in ('search_space', 'study_dir'):
        if not getattr(values, name):
            raise errors.UsageError('a study needs this flag', where=f'--{name}')
    parsed = parsing.parse_experiment(values)
    path = parsing.find_config_file(values.search_space, folder=_FOLDER, flag='--search_space')
    space = space_files.load_space_file(path)
    problems = list(space.problems)
    result = study.run_study(
        parsed.config,
        space.parameters,
        pathlib.Path(values.study_dir),
        settings=_make_settings(values, space, path, problems),
        storage_url=values.storage,
        study_name=values.study_name,
        experiment=parsed.experiment,
        imports=parsed.imports,
        earlier=problems,
    )
    _report(result)
    return 0 if result.pareto else 1


def _make_settings(
    values: Any,
    space: space_files.SpaceFile,
    path: str,
    problems: list[hyperparams.Problem],
) -> tuning.StudyConfig:
    """Settings from the file, then --study_override, then flags of their own."""
    settings = tuning.StudyConfig()

    def override(change: Callable[[], object]) -> None:
        try:
            change()
        except hyperparams.ConfigError as error:
            problems.extend(error.problems)

    override(lambda: settings.override(space.settings, source=path))
    for text in values.study_override or ():
        override(
            lambda text=text: hyperparams.override_params_dict(  # type: ignore[misc]
                settings, text, source='--study_override'
            )
        )
    for name, field in _SETTINGS.items():
        given = getattr(values, name)
        if given is not None:
            override(
                lambda field=field, given=given, name=name: settings.override(  # type: ignore[misc]
                    {field: given}, source=f'--{name}'
                )
            )
    return settings


def _report(result: tuning.StudyResult) -> None:
    if not result.pareto:
        print(f'No trial is complete; {result.study_dir / "trials.csv"} tells why.')
        return
    for record in result.pareto:
        shown = ', '.join(f'{value:.6g}' for value in record.values or ())
        print(f'Best: trial {record.number} with {shown}')
        for name, value in record.params.items():
            print(f'  {name}: {value}')
    print(f'Its config: {result.study_dir / "best.yaml"} (for --config_file)')


def _define(values: flags.FlagValues) -> None:
    common_flags.define_config_flags(values)
    to = {'flag_values': values}
    flags.DEFINE_string(
        'search_space',
        None,
        'YAML file with the values to search, and settings of the study; a path, or the name of a file '
        'that comes with the package, such as retinanet.yaml.',
        **to,
    )
    flags.DEFINE_string(
        'study_dir', None, 'Folder of the study: its trials, best.yaml, trials.csv, plots.', **to
    )
    flags.DEFINE_string(
        'sampler', None, 'grid, random, tpe, nsga2, nsga3, cmaes or gp; tpe by default.', **to
    )
    flags.DEFINE_string('pruner', None, 'none (the default), median, asha or hyperband.', **to)
    flags.DEFINE_multi_string(
        'objective',
        None,
        'A metric of the evaluation and its direction, AP:max. Repeat it for several objectives. By '
        'default the one that decides which checkpoint is best.',
        **to,
    )
    flags.DEFINE_integer('n_trials', None, 'Trials in all, those of earlier calls included.', **to)
    flags.DEFINE_float(
        'timeout_mins',
        None,
        'Minutes after which this call ends; running trials save and go on with the next call.',
        **to,
    )
    flags.DEFINE_integer('seed', None, 'Seed of the sampler.', **to)
    flags.DEFINE_integer('workers', None, 'Trials at a time on this machine.', **to)
    flags.DEFINE_boolean(
        'try_default', None, "Whether the first trial has the config's own values.", **to
    )
    flags.DEFINE_multi_string(
        'study_override',
        None,
        'Any setting of the study: sampler.tpe.n_startup_trials=5,max_failures_in_a_row=3.',
        **to,
    )
    flags.DEFINE_string(
        'storage',
        None,
        'Where the study is kept, for workers on several machines: journal:PATH, or a database such as '
        'mysql://... By default a journal in --study_dir.',
        **to,
    )
    flags.DEFINE_string(
        'study_name', None, 'Its name in the storage; that of the folder by default.', **to
    )
