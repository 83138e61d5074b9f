"""Model Garden's experiments of segmentation train and evaluate in a tiny form."""

from __future__ import annotations

import json
import pathlib

import pytest
import tensorflow as tf

from official_lite.cli import train
from official_lite.core import exp_factory
from official_lite.vision.configs import semantic_segmentation as exp_cfg
from tests.vision.dataloaders import mask_makers, test_segmentation_records

pytestmark = pytest.mark.usefixtures('own_cache')

RESNET = 'task.model.backbone.dilated_resnet.model_id=50'
SIZE = 'task.train_data.output_size=[64,64],task.validation_data.output_size=[64,64]'
CROP = f'{SIZE},task.train_data.crop_size=[64,64]'
POOL = 'task.model.decoder.aspp.pool_kernel_size=[64,64]'
EXPERIMENTS = {
    'semantic_segmentation': (
        'task.model.num_classes=3,task.model.input_size=[64,64,3],'
        'task.model.backbone.resnet.model_id=10,'
        'trainer.optimizer_config.optimizer.type=sgd,'
        'trainer.optimizer_config.learning_rate.type=constant,'
        'trainer.optimizer_config.learning_rate.constant.learning_rate=0.01'
    ),
    'segmentation_custom': 'task.train_data.source.type=null,task.validation_data.source.type=null',
    'seg_deeplabv3_pascal': f'{RESNET},{SIZE}',
    'seg_deeplabv3plus_pascal': f'{RESNET},{SIZE}',
    'seg_resnetfpn_pascal': 'task.model.input_size=[128,128,3],task.model.backbone.resnet.model_id=10',
    'mnv2_deeplabv3_pascal': SIZE,
    'seg_deeplabv3plus_cityscapes': f'{RESNET},{CROP},{POOL}',
    'mnv2_deeplabv3_cityscapes': f'{CROP},{POOL}',
    'mnv2_deeplabv3plus_cityscapes': f'{CROP},{POOL}',
}
ORDINARY = ('seg_resnetfpn_pascal',)
LAST_CLASS = {'pascal': 20, 'cityscapes': 18}


@pytest.fixture
def records(tmp_path: pathlib.Path) -> str:
    with tf.io.TFRecordWriter(str(tmp_path / 'a.tfrecord')) as writer:
        for mask in mask_makers.make_masks():
            writer.write(test_segmentation_records.make_example(mask))
    return f'{tmp_path}/a.tfrecord'


def _run(records: str, model_dir: pathlib.Path, *args: str) -> set[str]:
    """Two steps and an evaluation; the names of what was logged."""
    flags = [
        'train.py',
        '--mode=train_and_eval',
        f'--model_dir={model_dir}',
        *args,
        f"--params_override=task.train_data.input_path='{records}',"
        f"task.validation_data.input_path='{records}',task.init_checkpoint='',"
        'task.train_data.global_batch_size=2,task.validation_data.global_batch_size=2',
        '--params_override=trainer.train_steps=2,trainer.steps_per_loop=1,'
        'trainer.validation_steps=2,trainer.validation_interval=2,trainer.checkpoint_interval=2,'
        'trainer.summary_interval=2,runtime.mixed_precision_dtype=float32',
    ]
    assert train.main(flags) == 0
    assert (model_dir / 'ckpt-2.index').is_file()
    lines = (model_dir / 'metrics.jsonl').read_text().splitlines()
    return {name for line in lines for name in json.loads(line)}


@pytest.mark.parametrize(
    'name',
    [
        name if name in ORDINARY else pytest.param(name, marks=pytest.mark.slow)
        for name in EXPERIMENTS
    ],
)
def test_experiments(records: str, tmp_path: pathlib.Path, name: str) -> None:
    found = _run(
        records,
        tmp_path / 'run',
        f'--experiment={name}',
        f'--params_override={EXPERIMENTS[name]}',
    )
    assert any(key.endswith('mean_iou') for key in found), found
    last = next((label for data, label in LAST_CLASS.items() if data in name), 2)
    assert any(key.endswith(f'iou/{last}') for key in found), found


def test_all_experiments_are_listed() -> None:
    names = [
        name
        for name in exp_factory.list_experiments()
        if isinstance(exp_factory.get_exp_config(name).task, exp_cfg.SemanticSegmentationTask)
    ]
    assert set(names) == set(EXPERIMENTS)
