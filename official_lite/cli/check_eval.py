"""`official-lite check-eval`: the ground truth, evaluated as if it were detected, has an AP of 1."""

from __future__ import annotations

import os

from official_lite import errors
from official_lite.cli import arguments, reporting
from official_lite.common import flags as common_flags
from official_lite.core import parsing, run_checks

__all__ = ['main']

_DESCRIPTION = (
    'Takes the boxes of the validation data as detections and evaluates them. Anything but an AP of '
    '1 tells that data, label map and evaluation do not fit together.'
)


@reporting.command
def main(argv: list[str]) -> int:
    """Checks the evaluation of an experiment.

    Args:
        argv: Program name and flags.
    """
    values, _ = arguments.parse_flags(argv, common_flags.define_config_flags, _DESCRIPTION)
    parsed = parsing.parse_experiment(values)
    config = parsed.config
    if not hasattr(config.task, 'use_coco_metrics'):
        raise errors.UsageError(
            'this experiment has no boxes to evaluate', where=f'--experiment={parsed.experiment}'
        )
    run_checks.check_runnable(config, 'eval')
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
    from official_lite.vision.evaluation import self_check  # needs TensorFlow

    result = self_check.check_evaluation(config)
    print(result)
    return 0 if result.is_ok else 1
