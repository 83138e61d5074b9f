"""The list of classes beside TFRecords: names that records alone do not tell."""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np
import pytest

from official_lite import errors
from official_lite.vision.dataloaders import (
    class_file,
    table_source,
    tfrecord_source,
    tfrecord_writer,
)
from tests.vision.dataloaders import data_makers

CLASSES = class_file.ClassList(('cat', 'dog', 'owl', 'yak'), (1, 7, 18, 90))


def write(folder: pathlib.Path, name: str, classes: class_file.ClassList | None = CLASSES) -> None:
    """Two shards of records whose labels 1 to 3 have no names, and a list of classes."""
    table = data_makers.make_table([2, 2])
    info = dataclasses.replace(table.info, class_names=())
    images = [table.read_image(i) for i in range(2)]
    table = table_source.TableSource(table.table, images, info, is_in_memory=True)
    examples = tfrecord_writer.make_examples(table)
    tfrecord_writer.write_tfrecords(examples, folder / name, num_shards=2)
    if classes:
        class_file.save_class_list(classes, str(folder / f'{name}-classes.json'))


def test_names_of_shards() -> None:
    assert class_file.get_class_file('d/train-00003-of-00008.tfrecord') == 'd/train-classes.json'
    assert class_file.get_class_file('d/a-b-00003-of-00008') == 'd/a-b-classes.json'
    assert class_file.get_class_file('d/train.tfrecord') is None


def test_records_have_the_names_of_the_list(tmp_path: pathlib.Path) -> None:
    write(tmp_path, 'train')
    info = tfrecord_source.build_tfrecord_source(str(tmp_path / 'train-*.tfrecord')).info
    assert info.class_names == CLASSES.class_names
    assert info.category_ids == CLASSES.category_ids
    assert info.boxes_per_class == (2, 1, 1, 0)
    assert (info.declares_classes, info.num_classes) == (True, 5)


def test_without_a_list_labels_are_all_there_is(tmp_path: pathlib.Path) -> None:
    write(tmp_path, 'train', None)
    info = tfrecord_source.build_tfrecord_source(str(tmp_path / 'train-*')).info
    assert info.class_names == ('class_1', 'class_2', 'class_3')
    assert not info.declares_classes


def test_a_list_counts_where_all_files_have_one(tmp_path: pathlib.Path) -> None:
    write(tmp_path, 'a')
    write(tmp_path, 'b', None)
    paths = sorted(str(p) for p in tmp_path.glob('*.tfrecord'))
    assert class_file.load_class_list(paths) is None
    class_file.save_class_list(CLASSES, str(tmp_path / 'b-classes.json'))
    assert class_file.load_class_list(paths) == CLASSES


def test_lists_that_differ(tmp_path: pathlib.Path) -> None:
    write(tmp_path, 'a')
    write(tmp_path, 'b', class_file.ClassList(('cat', 'ox', 'owl', 'yak'), (1, 7, 18, 90)))
    with pytest.raises(
        errors.DataError, match=r'b-classes\.json: the classes are not those of .*a-'
    ):
        tfrecord_source.build_tfrecord_source(str(tmp_path / '*.tfrecord'))


@pytest.mark.parametrize(
    ('text', 'match'),
    [
        ('{', 'not a list of classes'),
        ('[]', 'not a list of classes'),
        ('{"class_names": ["a"]}', "not a list of classes.*'category_ids'"),
        ('{"class_names": ["a"], "category_ids": []}', '1 class_names but 0 category_ids'),
    ],
)
def test_a_damaged_list(tmp_path: pathlib.Path, text: str, match: str) -> None:
    write(tmp_path, 'train')
    (tmp_path / 'train-classes.json').write_text(text)
    with pytest.raises(errors.DataError, match=match):
        tfrecord_source.build_tfrecord_source(str(tmp_path / 'train-*.tfrecord'))


def test_a_list_of_other_records(tmp_path: pathlib.Path) -> None:
    write(tmp_path, 'train', class_file.ClassList(('cat',), (1,)))
    with pytest.raises(
        errors.DataError, match=r'train-classes\.json: a record has the label 3, and there are 1'
    ):
        tfrecord_source.build_tfrecord_source(str(tmp_path / 'train-*.tfrecord'))


def test_names_in_other_scripts(tmp_path: pathlib.Path) -> None:
    classes = class_file.ClassList(('кошка', '猫 "1"'), (1, 2))
    path = str(tmp_path / 'x-classes.json')
    class_file.save_class_list(classes, path)
    shards = [str(tmp_path / f'x-0000{i}-of-00002.tfrecord') for i in range(2)]
    assert class_file.load_class_list(shards) == classes
    assert np.all([class_file.get_class_file(shard) == path for shard in shards])
