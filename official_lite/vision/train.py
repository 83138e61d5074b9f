"""Model Garden's entry point for a program of your own, which imports what it registers:

    from absl import app
    from official_lite.common import flags as tfm_flags
    from official_lite.vision import train
    from my_project import my_task  # registers an experiment and a task

    if __name__ == '__main__':
        tfm_flags.define_flags()
        app.run(train.main)

`python train.py --import=my_project.my_task` needs no such program.
"""

from __future__ import annotations

from absl import flags

from official_lite.cli import reporting
from official_lite.cli import train as train_command
from official_lite.common import flags as common_flags

__all__ = ['main']


@reporting.command
def main(argv: list[str]) -> None:
    """Trains or evaluates what absl's flags say; returns the exit code.

    Args:
        argv: Program name, and arguments that are no flags, of which there is none.
    """
    del argv
    values = flags.FLAGS
    if 'experiment' not in values:
        common_flags.define_flags()
    if not values.is_parsed():
        values.mark_as_parsed()
    train_command.run(values)
