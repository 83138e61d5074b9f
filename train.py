"""Trains or evaluates an experiment: flags -> config -> run.

    python train.py --experiment=retinanet_custom --mode=train_and_eval --model_dir=runs/digits

`--list_experiments` tells what there is, `--help` all flags.
"""

import sys

from official_lite.cli.train import main

if __name__ == '__main__':
    sys.exit(main())
