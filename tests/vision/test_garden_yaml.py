"""Model Garden's YAML files of RetinaNet load unchanged, and what they describe trains."""

from __future__ import annotations

import csv
import os
import pathlib

import pytest

from official_lite.cli import train
from official_lite.core import parsing
from official_lite.vision.configs import retinanet as retinanet_cfg
from official_lite.vision.dataloaders import tfrecord_writer
from tests.vision.dataloaders import data_makers

# Parameters of backbone, decoder and head as tf-models-official 2.20 builds them.
PARAMETERS: dict[str, dict[str, int]] = {
    'coco_mobilenetv2_tpu': {'backbone': 2_257_984, 'decoder': 149_056, 'head': 274_391},
    'coco_mobilenetv3.5_avg_tpu': {'backbone': 3_704_416, 'decoder': 144_928, 'head': 274_391},
    'coco_spinenet143_gpu_multiworker_mirrored': {'backbone': 60_413_888, 'head': 6_732_375},
    'coco_spinenet49_gpu_multiworker_mirrored': {'backbone': 21_920_192, 'head': 6_732_375},
    'coco_spinenet49_mobile_tpu': {'backbone': 2_313_892, 'head': 72_711},
    'coco_spinenet49xs_mobile_tpu': {'backbone': 869_400, 'head': 32_175},
    'coco_spinenet96_gpu_multiworker_mirrored': {'backbone': 36_385_728, 'head': 6_732_375},
}
# Too large for the ordinary tests.
_LARGE = ('coco_spinenet49_gpu', 'coco_spinenet96', 'coco_spinenet143')


@pytest.fixture(scope='session')
def garden_yaml() -> pathlib.Path:
    """The folder of Model Garden's YAML files: OFFICIAL_LITE_GARDEN_YAML, or beside the data."""
    data = os.environ.get('OFFICIAL_LITE_DATA', '')
    default = pathlib.Path(data).parent / 'garden_yaml' if data else ''
    folder = pathlib.Path(os.environ.get('OFFICIAL_LITE_GARDEN_YAML') or default or '-')
    if not (folder / 'EXPERIMENTS.tsv').is_file():
        pytest.skip('OFFICIAL_LITE_GARDEN_YAML does not name a folder with EXPERIMENTS.tsv')
    return folder


def _find_experiment(folder: pathlib.Path, name: str) -> str:
    with (folder / 'EXPERIMENTS.tsv').open() as file:
        return next(
            row['experiment']
            for row in csv.DictReader(file, delimiter='\t')
            if row['yaml'] == f'retinanet/{name}.yaml'
        )


def _parse(folder: pathlib.Path, name: str) -> retinanet_cfg.RetinaNetTask:
    options = parsing.ParseConfigOptions(
        experiment=_find_experiment(folder, name),
        config_file=[str(folder / 'retinanet' / f'{name}.yaml')],
    )
    config = parsing.ExperimentParser(options).parse()
    config.validate()
    assert isinstance(config.task, retinanet_cfg.RetinaNetTask)
    return config.task


def test_all_files_are_known(garden_yaml: pathlib.Path) -> None:
    assert {path.stem for path in (garden_yaml / 'retinanet').glob('*.yaml')} == set(PARAMETERS)


@pytest.mark.parametrize('name', PARAMETERS)
def test_a_file_loads_with_its_values(garden_yaml: pathlib.Path, name: str) -> None:
    import yaml

    text = (garden_yaml / 'retinanet' / f'{name}.yaml').read_text()
    expected, found = yaml.safe_load(text)['task'], _parse(garden_yaml, name).as_dict()
    differences = []

    def compare(wanted: object, got: object, path: str) -> None:
        if isinstance(wanted, dict) and isinstance(got, dict):
            for key, value in wanted.items():
                compare(value, got[key], f'{path}.{key}')
        elif wanted != got:
            differences.append(f'{path}: {wanted!r} there, {got!r} here')

    compare(expected, found, 'task')
    assert differences == []


@pytest.mark.parametrize(
    'name',
    [pytest.param(n, marks=pytest.mark.slow) if n.startswith(_LARGE) else n for n in PARAMETERS],
)
def test_a_file_builds_model_gardens_model(garden_yaml: pathlib.Path, name: str) -> None:
    import keras

    from official_lite.vision.modeling import factory

    config = _parse(garden_yaml, name).model
    model = factory.build_retinanet(
        keras.layers.InputSpec(shape=[None, *config.input_size]), config
    )
    parts = {name: part.count_params() for name, part in model.checkpoint_items.items()}
    assert parts == PARAMETERS[name]


@pytest.mark.parametrize(
    'name',
    [
        'coco_mobilenetv2_tpu',
        pytest.param('coco_spinenet49xs_mobile_tpu', marks=pytest.mark.slow),
        pytest.param('coco_mobilenetv3.5_avg_tpu', marks=pytest.mark.slow),
        pytest.param('coco_spinenet49_mobile_tpu', marks=pytest.mark.slow),
        pytest.param('coco_spinenet49_gpu_multiworker_mirrored', marks=pytest.mark.slow),
    ],
)
def test_a_file_trains_a_step(
    garden_yaml: pathlib.Path,
    name: str,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With small images in float32 on this machine; all else as the file has it."""
    monkeypatch.setenv('OFFICIAL_LITE_CACHE', str(tmp_path / 'cache'))
    table = data_makers.make_table([2, 1, 3], height=96, width=128)
    tfrecord_writer.write_tfrecords(tfrecord_writer.make_examples(table), tmp_path / 'train')
    flags = [
        'train.py',
        '--dry_run',
        f'--experiment={_find_experiment(garden_yaml, name)}',
        f'--config_file={garden_yaml}/retinanet/{name}.yaml',
        f"--params_override=task.train_data.input_path='{tmp_path}/train*',"
        'task.train_data.global_batch_size=2,task.model.input_size=[128,128,3]',
        '--params_override=runtime.distribution_strategy=one_device,'
        'runtime.mixed_precision_dtype=float32,runtime.all_reduce_alg=null',
    ]
    assert train.main(flags) == 0
    output = capsys.readouterr().out
    assert 'one step: loss ' in output
    assert 'nan' not in output
    for part, count in PARAMETERS[name].items():
        assert any(
            line.split()[:1] == [part] and line.split()[-1] == f'{count:,}'
            for line in output.splitlines()
        ), output
