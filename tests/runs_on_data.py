"""Tiny runs of `train.py` on data that may be wrong, and how they end."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Callable
from typing import Any

import pytest

from official_lite.cli import train
from official_lite.vision.dataloaders import sources, tfrecord_writer
from tests.vision.dataloaders import data_makers

TINY_MODEL = (
    'task.model.input_size=[32,32,3],task.model.min_level=3,task.model.max_level=3,'
    'task.model.backbone.resnet.depth_multiplier=0.125,task.model.decoder.fpn.num_filters=8,'
    'task.model.head.num_filters=8,task.model.head.num_convs=1,'
    'runtime.mixed_precision_dtype=float32'
)
SHORT = (
    'trainer.train_steps=2,trainer.steps_per_loop=1,trainer.validation_interval=2,'
    'trainer.checkpoint_interval=2,trainer.optimizer_config.warmup.type=null,'
    'task.train_data.global_batch_size=2,task.validation_data.global_batch_size=2'
)
TRAIN, VALIDATION = 'task.train_data', 'task.validation_data'
ANNOTATIONS = 'annotations.json'
RECORDS = 'part-00000-of-00001.tfrecord'


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        exit_code: What it returned.
        stdout: What it printed.
        stderr: What it complained of.
    """

    exit_code: int
    stdout: str
    stderr: str


def make_runner(capsys: pytest.CaptureFixture[str], folder: pathlib.Path) -> Callable[..., Outcome]:
    """A function that runs `train.py` in this process, with the model folder `folder / 'run'`."""

    def run_command(*overrides: str, **flags: Any) -> Outcome:
        sources.forget()
        exit_code = train.main(['train.py', *make_flags(folder, *overrides, **flags)])
        output = capsys.readouterr()
        return Outcome(exit_code, output.out, output.err)

    return run_command


def make_data(folder: pathlib.Path) -> pathlib.Path:
    """A folder with four images: `annotations.json`, `images/` and a TFRecord file."""
    table = data_makers.make_table([2, 1, 0, 3])
    data_makers.write_coco(table, folder)
    tfrecord_writer.write_tfrecords(tfrecord_writer.make_examples(table), folder / 'part')
    return folder


def make_flags(folder: pathlib.Path, *overrides: str, **flags: Any) -> list[str]:
    """The flags of a tiny run in `folder / 'run'`."""
    values = {'experiment': 'retinanet_custom', 'model_dir': folder / 'run', 'mode': 'train'}
    args = [f'--{name}={value}' for name, value in (values | flags).items()]
    return args + [f'--params_override={text}' for text in (TINY_MODEL, SHORT, *overrides)]


def coco(path: pathlib.Path | str, where: str = TRAIN, image_dir: str = '') -> str:
    """The overrides that read a COCO file."""
    field = f'{where}.source.coco'
    return (
        f"{where}.source.type=coco,{field}.annotation_file='{path}',{field}.image_dir='{image_dir}'"
    )


def tfrecord(path: pathlib.Path | str, where: str = TRAIN) -> str:
    """The overrides that read TFRecords."""
    return f"{where}.source.type=tfrecord,{where}.source.tfrecord.input_path='{path}'"


def check(outcome: Outcome, exit_code: int, message: str) -> None:
    """Checks exit code and message, and that it is the last thing said."""
    assert outcome.exit_code == exit_code, outcome.stderr
    assert 'Traceback' not in outcome.stderr
    assert outcome.stderr.count('error: ') == 1, outcome.stderr
    error = outcome.stderr.partition('error: ')[2]
    assert re.search(message, error), error
