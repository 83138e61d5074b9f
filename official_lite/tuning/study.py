"""`tune`: searches over a config, in a folder that a later call goes on in.

from official_lite import tuning

result = tuning.tune(
    'retinanet_custom',
    {
        'trainer.optimizer_config.learning_rate.cosine.initial_learning_rate':
            tuning.LogUniform(1e-4, 1e-2),
        'task.train_data.global_batch_size': tuning.Choice([8, 16]),
    },
    study_dir='runs/study',
    n_trials=12,
)
print(result.best.params, result.best.values)
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from official_lite import errors
from official_lite.core import config_definitions as cfg
from official_lite.core import exp_factory, file_lock, plugins
from official_lite.modeling import hyperparams
from official_lite.tuning import (
    live_table,
    objective_checks,
    outputs,
    plots,
    records,
    samplers,
    space_checks,
    storage,
    study_config,
    study_runner,
    tensorboard_hparams,
    trial_process,
)
from official_lite.tuning.domains import Stored
from official_lite.tuning.search_space import Parameter, SearchSpace

if TYPE_CHECKING:
    import optuna

__all__ = ['StudyResult', 'run_study', 'tune']

_OUTPUTS_LOCK = 'outputs.lock'
_MOST_GRID_POINTS = 100_000


@dataclasses.dataclass(frozen=True)
class StudyResult:
    """What a study has found.

    Attributes:
        trials: All trials.
        pareto: The best one; of several objectives those that no other one dominates.
        study_dir: Folder of the study.
        study: Optuna's study.
    """

    trials: list[records.TrialRecord]
    pareto: list[records.TrialRecord]
    study_dir: pathlib.Path
    study: optuna.Study

    @property
    def best(self) -> records.TrialRecord:
        """The best trial, by the first objective.

        Raises:
            LookupError: No trial is complete.
        """
        if not self.pareto:
            raise LookupError('no trial is complete')
        return self.pareto[0]


def tune(
    config: cfg.ExperimentConfig | str,
    space: Mapping[str, Any] | Sequence[Parameter],
    study_dir: str | pathlib.Path,
    *,
    settings: study_config.StudyConfig | None = None,
    storage_url: str | None = None,
    study_name: str | None = None,
    make_command: trial_process.MakeCommand = trial_process.make_train_command,
    **kwargs: Any,
) -> StudyResult:
    """Searches for the best values of a config; the same call again goes on where the last one ended.

    Args:
        config: An experiment, or its name. It has to come from the registry, because each trial is a
            process of its own, which makes it anew.
        space: Domains by dotted path; what is no domain is a constant.
        study_dir: Folder of the study.
        settings: Sampler, pruner, number of trials, ...
        storage_url: Where the study is kept: `journal:PATH` or a database. None: in the folder.
        study_name: Name in the storage. None: that of the folder.
        make_command: Makes the command line of a trial, given its folder; for own programs.
        **kwargs: Fields of `StudyConfig`, such as `n_trials=20, sampler={'type': 'random'}`.

    Returns:
        The study's trials and the best of them.

    Raises:
        ConfigError: With all that is wrong with config, search space or settings.
        UsageError: The folder has another study, or something is not installed.
    """
    if isinstance(config, str):
        config = exp_factory.get_exp_config(config)
    parameters = space_checks.make_parameters(space) if isinstance(space, Mapping) else list(space)
    settings = settings.replace() if settings is not None else study_config.StudyConfig()
    settings.override(kwargs)
    return run_study(
        config,
        parameters,
        pathlib.Path(study_dir),
        settings=settings,
        storage_url=storage_url,
        study_name=study_name,
        make_command=make_command,
    )


def run_study(
    config: cfg.ExperimentConfig,
    parameters: Iterable[Parameter],
    study_dir: pathlib.Path,
    *,
    settings: study_config.StudyConfig,
    storage_url: str | None = None,
    study_name: str | None = None,
    experiment: str = '',
    imports: Sequence[str] = (),
    earlier: Iterable[hyperparams.Problem] = (),
    make_command: trial_process.MakeCommand = trial_process.make_train_command,
) -> StudyResult:
    """What `tune` and the command line do; see `tune`.

    Args:
        config: The config that trials vary.
        parameters: Paths and domains.
        study_dir: Folder of the study.
        settings: Settings.
        storage_url: Where the study is kept.
        study_name: Its name in there.
        experiment: Name of the experiment. '': what the config was made for.
        imports: Modules that the config needs, beside those that are imported.
        earlier: Problems that were found before.
        make_command: Makes the command line of a trial.
    """
    space = _check(config, parameters, settings, earlier)
    objectives = study_config.parse_objectives(settings.objectives, config)
    objective_checks.check_objectives(objectives, config, space)
    samplers.check_installed(str(settings.sampler.type))
    samplers.silence_optuna()
    grid = _list_grid(config, space, settings)
    study = storage.open_study(
        storage.open_storage(storage_url, study_dir),
        study_name or study_dir.resolve().name,
        objectives,
        sampler=samplers.build_sampler(settings.sampler, settings.seed, grid),
        pruner=samplers.build_pruner(settings.pruner),
        identity=storage.describe_identity(config, space, objectives),
        first=_find_defaults(config, space) if settings.try_default else None,
    )
    opened = _OpenStudy(
        study,
        study_dir,
        config,
        space,
        objectives,
        experiment or _get_experiment(config),
        tuple(dict.fromkeys((*imports, *plugins.imported()))),
    )
    ignored = samplers.describe_ignored(str(settings.sampler.type), space)
    if ignored:
        print(ignored, file=sys.stderr)
    opened.run_trials(settings, _count_trials(settings, grid), make_command)
    opened.save_pictures()
    trials = records.list_records(study)
    return StudyResult(trials, records.find_best(trials, objectives), study_dir, study)


@dataclasses.dataclass(frozen=True)
class _OpenStudy:
    """A study on this machine: runs its trials and writes its files."""

    study: optuna.Study
    study_dir: pathlib.Path
    config: cfg.ExperimentConfig
    space: SearchSpace
    objectives: Sequence[study_config.Objective]
    experiment: str
    imports: tuple[str, ...]

    def run_trials(
        self,
        settings: study_config.StudyConfig,
        num_trials: int | None,
        make_command: trial_process.MakeCommand,
    ) -> None:
        """Runs trials until there are enough, with a table of them all."""
        with live_table.LiveTable(
            self.space, self.objectives, title=self.study.study_name
        ) as table:

            def on_change(has_ended: bool) -> None:
                trials = records.list_records(self.study)
                table.update(trials)
                if has_ended:
                    self.save(trials)

            runner = study_runner.StudyRunner(
                self.study,
                settings,
                objectives=self.objectives,
                base=self.config,
                space=self.space,
                experiment=self.experiment,
                imports=self.imports,
                study_dir=self.study_dir,
                num_trials=num_trials,
                make_command=make_command,
                on_change=on_change,
            )
            try:
                runner.run()
            finally:
                on_change(True)

    def save(self, trials: Sequence[records.TrialRecord]) -> None:
        """Writes trials.csv and best.yaml; one worker at a time."""
        with file_lock.FileLock(self.study_dir / _OUTPUTS_LOCK):
            outputs.save_trials(self.study_dir, trials, self.space, self.objectives)
            outputs.save_best(
                self.study_dir,
                trials,
                self.objectives,
                base=self.config,
                space=self.space,
                experiment=self.experiment,
                imports=self.imports,
            )

    def save_pictures(self) -> None:
        """Writes plots and TensorBoard's dashboard."""
        with file_lock.FileLock(self.study_dir / _OUTPUTS_LOCK):
            trials = records.list_records(self.study)
            tensorboard_hparams.save_hparams(self.study_dir, trials, self.space, self.objectives)
            _, skipped = plots.save_plots(self.study, self.objectives, self.study_dir)
            for reason in skipped:
                print(f'no plot: {reason}', file=sys.stderr)


def _check(
    config: hyperparams.Config,
    parameters: Iterable[Parameter],
    settings: study_config.StudyConfig,
    earlier: Iterable[hyperparams.Problem],
) -> SearchSpace:
    """Checks settings and search space; all problems at once."""
    problems = list(earlier)
    try:
        settings.validate()
    except hyperparams.ConfigError as error:
        problems += error.problems
    return space_checks.check_space(config, parameters, problems)


def _list_grid(
    config: hyperparams.Config, space: SearchSpace, settings: study_config.StudyConfig
) -> list[dict[str, Stored]]:
    """The points of a grid; none for other samplers.

    Raises:
        ConfigError: A range has no step.
        UsageError: There are too many points.
    """
    if settings.sampler.type != 'grid':
        return []
    hyperparams.errors.raise_problems(
        hyperparams.Problem(
            parameter.path,
            'a grid needs to know the values of a range',
            source=parameter.source,
            hint='add num_points, or a step',
        )
        for parameter in space.searched
        if parameter.domain.list_grid() is None
    )
    points = []
    for point in space.iterate_grid(config):
        points.append(point)
        if len(points) > _MOST_GRID_POINTS:
            raise errors.UsageError(
                f'the grid has more than {_MOST_GRID_POINTS} points',
                where='sampler.type',
                hint='use random or tpe',
            )
    return points


def _count_trials(
    settings: study_config.StudyConfig, grid: Sequence[dict[str, Stored]]
) -> int | None:
    """Trials in all: a grid has no more than its points. None for no limit."""
    if not grid:
        return settings.n_trials
    return len(grid) if settings.n_trials is None else min(settings.n_trials, len(grid))


def _find_defaults(config: hyperparams.Config, space: SearchSpace) -> dict[str, Stored]:
    try:
        return space.find_defaults(config)
    except ValueError as error:
        raise errors.UsageError(
            f"the config's own value cannot be the first trial: {error}", where='try_default'
        ) from error


def _get_experiment(config: hyperparams.Config) -> str:
    experiment = exp_factory.find_experiment(config)
    if not experiment:
        raise errors.UsageError(
            'trials run in processes of their own, so the config has to come from the registry',
            where='config',
            hint='register its factory with exp_factory.register_config_factory, in a module that '
            'plugins.import_modules has imported',
        )
    return experiment
