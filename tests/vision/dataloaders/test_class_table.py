"""Tables of classified images: columns, splits, several classes, and what is refused."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from official_lite import errors
from official_lite.vision.dataloaders import class_table, labelled_images
from tests.vision.dataloaders import class_makers

ROWS = ['path,class,part', '0.jpg,dog,a', '1.jpg,cat,a', '2.jpg, cat ,b', '3.jpg,owl,a']


@pytest.fixture
def table(tmp_path: pathlib.Path) -> str:
    return str(class_makers.write_table(tmp_path / 'table.csv', ROWS, num_images=4))


def labels_of(images: labelled_images.LabelledImages) -> list[list[int]]:
    return [labels.tolist() for labels in images.labels]


def test_first_column_image_second_class(table: str):
    images = class_table.find_images(table)
    assert images.class_names == ('cat', 'dog', 'owl')
    assert labels_of(images) == [[1], [0], [0], [2]]
    assert images.paths[0] == str(pathlib.Path(table).parent / '0.jpg')
    assert labelled_images.build_labelled_source(images).info.boxes_per_class == (2, 1, 1)


@pytest.mark.parametrize('delimiter', [',', ';', '\t'])
def test_columns_by_name_delimiters_and_a_byte_order_mark(tmp_path: pathlib.Path, delimiter: str):
    path = tmp_path / 'table.csv'
    rows = [['kind', 'note', 'file'], ['cat', 'a "b"', 'x.jpg']]
    path.write_text('\n'.join(delimiter.join(row) for row in rows), encoding='utf-8-sig')
    images = class_table.find_images(str(path), '/images', image_column='file', label_column='kind')
    assert images.paths == ('/images/x.jpg',)
    assert images.class_names == ('cat',)


def test_a_split_column(table: str):
    images = class_table.find_images(table, split_column='part', split='a')
    assert images.names == ('0.jpg', '1.jpg', '3.jpg')
    assert images.class_names == ('cat', 'dog', 'owl')  # of all rows, so that labels agree
    assert images.origin == f'{table}:a'


def test_a_split_by_share(tmp_path: pathlib.Path):
    rows = ['image,label', *(f'{n}.jpg,{"cd"[n % 2]}' for n in range(20))]
    path = str(class_makers.write_table(tmp_path / 't.csv', rows))
    train, validation = (class_table.find_images(path, split=s) for s in ('train', 'validation'))
    assert (len(train), len(validation)) == (16, 4)
    assert not set(train.names) & set(validation.names)


def test_several_classes_and_none(tmp_path: pathlib.Path):
    rows = ['image,labels', '0.jpg,cat | dog', '1.jpg,', '2.jpg,owl']
    path = str(class_makers.write_table(tmp_path / 't.csv', rows))
    images = class_table.find_images(path, label_separator='|')
    assert images.class_names == ('cat', 'dog', 'owl')
    assert labels_of(images) == [[0, 1], [], [2]]


def test_the_order_of_classes_can_be_given(table: str):
    images = class_table.find_images(table, class_names=['owl', 'dog', 'cat', 'emu'])
    assert labels_of(images) == [[1], [2], [2], [0]]
    assert images.class_names == ('owl', 'dog', 'cat', 'emu')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            {'image_column': 'file'},
            r"image_column: expected one of path, class, part; received 'file'",
        ),
        ({'label_column': 'kind'}, r'label_column: expected one of path, class, part'),
        ({'split': 'test'}, r"split: expected 'train' or 'validation' without split_column"),
        ({'split': 'c', 'split_column': 'part'}, r"split: expected one of a, b; received 'c'"),
    ],
)
def test_what_is_not_there_is_refused(table: str, options: dict[str, Any], message: str):
    with pytest.raises(errors.UsageError, match=message):
        class_table.find_images(table, **options)


@pytest.mark.parametrize(
    ('rows', 'message'),
    [
        (['image,label', 'a.jpg'], r'row 1 .*: the row has 1 fields; expected 2'),
        (['image,label', 'a.jpg,x', 'b.jpg,'], r"row 2 .*: 'label' is empty"),
        (['image,label', ',x'], r"row 1 .*: 'image' is empty"),
        (['image'], r'the first row has 1 columns; expected names of two or more columns'),
        ([''], r'the first row has 0 columns'),
        (['image,label'], r'the table has no rows'),
    ],
)
def test_bad_tables(tmp_path: pathlib.Path, rows: list[str], message: str):
    path = class_makers.write_table(tmp_path / 't.csv', rows)
    with pytest.raises(errors.DataError, match=message):
        class_table.find_images(str(path))


def test_an_unknown_class_a_missing_file_and_missing_images(table: str, tmp_path: pathlib.Path):
    with pytest.raises(errors.DataError, match=r"row 4 .*: the class 'owl' is not known"):
        class_table.find_images(table, class_names=['dog', 'cat'])
    with pytest.raises(errors.UsageError, match=r"file: there is no file '/nowhere.csv'"):
        class_table.find_images('/nowhere.csv')
    with pytest.raises(errors.UsageError, match=r'file: .* is a folder'):
        class_table.find_images(str(tmp_path))
    images = class_table.find_images(table, str(tmp_path / 'elsewhere'))
    with pytest.raises(errors.DataError, match=r'4 of 4 images are missing, .*give the folder'):
        labelled_images.build_labelled_source(images, image_option='image_dir')
