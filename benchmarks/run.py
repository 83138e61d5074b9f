"""Runs official_lite and tf-models-official in turn on the same records and writes a dated result.

    python benchmarks/run.py [--rounds=2] [--only=train,evaluate,limit,classification,vit,...]
        [--garden_python=PATH] [--suffix=NAME]

tf-models-official gets a virtual environment of its own (`.venv-garden`) unless an interpreter that has it is named.
Nothing else should run on the machine. Ratios are the claim; absolute figures belong to one machine and day.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile

_REPO = pathlib.Path(__file__).resolve().parent.parent
_HERE = _REPO / 'benchmarks'
_GARDEN = ['tf-models-official==2.20.0', 'numpy<2.3']

_MASKRCNN = ['--task=maskrcnn', '--size=256', '--batch=2']
# Training steps besides RetinaNet's, by the name for --only.
_TASKS = {
    'classification': ['--task=classification', '--size=224', '--batch=8'],
    'segmentation': ['--task=segmentation', '--size=256', '--batch=4'],
    'maskrcnn': _MASKRCNN,
    'mobilenet': ['--task=mobilenet', '--size=224', '--batch=8'],
    'vit': ['--task=vit', '--size=224', '--batch=8'],
    'mobilenet_segmentation': ['--task=mobilenet_segmentation', '--size=256', '--batch=4'],
}

# What is measured: label, name for --only, arguments of measure.py.
_MEASUREMENTS = [
    ('train float32 256 px', 'train', ['--size=256', '--precision=float32']),
    ('train bfloat16 256 px', 'train', ['--size=256', '--precision=bfloat16']),
    ('evaluate float32 256 px', 'evaluate', ['--size=256', '--precision=float32']),
    ('evaluate bfloat16 256 px', 'evaluate', ['--size=256', '--precision=bfloat16']),
    ('limit float32 256 px', 'limit', ['--size=256', '--precision=float32']),
    ('limit bfloat16 256 px', 'limit', ['--size=256', '--precision=bfloat16']),
    *(
        (f'{task} train {precision}', task, [*arguments, f'--precision={precision}'])
        for task, arguments in _TASKS.items()
        for precision in ('float32', 'bfloat16')
    ),
    *(
        (
            f'maskrcnn evaluate {precision}',
            'maskrcnn',
            [*_MASKRCNN, '--what=evaluate', f'--precision={precision}'],
        )
        for precision in ('float32', 'bfloat16')
    ),
]


def ensure_garden(python: str | None) -> str:
    """An interpreter that has tf-models-official: the one given, or that of `.venv-garden`."""
    if python:
        return python
    folder = _REPO / '.venv-garden'
    if not (folder / 'bin/python').exists():
        subprocess.run([sys.executable, '-m', 'venv', str(folder)], check=True)
        subprocess.run([folder / 'bin/python', '-m', 'pip', 'install', '-q', *_GARDEN], check=True)
    return str(folder / 'bin/python')


def measure(python: str, package: str, what: str, arguments: list[str]) -> dict[str, float]:
    """The figures of one process; of a task, those of its training step."""
    what = what if what in ('train', 'evaluate', 'limit') else 'train'
    command = [python, str(_HERE / 'measure.py'), f'--package={package}', f'--what={what}']
    environment = {**os.environ, 'PYTHONPATH': str(_REPO)}
    done = subprocess.run(
        command + arguments,
        env=environment,
        cwd=tempfile.gettempdir(),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f'{" ".join(command)} failed:\n{done.stderr[-4000:]}')
    return json.loads(done.stdout.strip().splitlines()[-1])


def describe_machine() -> dict[str, object]:
    """What a reader needs to judge the figures."""
    lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
    names = [line.split(':')[1].strip() for line in lines if line.startswith('model name')]
    return {
        'cpu': names[0] if names else '',
        'cores': os.cpu_count(),
        'python': platform.python_version(),
    }


def main() -> None:
    """Measures everything `rounds` times in turn; prints and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rounds', type=int, default=2)
    names = ['train', 'evaluate', 'limit', *_TASKS]
    parser.add_argument('--only', default=','.join(names), help='of ' + ', '.join(names))
    parser.add_argument('--suffix', default='', help='of the name of the file of results')
    parser.add_argument('--garden_python')
    args = parser.parse_args()
    pythons = {'official_lite': sys.executable, 'official': ensure_garden(args.garden_python)}
    rows = []
    with tempfile.TemporaryDirectory() as records:
        subprocess.run([sys.executable, str(_HERE / 'make_records.py'), records], check=True)
        for label, what, arguments in _MEASUREMENTS:
            if what not in args.only.split(','):
                continue
            if what == 'limit':
                figures = measure(
                    sys.executable, 'official_lite', what, [*arguments, f'--records={records}']
                )
                for figure, value in figures.items():
                    rows.append([label, figure, value, None, None])
                    print(f'{label:26} {figure:32} {value:10.2f}', flush=True)
                continue
            runs: dict[str, list[dict[str, float]]] = {package: [] for package in pythons}
            for _ in range(args.rounds):
                for package, python in pythons.items():
                    figures = measure(python, package, what, [*arguments, f'--records={records}'])
                    runs[package].append(figures)
            for figure in runs['official_lite'][0]:
                ours, theirs = (
                    statistics.median(run[figure] for run in runs[package])
                    for package in ('official_lite', 'official')
                )
                rows.append([label, figure, ours, theirs, ours / theirs])
                print(
                    f'{label:26} {figure:32} {ours:10.2f} {theirs:10.2f} {ours / theirs:8.2f}x',
                    flush=True,
                )
    today = datetime.date.today().isoformat()
    result = {'date': today, 'machine': describe_machine(), 'rounds': args.rounds}
    result['columns'] = ['what', 'figure', 'official_lite', 'tf-models-official', 'ratio']
    result['rows'] = rows
    path = _HERE / 'results' / f'{today}{args.suffix and "-" + args.suffix}.json'
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + '\n')
    print(f'Written to {path.relative_to(_REPO)}')


if __name__ == '__main__':
    main()
