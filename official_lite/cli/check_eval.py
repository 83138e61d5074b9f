"""`official-lite check-eval`: the ground truth, evaluated as if it were detected, has an AP of 1."""

from __future__ import annotations

from collections.abc import Sequence

from official_lite.cli import arguments, reporting
from official_lite.common import flags as common_flags
from official_lite.core import parsing

__all__ = ['main']

_DESCRIPTION = (
    'Takes the boxes of the validation data as detections and evaluates them. Anything but an AP of '
    '1 tells that data, label map and evaluation do not fit together.'
)


def main(argv: Sequence[str] | None = None) -> int:
    """Checks the evaluation of an experiment; returns the exit code."""
    return reporting.run_command(_run, argv)


def _run(argv: list[str]) -> int:
    try:
        values, _ = arguments.parse_flags(argv, common_flags.define_config_flags, _DESCRIPTION)
    except arguments.Help as text:
        print(text)
        return 0
    config = parsing.parse_experiment(values).config
    from official_lite.vision.evaluation import self_check  # needs TensorFlow

    return int(self_check.main(config))
