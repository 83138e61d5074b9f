"""Names of metrics are checked before TensorFlow is loaded, where the task says which it has."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from official_lite.core import exp_factory, metric_names, run_checks
from official_lite.modeling import hyperparams
from official_lite.vision.configs import retinanet as retinanet_cfg

METRIC = 'trainer.best_checkpoint_eval_metric'
SUBDIR = 'trainer.best_checkpoint_export_subdir'


@dataclasses.dataclass
class OwnTask(retinanet_cfg.RetinaNetTask):
    """A task of a user's, which may report whatever it wants."""


def make_config(**changes: Any) -> Any:
    config = exp_factory.get_exp_config('retinanet_custom')
    config.override({name.replace('__', '.'): value for name, value in changes.items()})
    return config


def test_a_monitored_metric_that_is_not_reported_is_refused() -> None:
    config = make_config(**{METRIC: 'AP_50', SUBDIR: 'best'})
    with pytest.raises(
        hyperparams.ConfigError,
        match=rf"^{METRIC}: evaluations report no such metric, expected one of 'AP', 'AP50', .*"
        r"'total_loss', .*'validation_loss', received 'AP_50' \(from .*test_metric_names.py:\d+\); "
        r"did you mean 'AP50'\?$",
    ):
        run_checks.check_runnable(config, 'train_and_eval')
    run_checks.check_runnable(config, 'train')  # nothing is evaluated


def test_what_decides_nothing_is_not_looked_at() -> None:
    config = make_config(**{METRIC: 'AP_50', SUBDIR: ''})
    run_checks.check_runnable(config, 'train_and_eval')
    config.trainer.early_stopping_patience = 3
    with pytest.raises(hyperparams.ConfigError, match='evaluations report no such metric'):
        run_checks.check_runnable(config, 'train_and_eval')


@pytest.mark.parametrize(
    'name', ['AP', 'validation_loss', 'cls_loss', 'Precision mAP ByCategory@50IoU|7']
)
def test_what_is_reported_is_taken(name: str) -> None:
    config = make_config(**{METRIC: name, SUBDIR: 'best', 'task.per_category_metrics': True})
    run_checks.check_runnable(config, 'train_and_eval')


def test_a_task_that_says_nothing_may_report_anything() -> None:
    config = make_config(**{SUBDIR: 'best'})
    config.task = OwnTask()
    config.trainer.best_checkpoint_eval_metric = 'my_metric'
    assert metric_names.list_metrics(config) is None
    assert metric_names.find_monitored_problem(config) is None


def test_paths_of_metrics() -> None:
    paths = metric_names.list_metric_paths(make_config(**{SUBDIR: 'best'}))
    assert paths is not None
    assert {'AP', 'loss/cls', 'loss/total', 'loss', 'best_AP'} <= set(paths)
    assert metric_names.is_listed('iou/dog', ['mean_iou', 'iou/<class>'])
    assert not metric_names.is_listed('iou/', ['mean_iou', 'iou/<class>'])


@pytest.mark.parametrize('name', exp_factory.list_experiments())
def test_every_experiment_monitors_a_metric_that_it_reports(name: str) -> None:
    assert metric_names.find_monitored_problem(exp_factory.get_exp_config(name)) is None
