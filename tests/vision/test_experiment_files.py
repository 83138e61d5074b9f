"""The YAML files that come with the package for COCO: they load, fit together and build."""

from __future__ import annotations

import pathlib

import pytest
import yaml

from official_lite.core import parsing
from official_lite.vision.configs import retinanet as retinanet_cfg

# Parameters with 81 classes: those of Model Garden's parts (test_garden_yaml), whose head has 91,
# less 90 outputs of the class convolution (10 classes for each of 9 anchors): 90 * (inputs + 1),
# with a 3x3 kernel's 9 inputs per channel unless separable.
PARAMETERS = {
    'coco_resnet50fpn': 23_561_152 + 3_873_792 + 6_732_375 - 90 * (9 * 256 + 1),
    'coco_mobilenetv2': 2_257_984 + 149_056 + 274_391 - 90 * (128 + 1),
    'coco_spinenet49': 21_920_192 + 6_732_375 - 90 * (9 * 256 + 1),
    'coco_spinenet49_mobile': 2_313_892 + 72_711 - 90 * (48 + 1),
}
COCO_TRAIN_EXAMPLES = 118_287


def _parse(name: str) -> parsing.ParsedExperiment:
    options = parsing.ParseConfigOptions(experiment='', config_file=[f'retinanet/{name}.yaml'])
    parsed = parsing.parse_experiment(options)
    parsed.config.validate()
    return parsed


def test_all_coco_files_are_listed() -> None:
    names = {pathlib.Path(name).stem for name in parsing.list_config_files()}
    assert {name for name in names if name.startswith('coco_')} == set(PARAMETERS)


@pytest.mark.parametrize('name', PARAMETERS)
def test_schedule_fits_the_batch(name: str) -> None:
    """Whole epochs; learning rate in proportion to the batch, 0.32 at 256 images."""
    config = _parse(name).config
    batch = config.task.train_data.global_batch_size
    steps_per_epoch = COCO_TRAIN_EXAMPLES // batch
    assert config.trainer.train_steps % steps_per_epoch == 0
    schedule = config.trainer.optimizer_config.learning_rate.get()
    assert [boundary % steps_per_epoch for boundary in schedule.boundaries] == [0, 0]
    assert schedule.boundaries[-1] < config.trainer.train_steps
    assert schedule.values == pytest.approx([0.32 * batch / 256 / 10**n for n in range(3)])
    for interval in (config.trainer.validation_interval, config.trainer.checkpoint_interval):
        assert interval % steps_per_epoch == 0


@pytest.mark.parametrize('name', PARAMETERS)
def test_header_says_what_and_how(name: str) -> None:
    path = parsing.find_config_file(f'retinanet/{name}.yaml')
    text = pathlib.Path(path).read_text()
    header = text[: text.index('\nexperiment:')]
    assert f'python train.py --config_file=retinanet/{name}.yaml' in header
    assert 'not yet measured' in header
    assert 'GPUs with' in header
    assert 'experiment' in yaml.safe_load(text)


@pytest.mark.parametrize('name', PARAMETERS)
def test_builds(name: str) -> None:
    import keras

    from official_lite.vision.modeling import factory

    task = _parse(name).config.task
    assert isinstance(task, retinanet_cfg.RetinaNetTask)
    assert task.model.num_classes == 0  # from the data
    config = task.model.replace(num_classes=81)
    model = factory.build_retinanet(keras.layers.InputSpec(shape=[None, 128, 256, 3]), config)
    assert model.count_params() == PARAMETERS[name]
