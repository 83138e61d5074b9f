"""Stands in for a training: evaluations of a formula of the config, in a tenth of a second.

    python fake_trial.py DIR [--evaluations=3] [--delay=0.0] [--end=ok|crash|kill|hang]

`AP` is highest at a learning rate of 1e-3 and grows with each evaluation. Like a real trial it goes on
where it was, ends with its parent, and saves when it is asked to stop.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import pathlib
import signal
import sys
import threading
import time
from typing import Any

import yaml


def get(tree: dict[str, Any], path: str, default: float) -> Any:
    """The value at a dotted path."""
    node: Any = tree
    for name in path.split('.'):
        node = node.get(name) if isinstance(node, dict) else None
    return default if node is None else node


def watch_parent() -> None:
    """Ends with standard input."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os._exit(3)


def main() -> None:
    """Writes evaluations, then ends as it is told."""
    parser = argparse.ArgumentParser()
    parser.add_argument('folder', type=pathlib.Path)
    parser.add_argument('--evaluations', type=int, default=3)
    parser.add_argument('--delay', type=float, default=0.0)
    parser.add_argument('--end', default='ok')
    args = parser.parse_args()
    threading.Thread(target=watch_parent, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
    config = yaml.safe_load((args.folder / 'config.yaml').read_text())
    rates = 'trainer.optimizer_config.learning_rate.cosine.initial_learning_rate'
    rate = float(get(config, rates, 8e-3))
    best = 1.0 - abs(math.log10(rate) + 3.0) / 10.0
    path = args.folder / 'metrics.jsonl'
    done = len(path.read_text().splitlines()) // 2 if path.exists() else 0
    for index in range(done, args.evaluations):
        time.sleep(args.delay)
        metrics = {'eval/AP': best * (index + 1) / args.evaluations, 'eval/loss': 1.0 - best}
        with path.open('a') as file:
            file.write(json.dumps({'step': (index + 1) * 10, 'loss': 1.0}) + '\n')
            file.write(json.dumps({'step': (index + 1) * 10, **metrics}) + '\n')
    if args.end == 'crash':
        print('error: task.model: this model\n  cannot be built', flush=True)
        sys.exit(1)
    if args.end == 'kill':
        os.kill(os.getpid(), signal.SIGKILL)
    if args.end == 'hang':
        time.sleep(600)


if __name__ == '__main__':
    main()
