"""Which metrics evaluations will report, as far as a config can tell; nothing here loads TensorFlow."""

from __future__ import annotations

import re
from collections.abc import Sequence

from official_lite.core import config_definitions as cfg
from official_lite.core import metric_paths
from official_lite.modeling import hyperparams

__all__ = ['find_monitored_problem', 'is_listed', 'list_metric_paths', 'list_metrics']

_PLACEHOLDER = re.compile(r'<[a-z ]+>')
_MONITORED = 'trainer.best_checkpoint_eval_metric'


def list_metrics(config: cfg.ExperimentConfig) -> tuple[str, ...] | None:
    """The metrics of evaluations by the names that logs have: `AP`, `cls_loss`, `iou/<class>`.

    Returns:
        None if the task does not say. What a task's config class says counts for that very class: a
        subclass may stand for a task that reports more, and says so itself.
    """
    task = config.task
    if 'list_metrics' not in vars(type(task)):
        return None
    names = task.list_metrics()
    if names is None:
        return None
    trainer = config.trainer
    best = [f'best_{trainer.best_checkpoint_eval_metric}'] * bool(
        trainer.best_checkpoint_export_subdir
    )
    return tuple(dict.fromkeys([*names, metric_paths.VALIDATION_LOSS, *best]))


def list_metric_paths(config: cfg.ExperimentConfig) -> tuple[str, ...] | None:
    """The same by their paths below `eval/`: `AP`, `loss`, `loss/cls`; None if the task does not say."""
    names = list_metrics(config)
    if names is None:
        return None
    return tuple(metric_paths.validation_path(name).removeprefix('eval/') for name in names)


def is_listed(name: str, listed: Sequence[str]) -> bool:
    """Whether a name is among those listed, of which some have a place for what the data says."""
    return any(re.fullmatch(_to_pattern(each), name) for each in listed)


def find_monitored_problem(config: cfg.ExperimentConfig) -> hyperparams.Problem | None:
    """What is wrong with the metric that decides which checkpoint is best, or when training ends.

    None if nothing is, if it decides nothing, or if the task does not say which metrics it reports.
    """
    trainer = config.trainer
    if not (trainer.best_checkpoint_export_subdir or trainer.early_stopping_patience):
        return None
    name = trainer.best_checkpoint_eval_metric
    listed = [each for each in list_metrics(config) or () if not each.startswith('best_')]
    if not name or not listed or is_listed(name.replace('|', '/'), listed):
        return None
    return hyperparams.Problem(
        _MONITORED,
        'evaluations report no such metric',
        expected=f'one of {hyperparams.errors.list_names(listed, most=40)}',
        received=repr(name),
        source=config.source_of(_MONITORED),
        suggestion=hyperparams.errors.find_nearest(name, listed),
    )


def _to_pattern(listed: str) -> str:
    """A regular expression of a name in which `<class>` stands for anything."""
    return '.+'.join(re.escape(part) for part in _PLACEHOLDER.split(listed))
