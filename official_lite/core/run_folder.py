"""The folder of a run when training begins: is it this run's, and what was it called with."""

from __future__ import annotations

import sys
from typing import Any

from official_lite.core import checkpoint_files, checkpoints, exp_factory, plugins, run_files
from official_lite.core import config_definitions as cfg


def open_for_training(params: Any, model_dir: str, data: dict[str, Any] | None = None) -> None:
    """Checks that a run may begin or go on in `model_dir`, prints what has changed, writes params.yaml and run.json.

    Args:
        params: The resolved `ExperimentConfig`. Anything else is left alone.
        model_dir: The folder.
        data: What is known of the data; goes into run.json.

    Raises:
        UsageError: the folder holds a run of another experiment, or with other classes or shapes of weights.
        CheckpointError: it holds one of another program, such as Model Garden, whose files stay as they are.
    """
    if not isinstance(params, cfg.ExperimentConfig):
        return
    latest = checkpoint_files.latest_checkpoint(model_dir)
    if latest and not checkpoints.CheckpointSource(latest).is_ours:
        raise checkpoints.make_foreign_error(latest)
    experiment = exp_factory.find_experiment(params)
    run_files.check_experiment(model_dir, experiment)
    for change in run_files.check_resume(params, model_dir):
        print(f'changed since the run began: {change}')
    run_files.save_params(params, model_dir, experiment, plugins.imported())
    run_files.save_run_info(model_dir, sys.argv, data)


def describe_data(info: Any) -> dict[str, Any]:
    """What run.json says of the data: origin, number of examples and fingerprint."""
    names = ('origin', 'num_examples', 'fingerprint', 'num_corrupt')
    return {name: getattr(info, name) for name in names if hasattr(info, name)}
