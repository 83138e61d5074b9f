"""Trains one detector on BCCD in both packages, three seeds each, and compares AP and wall time.

    python benchmarks/bccd.py --data=BCCD_FOLDER [--seeds=3] [--steps=600] [--garden_python=PATH]

BCCD (https://github.com/Shenggan/BCCD_Dataset, MIT) has 205 training and 87 validation images of
blood cells in Pascal VOC form. They are written to TFRecords once, which both packages read. The
model is a RetinaNet with half a ResNet-18 and 64 channels from level 3 to 5, from random weights;
model, data, augmentation, optimizer, learning rate, steps and precision are the same, by the same
names of the same config. Wall time is that of the whole process: imports, building, training and one
evaluation with COCO metrics. Nothing else should run on the machine. Writes
`results/DATE-bccd.json`.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import measure
import run

_HERE = pathlib.Path(__file__).resolve().parent
_BATCH_SIZE = 8
_NUM_CLASSES = 4  # platelets, red and white cells, background


def write_records(data: str, folder: str) -> None:
    """Writes `train-*` and `val-*` TFRecords."""
    from official_lite.vision.dataloaders import tfrecord_writer, voc_source

    for split in ('train', 'val'):
        source = voc_source.build_voc_source(data, split)
        examples = tfrecord_writer.make_examples(source)
        tfrecord_writer.write_tfrecords(examples, f'{folder}/{split}', num_shards=4)


def make_overrides(args: argparse.Namespace) -> dict[str, Any]:
    """What both packages are told."""
    data = {'global_batch_size': _BATCH_SIZE, 'dtype': args.precision, 'seed': args.seed}
    return {
        'runtime': {
            'distribution_strategy': 'one_device',
            'num_gpus': 0,
            'mixed_precision_dtype': args.precision,
        },
        'task': {
            'annotation_file': None,
            'model': {
                'num_classes': _NUM_CLASSES,
                'input_size': [256, 320, 3],  # the images have 480 by 640 pixels
                'min_level': 3,
                'max_level': 5,
                'anchor': {'num_scales': 3, 'aspect_ratios': [1.0], 'anchor_size': 3.0},
                'backbone': {
                    'type': 'resnet',
                    'resnet': {'model_id': 18, 'depth_multiplier': 0.5},
                },
                'decoder': {'type': 'fpn', 'fpn': {'num_filters': 64}},
                'head': {'num_convs': 2, 'num_filters': 64},
                'norm_activation': {
                    'norm_momentum': 0.95,
                    'norm_epsilon': 0.001,
                    'use_sync_bn': False,
                },
                'detection_generator': {'pre_nms_score_threshold': 0.02},
            },
            'train_data': {
                **data,
                'input_path': f'{args.records}/train-*',
                'is_training': True,
                'shuffle_buffer_size': 256,
                'parser': {'aug_rand_hflip': True, 'aug_scale_min': 0.8, 'aug_scale_max': 1.25},
            },
            'validation_data': {
                **data,
                'input_path': f'{args.records}/val-*',
                'is_training': False,
                'drop_remainder': False,
            },
        },
        'trainer': {
            'train_steps': args.steps,
            'validation_steps': -1,
            'steps_per_loop': args.steps_per_loop,
            'optimizer_config': {
                'optimizer': {'type': 'adam', 'adam': {'global_clipnorm': 10.0}},
                'learning_rate': {
                    'type': 'cosine',
                    'cosine': {'initial_learning_rate': 2e-3, 'decay_steps': args.steps},
                },
                'warmup': {
                    'type': 'linear',
                    'linear': {'warmup_steps': max(1, args.steps // 20)},
                },
            },
        },
    }


def seed_everything(args: argparse.Namespace) -> None:
    """Seeds initial weights; the data has the seed in its config."""
    keras = importlib.import_module('keras' if args.package == 'official_lite' else 'tf_keras')
    keras.utils.set_random_seed(args.seed)
    if args.package == 'official_lite':
        measure.load('official_lite', 'core.randomness').set_run_seed(args.seed)


def train_once(args: argparse.Namespace) -> dict[str, float]:
    """Trains and evaluates in this process."""
    tf = importlib.import_module('tensorflow')
    if args.package == 'official':
        measure.load('official', 'vision.registry_imports')
    config = measure.load(args.package, 'core.exp_factory').get_exp_config('retinanet')
    config.override(make_overrides(args))
    seed_everything(args)
    measure.load(args.package, 'modeling.performance').set_mixed_precision_policy(args.precision)
    base_trainer = measure.load(args.package, 'core.base_trainer')
    with tf.distribute.OneDeviceStrategy('cpu:0').scope():
        task = measure.load(args.package, 'core.task_factory').get_task(config.task)
        model = task.build_model()
        optimizer = task.create_optimizer(config.trainer.optimizer_config, config.runtime)
        trainer = base_trainer.Trainer(config, task, model, optimizer, train=True, evaluate=True)
    start = time.time()
    losses = [
        float(trainer.train(tf.constant(args.steps_per_loop))['total_loss'])
        for _ in range(args.steps // args.steps_per_loop)
    ]
    trained = time.time()
    logs = trainer.evaluate(tf.constant(-1))
    return {
        'AP': float(logs['AP']),
        'AP50': float(logs['AP50']),
        'last_loss': losses[-1],
        'parameters': float(sum(int(tf.size(v)) for v in model.trainable_variables)),
        'train_secs': trained - start,
        'evaluation_secs': time.time() - trained,
    }


def train_in_process(python: str, package: str, arguments: list[str]) -> dict[str, float]:
    """One training in a process of its own, with its wall time."""
    command = [python, __file__, f'--package={package}', *arguments]
    environment = {**os.environ, 'PYTHONPATH': str(_HERE.parent)}
    start = time.time()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=_HERE)
    if done.returncode:
        raise SystemExit(f'{" ".join(command)} failed:\n{done.stderr[-4000:]}')
    figures = json.loads(done.stdout.strip().splitlines()[-1])
    return {**figures, 'wall_secs': time.time() - start}


def compare(args: argparse.Namespace, records: str) -> dict[str, list[dict[str, float]]]:
    """All trainings, the packages in turn."""
    pythons = {'official_lite': sys.executable, 'official': run.ensure_garden(args.garden_python)}
    runs: dict[str, list[dict[str, float]]] = {package: [] for package in pythons}
    for seed in range(args.seeds):
        for package, python in pythons.items():
            arguments = [f'--{n}={getattr(args, n)}' for n in ('steps', 'precision')]
            arguments += [f'--seed={seed}', f'--records={records}']
            figures = train_in_process(python, package, arguments)
            runs[package].append(figures)
            text = ', '.join(f'{key} {value:.4g}' for key, value in figures.items())
            print(f'{package:14} seed {seed}: {text}', flush=True)
    return runs


def summarise(runs: dict[str, list[dict[str, float]]]) -> None:
    """Prints mean and spread of AP, and wall times, of each package."""
    for package, figures in runs.items():
        aps = [f['AP'] for f in figures]
        secs = statistics.mean(f['wall_secs'] for f in figures)
        print(
            f'{package:14} AP {statistics.mean(aps):.3f} ({min(aps):.3f} to {max(aps):.3f}), '
            f'{secs:.0f} s'
        )


def main() -> None:
    """Trains once in this process, or everything in processes of their own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--data', help='folder of BCCD: Annotations, ImageSets, JPEGImages')
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--steps', type=int, default=600)
    parser.add_argument('--precision', choices=['float32', 'bfloat16'], default='bfloat16')
    parser.add_argument('--garden_python')
    parser.add_argument('--package', choices=['official_lite', 'official'])
    parser.add_argument('--records')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    args.steps_per_loop = min(args.steps, 50)
    if args.package:
        print(json.dumps(train_once(args)))
        return
    if not args.data:
        parser.error('--data is required')
    with tempfile.TemporaryDirectory() as records:
        write_records(args.data, records)
        runs = compare(args, records)
    summarise(runs)
    today = datetime.date.today().isoformat()
    result = {'date': today, 'machine': run.describe_machine(), 'steps': args.steps}
    result |= {'precision': args.precision, 'batch_size': _BATCH_SIZE, 'runs': runs}
    path = _HERE / 'results' / f'{today}-bccd.json'
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + '\n')


if __name__ == '__main__':
    main()
