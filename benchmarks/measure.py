"""Times one thing in one package: official_lite, or tf-models-official, whose import paths are the same.

    python benchmarks/measure.py --package=official_lite --what=train --records=R --size=256 --precision=float32
    python benchmarks/measure.py ... --task=classification --size=224 --batch=8

Prints one line of JSON with the figures. `run.py` calls this in turn for both packages.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import tempfile
import time
import types
from typing import Any

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

_STEPS_PER_LOOP = 5
_LOOPS = 3


def load(package: str, module: str) -> types.ModuleType:
    """The module of that name in the package that is measured."""
    return importlib.import_module(f'{package}.{module}')


# What is measured of each task: the experiment, and what of its task is not its own.
_EXPERIMENTS: dict[str, tuple[str, dict[str, Any]]] = {
    'retinanet': (
        'retinanet_resnetfpn_coco',
        {
            'annotation_file': None,
            'model': {'detection_generator': {'pre_nms_score_threshold': 0.005}},
        },
    ),
    'maskrcnn': (
        'maskrcnn_resnetfpn_coco',
        {
            'annotation_file': None,
            'model': {'detection_generator': {'pre_nms_score_threshold': 0.005}},
            'validation_data': {'num_examples': 256},
        },
    ),
    'classification': ('resnet_imagenet', {}),
    'segmentation': (
        'seg_deeplabv3_pascal',
        {'model': {'backbone': {'dilated_resnet': {'model_id': 50}}}},
    ),
    'mobilenet_segmentation': ('mnv2_deeplabv3_pascal', {}),
    'mobilenet': ('mobilenet_imagenet', {}),
    'vit': ('vit_imagenet_pretrain', {'model': {'backbone': {'vit': {'model_name': 'vit-s16'}}}}),
}


def make_config(args: argparse.Namespace, shuffle_buffer_size: int = 64) -> Any:
    """The experiment of a task on one device, as both packages name it.

    RetinaNet-R50-FPN or Mask R-CNN-R50-FPN with 91 classes; ResNet-50, MobileNetV2 or ViT-S/16 with 1,001; DeepLabV3 on a
    ResNet-50 or a MobileNetV2 with 21.
    """
    if args.package == 'official':
        load('official', 'vision.registry_imports')
    experiment, changes = _EXPERIMENTS[args.task]
    config = load(args.package, 'core.exp_factory').get_exp_config(experiment)
    config.override({'task': changes})
    data = {
        'input_path': f'{args.records}/*.tfrecord',
        'global_batch_size': args.batch,
        'dtype': 'float32',
        'shuffle_buffer_size': shuffle_buffer_size,
    }
    if args.task.endswith('segmentation'):
        data['output_size'] = [args.size, args.size]
    config.override(
        {
            'runtime': {
                'distribution_strategy': 'one_device',
                'num_gpus': 0,
                'mixed_precision_dtype': args.precision,
            },
            'task': {
                'init_checkpoint': '',
                'model': {
                    'input_size': [args.size, args.size, 3],
                    'norm_activation': {'use_sync_bn': False},
                },
                'train_data': data,
                'validation_data': dict(data),
            },
            'trainer': {'steps_per_loop': _STEPS_PER_LOOP},
        }
    )
    return config


def build_trainer(args: argparse.Namespace, config: Any, *, train: bool) -> tuple[Any, Any]:
    """The task and its trainer, under a strategy of one CPU."""
    tf = importlib.import_module('tensorflow')
    task_factory = load(args.package, 'core.task_factory')
    base_trainer = load(args.package, 'core.base_trainer')
    load(args.package, 'modeling.performance').set_mixed_precision_policy(args.precision)
    with tf.distribute.OneDeviceStrategy('cpu:0').scope():
        # Where tf-models-official writes the ground truth of masks.
        task = task_factory.get_task(config.task, logging_dir=tempfile.mkdtemp())
        model = task.build_model()
        optimizer = task.create_optimizer(config.trainer.optimizer_config, config.runtime)
        trainer = base_trainer.Trainer(
            config, task, model, optimizer, train=train, evaluate=not train
        )
    return task, trainer


def measure_train(args: argparse.Namespace) -> dict[str, float]:
    """Start to the end of the first step, then the rate of the following steps.

    The shuffle buffer is the experiment's own.
    """
    begin = time.time()
    if args.package == 'official_lite':  # What its train.py does first.
        load('official_lite', 'core.garbage').start()
    tf = importlib.import_module('tensorflow')
    config = make_config(args, shuffle_buffer_size=10_000)
    imported = time.time()
    _, trainer = build_trainer(args, config, train=True)
    built = time.time()
    trainer.train(tf.constant(1))
    first = time.time()
    loops = []
    for _ in range(_LOOPS):
        start = time.time()
        trainer.train(tf.constant(_STEPS_PER_LOOP))
        loops.append((time.time() - start) / _STEPS_PER_LOOP)
    return {
        'import_secs': imported - begin,
        'build_secs': built - imported,
        'first_step_secs': first - built,
        'start_to_first_step_secs': first - begin,
        'train_images_per_sec': args.batch / min(loops),
    }


def measure_evaluate(args: argparse.Namespace) -> dict[str, float]:
    """The first call of the evaluation with COCO metrics, then its rate over 16 batches."""
    tf = importlib.import_module('tensorflow')
    _, trainer = build_trainer(args, make_config(args), train=False)
    times = []
    for batches in (1, 16, 16):
        start = time.time()
        trainer.evaluate(tf.constant(batches))
        times.append(time.time() - start)
    return {
        'first_evaluation_secs': times[0],
        'evaluation_images_per_sec': 16 * args.batch / min(times[1:]),
    }


def measure_limit(args: argparse.Namespace) -> dict[str, float]:
    """What no package can exceed: the convolutions of a step alone, the forward pass alone."""
    import limits

    return limits.measure_limits(make_config(args), args.size, args.batch, args.precision)


def main() -> None:
    """Measures one thing and prints its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--package', choices=['official_lite', 'official'], required=True)
    parser.add_argument('--what', choices=['train', 'evaluate', 'limit'], required=True)
    parser.add_argument('--task', choices=list(_EXPERIMENTS), default='retinanet')
    parser.add_argument('--records', required=True, help='folder of TFRecords')
    parser.add_argument('--size', type=int, default=256, help='height and width, pixels')
    parser.add_argument('--batch', type=int, default=4)
    parser.add_argument('--precision', choices=['float32', 'bfloat16'], default='float32')
    args = parser.parse_args()
    measures = {'train': measure_train, 'evaluate': measure_evaluate, 'limit': measure_limit}
    figures = measures[args.what](args)
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({**figures, 'peak_memory_gb': peak_kib * 1024 / 1e9}))


if __name__ == '__main__':
    main()
