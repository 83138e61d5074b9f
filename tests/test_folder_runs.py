"""Runs on Pascal VOC and YOLO folders by the command line, and what they say of bad ones."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Callable

import pytest

from official_lite.cli import train
from official_lite.vision.dataloaders import sources
from tests import runs_on_data
from tests.vision.dataloaders import folder_makers

TRAIN, VALIDATION = runs_on_data.TRAIN, runs_on_data.VALIDATION

CAT = folder_makers.make_object('cat', 5, 6, 14, 15)
DOG = folder_makers.make_object('dog', 1, 1, 40, 20)


@pytest.fixture(autouse=True)
def _fresh_sources(own_cache: None) -> None:
    sources.forget()


def make_voc(folder: pathlib.Path) -> pathlib.Path:
    point = folder_makers.make_object('dog', 7, 7, 7, 7)
    files = {'a': [CAT, point], 'b': [DOG], 'c': [], 'd': [CAT, DOG]}
    return folder_makers.write_voc(folder, files, splits={'train': 'a\nb\nc\n', 'val': 'd\n'})


def make_yolo(folder: pathlib.Path) -> pathlib.Path:
    files = {
        'train/a': '0 0.5 0.5 0.5 0.5\n',
        'train/b': '1 0.5 0.5 1 1\n',
        'val/d': '1 0.4 0.4 0.2 0.2\n',
    }
    text = 'train: images/train\nval: images/val\nnames: [cat, dog]\n'
    return folder_makers.write_yolo(folder, files, data_yaml=text)


MAKERS: dict[str, Callable[[pathlib.Path], pathlib.Path]] = {'voc': make_voc, 'yolo': make_yolo}


def choose(kind: str, folder: pathlib.Path) -> list[str]:
    """The overrides that read a folder."""
    return [
        f'{where}.source.type={kind},{where}.source.{kind}.root={folder},'
        f'{where}.source.{kind}.split={split}'
        for where, split in ((TRAIN, 'train'), (VALIDATION, 'val'))
    ]


@pytest.mark.parametrize('kind', MAKERS)
def test_a_run(kind: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]):
    folder = MAKERS[kind](tmp_path / 'data')
    flags = runs_on_data.make_flags(tmp_path, *choose(kind, folder), mode='train_and_eval')
    assert train.main(['train.py', *flags]) == 0
    told = capsys.readouterr().err
    assert f'training data: {folder} (train)\n  ' in told
    assert f'validation data: {folder} (val)\n  1 images, ' in told
    assert '2 classes (label, name, boxes): 1 cat 1; 2 dog 1' in told
    if kind == 'voc':
        assert '! 1 box has no area and is left out: ' in told
    params = (tmp_path / 'run' / 'params.yaml').read_text()
    assert 'class_names: [cat, dog]' in params or '- cat' in params


_BAD = {
    'voc: no folder': (
        'voc',
        lambda folder: folder.rename(folder.parent / 'away'),
        2,
        rf"^{TRAIN}\.source\.voc\.root: the folder '.*data' does not exist$",
    ),
    'voc: no such split': (
        'voc',
        lambda folder: (folder / 'ImageSets/Main/train.txt').unlink(),
        2,
        rf"^{TRAIN}\.source\.voc\.split: there is no split 'train'; expected one of val$",
    ),
    'voc: malformed XML': (
        'voc',
        lambda folder: (folder / 'Annotations/a.xml').write_text('<annotation>\n<object></annot>'),
        1,
        r'^.*/a\.xml:2: not a well-formed XML file \(mismatched tag: line 2, column \d+\)',
    ),
    'voc: an image is missing': (
        'voc',
        lambda folder: (folder / 'JPEGImages/b.png').unlink(),
        1,
        r'data \(train\): 1 of 3 images are missing, the first: .*b\.png; set skip_corrupt=true$',
    ),
    'voc: no objects': (
        'voc',
        lambda folder: (folder / 'ImageSets/Main/train.txt').write_text('c\n'),
        1,
        r'no boxes at all in 1 examples; expected at least one annotated object$',
    ),
    'yolo: percent': (
        'yolo',
        lambda folder: (folder / 'labels/train/a.txt').write_text('0 50 50 10 10\n'),
        1,
        r'^.*/a\.txt:1: the coordinate 50 is not a share of the image, 0 to 1 \(pixels or percent\?',
    ),
    'yolo: a class without name': (
        'yolo',
        lambda folder: (folder / 'labels/train/b.txt').write_text('\n2 0.5 0.5 0.1 0.1\n'),
        1,
        r'^.*/b\.txt:2: there is no class 2; expected 0 to 1, because .*data\.yaml has 2 names$',
    ),
    'yolo: no labels': (
        'yolo',
        lambda folder: (folder / 'labels').rename(folder / 'lables'),
        1,
        r'none of the 2 images has a label file; expected .*labels/train/a\.txt for the image ',
    ),
    'yolo: a folder that is not there': (
        'yolo',
        lambda folder: (folder / 'images/train').rename(folder / 'elsewhere'),
        2,
        r"data\.yaml, train: 'images/train' does not exist; expected a folder or a list of images",
    ),
}


@pytest.mark.parametrize('name', _BAD)
def test_bad_folders(name: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]):
    kind, damage, exit_code, message = _BAD[name]
    folder = MAKERS[kind](tmp_path / 'data')
    damage(folder)
    flags = runs_on_data.make_flags(tmp_path, *choose(kind, folder))
    code = train.main(['train.py', *flags])
    output = capsys.readouterr()
    runs_on_data.check(runs_on_data.Outcome(code, output.out, output.err), exit_code, message)


@pytest.mark.parametrize(
    ('override', 'message'),
    [
        (
            'voc.difficult=maybe',
            r"source\.voc\.difficult: .*expected .*'ignore'.* received 'maybe'",
        ),
        ('voc.orientation=left', r'source\.voc\.orientation: '),
        (
            'voc={root: x, class_names: [a, b, a]},task.train_data.source.type=voc',
            r"source\.voc\.class_names: expected different names, not 'a' twice",
        ),
        ('type=voc', r'source\.voc\.root: expected the path of a Pascal VOC folder'),
        ('type=yolo', r'source\.yolo\.root: expected the path of a data\.yaml or of a folder'),
        ('type=tfds', r'source\.tfds\.name: expected the name of a TensorFlow dataset'),
    ],
)
def test_bad_configs(
    override: str, message: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
):
    flags = runs_on_data.make_flags(tmp_path, f'{TRAIN}.source.{override}')
    assert train.main(['train.py', *flags]) == 2
    told = capsys.readouterr().err
    assert re.search(message, told), told
