"""Model Garden's YAML files load unchanged, build its models, and what they describe trains a step."""

from __future__ import annotations

import csv
import dataclasses
import gc
import os
import pathlib
import re
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import yaml

from official_lite import errors
from official_lite.cli import train
from official_lite.core import parsing
from tests.vision.dataloaders import (
    class_makers,
    data_makers,
    mask_makers,
    test_segmentation_records,
)


def find_folder() -> pathlib.Path | None:
    """The folder of Model Garden's YAML files: OFFICIAL_LITE_GARDEN_YAML, or beside the data."""
    data = os.environ.get('OFFICIAL_LITE_DATA', '')
    default = pathlib.Path(data).parent / 'garden_yaml' if data else '-'
    folder = pathlib.Path(os.environ.get('OFFICIAL_LITE_GARDEN_YAML') or default)
    return folder if (folder / 'EXPERIMENTS.tsv').is_file() else None


FOLDER = find_folder()
# What makes a step small; all else is as the file has it.
SMALL = {
    'image_classification': 'task.model.input_size=[64,64,3]',
    'maskrcnn': 'task.model.input_size=[128,128,3]',
    'retinanet': 'task.model.input_size=[128,128,3]',
    'semantic_segmentation': (
        'task.train_data.output_size=[64,128],task.train_data.crop_size=[64,128],'
        'task.model.decoder.aspp.pool_kernel_size=[64,128]'
    ),
}
# 632 million weights: the moments of AdamW, which the files of ViT-L/16 run, would take 5 GB.
WITHOUT_MOMENTS = ('imagenet_vith14_i384_gpu',)
# Wrong in itself: a list without a comma, and an id of MobileDet's in the branch of MobileNet.
WRONG = {
    'coco_mobiledetcpu_tpu': (
        "task:\n  model:\n    backbone: {type: mobiledet, mobilenet: {model_id: 'MobileDetCPU'}}\n"
        '    input_size: [320 320, 3]\n'
    )
}
# The rest takes minutes.
ORDINARY = ('imagenet_mobilenetv4_conv_small_tpu', 'coco_mobilenetv2_tpu')


def _list_files() -> list[Any]:
    """(experiment, path without suffix) of the families in SMALL."""
    if FOLDER is None:
        skip = pytest.mark.skip(reason='OFFICIAL_LITE_GARDEN_YAML names no folder of YAML files')
        return [pytest.param('', '', marks=skip)]
    with (FOLDER / 'EXPERIMENTS.tsv').open() as file:
        rows = [(row['experiment'], row['yaml']) for row in csv.DictReader(file, delimiter='\t')]
    return [
        pytest.param(experiment, path.removesuffix('.yaml'), id=path.removesuffix('.yaml'))
        for experiment, path in rows
        if path.split('/')[0] in SMALL
    ]


FILES = _list_files()
RIGHT = [file for file in FILES if pathlib.Path(file.values[1]).name not in WRONG]
# The same, those that take long as slow tests.
WITH_SLOW = [
    file
    if pathlib.Path(file.values[1]).name in ORDINARY
    else pytest.param(*file.values, id=file.id, marks=[pytest.mark.slow, *file.marks])
    for file in RIGHT
]


@pytest.fixture(autouse=True)
def free_memory() -> Iterator[None]:
    """Models and graphs of one file are gone before the next one's are built."""
    yield
    if 'keras' in sys.modules:
        sys.modules['keras'].backend.clear_session()
        gc.collect()


def _parse(experiment: str, path: str) -> Any:
    options = parsing.ParseConfigOptions(experiment, config_file=[f'{FOLDER}/{path}.yaml'])
    config = parsing.ExperimentParser(options).parse()
    config.validate()
    return config


def test_every_file_has_its_experiment() -> None:
    if FOLDER is None:
        pytest.skip('OFFICIAL_LITE_GARDEN_YAML names no folder of YAML files')
    found = {
        str(path.relative_to(FOLDER).with_suffix(''))
        for family in SMALL
        for path in (FOLDER / family).glob('*.yaml')
    }
    assert found == {file.values[1] for file in FILES}


def _list_differences(wanted: Any, got: Any, path: str) -> list[str]:
    if isinstance(wanted, dict) and isinstance(got, dict):
        # What is set in a branch that is not chosen is not part of the config.
        keys = [key for key in wanted if not ('type' in got and key not in got)]
        return [
            text
            for key in keys
            for text in _list_differences(wanted[key], got[key], f'{path}.{key}')
        ]
    if isinstance(got, float) and not isinstance(got, bool):
        wanted = float(wanted)  # YAML reads 1e-5 as text.
    if isinstance(got, list | tuple) and isinstance(wanted, str):
        wanted = [wanted]
    same = wanted == (list(got) if isinstance(got, tuple) else got)
    return [] if same else [f'{path}: {wanted!r} there, {got!r} here']


@pytest.mark.parametrize(('experiment', 'path'), RIGHT)
def test_a_file_loads_with_its_values(experiment: str, path: str) -> None:
    wanted = yaml.safe_load((FOLDER / f'{path}.yaml').read_text())
    got = _parse(experiment, path).as_dict()
    assert _list_differences(wanted, got, path) == []


@pytest.mark.parametrize('name', WRONG)
def test_a_wrong_file_is_refused_with_its_values(name: str, tmp_path: pathlib.Path) -> None:
    file = tmp_path / f'{name}.yaml'
    file.write_text(WRONG[name])
    options = parsing.ParseConfigOptions('retinanet_mobile_coco', config_file=[str(file)])
    with pytest.raises(errors.UsageError) as caught:
        parsing.ExperimentParser(options).parse()
    place = re.escape(str(file))
    for text in (
        r"task\.model\.input_size\[0\]: expected int or None, received '320 320' \(from "
        + rf'{place}:4\)',
        r"task\.model\.backbone\.mobilenet\.model_id: expected one of .*received 'MobileDetCPU'",
    ):
        assert re.search(text, str(caught.value))


@pytest.mark.garden
@pytest.mark.parametrize(('experiment', 'path'), WITH_SLOW)
def test_a_file_builds_model_gardens_model(experiment: str, path: str) -> None:
    """As many parameters, of the whole and of each part, trainable and not."""
    import keras
    import tf_keras
    from official.core import exp_factory
    from official.vision import registry_imports  # noqa: F401
    from official.vision.modeling import factory as their_factory

    from official_lite.vision.modeling import factory

    name = {
        'image_classification': 'build_classification_model',
        'maskrcnn': 'build_maskrcnn',
        'retinanet': 'build_retinanet',
        'semantic_segmentation': 'build_segmentation_model',
    }[path.split('/')[0]]
    config = _parse(experiment, path).task.model
    theirs = exp_factory.get_exp_config(experiment).task.model
    text = yaml.safe_load((FOLDER / f'{path}.yaml').read_text())
    theirs.override(text.get('task', {}).get('model', {}))
    shape = [None, *[size or 64 for size in config.input_size]]
    counts = []
    for builder, layers, model_config in (
        (getattr(their_factory, name), tf_keras.layers, theirs),
        (getattr(factory, name), keras.layers, config),
    ):
        model = builder(layers.InputSpec(shape=shape), model_config)
        if not model.built:
            sizes = {'image_shape': layers.Input([2])} if name == 'build_maskrcnn' else {}
            model(layers.Input(shape[1:]), **sizes, training=False)
        parts = {part: _count(item) for part, item in model.checkpoint_items.items()}
        trained = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
        counts.append({**parts, 'all': model.count_params(), 'trainable': trained})
    assert counts[1] == counts[0]


def _count(item: Any) -> int:
    """Parameters of a part, which in cascades is a list."""
    items = list(item) if not hasattr(item, 'count_params') else [item]
    return sum(part.count_params() for part in items)


@pytest.mark.parametrize(('experiment', 'path'), WITH_SLOW)
def test_a_file_trains_a_step(
    experiment: str,
    path: str,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With small images in float32 on this machine; all else as the file has it."""
    monkeypatch.setenv('OFFICIAL_LITE_CACHE', str(tmp_path / 'cache'))
    family, _, name = path.partition('/')
    small = SMALL[family]
    if name in WITHOUT_MOMENTS:
        small += ',trainer.optimizer_config.optimizer.type=sgd'
    flags = [
        'train.py',
        '--dry_run',
        f'--experiment={experiment}',
        f'--config_file={FOLDER}/{path}.yaml',
        f"--params_override=task.train_data.input_path='{_write_records(family, tmp_path)}',"
        f'task.train_data.global_batch_size=2,{small}',
        '--params_override=runtime.distribution_strategy=one_device,runtime.enable_xla=false,'
        "runtime.mixed_precision_dtype=float32,runtime.all_reduce_alg=null,task.init_checkpoint=''",
    ]
    assert train.main(flags) == 0
    output = capsys.readouterr().out
    assert 'one step: loss ' in output
    assert 'nan' not in output


def _write_records(family: str, folder: pathlib.Path) -> str:
    """Four small images with the features of Model Garden's TFRecords."""
    from official_lite.vision.dataloaders import tfrecord_writer

    if family in ('retinanet', 'maskrcnn'):
        table = data_makers.make_table([2, 1, 3], height=96, width=128)
        examples = [
            dataclasses.replace(example, masks=np.ones([len(example.labels), 96, 128], np.uint8))
            for example in tfrecord_writer.make_examples(table)
        ]
        tfrecord_writer.write_tfrecords(examples, folder / 'train')
        return f'{folder}/train*'
    if family == 'semantic_segmentation':
        records = [test_segmentation_records.make_example(m) for m in mask_makers.make_masks()]
    else:
        images = [class_makers.make_image(number, size=80) for number in range(4)]
        records = [class_makers.make_record(image, [n + 1]) for n, image in enumerate(images)]
    return class_makers.write_records(folder / 'train', records)
