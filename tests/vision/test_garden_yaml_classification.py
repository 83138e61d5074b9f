"""Model Garden's YAML files of image classification load unchanged, and what they describe trains."""

from __future__ import annotations

import csv
import os
import pathlib
from typing import Any

import pytest
import yaml

from official_lite.cli import train
from official_lite.core import parsing
from tests.vision.dataloaders import class_makers

FOLDER = 'image_classification'
NAMES = [
    'imagenet_mobilenetv2_gpu',
    'imagenet_mobilenetv2_tpu',
    'imagenet_mobilenetv3.5_avg_tpu',
    'imagenet_mobilenetv3large_tpu',
    'imagenet_mobilenetv3small_tpu',
    'imagenet_mobilenetv4_conv_large_tpu',
    'imagenet_mobilenetv4_conv_medium_tpu',
    'imagenet_mobilenetv4_conv_small_tpu',
    'imagenet_mobilenetv4_hybrid_medium_tpu',
    'imagenet_resnet101_deeplab_tpu',
    'imagenet_resnet101_tpu',
    'imagenet_resnet26_tpu',
    'imagenet_resnet50_gpu',
    'imagenet_resnet50_tpu',
    'imagenet_resnetrs101_i160',
    'imagenet_resnetrs101_i192',
    'imagenet_resnetrs152_i192',
    'imagenet_resnetrs152_i224',
    'imagenet_resnetrs152_i256',
    'imagenet_resnetrs200_i256',
    'imagenet_resnetrs270_i256',
    'imagenet_resnetrs350_i256',
    'imagenet_resnetrs420_i320',
    'imagenet_resnetrs50_i160',
    'imagenet_resnetrs50_i160_gpu',
    'imagenet_vitb16_i224_gpu',
    'imagenet_vitb16_i224_tpu',
    'imagenet_vitb16_i384_gpu',
    'imagenet_vitb16_i384_tpu',
    'imagenet_vith14_i384_gpu',
    'imagenet_vitl16_i224_gpu',
    'imagenet_vitl16_i224_tpu',
    'imagenet_vitl16_i384_gpu',
    'imagenet_vitl16_i384_tpu',
    'imagenet_vits16_i224_tpu',
    'imagenet_vitti16_i224_gpu',
    'imagenet_vitti16_i224_tpu',
]
# Of one family each; what is too large for 2 cores is only loaded. So are MobileNetV4s: their optimizer
# names variables `batch_normalization`, and none is called so here.
TRAINED = [
    'imagenet_mobilenetv2_gpu',
    'imagenet_mobilenetv3.5_avg_tpu',
    'imagenet_resnet101_deeplab_tpu',
    'imagenet_resnet26_tpu',
    'imagenet_resnetrs50_i160_gpu',
    'imagenet_vitti16_i224_gpu',
]


@pytest.fixture(scope='session')
def garden_yaml() -> pathlib.Path:
    """The folder of Model Garden's YAML files: OFFICIAL_LITE_GARDEN_YAML, or beside the data."""
    data = os.environ.get('OFFICIAL_LITE_DATA', '')
    default = pathlib.Path(data).parent / 'garden_yaml' if data else ''
    folder = pathlib.Path(os.environ.get('OFFICIAL_LITE_GARDEN_YAML') or default or '-')
    if not (folder / 'EXPERIMENTS.tsv').is_file():
        pytest.skip('OFFICIAL_LITE_GARDEN_YAML does not name a folder with EXPERIMENTS.tsv')
    return folder


def find_experiment(folder: pathlib.Path, name: str) -> str:
    with (folder / 'EXPERIMENTS.tsv').open() as file:
        return next(
            row['experiment']
            for row in csv.DictReader(file, delimiter='\t')
            if row['yaml'] == f'{FOLDER}/{name}.yaml'
        )


def parse(folder: pathlib.Path, name: str) -> Any:
    options = parsing.ParseConfigOptions(
        experiment=find_experiment(folder, name),
        config_file=[str(folder / FOLDER / f'{name}.yaml')],
    )
    config = parsing.ExperimentParser(options).parse()
    config.validate()
    return config


def test_all_files_are_known(garden_yaml: pathlib.Path) -> None:
    assert {path.stem for path in (garden_yaml / FOLDER).glob('*.yaml')} == set(NAMES)


@pytest.mark.parametrize('name', NAMES)
def test_a_file_loads_with_its_values(garden_yaml: pathlib.Path, name: str) -> None:
    text = (garden_yaml / FOLDER / f'{name}.yaml').read_text()
    expected, found = yaml.safe_load(text)['task'], parse(garden_yaml, name).task.as_dict()
    differences = []

    def compare(wanted: Any, got: Any, path: str) -> None:
        if isinstance(wanted, dict) and isinstance(got, dict):
            for key, value in wanted.items():
                compare(value, got[key], f'{path}.{key}')
        elif isinstance(got, float) and not isinstance(got, bool):
            if float(wanted) != got:  # YAML reads 1e-5 as text
                differences.append(f'{path}: {wanted!r} there, {got!r} here')
        elif wanted != (list(got) if isinstance(got, tuple) else got):
            differences.append(f'{path}: {wanted!r} there, {got!r} here')

    compare(expected, found, 'task')
    assert differences == []


@pytest.mark.slow
@pytest.mark.parametrize('name', TRAINED)
def test_a_file_trains_a_step(
    garden_yaml: pathlib.Path,
    name: str,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With small images in float32 on this machine; all else as the file has it."""
    monkeypatch.setenv('OFFICIAL_LITE_CACHE', str(tmp_path / 'cache'))
    records = [
        class_makers.make_record(class_makers.make_image(n, size=80), [n + 1]) for n in range(4)
    ]
    class_makers.write_records(tmp_path / 'train', records)
    flags = [
        'train.py',
        '--dry_run',
        f'--experiment={find_experiment(garden_yaml, name)}',
        f'--config_file={garden_yaml}/{FOLDER}/{name}.yaml',
        f"--params_override=task.train_data.input_path='{tmp_path}/train*',"
        'task.train_data.global_batch_size=2,task.model.input_size=[64,64,3]',
        '--params_override=runtime.distribution_strategy=one_device,runtime.enable_xla=false,'
        'runtime.mixed_precision_dtype=float32,runtime.all_reduce_alg=null',
    ]
    assert train.main(flags) == 0
    output = capsys.readouterr().out
    assert 'one step: loss ' in output
    assert 'nan' not in output
