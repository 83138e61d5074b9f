"""Model Garden's experiments of segmentation train and evaluate in a tiny form, and so does its YAML."""

from __future__ import annotations

import json
import os
import pathlib

import pytest
import tensorflow as tf
import yaml

from official_lite.cli import train
from official_lite.core import parsing
from tests.vision.dataloaders import mask_makers, test_segmentation_records

RESNET = 'task.model.backbone.dilated_resnet.model_id=50'
SIZE = 'task.train_data.output_size=[64,64],task.validation_data.output_size=[64,64]'
CROP = f'{SIZE},task.train_data.crop_size=[64,64]'
POOL = 'task.model.decoder.aspp.pool_kernel_size=[64,64]'
EXPERIMENTS = {
    'seg_deeplabv3_pascal': f'{RESNET},{SIZE}',
    'seg_deeplabv3plus_pascal': f'{RESNET},{SIZE}',
    'seg_resnetfpn_pascal': 'task.model.input_size=[128,128,3],task.model.backbone.resnet.model_id=10',
    'mnv2_deeplabv3_pascal': SIZE,
    'seg_deeplabv3plus_cityscapes': f'{RESNET},{CROP},{POOL}',
    'mnv2_deeplabv3_cityscapes': f'{CROP},{POOL}',
    'mnv2_deeplabv3plus_cityscapes': f'{CROP},{POOL}',
}
ORDINARY = ('seg_resnetfpn_pascal',)
YAML = 'semantic_segmentation/deeplabv3plus_resnet101_cityscapes_gpu.yaml'


@pytest.fixture(autouse=True)
def own_cache(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('OFFICIAL_LITE_CACHE', str(tmp_path / 'cache'))


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
    assert any(key.endswith('iou/20' if 'pascal' in name else 'iou/18') for key in found), found


@pytest.fixture(scope='session')
def garden_yaml() -> pathlib.Path:
    """The folder of Model Garden's YAML files: OFFICIAL_LITE_GARDEN_YAML, or beside the data."""
    data = os.environ.get('OFFICIAL_LITE_DATA', '')
    default = pathlib.Path(data).parent / 'garden_yaml' if data else ''
    folder = pathlib.Path(os.environ.get('OFFICIAL_LITE_GARDEN_YAML') or default or '-')
    if not (folder / 'EXPERIMENTS.tsv').is_file():
        pytest.skip('OFFICIAL_LITE_GARDEN_YAML does not name a folder with EXPERIMENTS.tsv')
    return folder


def test_model_gardens_yaml_loads(garden_yaml: pathlib.Path) -> None:
    options = parsing.ParseConfigOptions(
        experiment='seg_deeplabv3plus_cityscapes', config_file=[str(garden_yaml / YAML)]
    )
    config = parsing.ExperimentParser(options).parse()
    config.validate()
    wanted = yaml.safe_load((garden_yaml / YAML).read_text())['task']
    found = config.task.as_dict()
    assert found['model']['backbone']['dilated_resnet'].items() >= (
        wanted['model']['backbone']['dilated_resnet'].items()
    )
    assert found['train_data'].items() >= wanted['train_data'].items()
    assert found['init_checkpoint'] is None


@pytest.mark.slow
def test_model_gardens_yaml_trains(
    garden_yaml: pathlib.Path, records: str, tmp_path: pathlib.Path
) -> None:
    found = _run(
        records,
        tmp_path / 'run',
        '--experiment=seg_deeplabv3plus_cityscapes',
        f'--config_file={garden_yaml / YAML}',
        f'--params_override={CROP},{POOL}',
    )
    assert any(key.endswith('mean_iou') for key in found), found
