"""Objectives are metrics that evaluations report: asked before the first trial, or at the first evaluation."""

from __future__ import annotations

import dataclasses
import pathlib
import sys
from collections.abc import Iterator

import pytest

from official_lite import tuning
from official_lite.core import config_definitions as cfg
from official_lite.core import exp_factory
from official_lite.modeling import hyperparams
from official_lite.tuning import objective_checks
from official_lite.vision.configs import retinanet as retinanet_cfg
from tests.tuning import studies

pytest.importorskip('optuna')

METRIC = 'trainer.best_checkpoint_eval_metric'
OWN = 'retinanet_whose_metrics_nobody_knows'


@dataclasses.dataclass
class OwnTask(retinanet_cfg.RetinaNetTask):
    """A task of a user's: its config does not say what it reports."""


def make_own() -> cfg.ExperimentConfig:
    """The experiment of such a task."""
    config = exp_factory.get_exp_config('retinanet_custom')
    config.task = OwnTask(
        **{f.name: getattr(config.task, f.name) for f in dataclasses.fields(OwnTask)}
    )
    return config


@pytest.fixture
def own() -> Iterator[str]:
    exp_factory.register_config_factory(OWN)(make_own)
    yield OWN
    exp_factory._EXPERIMENTS.remove(OWN)


@pytest.mark.parametrize(
    ('objective', 'message'),
    [
        (
            'AP_50:max',
            r"^objectives: evaluations report no metric 'AP_50'; expected one of AP, AP50, AP75, .*"
            r"loss/total, loss/cls, .*loss.*; did you mean 'AP50'\?$",
        ),
        ('mask_AP:max', "no metric 'mask_AP'"),
        ('per_class/dog:max', "no metric 'per_class/dog'"),
    ],
)
def test_a_wrong_objective_is_refused_before_the_first_trial(
    tmp_path: pathlib.Path, objective: str, message: str
) -> None:
    study_dir = tmp_path / 'study'
    with pytest.raises(objective_checks.MetricError, match=message):
        studies.run(study_dir, n_trials=2, objectives=[objective])
    assert not study_dir.exists()


def test_a_wrong_monitored_metric_is_refused_before_the_first_trial(tmp_path: pathlib.Path) -> None:
    config = exp_factory.get_exp_config('retinanet_custom')
    config.override({METRIC: 'APP', 'trainer.best_checkpoint_export_subdir': 'best'})
    with pytest.raises(hyperparams.ConfigError, match=f"^{METRIC}: .*received 'APP'.*mean 'AP'"):
        tuning.tune(config, studies.SPACE, tmp_path / 'study', n_trials=2, objectives=['AP:max'])
    assert not (tmp_path / 'study').exists()


def test_what_is_searched_may_decide_what_is_reported(tmp_path: pathlib.Path) -> None:
    def run(metric: str) -> None:
        tuning.tune(
            exp_factory.get_exp_config('classification_custom'),
            {'task.evaluation.top_k': tuning.Choice([2, 3])},
            tmp_path / metric,
            n_trials=1,
            objectives=[f'{metric}:max'],
            make_command=lambda folder: [sys.executable, '-c', 'raise SystemExit(1)'],
        )

    run('top_3_accuracy')  # not a metric of the config itself
    with pytest.raises(
        objective_checks.MetricError, match=r'top_5_accuracy, .*top_2_acc.*top_3_acc'
    ):
        run('top_4_accuracy')


@pytest.mark.parametrize('name', ['validation_loss', 'eval/loss', 'loss'])
def test_a_loss_has_several_names(tmp_path: pathlib.Path, name: str) -> None:
    result = studies.run(tmp_path, '--evaluations=1', n_trials=1, objectives=[f'{name}:min'])
    assert result.best.values == (result.best.metrics['loss'],)


def test_where_a_task_does_not_say_the_first_evaluation_ends_the_study(
    tmp_path: pathlib.Path, own: str
) -> None:
    def run(objective: str) -> tuning.StudyResult:
        command = studies.make_command()
        settings = tuning.StudyConfig(n_trials=3, objectives=[objective])
        return tuning.tune(own, studies.SPACE, tmp_path, settings=settings, make_command=command)

    with pytest.raises(
        objective_checks.MetricError,
        match=r"objectives: evaluations report no metric 'los'; expected one of AP, loss; did you "
        r"mean 'loss'\?",
    ):
        run('los:max')
    assert len(list((tmp_path / 'trials').iterdir())) == 1
    assert [record.state for record in run('AP:max').trials] == ['complete'] * 3


def test_a_wrong_monitored_metric_ends_the_study_with_the_first_trial(
    tmp_path: pathlib.Path, own: str
) -> None:
    said = f"error: {METRIC}: the evaluation returned no metric 'APP'; expected one of AP, loss"
    program = f'import sys; print({said!r}); sys.exit(2)'
    with pytest.raises(
        objective_checks.MetricError,
        match=rf"^trial 0: exit code 2: {METRIC}: the evaluation returned no metric 'APP'; expected "
        'one of AP, loss$',
    ):
        tuning.tune(
            own,
            studies.SPACE,
            tmp_path,
            n_trials=5,
            make_command=lambda folder: [sys.executable, '-c', program],
        )
    assert len(list((tmp_path / 'trials').iterdir())) == 1
