"""A study on the digit scenes, and what a trial costs beside running its config by hand.

    python benchmarks/tuning.py study --study_dir=runs/digits    # goes on when it is called again
    python benchmarks/tuning.py record --study_dir=runs/digits   # writes results/DATE-tuning.json and plots
    python benchmarks/tuning.py overhead                         # CPU time beside the trials', rates of both

The study trains `retinanet_custom` for a tenth of its length (0.3 epochs of 8,000 scenes), so its numbers say
which settings learn fastest, not what the detector reaches.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
from typing import Any

from official_lite import tuning
from official_lite.core import exp_factory

_RESULTS = pathlib.Path(__file__).resolve().parent / 'results'
_PLOTS = ('history.png', 'importance.png', 'parallel.png', 'slices.png')
_OPTIMIZATION = 'trainer.optimizer_config'
_SPACE: dict[str, Any] = {
    'trainer.train_epochs': 0.3,
    'trainer.validation_interval_epochs': 0.1,
    'trainer.checkpoint_interval_epochs': 0.1,
    f'{_OPTIMIZATION}.learning_rate.cosine.initial_learning_rate': tuning.LogUniform(1e-3, 3e-2),
    f'{_OPTIMIZATION}.optimizer.adamw.weight_decay_rate': tuning.LogUniform(1e-5, 1e-2),
    'task.train_data.global_batch_size': tuning.Choice([4, 8, 16]),
    'task.losses.focal_loss_gamma': tuning.Uniform(1.0, 2.5),
    'task.model.detection_generator.nms_iou_threshold': tuning.Uniform(0.4, 0.7),
}
_RATE = f'{_OPTIMIZATION}.learning_rate.cosine.initial_learning_rate'


def run_study(study_dir: pathlib.Path, num_trials: int, workers: int) -> None:
    """Runs the study, or goes on with it."""
    result = tuning.tune(
        'retinanet_custom',
        _SPACE,
        study_dir,
        n_trials=num_trials,
        workers=workers,
        try_default=True,
        sampler={'type': 'tpe', 'tpe': {'n_startup_trials': 5}},
        pruner={'type': 'median', 'median': {'n_startup_trials': 4, 'n_warmup_evaluations': 1}},
    )
    print(result.best.values, result.best.params)


def record_study(study_dir: pathlib.Path, note: str) -> None:
    """Writes the trials and the plots of a study to the results."""
    with (study_dir / 'trials.csv').open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row.pop('model_dir')
    today = datetime.date.today().isoformat()
    content = {'what': __doc__.splitlines()[0], 'note': note, 'trials': rows}
    (_RESULTS / f'{today}-tuning.json').write_text(json.dumps(content, indent=1) + '\n')
    folder = _RESULTS / f'{today}-tuning'
    folder.mkdir(exist_ok=True)
    for name in _PLOTS:
        shutil.copy(study_dir / 'plots' / name, folder / name)
    shutil.copy(study_dir / 'best.yaml', folder / 'best.yaml')


def measure_overhead(num_steps: int) -> None:
    """Runs one config by hand and as a trial, and prints rates and processor time."""
    config = exp_factory.get_exp_config('retinanet_custom')
    config.override({'trainer': {'train_steps': num_steps, 'validation_interval': num_steps}})
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        before = resource.getrusage(resource.RUSAGE_SELF)
        tuning.tune(
            config, {_RATE: tuning.Choice([8e-3])}, folder / 'study', sampler={'type': 'grid'}
        )
        after = resource.getrusage(resource.RUSAGE_SELF)
        trial_dir = folder / 'study' / 'trials' / '00000'
        in_trials = resource.getrusage(resource.RUSAGE_CHILDREN)
        train = [sys.executable, '-m', 'official_lite.cli', 'train', '--mode=train_and_eval']
        flags = [f'--config_file={trial_dir}/config.yaml', f'--model_dir={folder}/direct']
        subprocess.run([*train, *flags], check=True, stdout=subprocess.DEVNULL)
        everything = resource.getrusage(resource.RUSAGE_CHILDREN)
        own = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        trial = in_trials.ru_utime + in_trials.ru_stime
        direct = everything.ru_utime + everything.ru_stime - trial
        print(
            json.dumps(
                {
                    'cpu_secs': {'study': own, 'trial': trial, 'by_hand': direct},
                    'step_ms': {
                        'trial': _read_step_ms(trial_dir),
                        'by_hand': _read_step_ms(folder / 'direct'),
                    },
                }
            )
        )


def _read_step_ms(model_dir: pathlib.Path) -> float:
    """The median time of a step."""
    lines = [json.loads(x) for x in (model_dir / 'metrics.jsonl').read_text().splitlines()]
    times = sorted(line['time/step_ms'] for line in lines if 'time/step_ms' in line)
    return float(times[len(times) // 2])


def main() -> None:
    """Does what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('what', choices=('study', 'record', 'overhead'))
    parser.add_argument('--study_dir', type=pathlib.Path, default=pathlib.Path('runs/digits'))
    parser.add_argument('--num_trials', type=int, default=12)
    parser.add_argument('--workers', type=int, default=1)
    parser.add_argument('--num_steps', type=int, default=300)
    parser.add_argument('--note', default='')
    args = parser.parse_args()
    if args.what == 'study':
        run_study(args.study_dir, args.num_trials, args.workers)
    elif args.what == 'record':
        record_study(args.study_dir, args.note)
    else:
        measure_overhead(args.num_steps)


if __name__ == '__main__':
    main()
