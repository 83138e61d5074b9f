"""Every experiment, and what own data starts from, end to end in a tiny form."""

from __future__ import annotations

import json
import pathlib

import pytest

from official_lite.cli import train
from official_lite.vision.dataloaders import tfrecord_writer
from tests.vision.dataloaders import data_makers

pytestmark = pytest.mark.usefixtures('own_cache')

TRAIN, VALIDATION = 'task.train_data', 'task.validation_data'
BATCHES = f'{TRAIN}.global_batch_size=2,{VALIDATION}.global_batch_size=2'
TWO_STEPS = (
    'trainer.train_steps=2,trainer.steps_per_loop=1,trainer.validation_interval=2,'
    'trainer.checkpoint_interval=2,trainer.summary_interval=2'
)


def run(model_dir: pathlib.Path, *args: str) -> None:
    """Trains and evaluates; the run has to end well."""
    flags = ['train.py', '--mode=train_and_eval', f'--model_dir={model_dir}', *args]
    assert train.main(flags) == 0


def check_run(model_dir: pathlib.Path, *, num_steps: int) -> None:
    """Checks the checkpoint, the losses of the steps, and the evaluation."""
    assert (model_dir / f'ckpt-{num_steps}.index').is_file()
    lines = [json.loads(line) for line in (model_dir / 'metrics.jsonl').read_text().splitlines()]
    names = {name for line in lines for name in line}
    assert any('loss' in name for name in names), names
    assert any(name.endswith('AP') for name in names), names
    assert list((model_dir / 'visualization').iterdir())


def test_mobilenet_as_backbone(tmp_path: pathlib.Path, recwarn: pytest.WarningsRecorder) -> None:
    """Its last convolution is not in the detector: said once, and not at every step."""
    pytest.importorskip('sklearn', reason='the embedded data needs scikit-learn (the extra `demo`)')
    run(
        tmp_path / 'run',
        '--experiment=retinanet_custom',
        f'--params_override={BATCHES},{TWO_STEPS},trainer.train_steps=4',
        '--params_override=task.model.backbone.type=mobilenet,'
        'task.model.backbone.mobilenet.model_id=MobileNetV2,task.model.input_size=[64,64,3],'
        'task.model.decoder.fpn.num_filters=16,task.model.head.num_filters=16',
        f'--params_override={TRAIN}.source.embedded.num_scenes=8,'
        f'{VALIDATION}.source.embedded.num_scenes=2',
    )
    check_run(tmp_path / 'run', num_steps=4)
    said = [str(warning.message) for warning in recwarn if 'gradients' in str(warning.message)]
    assert len(said) == 1, said
    assert 'block_18_convbn' in said[0]


def test_retinanet_resnetfpn_coco(tmp_path: pathlib.Path) -> None:
    table = data_makers.make_table([2, 1, 0, 3], height=96, width=128)
    for name in ('train', 'val'):
        tfrecord_writer.write_tfrecords(tfrecord_writer.make_examples(table), tmp_path / name)
    run(
        tmp_path / 'run',
        '--experiment=retinanet_resnetfpn_coco',
        f'--params_override={BATCHES},{TWO_STEPS},trainer.validation_steps=2',
        f"--params_override={TRAIN}.input_path='{tmp_path}/train*',"
        f"{VALIDATION}.input_path='{tmp_path}/val*'",
        "--params_override=task.annotation_file='',task.init_checkpoint='',"
        'task.model.input_size=[128,128,3],task.model.backbone.resnet.model_id=10,'
        'task.model.decoder.fpn.num_filters=32,task.model.head.num_filters=32,'
        'runtime.mixed_precision_dtype=float32',
    )
    check_run(tmp_path / 'run', num_steps=2)
    assert '    num_classes: 91\n' in (tmp_path / 'run' / 'params.yaml').read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ('experiment', 'overrides'),
    [
        ('retinanet_mobile_coco', 'task.model.backbone.spinenet_mobile.model_id=49XS'),
        ('retinanet_spinenet_coco', 'task.model.backbone.spinenet.model_id=49S'),
    ],
)
def test_spinenets_on_coco(tmp_path: pathlib.Path, experiment: str, overrides: str) -> None:
    table = data_makers.make_table([2, 1, 0, 3], height=96, width=128)
    for name in ('train', 'val'):
        tfrecord_writer.write_tfrecords(tfrecord_writer.make_examples(table), tmp_path / name)
    run(
        tmp_path / 'run',
        f'--experiment={experiment}',
        f'--params_override={BATCHES},{TWO_STEPS},trainer.validation_steps=2',
        f"--params_override={TRAIN}.input_path='{tmp_path}/train*',"
        f"{VALIDATION}.input_path='{tmp_path}/val*'",
        f"--params_override=task.annotation_file='',task.model.input_size=[128,128,3],{overrides},"
        'task.model.head.num_convs=1,task.model.head.num_filters=16',
    )
    check_run(tmp_path / 'run', num_steps=2)


def test_own_data(tmp_path: pathlib.Path) -> None:
    table = data_makers.make_table([2, 1, 0, 3], height=96, width=128)
    for name in ('train', 'val'):
        data_makers.write_coco(table, tmp_path / name)
    run(
        tmp_path / 'run',
        '--config_file=retinanet/own_data.yaml',
        f"--params_override={TRAIN}.source.coco.annotation_file='{tmp_path}/train/annotations.json'",
        f'--params_override={VALIDATION}.source.coco.annotation_file='
        f"'{tmp_path}/val/annotations.json'",
        f'--params_override={BATCHES},task.model.input_size=[128,128,3],'
        'task.model.backbone.resnet.model_id=10',
        '--params_override=trainer.train_epochs=1,trainer.validation_interval_epochs=1,'
        'trainer.checkpoint_interval_epochs=1,trainer.steps_per_loop=1,'
        'trainer.optimizer_config.warmup.linear.warmup_epochs=0.5',
    )
    check_run(tmp_path / 'run', num_steps=2)
    assert (tmp_path / 'run' / 'best_ckpt').is_dir()
    assert (
        '  class_names: [thing_1, thing_2, thing_3]\n'
        in (tmp_path / 'run' / 'params.yaml').read_text()
    )
