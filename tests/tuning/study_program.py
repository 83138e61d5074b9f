"""Runs a study of fake trials in a process of its own, to be killed or to work beside another one.

python -m tests.tuning.study_program DIR NUM_TRIALS [--delay=0.1] [--workers=1] [--storage=...]
"""

from __future__ import annotations

import argparse

from official_lite import tuning
from official_lite.tuning import plots
from tests.tuning import studies


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser()
    parser.add_argument('study_dir')
    parser.add_argument('num_trials', type=int)
    parser.add_argument('--delay', default='0.1')
    parser.add_argument('--workers', type=int, default=1)
    parser.add_argument('--sampler', default='random')
    parser.add_argument('--storage')
    args = parser.parse_args()
    plots.save_plots = lambda *given: ([], [])  # they take longer than all trials
    tuning.tune(
        'retinanet_custom',
        studies.SPACE,
        args.study_dir,
        n_trials=args.num_trials,
        workers=args.workers,
        sampler={'type': args.sampler},
        storage_url=args.storage,
        study_name='study',
        make_command=studies.make_command(f'--delay={args.delay}'),
    )


if __name__ == '__main__':
    main()
