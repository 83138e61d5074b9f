"""What tests of studies share: a search space over a real experiment, and fake trials."""

from __future__ import annotations

import pathlib
import sys
from typing import Any

from official_lite import tuning
from official_lite.tuning import trial_process

FAKE_TRIAL = pathlib.Path(__file__).with_name('fake_trial.py')
OPTIMIZER = 'trainer.optimizer_config.optimizer'
RATE = 'trainer.optimizer_config.learning_rate.cosine.initial_learning_rate'
BATCH = 'task.train_data.global_batch_size'
MOMENTUM = f'{OPTIMIZER}.sgd.momentum'
SPACE = {
    RATE: tuning.LogUniform(1e-5, 1e-1),
    f'{OPTIMIZER}.type': tuning.Choice(['sgd', 'adamw']),
    MOMENTUM: tuning.Uniform(0.5, 0.99),
}


def make_command(*args: str) -> trial_process.MakeCommand:
    """The command of a fake trial."""
    return lambda folder: [sys.executable, str(FAKE_TRIAL), str(folder), *args]


def run(
    study_dir: pathlib.Path, *args: str, space: Any = None, **settings: Any
) -> tuning.StudyResult:
    """Runs a study of fake trials."""
    settings.setdefault('sampler', {'type': 'random'})
    settings.setdefault('make_command', make_command(*args))
    return tuning.tune('retinanet_custom', space or SPACE, study_dir, **settings)
