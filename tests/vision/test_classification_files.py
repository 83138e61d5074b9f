"""The YAML files of image classification that come with the package: they load and fit together."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from official_lite.core import parsing

FOLDER = 'image_classification'
IMAGENET = ['imagenet_mobilenetv2', 'imagenet_resnet50', 'imagenet_resnetrs50']
OWN = ['own_images', 'sign_digits']
TRAIN_EXAMPLES = 1_281_167


def parse(name: str) -> Any:
    options = parsing.ParseConfigOptions(experiment='', config_file=[f'{FOLDER}/{name}.yaml'])
    config = parsing.parse_experiment(options).config
    config.validate()
    return config


def read_header(name: str) -> str:
    text = pathlib.Path(parsing.find_config_file(f'{FOLDER}/{name}.yaml')).read_text()
    return text[: text.index('\nexperiment:')]


def test_all_files_are_listed() -> None:
    names = {
        pathlib.Path(name).stem
        for name in parsing.list_config_files()
        if name.startswith(f'{FOLDER}/')
    }
    assert names == {*IMAGENET, *OWN}


@pytest.mark.parametrize('name', IMAGENET)
def test_schedule_fits_the_batch(name: str) -> None:
    """Whole epochs; learning rate in proportion to the batch."""
    config = parse(name)
    garden = parsing.parse_experiment(
        parsing.ParseConfigOptions(experiment=read_experiment(name), config_file=[])
    ).config
    steps_per_epoch = TRAIN_EXAMPLES // config.task.train_data.global_batch_size
    their_steps_per_epoch = TRAIN_EXAMPLES // garden.task.train_data.global_batch_size
    epochs = config.trainer.train_steps / steps_per_epoch
    assert epochs == garden.trainer.train_steps / their_steps_per_epoch
    assert config.trainer.checkpoint_interval == steps_per_epoch
    ratio = config.task.train_data.global_batch_size / garden.task.train_data.global_batch_size
    ours, theirs = (
        c.trainer.optimizer_config.learning_rate.get().as_dict() for c in (config, garden)
    )
    for field in ('initial_learning_rate', 'values'):
        if field in theirs:
            scaled = theirs[field]
            scaled = [ratio * rate for rate in scaled] if field == 'values' else ratio * scaled
            assert ours[field] == pytest.approx(scaled)
    warmup = config.trainer.optimizer_config.warmup.linear.warmup_steps
    assert warmup == 5 * steps_per_epoch


def read_experiment(name: str) -> str:
    text = pathlib.Path(parsing.find_config_file(f'{FOLDER}/{name}.yaml')).read_text()
    return text[text.index('\nexperiment: ') :].split()[1]


@pytest.mark.parametrize('name', [*IMAGENET, *OWN])
def test_header_says_what_and_how(name: str) -> None:
    parse(name)
    header = read_header(name)
    assert f'python train.py --config_file={FOLDER}/{name}.yaml' in header
    assert 'not yet measured' in header or 'Measured on' in header


@pytest.mark.parametrize('name', OWN)
def test_both_splits_are_of_one_folder(name: str) -> None:
    task = parse(name).task
    train, validation = (data.source.folder for data in (task.train_data, task.validation_data))
    assert (train.split, validation.split) == ('train', 'validation')
    assert train.validation_share == validation.validation_share
    assert validation.root == ''
