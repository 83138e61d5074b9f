"""Commands of the README and of the pages that have no test of their own, as they are typed."""

from __future__ import annotations

import pathlib
import re
import shlex
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import yaml

from official_lite import cli
from official_lite.cli import train
from official_lite.core import exp_factory
from tests import runs_on_data
from tests.vision.dataloaders import class_makers, folder_makers, mask_makers

pytestmark = pytest.mark.usefixtures('own_cache')

REPO = pathlib.Path(__file__).resolve().parents[2]
PAGES = ('README.md', *(f'docs/{name}.md' for name in ('classification', 'data', 'segmentation')))


def find_blocks(page: str, language: str = 'bash') -> list[str]:
    text = (REPO / page).read_text(encoding='utf-8')
    blocks = re.findall(r'^```(\w*)\n(.*?)^```', text, re.DOTALL | re.MULTILINE)
    return [block for name, block in blocks if name == language]


def find_commands(start: str) -> list[str]:
    """The commands of all pages that begin so, each on one line and without its comment."""
    blocks = [block for page in PAGES for block in find_blocks(page)]
    lines = '\n'.join(blocks).replace('\\\n', ' ').splitlines()
    return sorted({line.partition('  #')[0].strip() for line in lines if line.startswith(start)})


@pytest.fixture(scope='module')
def folders(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder for each kind of source, named after it."""
    root = tmp_path_factory.mktemp('data')
    coco = runs_on_data.make_data(root / 'coco')
    for name in ('train.json', 'val.json'):
        (coco / name).write_bytes((coco / runs_on_data.ANNOTATIONS).read_bytes())
    objects = [folder_makers.make_object('cat', 5, 6, 14, 15)]
    stems = [f'{number:02d}' for number in range(16)]
    files = dict.fromkeys(stems, objects)
    folder_makers.write_voc(root / 'voc', files, splits={'train': '\n'.join(stems)})
    folder_makers.write_yolo(
        root / 'yolo',
        {'train/a': '0 0.5 0.5 0.5 0.5\n'},
        data_yaml='train: images/train\nval: images/train\nnames: [cat]\n',
    )
    class_makers.write_folders(root / 'folder', {'cat': 3, 'dog': 3})
    pairs = mask_makers.write_pairs(root / 'png_pairs', mask_makers.make_masks())
    for folder, name in zip(pairs, ('images', 'masks'), strict=True):
        pathlib.Path(folder).rename(root / 'png_pairs' / name)
    return root


def write_own_config(folder: pathlib.Path) -> None:
    """A `mine.yaml`, for commands that read one."""
    coco = {'annotation_file': str(folder / 'train.json')}
    data = {'source': {'type': 'coco', 'coco': coco}, 'global_batch_size': 2}
    task = {'model': {'input_size': [64, 64, 3]}, 'train_data': data, 'validation_data': data}
    pathlib.Path('mine.yaml').write_text(
        yaml.safe_dump({'experiment': 'retinanet_custom', 'task': task})
    )


@pytest.mark.parametrize('command', find_commands('official-lite data'))
def test_data_commands(
    command: str,
    folders: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_own_config(folders / 'coco')
    kind = re.search(r'--source=(\w+):', command)
    if kind is not None:
        command = command.replace('DIR', str(folders / kind[1]))
    assert cli.main(shlex.split(command)) == 0, capsys.readouterr().err
    for written in re.findall(r'--(?:output|plots)=(\S+)', command):
        assert list(tmp_path.glob(f'{written}*')), written


@pytest.mark.parametrize(
    'command', [*find_commands('official-lite train'), *find_commands('python train.py')]
)
def test_flags_of_training_commands(
    command: str, folders: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = re.search(r'\.source\.(\w+)\.', command)
    assert kind is not None
    words = shlex.split(command.replace('DIR', str(folders / kind[1])) + ' --print_config')
    main = cli.main if words[0] == 'official-lite' else lambda args: train.main(args[1:])
    assert main(words) == 0, capsys.readouterr().err
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed['task']['train_data']['source']['type'] == kind[1]


def test_the_error_of_the_readme(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = [block for block in find_blocks('README.md', '') if block.startswith('$ python')]
    command, error = block.splitlines()
    assert train.main(shlex.split(command)[2:]) == 2
    assert capsys.readouterr().err.strip() == error


def test_the_pages_on_augmentation() -> None:
    (text,) = find_blocks('docs/augmentation.md', 'yaml')
    config = exp_factory.get_exp_config('retinanet_custom')
    config.override(yaml.safe_load(text))
    assert config.task.train_data.parser.aug_type.randaug.magnitude == 5
    (block,) = find_blocks('docs/augmentation.md', 'python')
    names: dict[str, Any] = {
        'seed': 0,
        'epoch': 1,
        'index': 2,
        'image': tf.constant(np.full([24, 32, 3], 100, np.uint8)),
        'boxes': tf.constant([[0.1, 0.2, 0.6, 0.9]]),
    }
    exec(compile(block, 'docs/augmentation.md', 'exec'), names)
    assert names['image'].shape == [24, 32, 3]
    assert names['boxes'].shape == [1, 4]
