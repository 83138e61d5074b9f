"""Conversion: what is read back is what the source had; files appear whole or not at all."""

from __future__ import annotations

import dataclasses
import io
import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from official_lite import errors
from official_lite.vision.data import convert, records
from official_lite.vision.dataloaders import (
    coco_source,
    table_source,
    tf_example_decoder,
    tfrecord_source,
)
from official_lite.vision.dataloaders import source as source_lib
from tests.vision.dataloaders import data_makers

pytestmark = pytest.mark.usefixtures('own_cache')

COUNTS = [2, 0, 3, 1, 0, 4, 1]


def make_source() -> table_source.TableSource:
    """Seven images, two of them empty; crowds, areas of their own, ids with gaps, an unused class."""
    source = data_makers.make_table(COUNTS, num_labels=3)
    table = source.table
    crowds = np.arange(len(table.labels)) % 4 == 1
    table = dataclasses.replace(table, is_crowd=crowds, areas=table.areas * np.float32(0.7))
    info = dataclasses.replace(
        source.info,
        class_names=('cat', 'dog', 'größere "Eule"', 'never'),
        category_ids=(1, 7, 18, 90),
        boxes_per_class=(*source.info.boxes_per_class, 0),
    )
    images = [source.read_image(i) for i in range(len(table))]
    images[2] = data_makers.make_image(24, 32, 2, 'JPEG')
    return table_source.TableSource(table, images, info, is_in_memory=True)


def read_tfrecords(prefix: pathlib.Path, **options: bool) -> source_lib.Source:
    return tfrecord_source.build_tfrecord_source(f'{prefix}-*.tfrecord', **options)


def assert_same(source: source_lib.Source, expected: table_source.TableSource) -> None:
    """Fails unless both have the same examples, bytes of images included, in the same order."""
    found = list(records.iterate_records(source))
    wanted = list(records.iterate_records(expected))
    assert [r.source_id for r in found] == [r.source_id for r in wanted]
    for a, b in zip(found, wanted, strict=True):
        assert (a.height_px, a.width_px) == (b.height_px, b.width_px)
        for name in ('boxes', 'labels', 'is_crowd', 'areas'):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
        assert source.read_image(a.index) == expected.read_image(b.index)
    assert source.info.class_names == expected.info.class_names
    assert source.info.category_ids == expected.info.category_ids
    assert source.info.boxes_per_class == expected.info.boxes_per_class


@pytest.mark.parametrize(('num_shards', 'num_workers'), [(1, 1), (3, 1), (3, 4), (7, 2)])
def test_tfrecords_read_back_are_the_source(
    tmp_path: pathlib.Path, num_shards: int, num_workers: int
) -> None:
    source = make_source()
    result = convert.convert_to_tfrecords(
        source, str(tmp_path / 'out' / 'train'), num_shards=num_shards, num_workers=num_workers
    )
    names = [f'train-{i:05d}-of-{num_shards:05d}.tfrecord' for i in range(num_shards)]
    assert [pathlib.Path(path).name for path in result.paths] == names
    assert sorted(p.name for p in (tmp_path / 'out').iterdir()) == sorted(
        [*names, 'train-classes.json']
    )
    assert (result.num_examples, result.num_boxes, result.num_reencoded) == (7, 11, 0)
    assert result.num_bytes == sum(len(source.read_image(i)) for i in range(7))
    back = read_tfrecords(tmp_path / 'out' / 'train')
    assert_same(back, source)
    assert back.info.declares_classes


def test_bytes_do_not_depend_on_threads_or_on_the_run(tmp_path: pathlib.Path) -> None:
    for name, num_workers in (('a', 1), ('b', 4), ('c', 4)):
        convert.convert_to_tfrecords(
            make_source(), str(tmp_path / name / 'x'), num_shards=2, num_workers=num_workers
        )
    for shard in ('x-00000-of-00002.tfrecord', 'x-00001-of-00002.tfrecord', 'x-classes.json'):
        first = (tmp_path / 'a' / shard).read_bytes()
        assert (
            first == (tmp_path / 'b' / shard).read_bytes() == (tmp_path / 'c' / shard).read_bytes()
        )


def test_shards_are_consecutive_and_as_equal_as_can_be(tmp_path: pathlib.Path) -> None:
    convert.convert_to_tfrecords(make_source(), str(tmp_path / 'x'), num_shards=3)
    ids = []
    for shard in range(3):
        path = str(tmp_path / f'x-{shard:05d}-of-00003.tfrecord')
        examples = [tf.train.Example.FromString(r.numpy()) for r in tf.data.TFRecordDataset(path)]
        features = [e.features.feature for e in examples]
        ids.append([int(f['image/source_id'].bytes_list.value[0]) for f in features])
    assert ids == [[10, 20, 30], [40, 50], [60, 70]]


def test_features_are_model_gardens(tmp_path: pathlib.Path) -> None:
    source = make_source()
    [path] = convert.convert_to_tfrecords(source, str(tmp_path / 'x')).paths
    first = next(iter(tf.data.TFRecordDataset(path))).numpy()
    features = tf.train.Example.FromString(first).features.feature
    assert sorted(features) == sorted(
        [
            *tf_example_decoder.BOX_KEYS,
            'image/encoded',
            'image/format',
            'image/height',
            'image/object/area',
            'image/object/class/label',
            'image/object/class/text',
            'image/object/is_crowd',
            'image/source_id',
            'image/width',
        ]
    )
    assert features['image/format'].bytes_list.value == [b'png']
    assert features['image/object/class/text'].bytes_list.value == [b'cat', b'dog']


def test_compressed(tmp_path: pathlib.Path) -> None:
    source = make_source()
    convert.convert_to_tfrecords(source, str(tmp_path / 'x'), num_shards=2, is_compressed=True)
    assert (tmp_path / 'x-00000-of-00002.tfrecord').read_bytes().startswith(b'\x1f\x8b')
    assert_same(read_tfrecords(tmp_path / 'x', is_compressed=True), source)


def test_coco_read_back_is_the_source(tmp_path: pathlib.Path) -> None:
    source = make_source()
    result = convert.convert_to_coco(source, str(tmp_path / 'coco'), num_workers=3)
    assert sorted(p.name for p in (tmp_path / 'coco').iterdir()) == ['annotations.json', 'images']
    back = coco_source.build_coco_source(result.paths[0], str(tmp_path / 'coco' / 'images'))
    assert_same(back, source)


def test_coco_coordinates_are_short_where_that_changes_nothing(tmp_path: pathlib.Path) -> None:
    source = data_makers.make_table([1], height=30, width=70)
    box = np.array([[3 / 30, 7 / 70, 21 / 30, 69.25 / 70]], np.float32)
    table = dataclasses.replace(source.table, boxes=box)
    source = table_source.TableSource(
        table, [data_makers.make_image(30, 70)], source.info, is_in_memory=True
    )
    [path] = convert.convert_to_coco(source, str(tmp_path)).paths
    [annotation] = json.loads(pathlib.Path(path).read_text())['annotations']
    assert annotation['bbox'] == [7.0, 3.0, 62.25, 18.0]


def test_from_tfrecords_to_tfrecords_keeps_further_features(tmp_path: pathlib.Path) -> None:
    convert.convert_to_tfrecords(make_source(), str(tmp_path / 'a'), num_shards=2)
    [first, *_] = tf.data.TFRecordDataset(sorted(map(str, tmp_path.glob('a-*.tfrecord'))))
    example = tf.train.Example.FromString(first.numpy())
    example.features.feature['image/object/mask'].bytes_list.value.extend([b'1', b'2'])
    example.features.feature['image/source_id'].bytes_list.value[:] = [b'photo.jpg']
    with tf.io.TFRecordWriter(str(tmp_path / 'b.tfrecord')) as writer:
        writer.write(example.SerializeToString())
    source = tfrecord_source.build_tfrecord_source(str(tmp_path / 'b.tfrecord'))
    [path] = convert.convert_to_tfrecords(source, str(tmp_path / 'c'), num_workers=2).paths
    [copy] = tf.data.TFRecordDataset(path)
    features = tf.train.Example.FromString(copy.numpy()).features.feature
    assert features['image/object/mask'].bytes_list.value == [b'1', b'2']
    # An id that is no number becomes the one that it has in training and evaluation.
    [record] = records.iterate_records(source)
    assert features['image/source_id'].bytes_list.value == [str(record.source_id).encode()]


def test_from_tfrecords_to_coco(tmp_path: pathlib.Path) -> None:
    source = make_source()
    convert.convert_to_tfrecords(source, str(tmp_path / 'a'), num_shards=3)
    result = convert.convert_to_coco(read_tfrecords(tmp_path / 'a'), str(tmp_path / 'coco'))
    back = coco_source.build_coco_source(result.paths[0], str(tmp_path / 'coco' / 'images'))
    assert_same(back, source)


def test_other_formats_become_png_of_the_same_pixels(tmp_path: pathlib.Path) -> None:
    source = data_makers.make_table([1, 1])
    bmp = data_makers.make_image(24, 32, 5, 'BMP')
    source = table_source.TableSource(
        source.table, [bmp, source.read_image(1)], source.info, is_in_memory=True
    )
    result = convert.convert_to_tfrecords(source, str(tmp_path / 'x'))
    assert result.num_reencoded == 1
    stored = read_tfrecords(tmp_path / 'x').read_image(0)
    assert stored.startswith(b'\x89PNG')
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(stored))), np.asarray(Image.open(io.BytesIO(bmp)))
    )


def test_a_turned_image_is_stored_upright() -> None:
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, 'PNG')
    assert convert.make_storable(buffer.getvalue(), 1) == buffer.getvalue()
    stored = convert.make_storable(buffer.getvalue(), 6)  # EXIF 6: turn clockwise by 90 degrees
    upright = np.asarray(Image.open(io.BytesIO(stored)))
    np.testing.assert_array_equal(upright, np.rot90(pixels, -1))


def test_what_exists_is_not_overwritten_unless_asked(tmp_path: pathlib.Path) -> None:
    source = make_source()
    convert.convert_to_tfrecords(source, str(tmp_path / 'x'), num_shards=3)
    before = {p.name: p.read_bytes() for p in tmp_path.glob('x-*')}
    with pytest.raises(
        errors.UsageError, match=r'there are 4 files of this name already.*--overwrite'
    ):
        convert.convert_to_tfrecords(source, str(tmp_path / 'x'), num_shards=2)
    assert {p.name: p.read_bytes() for p in tmp_path.glob('x-*')} == before
    convert.convert_to_tfrecords(source, str(tmp_path / 'x'), num_shards=2, overwrite=True)
    assert sorted(p.name for p in tmp_path.glob('x-*')) == [
        'x-00000-of-00002.tfrecord',
        'x-00001-of-00002.tfrecord',
        'x-classes.json',
    ]
    convert.convert_to_tfrecords(source, str(tmp_path / 'x2'))  # another name is not in the way
    convert.convert_to_coco(source, str(tmp_path / 'coco'))
    with pytest.raises(errors.UsageError, match=r'annotations\.json exists already'):
        convert.convert_to_coco(source, str(tmp_path / 'coco'))
    (tmp_path / 'coco' / 'notes.txt').write_text('mine')
    convert.convert_to_coco(source, str(tmp_path / 'coco'), overwrite=True)
    assert (tmp_path / 'coco' / 'notes.txt').read_text() == 'mine'


@pytest.mark.parametrize('num_workers', [1, 3])
def test_an_error_leaves_nothing_behind(tmp_path: pathlib.Path, num_workers: int) -> None:
    source = make_source()
    images = [source.read_image(i) for i in range(7)]
    images[5] = images[5][:200]
    source = table_source.TableSource(
        source.table, images, source.info, is_in_memory=True, names=[f'image {i}' for i in range(7)]
    )
    for run in (convert.convert_to_tfrecords, convert.convert_to_coco):
        with pytest.raises(
            errors.DataError, match=r'image 5: the image cannot be decoded.*skip_corrupt'
        ):
            run(source, str(tmp_path / 'out' / 'x'), num_workers=num_workers)
    assert [p for p in (tmp_path / 'out').rglob('*') if p.is_file()] == []


def test_an_error_while_overwriting_keeps_the_old_files(tmp_path: pathlib.Path) -> None:
    source = make_source()
    convert.convert_to_tfrecords(source, str(tmp_path / 'x'), num_shards=2)

    def fail(num_written: int) -> None:
        if num_written == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert.convert_to_tfrecords(
            source, str(tmp_path / 'x'), num_shards=3, overwrite=True, on_progress=fail
        )
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != 'cache') == [
        'x-00000-of-00002.tfrecord',
        'x-00001-of-00002.tfrecord',
        'x-classes.json',
    ]
    assert_same(read_tfrecords(tmp_path / 'x'), source)


def test_what_a_killed_run_left_is_no_data_and_not_in_the_way(tmp_path: pathlib.Path) -> None:
    (tmp_path / '.x-00000-of-00009.tfrecord.partial').write_bytes(b'half')
    with pytest.raises(errors.UsageError, match='x-'):
        read_tfrecords(tmp_path / 'x')
    convert.convert_to_tfrecords(make_source(), str(tmp_path / 'x'))
    assert not list(tmp_path.glob('.*'))


def test_wrong_arguments(tmp_path: pathlib.Path) -> None:
    source = make_source()
    with pytest.raises(
        errors.UsageError, match=r'--num_shards: expected 1 to 7, the number of images'
    ):
        convert.convert_to_tfrecords(source, str(tmp_path / 'x'), num_shards=8)
    for output in (f'{tmp_path}/', str(tmp_path)):
        with pytest.raises(errors.UsageError, match=r'--output: expected folder and beginning'):
            convert.convert_to_tfrecords(source, output)
    (tmp_path / 'file').write_text('')
    with pytest.raises(errors.UsageError, match='the folder cannot be made'):
        convert.convert_to_tfrecords(source, str(tmp_path / 'file' / 'x'))


def test_a_folder_that_cannot_be_written(tmp_path: pathlib.Path) -> None:
    (tmp_path / 'file').write_text('')
    with pytest.raises(
        errors.UsageError, match=r'--output=.*file/x: cannot be written \(Not a dir'
    ):
        convert.convert_to_coco(make_source(), str(tmp_path / 'file' / 'x'))


def test_no_space_is_told_without_leaving_anything(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, 'No space left on device')

    monkeypatch.setattr(tf.io.TFRecordWriter, 'write', fail)
    with pytest.raises(errors.UsageError, match=r'cannot be written .No space left on device'):
        convert.convert_to_tfrecords(make_source(), str(tmp_path / 'out' / 'x'))
    assert list((tmp_path / 'out').iterdir()) == []


def test_coco_needs_different_ids(tmp_path: pathlib.Path) -> None:
    source = data_makers.make_table([1, 1])
    table = dataclasses.replace(source.table, source_ids=np.array([4, 4]))
    source = table_source.TableSource(
        table, [source.read_image(i) for i in range(2)], source.info, is_in_memory=True
    )
    with pytest.raises(errors.DataError, match='two images have the id 4'):
        convert.convert_to_coco(source, str(tmp_path / 'coco'))


def test_only_a_few_images_are_in_memory_at_a_time(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = data_makers.make_table([1] * 60)
    num_read = 0
    most_ahead = 0
    original = source.read_image

    def read_image(index: int) -> bytes:
        nonlocal num_read
        num_read += 1
        return original(index)

    def watch(num_written: int) -> None:
        nonlocal most_ahead
        most_ahead = max(most_ahead, num_read - num_written)

    monkeypatch.setattr(source, 'read_image', read_image)
    convert.convert_to_tfrecords(source, str(tmp_path / 'x'), num_workers=2, on_progress=watch)
    assert num_read == 60
    assert most_ahead <= 2 * 8


def test_progress_counts_every_example(tmp_path: pathlib.Path) -> None:
    seen: list[int] = []
    convert.convert_to_tfrecords(make_source(), str(tmp_path / 'x'), on_progress=seen.append)
    assert seen == list(range(1, 8))


@pytest.fixture(name='facades')
def _facades(data_dir: pathlib.Path) -> table_source.TableSource:
    path = data_dir / 'facades' / '_annotations.coco.json'
    if not path.exists():
        pytest.skip('no facades there')
    return coco_source.build_coco_source(str(path))


def test_real_photographs_read_back(
    tmp_path: pathlib.Path, facades: table_source.TableSource
) -> None:
    convert.convert_to_tfrecords(facades, str(tmp_path / 'x'), num_shards=4, num_workers=2)
    assert_same(read_tfrecords(tmp_path / 'x'), facades)
