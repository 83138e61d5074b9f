"""Pascal VOC folders as they are found."""

from __future__ import annotations

import os
import pathlib
import shutil

import numpy as np
import pytest

from official_lite import errors
from official_lite.vision.dataloaders import voc_annotations, voc_source
from tests import voc_to_coco
from tests.vision.dataloaders import data_makers, folder_makers

make_object = folder_makers.make_object

CAT = make_object('cat', 5, 6, 14, 15)
DOG = make_object('dog', 1, 1, 40, 20)
FILES = {'a': [CAT, DOG], 'b': [], 'c': [DOG]}
SPLITS = {'train': 'a\nb\n', 'val': 'c\n', 'cat_train': 'a  1\nb -1\n'}


@pytest.fixture(autouse=True)
def forget() -> None:
    """Files are read again in every test."""
    voc_source.forget()


def to_pixels(record: dict[str, np.ndarray]) -> np.ndarray:
    return record['groundtruth_boxes'] * [20, 40, 20, 40]


def test_a_split(tmp_path: pathlib.Path):
    folder = folder_makers.write_voc(tmp_path, FILES, splits=SPLITS)
    source = voc_source.build_voc_source(str(folder), 'train')
    info = source.info
    assert (info.num_examples, info.num_boxes, info.num_empty_images) == (2, 2, 1)
    assert info.class_names == ('cat', 'dog')
    assert info.category_ids == (1, 2)
    assert info.boxes_per_class == (1, 1)
    assert info.max_boxes_per_image == 2
    assert info.origin == f'{folder} (train)'
    assert info.findings == ()
    records = data_makers.read_records(source)
    assert list(records) == [1, 2]
    # Pixels 5 to 14, counted from 1, are what lies between the edges 4 and 14.
    np.testing.assert_allclose(to_pixels(records[1]), [[5, 4, 15, 14], [0, 0, 20, 40]], rtol=1e-6)
    np.testing.assert_array_equal(records[1]['groundtruth_classes'], [1, 2])
    np.testing.assert_allclose(records[1]['groundtruth_area'], [100, 800], rtol=1e-6)
    assert (records[1]['height'], records[1]['width']) == (20, 40)
    assert records[2]['groundtruth_boxes'].shape == (0, 4)
    assert source.describe(1).endswith('b.png')


def test_all_splits_number_classes_and_images_alike(tmp_path: pathlib.Path):
    folder = str(folder_makers.write_voc(tmp_path, FILES, splits=SPLITS))
    val = voc_source.build_voc_source(folder, 'val')
    assert val.info.class_names == ('cat', 'dog')  # though there is no cat
    assert val.info.findings == (
        "1 of 2 classes have no boxes: 'cat'; they stay, so that labels stay the same",
    )
    assert list(data_makers.read_records(val)) == [3]
    everything = voc_source.build_voc_source(folder)
    assert everything.info.num_examples == 3
    assert everything.info.findings == (
        'no split is chosen (train, val, cat_train): all 3 annotation files are read',
    )
    of_class = voc_source.build_voc_source(folder, 'cat_train')
    assert list(data_makers.read_records(of_class)) == [1]  # -1: there is none in b


def test_names_that_are_numbers_are_ids(tmp_path: pathlib.Path):
    folder = folder_makers.write_voc(tmp_path, {'000012': [CAT], '000007': [DOG]})
    source = voc_source.build_voc_source(str(folder))
    assert sorted(data_makers.read_records(source)) == [7, 12]


@pytest.mark.parametrize('layout', ['devkit', 'side by side', 'folders'])
def test_other_layouts(layout: str, tmp_path: pathlib.Path):
    files = {'x/a': [CAT], 'x/b': [DOG]} if layout == 'folders' else {'a': [CAT], 'b': [DOG]}
    below = tmp_path / 'VOCdevkit' / 'VOC2012' if layout == 'devkit' else tmp_path
    names = {} if layout == 'devkit' else {'annotations': '.', 'images': '.'}
    folder_makers.write_voc(below, files, **names)
    source = voc_source.build_voc_source(str(tmp_path), 'x' if layout == 'folders' else '')
    assert source.info.num_boxes == 2
    assert len(data_makers.read_records(source)) == 2


def test_images_in_folders_below_and_of_another_name(tmp_path: pathlib.Path):
    folder = folder_makers.write_voc(tmp_path, {'a': [CAT], 'b': [DOG]})
    images = folder / 'JPEGImages'
    (images / 'deep').mkdir()
    (images / 'a.png').rename(images / 'deep' / 'a.PNG')  # not what <filename> says
    (folder / 'Annotations' / 'b.xml').rename(folder / 'Annotations' / 'renamed.xml')
    source = voc_source.build_voc_source(str(folder))
    assert [source.describe(i) for i in range(2)] == [
        str(images / 'deep' / 'a.PNG'),
        str(images / 'b.png'),
    ]


def test_sizes_come_from_the_images_where_the_files_tell_none(tmp_path: pathlib.Path):
    folder = folder_makers.write_voc(tmp_path, {'a': [CAT]}, size=None)
    record = data_makers.read_records(voc_source.build_voc_source(str(folder)))[1]
    assert (record['height'], record['width']) == (20, 40)
    np.testing.assert_allclose(to_pixels(record), [[5, 4, 15, 14]], rtol=1e-6)


@pytest.mark.parametrize(
    ('difficult', 'is_crowd', 'fate'),
    [
        ('ignore', [False, True], 'are ignored in training and evaluation, as crowds are'),
        ('use', [False, False], 'are used as any other'),
        ('drop', [False], 'are left out'),
    ],
)
def test_difficult_objects(
    difficult: voc_source.Difficult, is_crowd: list[bool], fate: str, tmp_path: pathlib.Path
):
    hard = make_object('cat', 1, 1, 5, 5, difficult=1)
    folder = folder_makers.write_voc(tmp_path, {'a': [CAT, hard]})
    source = voc_source.build_voc_source(str(folder), difficult=difficult)
    record = data_makers.read_records(source)[1]
    np.testing.assert_array_equal(record['groundtruth_is_crowd'], is_crowd)
    assert source.info.findings == (f'1 objects are marked as difficult and {fate}',)
    assert source.info.num_crowds == sum(is_crowd)


def test_coordinates_from_0(tmp_path: pathlib.Path):
    folder = folder_makers.write_voc(tmp_path, {'a': [CAT]})
    source = voc_source.build_voc_source(str(folder), is_one_based=False)
    np.testing.assert_allclose(
        to_pixels(data_makers.read_records(source)[1]), [[6, 5, 15, 14]], rtol=1e-6
    )


def test_degenerate_boxes_are_reported(tmp_path: pathlib.Path):
    point = make_object('cat', 7, 7, 7, 7)
    outside = make_object('dog', 30, 5, 60, 15)
    folder = folder_makers.write_voc(tmp_path, {'a': [CAT, point, outside]})
    info = voc_source.build_voc_source(str(folder)).info
    assert (info.num_boxes, info.num_dropped_boxes) == (2, 1)
    path = folder / 'Annotations' / 'a.xml'
    assert info.findings == (
        f"1 box has no area and is left out: {path}, object 2 ('cat')",
        f"1 box leaves its image by 20 px and is cut at the edge: {path}, object 3 ('dog')",
    )


def test_class_names_that_are_given(tmp_path: pathlib.Path):
    folder = str(folder_makers.write_voc(tmp_path, FILES))
    names = ('dog', 'emu', 'cat')
    info = voc_source.build_voc_source(folder, names=names).info
    assert (info.class_names, info.boxes_per_class) == (names, (2, 0, 1))
    (tmp_path / 'names.txt').write_text('dog\ncat\n\n')
    listed = voc_source.build_voc_source(folder, names=[str(tmp_path / 'names.txt')]).info
    assert (listed.class_names, listed.boxes_per_class) == (('dog', 'cat'), (2, 1))
    with pytest.raises(
        errors.DataError,
        match=r"a\.xml, object 1: class 'cat' is not in class_names; expected one of dog",
    ):
        voc_source.build_voc_source(folder, names=['dog'])
    with pytest.raises(errors.UsageError, match=r"class_names: the name 'dog' occurs twice"):
        voc_source.build_voc_source(folder, names=['dog', 'dog'])


def test_a_background_class_is_pointed_out(tmp_path: pathlib.Path):
    folder = str(folder_makers.write_voc(tmp_path, {'a': [CAT]}))
    findings = voc_source.build_voc_source(folder, names=['background', 'cat']).info.findings
    assert findings[0] == (
        "a class is called 'background'; the background has label 0 by itself and needs none"
    )


def test_what_belongs_to_nothing_is_reported(tmp_path: pathlib.Path):
    folder = folder_makers.write_voc(tmp_path, FILES, splits={'train': 'a\na\nb.png\n'})
    source = voc_source.build_voc_source(str(folder), 'train')
    assert source.info.num_examples == 2
    assert source.info.findings[0] == (
        f'1 lines of {folder / "ImageSets/Main/train.txt"} name an image again; each counts once'
    )
    (folder / 'Annotations' / 'b.xml').unlink()
    shutil.rmtree(folder / 'ImageSets')
    voc_source.forget()
    findings = voc_source.build_voc_source(str(folder)).info.findings
    assert findings == (
        f'1 of 3 images in {folder / "JPEGImages"} have no annotation file and are left out',
    )


def test_another_size_than_annotated(tmp_path: pathlib.Path):
    folder = folder_makers.write_voc(tmp_path, {'a': [CAT], 'b': [CAT]})
    (folder / 'JPEGImages' / 'a.png').write_bytes(data_makers.make_image(40, 80))
    (folder / 'JPEGImages' / 'b.png').write_bytes(data_makers.make_image(40, 20))
    source = voc_source.build_voc_source(str(folder))
    assert source.info.findings == (
        '2 images have another size than their annotations say, and boxes are scaled with them; 1 of '
        f'them also in shape, so that their boxes are probably wrong; the first: '
        f'{folder / "JPEGImages" / "a.png"} (80x40, annotated 40x20)',
    )
    boxes = data_makers.read_records(source)[1]['groundtruth_boxes']
    np.testing.assert_allclose(boxes, [[5 / 20, 4 / 40, 15 / 20, 14 / 40]], rtol=1e-6)


# ---- what cannot be used ------------------------------------------------------------------------

_BOX = '<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>'


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        (b'<annotation>\n<object>\n</annotation>', r'a\.xml:3: not a well-formed XML file'),
        (b'', r'a\.xml:1: not a well-formed XML file'),
        (b'\xff\xfe\x00', r'a\.xml:\d+: not a well-formed XML file'),
        (
            b'<html/>',
            r'a\.xml: not a Pascal VOC annotation; expected <annotation>; received <html>',
        ),
        (
            f'<annotation>\n<object><name>x</name>{_BOX}</object>\n<object>{_BOX}</object>'
            '</annotation>'.encode(),
            r'a\.xml:3: object 2 has no name',
        ),
        (
            b'<annotation>\n\n<object><name>cat</name></object></annotation>',
            r"a\.xml:3: object 1 \('cat'\) has no box; expected <bndbox> with xmin",
        ),
        (
            b'<annotation><object><name>cat</name><robndbox/></object></annotation>',
            r'rotated boxes \(<robndbox>\) are not read',
        ),
        (
            f'<annotation><object><name>cat</name>{_BOX.replace("9", "wide", 1)}</object>'
            '</annotation>'.encode(),
            r"object 1 \('cat'\) has no usable xmax; expected a number of pixels; received 'wide'",
        ),
        (
            f'<annotation><object><name>cat</name>{_BOX.replace(">9", ">nan", 1)}</object>'
            '</annotation>'.encode(),
            r"has no usable xmax; .* received 'nan'",
        ),
    ],
)
def test_annotation_files_that_cannot_be_used(text: bytes, message: str, tmp_path: pathlib.Path):
    folder = folder_makers.write_voc(tmp_path, {'a': [CAT], 'b': [DOG]})
    (folder / 'Annotations' / 'a.xml').write_bytes(text)
    for _ in range(2):  # from the cache, too
        with pytest.raises(errors.DataError, match=message) as caught:
            voc_source.build_voc_source(str(folder))
        assert 'skip_corrupt=true' in str(caught.value) or caught.value.hint
    skipped = voc_source.build_voc_source(str(folder), skip_corrupt=True)
    assert (skipped.info.num_examples, skipped.info.num_corrupt) == (1, 1)


def test_folders_and_splits_that_are_not_there(tmp_path: pathlib.Path):
    with pytest.raises(errors.UsageError, match=r"^root: the folder '.*/no' does not exist$"):
        voc_source.build_voc_source(str(tmp_path / 'no'))
    with pytest.raises(errors.UsageError, match=r'^root: no annotations in '):
        voc_source.build_voc_source(str(tmp_path))
    folder = folder_makers.write_voc(tmp_path / 'one', FILES, splits=SPLITS)
    with pytest.raises(
        errors.UsageError,
        match=r"^split: there is no split 'test'; expected one of train, val, cat_train$",
    ):
        voc_source.build_voc_source(str(folder), 'test')
    folder_makers.write_voc(tmp_path / 'two', FILES)
    with pytest.raises(errors.UsageError, match=r'root: there are several data sets below '):
        voc_source.build_voc_source(str(tmp_path))
    (folder / 'ImageSets' / 'Main' / 'train.txt').write_text('a\n\nzebra\n')
    voc_source.forget()
    with pytest.raises(
        errors.DataError, match=r'train\.txt:3: there is no annotation file zebra\.xml'
    ):
        voc_source.build_voc_source(str(folder), 'train')
    (folder / 'ImageSets' / 'Main' / 'val.txt').write_text('\n')
    with pytest.raises(errors.DataError, match=r'val\.txt: the list names no image'):
        voc_source.build_voc_source(str(folder), 'val')


def test_two_images_of_one_name(tmp_path: pathlib.Path):
    folder = folder_makers.write_voc(tmp_path, {'a': [CAT]})
    images = folder / 'JPEGImages'
    for name in ('x', 'y'):
        (images / name).mkdir()
        shutil.copy(images / 'a.png', images / name / 'a.png')
    os.unlink(images / 'a.png')
    with pytest.raises(errors.DataError, match=r'a: there are 2 files of this name below'):
        voc_source.build_voc_source(str(folder))


def test_links_in_a_circle(tmp_path: pathlib.Path):
    folder = folder_makers.write_voc(tmp_path, FILES)
    (folder / 'JPEGImages' / 'again').symlink_to(folder / 'JPEGImages')
    (folder / 'Annotations' / 'again').symlink_to(folder / 'Annotations')
    assert voc_source.build_voc_source(str(folder)).info.num_examples == 3


def test_files_are_read_once(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    folder = folder_makers.write_voc(tmp_path, FILES, splits=SPLITS)
    first = voc_source.build_voc_source(str(folder), 'train').info
    voc_source.forget()

    def refuse(*args: object) -> None:
        raise AssertionError('read again')

    monkeypatch.setattr(voc_annotations, 'parse_voc', refuse)
    assert voc_source.build_voc_source(str(folder), 'train').info == first


def test_blood_cells_equal_the_converter(data_dir: pathlib.Path, tmp_path: pathlib.Path):
    from official_lite.vision.dataloaders import coco_source

    bccd = data_dir / 'bccd'
    path = voc_to_coco.convert_voc_to_coco(bccd, 'train', tmp_path / 'train.json')
    ours = voc_source.build_voc_source(str(bccd), 'train')
    theirs = coco_source.build_coco_source(str(path), str(bccd / 'JPEGImages'))
    assert ours.info.num_dropped_boxes == 1
    assert ours.info.findings[0].startswith('1 box has no area and is left out: ')
    # VOC's rule makes a box of one pixel of the one whose edges coincide.
    assert theirs.info.num_boxes == ours.info.num_boxes + 1
    assert ours.info.class_names == theirs.info.class_names == ('Platelets', 'RBC', 'WBC')
    counts = np.diff(ours.table.splits)
    differs = np.flatnonzero(counts != np.diff(theirs.table.splits))
    assert len(differs) == 1
    same = np.setdiff1d(np.arange(205), differs)
    ours_table, their_table = ours.table.select(same), theirs.table.select(same)
    for name in ('boxes', 'labels', 'areas', 'splits'):
        np.testing.assert_allclose(getattr(ours_table, name), getattr(their_table, name), rtol=1e-6)
