"""Measures `official-lite data convert` with 1, 2, 4, ... threads; prints one JSON object.

python benchmarks/convert.py coco:DIR/train.json [ROUNDS]
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

from official_lite.cli import arguments, data_arguments
from official_lite.vision.data import convert


def main(argv: list[str]) -> None:
    """Converts the same data with each number of threads in turn, a few times; the best counts."""
    flags = ['convert', f'--source={argv[1]}']
    values, _ = arguments.parse_flags(flags, data_arguments.define_data_flags, '')
    source = data_arguments.build_source(data_arguments.parse_data(values))
    num_images = source.info.num_examples
    num_rounds = int(argv[2]) if len(argv) > 2 else 3
    num_cores = len(os.sched_getaffinity(0))
    threads = [n for n in (1, 2, 4, 8, 16, 32) if n <= 2 * num_cores]
    best: dict[int, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(num_rounds):
            for num_workers in threads:
                start, start_cpu = time.perf_counter(), time.process_time()
                convert.convert_to_tfrecords(
                    source, f'{folder}/x', num_workers=num_workers, overwrite=True
                )
                rate = num_images / (time.perf_counter() - start)
                cpu_ms = 1e3 * (time.process_time() - start_cpu) / num_images
                best[num_workers] = max(best.get(num_workers, (0.0, 0.0)), (rate, cpu_ms))
    rows = {
        str(n): {'images_per_sec': round(rate, 1), 'cpu_ms_per_image': round(cpu_ms, 2)}
        for n, (rate, cpu_ms) in best.items()
    }
    load = os.getloadavg()[0]
    print(json.dumps({'num_images': num_images, 'cores': num_cores, 'load': load, 'threads': rows}))


if __name__ == '__main__':
    main(sys.argv)
