"""Images per second out of the input pipelines of both packages, and the limit beside each.

    python benchmarks/input.py [--rounds=2] [--garden_python=PATH] [--records=FOLDER]

RetinaNet at 256 and 640 px (ours as it leaves the pipeline, and with our compiled labelling of the
anchors, which tf-models-official does in its pipeline), and image classification at 224 px. The
limits are what TensorFlow does with the same files and nothing else: decoding, and decoding,
resizing and rounding. Milliseconds of processor time per image stand beside the rates, because they
depend less on what else the machine does. Prints a table and writes `results/DATE-input.json`.

With --package and --what it measures one thing in this process and prints one line of JSON.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import measure
import run

_HERE = pathlib.Path(__file__).resolve().parent
_WHAT = ('retinanet_256', 'retinanet_640', 'classification_224')
_WARM_UP, _REPEATS = 10, 3


def time_batches(
    next_batch: Callable[[], Any], batch_size: int, num_batches: int
) -> dict[str, float]:
    """Images per second and milliseconds of processor time per image: the best of three."""
    for _ in range(_WARM_UP):
        next_batch()
    secs, cpu_secs = [], []
    for _ in range(_REPEATS):
        start, cpu_start = time.time(), time.process_time()
        for _ in range(num_batches):
            next_batch()
        secs.append(time.time() - start)
        cpu_secs.append(time.process_time() - cpu_start)
    num_images = batch_size * num_batches
    return {
        'images_per_sec': num_images / min(secs),
        'cpu_ms_per_image': 1e3 * min(cpu_secs) / num_images,
    }


def name(figures: dict[str, float], prefix: str) -> dict[str, float]:
    """The figures with what they belong to before their names."""
    return {f'{prefix}_{key}': value for key, value in figures.items()}


def measure_retinanet(args: argparse.Namespace, size: int) -> dict[str, float]:
    """The training pipeline of RetinaNet; ours also with labelled anchors."""
    args.task, args.size, args.precision = 'retinanet', size, 'float32'
    config = measure.make_config(args)
    task = measure.load(args.package, 'core.task_factory').get_task(config.task)
    batches = iter(task.build_inputs(config.task.train_data))
    figures = time_batches(lambda: next(batches), args.batch, 60)
    if args.package == 'official':
        return {**name(figures, 'plain'), **name(figures, 'labelled')}  # its are labelled always
    label = make_labeller(size)
    labelled = task.build_inputs(config.task.train_data).map(
        lambda images, labels: (images, labels, label(labels['boxes'], labels['classes'])),
        num_parallel_calls=2,  # of batches; tf-models-official labels as many images at a time
    )
    labelled_batches = iter(labelled.prefetch(2))
    return {
        **name(figures, 'plain'),
        **name(time_batches(lambda: next(labelled_batches), args.batch, 60), 'labelled'),
    }


def make_labeller(size: int) -> Callable[..., Any]:
    """Labels the anchors of a batch: what the train step does with what our pipeline yields."""
    import tensorflow as tf

    from official_lite.vision.ops import anchor

    generator = anchor.build_anchor_generator(3, 7, 3, [0.5, 1.0, 2.0], 4.0)
    anchors = generator([size, size])
    label = tf.function(lambda boxes, classes: anchor.label_anchors_batch(anchors, boxes, classes))
    for length in (8, 16):  # the lengths that occur; compiled before the clock runs
        label(tf.fill([4, length, 4], -1.0), tf.fill([4, length], -1))
    return label


def measure_classification(args: argparse.Namespace) -> dict[str, float]:
    """The training pipeline of the ResNet experiment: random crops, 224 px, batches of 32."""
    args.task, args.size, args.precision = 'classification', 224, 'float32'
    args.batch = 32
    config = measure.make_config(args)
    task = measure.load(args.package, 'core.task_factory').get_task(config.task)
    batches = iter(task.build_inputs(config.task.train_data))
    return name(time_batches(lambda: next(batches), 32, 20), 'plain')


def measure_limits(args: argparse.Namespace) -> dict[str, float]:
    """What decoding alone costs, and decoding with resizing and rounding, at each size."""
    import tensorflow as tf

    feature = {'image/encoded': tf.io.FixedLenFeature((), tf.string)}
    paths = sorted(tf.io.gfile.glob(f'{args.records}/*.tfrecord'))
    records = tf.data.TFRecordDataset(paths).map(
        lambda r: tf.io.parse_single_example(r, feature)['image/encoded']
    )
    images = tf.data.Dataset.from_tensor_slices(list(records.as_numpy_iterator())).repeat()

    def rate(function: Callable[[tf.Tensor], tf.Tensor]) -> dict[str, float]:
        dataset = images.map(function, num_parallel_calls=tf.data.AUTOTUNE)
        iterator = iter(dataset.batch(4).prefetch(tf.data.AUTOTUNE))
        return time_batches(lambda: next(iterator), 4, 60)

    def resize(height: int, width: int) -> Callable[[tf.Tensor], tf.Tensor]:
        def decode_and_resize(data: tf.Tensor) -> tf.Tensor:
            image = tf.image.resize(tf.io.decode_jpeg(data, 3), [height, width])
            return tf.cast(image + 0.5, tf.uint8)

        return decode_and_resize

    figures = name(rate(lambda data: tf.io.decode_jpeg(data, 3)[0, 0]), 'decode')
    # The mean size of scale jitter between 0.8 and 1.2 is about the size without it.
    figures |= name(rate(resize(192, 256)), 'decode_resize_256')
    return figures | name(rate(resize(476, 636)), 'decode_resize_640')


def measure_one(args: argparse.Namespace) -> dict[str, float]:
    """What --what asks for."""
    if args.what == 'limits':
        return measure_limits(args)
    if args.what == 'classification_224':
        return measure_classification(args)
    return measure_retinanet(args, int(args.what.removeprefix('retinanet_')))


def measure_in_process(python: str, package: str, what: str, records: str) -> dict[str, float]:
    """The figures of a process of its own."""
    command = [python, __file__, f'--package={package}', f'--what={what}', f'--records={records}']
    environment = {**os.environ, 'PYTHONPATH': str(_HERE.parent)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=_HERE)
    if done.returncode:
        raise SystemExit(f'{" ".join(command)} failed:\n{done.stderr[-4000:]}')
    return json.loads(done.stdout.strip().splitlines()[-1])


def compare(args: argparse.Namespace, records: str) -> list[list[Any]]:
    """Rows of what, figure, ours, theirs, ratio; the limits have no counterpart."""
    pythons = {'official_lite': sys.executable, 'official': run.ensure_garden(args.garden_python)}
    limits = measure_in_process(sys.executable, 'official_lite', 'limits', records)
    rows: list[list[Any]] = [['limit', key, value, None, None] for key, value in limits.items()]
    for what in _WHAT:
        runs: dict[str, list[dict[str, float]]] = {package: [] for package in pythons}
        for _ in range(args.rounds):
            for package, python in pythons.items():
                runs[package].append(measure_in_process(python, package, what, records))
        for key in runs['official_lite'][0]:
            ours, theirs = (
                statistics.median(figures[key] for figures in runs[package])
                for package in ('official_lite', 'official')
            )
            ratio = ours / theirs if key.endswith('per_sec') else theirs / ours
            rows.append([what, key, ours, theirs, ratio])
    return rows


def main() -> None:
    """Measures one thing, or everything in both packages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rounds', type=int, default=2)
    parser.add_argument('--garden_python')
    parser.add_argument('--records', help='folder of TFRecords; None: they are made')
    parser.add_argument('--package', choices=['official_lite', 'official'])
    parser.add_argument('--what', choices=[*_WHAT, 'limits'])
    parser.add_argument('--batch', type=int, default=4)
    args = parser.parse_args()
    if args.what:
        print(json.dumps(measure_one(args)))
        return
    with tempfile.TemporaryDirectory() as folder:
        records = args.records or folder
        if not args.records:
            subprocess.run([sys.executable, str(_HERE / 'make_records.py'), folder], check=True)
        rows = compare(args, records)
    for what, figure, ours, theirs, ratio in rows:
        beside = '' if theirs is None else f'{theirs:10.2f} {ratio:8.2f}x'
        print(f'{what:20} {figure:38} {ours:10.2f} {beside}')
    today = datetime.date.today().isoformat()
    result = {'date': today, 'machine': run.describe_machine(), 'rounds': args.rounds}
    result['columns'] = ['what', 'figure', 'official_lite', 'tf-models-official', 'times better']
    result['rows'] = rows
    path = _HERE / 'results' / f'{today}-input.json'
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + '\n')


if __name__ == '__main__':
    main()
