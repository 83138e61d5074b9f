"""Data that is wrong: one clear error, and nothing left half written."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable
from typing import Any

import pytest

from official_lite.vision.dataloaders import tfrecord_writer
from tests.runs_on_data import (
    ANNOTATIONS,
    RECORDS,
    TRAIN,
    VALIDATION,
    check,
    coco,
    make_data,
    tfrecord,
)
from tests.vision.dataloaders import data_makers

pytestmark = pytest.mark.usefixtures('own_cache')


def edit(folder: pathlib.Path, change: Callable[[Any], Any]) -> pathlib.Path:
    """Changes the annotations; what `change` returns takes their place, unless it is None."""
    path = folder / ANNOTATIONS
    content = json.loads(path.read_text())
    changed = change(content)
    path.write_text(json.dumps(content if changed is None else changed))
    return path


def damage_image(folder: pathlib.Path) -> pathlib.Path:
    """Cuts the second image short."""
    path = folder / 'images' / '000000000020.png'
    path.write_bytes(path.read_bytes()[:60])
    return path


# ---- files that are not there, or not what they should be ---------------------------------------

_FILES = {
    'a COCO file that is missing': (
        coco('{data}/no.json'),
        2,
        rf"^{TRAIN}\.source\.coco\.annotation_file: the file '.*/no\.json' does not exist$",
    ),
    'a folder as COCO file': (
        coco('{data}'),
        2,
        r"\.annotation_file: '.*/data' is a folder; expected a COCO JSON file",
    ),
    'a COCO file without a name': (
        f'{TRAIN}.source.type=coco',
        2,
        r"\.annotation_file: expected the path of a COCO JSON file, received ''",
    ),
    'a COCO file that cannot be read': (
        coco('/proc/self/mem'),
        1,
        r'^/proc/self/mem: the file cannot be read \(Input/output error\)$',
    ),
    'a folder of images that is missing': (
        coco('{data}/annotations.json', image_dir='{data}/nowhere'),
        2,
        rf"^{TRAIN}\.source\.coco\.image_dir: the folder '.*/nowhere' does not exist$",
    ),
    'TFRecords that are missing': (
        tfrecord('{data}/no.tfrecord'),
        2,
        rf"^{TRAIN}\.source\.tfrecord\.input_path: the file '.*no\.tfrecord' does not exist$",
    ),
    'TFRecords of Model Garden that are missing': (
        f"{TRAIN}.source.type=null,{TRAIN}.input_path='{{data}}/no.tfrecord'",
        2,
        rf"^{TRAIN}\.input_path: the file '.*no\.tfrecord' does not exist$",
    ),
    'a pattern that matches nothing': (
        tfrecord('{data}/*.none'),
        2,
        rf"^{TRAIN}\.source\.tfrecord\.input_path: no file matches the pattern '.*/\*\.none'$",
    ),
    'a folder as TFRecords': (
        tfrecord('{data}'),
        2,
        r"'.*/data' is a folder; expected files; use a pattern such as '.*/data/\*\.tfrecord'",
    ),
    'TFRecords that are empty': (
        tfrecord('{data}/empty.tfrecord'),
        1,
        r'empty\.tfrecord: the data set is empty: it has no examples$',
    ),
    'a JPEG as TFRecords': (
        tfrecord('{data}/photo.jpg'),
        2,
        r'photo\.jpg: this is a JPEG image; expected a TFRecord file; .*source\.type=coco',
    ),
    'a record that is corrupt': (
        tfrecord('{data}/corrupt.tfrecord'),
        1,
        r'corrupt\.tfrecord, record 0 \(counted from 0; at byte 0\): the record is corrupt: its '
        r'checksum is wrong; mend or remove it, or set skip_corrupt=true',
    ),
    'labels above num_classes': (
        tfrecord('{data}/part*') + ',task.model.num_classes=2',
        2,
        r'^task\.model\.num_classes: expected 4, because .* has 3 labels, and background counts, '
        r'received 2 \(from --params_override\); leave it out to take it from the data$',
    ),
    'num_classes that are not those of the data': (
        coco('{data}/annotations.json') + ',task.model.num_classes=7',
        2,
        r'^task\.model\.num_classes: expected 4, because .*annotations\.json has 3 classes',
    ),
}


@pytest.mark.parametrize('name', _FILES)
def test_files(name: str, data: pathlib.Path, run: Any, tmp_path: pathlib.Path) -> None:
    (data / 'empty.tfrecord').write_bytes(b'')
    (data / 'photo.jpg').write_bytes(data_makers.make_image(8, 8, image_format='JPEG'))
    records = bytearray((data / RECORDS).read_bytes())
    records[40] ^= 255
    (data / 'corrupt.tfrecord').write_bytes(records)
    overrides, exit_code, message = _FILES[name]
    check(run(overrides.replace('{data}', str(data))), exit_code, message)
    assert not (tmp_path / 'run').exists()


# ---- COCO files ---------------------------------------------------------------------------------


def _set(section: str, number: int, **fields: Any) -> Callable[[Any], None]:
    return lambda content: content[section][number].update(fields)


def _drop(section: str, number: int, field: str) -> Callable[[Any], None]:
    return lambda content: content[section][number].pop(field) and None


_ANNOTATIONS: dict[str, tuple[Callable[[Any], Any], str]] = {
    'a list': (lambda _: [1, 2], r"not a COCO annotation file: it has no list 'images'"),
    'no images': (lambda c: c.pop('images') and None, r"it has no list 'images'"),
    'no categories': (lambda c: c.pop('categories') and None, r"it has no list 'categories'"),
    'zero categories': (
        lambda c: c.update(categories=[], annotations=[]),
        r', categories: there are none; expected at least one$',
    ),
    'annotations in a dict': (lambda c: c.update(annotations={}), r', annotations: not a list$'),
    'annotations that are texts': (
        lambda c: c.update(annotations=['x']),
        r', annotations\[0\]: there is no image with the id None$',
    ),
    'zero images': (
        lambda c: c.update(images=[], annotations=[]),
        r'annotations\.json: the data set is empty: it has no examples$',
    ),
    'no boxes': (
        lambda c: c.update(annotations=[]),
        r'no boxes at all in 4 examples; expected at least one annotated object$',
    ),
    'an unknown category': (
        _set('annotations', 0, category_id=77),
        r'annotation with the id 1: there is no category with the id 77; expected one of 1, 2, 3$',
    ),
    'a category in a list': (
        _set('annotations', 0, category_id=[1]),
        r'annotation with the id 1: there is no category with the id \[1\]',
    ),
    'an annotation without image_id': (
        _drop('annotations', 0, 'image_id'),
        r'annotations\[0\]: there is no image with the id None$',
    ),
    'an image_id in a list': (
        _set('annotations', 0, image_id=[10]),
        r'annotations\[0\]: there is no image with the id \[10\]$',
    ),
    'a box of three numbers': (
        _set('annotations', 0, bbox=[1, 2, 3]),
        r'no usable bbox; expected \[x, y, width, height\]; received \[1, 2, 3\]$',
    ),
    'a box of infinite size': (
        _set('annotations', 0, bbox=[1, 2, 3, float('inf')]),
        r'no usable bbox; .*received \[1, 2, 3, inf\]$',
    ),
    'a polygon without points': (
        _set('annotations', 0, bbox=None, segmentation=[[]]),
        r'annotation with the id 1: no usable bbox; .*received None$',
    ),
    'an image without id': (_drop('images', 0, 'id'), r'images\[0\]: no id; expected an integer$'),
    'an image id of 70 bits': (_set('images', 2, id=2**70), r'images\[2\]: no id'),
    'an image without file_name': (
        _drop('images', 0, 'file_name'),
        r'images\[0\] \(id 10\): no file_name$',
    ),
    'an image of infinite height': (
        _set('images', 2, height=float('inf')),
        r'images\[2\]: no usable size; expected pixels; received inf x 32$',
    ),
    'an image id twice': (_set('images', 1, id=10), r'images\[1\]: the image id 10 occurs twice$'),
    'an image that is missing': (
        _set('images', 1, file_name='gone.png'),
        r'1 of 4 images are missing, the first: .*/gone\.png; give the folder of the images as '
        r'image_dir, or set skip_corrupt=true$',
    ),
}


@pytest.mark.parametrize('name', _ANNOTATIONS)
def test_annotations(name: str, data: pathlib.Path, run: Any) -> None:
    change, message = _ANNOTATIONS[name]
    outcome = run(coco(edit(data, change)))
    check(outcome, 1, message)
    assert str(data / ANNOTATIONS) in outcome.stderr


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', r'annotations\.json:1: not a JSON file \(Expecting value'),
        (
            b'{"images": [',
            r'annotations\.json:1: not a JSON file \(Expecting value: line 1 column 13',
        ),
        (b'\x89PNG\r\n\xff', r"annotations\.json: not a JSON file \('utf-8' codec can't decode"),
        (b'[' * 200_000, r'annotations\.json: not a JSON file \(maximum recursion depth'),
    ],
)
def test_what_is_not_json(data: pathlib.Path, run: Any, content: bytes, message: str) -> None:
    (data / ANNOTATIONS).write_bytes(content)
    check(run(coco(data / ANNOTATIONS)), 1, message)


def test_data_that_was_mended_goes_into_the_same_folder(data: pathlib.Path, run: Any) -> None:
    fine = (data / ANNOTATIONS).read_text()
    bad = edit(data, lambda c: c.update(annotations=[], categories=c['categories'][:2]))
    check(run(coco(bad)), 1, 'no boxes at all')
    (data / ANNOTATIONS).write_text(fine)
    outcome = run(coco(data / ANNOTATIONS))
    assert outcome.exit_code == 0, outcome.stderr
    assert 'task.model.num_classes: 3 -> 4' in outcome.stdout


# ---- images -------------------------------------------------------------------------------------


def test_a_corrupt_image_is_named_or_skipped(
    data: pathlib.Path, run: Any, tmp_path: pathlib.Path
) -> None:
    path = damage_image(data)
    message = (
        rf'^{path}: the image cannot be decoded \(60 bytes: .*\); mend or remove it, or set '
        r'skip_corrupt=true to leave such examples out$'
    )
    check(run(coco(data / ANNOTATIONS)), 1, message)
    outcome = run(coco(data / ANNOTATIONS), f'{TRAIN}.skip_corrupt=true')
    assert outcome.exit_code == 0, outcome.stderr
    assert f'skipped 1 that cannot be read:\n  {path}: the image' in outcome.stderr
    info = json.loads((tmp_path / 'run' / 'run.json').read_text())
    assert (info['data']['num_examples'], info['data']['num_corrupt']) == (3, 1)
    assert (tmp_path / 'run' / 'ckpt-2.index').is_file()


# ---- validation ---------------------------------------------------------------------------------


def test_validation_data(data: pathlib.Path, run: Any, tmp_path: pathlib.Path) -> None:
    train_data, annotations = coco(data / ANNOTATIONS), data / ANNOTATIONS
    other = make_data(tmp_path / 'other')
    edit(other, lambda c: c['categories'].append({'id': 9, 'name': 'dog'}))
    (data / 'empty.tfrecord').write_bytes(b'')
    (data / 'list.json').write_text('[1]')
    table = data_makers.make_table([2, 6], num_labels=5)
    tfrecord_writer.write_tfrecords(tfrecord_writer.make_examples(table), data / 'more')
    fine = coco(annotations, VALIDATION)
    for overrides, exit_code, message in (
        (
            (coco(other / ANNOTATIONS, VALIDATION),),
            2,
            r'^task\.validation_data: its classes are not those of task\.class_names: they differ '
            r'from label 4 on, expected none, received dog in .*/other/annotations\.json; give',
        ),
        ((coco('/no.json', VALIDATION),), 2, rf'^{VALIDATION}\.source\.coco\.annotation_file: the'),
        ((tfrecord(data / 'empty.tfrecord', VALIDATION),), 1, r'empty\.tfrecord: the data set is'),
        (
            (tfrecord(data / 'more*', VALIDATION),),
            1,
            r"label 5 \('thing_5'\) is out of range; expected labels 1 to 3",
        ),
        (
            (fine, 'task.annotation_file=/no.json'),
            2,
            r"^task\.annotation_file: the file '/no\.json' cannot be read \(No such file or direct",
        ),
        (
            (fine, f"task.annotation_file='{data / 'list.json'}'"),
            2,
            r'list\.json: is not in COCO format: no images, annotations, categories; expected',
        ),
    ):
        check(run(train_data, *overrides, mode='train_and_eval'), exit_code, message)
    assert not list((tmp_path / 'run').glob('ckpt-*'))  # all of this is known before training
