"""Every experiment of image classification trains and evaluates in a tiny form."""

from __future__ import annotations

import json
import pathlib

import pytest

from official_lite.cli import train
from official_lite.core import exp_factory
from official_lite.vision.configs import image_classification as exp_cfg
from tests.vision.dataloaders import class_makers

pytestmark = pytest.mark.usefixtures('own_cache')

BACKBONE = 'task.model.backbone'
_VIT = f'{BACKBONE}.vit.model_name=vit-ti16'
# What is made smaller; models are the experiment's own, or the smallest of the same kind.
EXPERIMENTS = {
    'image_classification': (
        f'{BACKBONE}.type=resnet,{BACKBONE}.resnet.model_id=10,task.model.input_size=[64,64,3],'
        'trainer.optimizer_config.optimizer.type=sgd,'
        'trainer.optimizer_config.learning_rate.type=constant,'
        'trainer.optimizer_config.learning_rate.constant.learning_rate=0.01'
    ),
    'resnet_imagenet': f'{BACKBONE}.resnet.model_id=10',
    'resnet_rs_imagenet': f'{BACKBONE}.resnet.model_id=10',
    'revnet_imagenet': f'{BACKBONE}.revnet.model_id=38',
    'mobilenet_imagenet': f'{BACKBONE}.mobilenet.filter_size_scale=0.5',
    'deit_imagenet_pretrain': _VIT,
    'vit_imagenet_pretrain': _VIT,
    'vit_imagenet_finetune': _VIT,
    'classification_custom': '',
}
ORDINARY = ('mobilenet_imagenet', 'classification_custom')
TWO_STEPS = (
    'trainer.train_steps=2,trainer.steps_per_loop=1,trainer.validation_steps=2,'
    'trainer.validation_interval=2,trainer.checkpoint_interval=2,trainer.summary_interval=2,'
    'runtime.mixed_precision_dtype=float32'
)


def test_all_experiments_are_listed() -> None:
    names = [
        name
        for name in exp_factory.list_experiments()
        if isinstance(exp_factory.get_exp_config(name).task, exp_cfg.ImageClassificationTask)
    ]
    assert set(names) == set(EXPERIMENTS)


@pytest.fixture
def records(tmp_path: pathlib.Path) -> str:
    found = [
        class_makers.make_record(class_makers.make_image(n, label=n % 4), [n % 4]) for n in range(6)
    ]
    return class_makers.write_records(tmp_path / 'a.tfrecord', found)


@pytest.mark.parametrize(
    'name',
    [
        name if name in ORDINARY else pytest.param(name, marks=pytest.mark.slow)
        for name in EXPERIMENTS
    ],
)
def test_experiments(records: str, tmp_path: pathlib.Path, name: str) -> None:
    data = f"input_path='{records}',global_batch_size=2,source.type=null"
    overrides = [
        EXPERIMENTS[name],
        TWO_STEPS,
        'task.init_checkpoint=null,' if name != 'image_classification' else '',
        *(
            ','.join(f'task.{part}.{item}' for item in data.split(','))
            for part in ('train_data', 'validation_data')
        ),
    ]
    overrides += ['task.model.num_classes=4']
    if name not in ('classification_custom', 'image_classification'):
        overrides.append('task.model.input_size=[64,64,3]')
    flags = [f'--params_override={text.strip(",")}' for text in overrides if text]
    model_dir = tmp_path / 'run'
    arguments = ['--mode=train_and_eval', f'--model_dir={model_dir}', *flags]
    assert train.main(['train.py', f'--experiment={name}', *arguments]) == 0
    assert (model_dir / 'ckpt-2.index').is_file()
    lines = [json.loads(line) for line in (model_dir / 'metrics.jsonl').read_text().splitlines()]
    assert any('eval/accuracy' in line and 'eval/top_5_accuracy' in line for line in lines)
