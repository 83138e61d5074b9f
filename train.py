"""Trains or evaluates an experiment: flags -> config -> run.

    python train.py --experiment=retinanet_custom --mode=train_and_eval --model_dir=runs/digits

`--list_experiments` tells what there is, `--help` all flags.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from official_lite.cli import train


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what the command line says; returns the exit code."""
    return train.main(argv)


if __name__ == '__main__':
    sys.exit(main())
