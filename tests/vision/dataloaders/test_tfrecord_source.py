"""TFRecords: what is read, and what is said about what cannot be read."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from official_lite import errors
from official_lite.core import data_errors
from official_lite.vision.dataloaders import (
    input_reader,
    retinanet_input,
    table_source,
    tf_example_decoder,
    tfrecord_index,
    tfrecord_source,
    tfrecord_writer,
)
from tests.vision.dataloaders import data_makers

build = tfrecord_source.build_tfrecord_source


@pytest.fixture(scope='module')
def table() -> table_source.TableSource:
    return data_makers.make_table([2, 0, 1, 3, 1])


@pytest.fixture
def path(table: table_source.TableSource, tmp_path: pathlib.Path) -> pathlib.Path:
    return pathlib.Path(write(table, tmp_path)[0])


def write(table: table_source.TableSource, folder: pathlib.Path, **options: Any) -> list[str]:
    return tfrecord_writer.write_tfrecords(
        tfrecord_writer.make_examples(table), folder / 'part', **options
    )


def write_examples(path: pathlib.Path, *examples: bytes | tf.train.Example) -> str:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for example in examples:
            writer.write(example if isinstance(example, bytes) else example.SerializeToString())
    return str(path)


def make_tf_example(
    table: table_source.TableSource, index: int = 0, **fields: Any
) -> tf.train.Example:
    example = list(tfrecord_writer.make_examples(table))[index]
    serialized = tfrecord_writer.serialize(dataclasses.replace(example, **fields))
    return tf.train.Example.FromString(serialized)


def corrupt(path: pathlib.Path, record: int, *, byte: int = 40) -> None:
    """Flips bits of the data of a record."""
    index = tfrecord_index.index_file(str(path))
    content = bytearray(path.read_bytes())
    content[int(index.offsets[record]) + 12 + byte] ^= 0xFF
    path.write_bytes(bytes(content))


# ---- reading ------------------------------------------------------------------------------------


@pytest.mark.parametrize('is_compressed', [False, True])
def test_records_are_what_was_written(
    table: table_source.TableSource, tmp_path: pathlib.Path, is_compressed: bool
):
    paths = write(table, tmp_path, num_shards=2, is_compressed=is_compressed)
    source = build(paths, is_compressed=is_compressed)
    expected, found = data_makers.read_records(table), data_makers.read_records(source)
    assert found.keys() == expected.keys()
    for id_, record in expected.items():
        assert record.keys() <= found[id_].keys()
        for name, value in record.items():
            np.testing.assert_allclose(found[id_][name], value, rtol=1e-6, err_msg=name)
            assert found[id_][name].dtype == value.dtype
    # In alternation over two files: examples 0, 2, 4 are in the first one.
    assert source.read_image(3) == table.read_image(1)


def test_info_is_counted_from_the_records(table: table_source.TableSource, tmp_path: pathlib.Path):
    info = build(write(table, tmp_path, num_shards=2)).info
    assert (info.num_examples, info.num_boxes, info.max_boxes_per_image) == (5, 7, 3)
    assert info.boxes_per_class == table.info.boxes_per_class
    assert info.max_label == table.info.max_label
    assert info.class_names == table.info.class_names[: info.max_label]
    assert info.category_ids == tuple(range(1, info.max_label + 1))
    assert not info.declares_classes


def test_the_second_scan_reads_the_cache(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, cache_dir: pathlib.Path
):
    info = build(str(path)).info
    monkeypatch.setattr(tfrecord_index, 'index_file', None)
    assert build(str(path)).info == info
    monkeypatch.undo()
    monkeypatch.setenv('OFFICIAL_LITE_CACHE', str(cache_dir))
    for cached in cache_dir.glob('tfrecord/*.npz'):
        cached.write_bytes(b'damaged')
    assert build(str(path)).info == info


def test_a_file_that_changed_is_scanned_again(
    table: table_source.TableSource, path: pathlib.Path, tmp_path: pathlib.Path
):
    assert build(str(path)).info.num_examples == 5
    write_examples(path, make_tf_example(table))
    assert build(str(path)).info.num_examples == 1


def test_patterns_lists_and_commas(table: table_source.TableSource, tmp_path: pathlib.Path):
    paths = write(table, tmp_path, num_shards=3)
    expand = tfrecord_index.expand_patterns
    assert expand(str(tmp_path / 'part-*')) == paths
    assert expand(','.join(paths)) == paths
    assert expand([paths[0], str(tmp_path / '*-0000[12]-*')]) == paths
    assert expand(f'{paths[0]},{tmp_path}/part-*') == paths  # each file once
    with_comma = pathlib.Path(paths[0]).rename(tmp_path / 'a,b.tfrecord')
    assert expand(str(with_comma)) == [str(with_comma)]


def test_b25_records_without_optional_features(
    table: table_source.TableSource, tmp_path: pathlib.Path
):
    """Areas come from the image's own size where the record has none (a defect upstream)."""
    features = {
        'image/encoded': tf.train.Feature(
            bytes_list=tf.train.BytesList(value=[data_makers.make_image(20, 50)])
        ),
        'image/object/class/label': tf.train.Feature(int64_list=tf.train.Int64List(value=[4])),
    }
    for edge, value in {'ymin': 0.5, 'xmin': 0.2, 'ymax': 1.0, 'xmax': 0.6}.items():
        features[f'image/object/bbox/{edge}'] = tf.train.Feature(
            float_list=tf.train.FloatList(value=[value])
        )
    example = tf.train.Example(features=tf.train.Features(feature=features))
    source = build(write_examples(tmp_path / 'x.tfrecord', example, example))
    records = data_makers.read_records(source)
    assert set(records) == {1, 2}  # without ids, examples are numbered: equal images stay apart
    record = records[2]
    assert (record['height'], record['width']) == (20, 50)
    np.testing.assert_allclose(record['groundtruth_area'], [0.5 * 0.4 * 20 * 50], rtol=1e-6)
    np.testing.assert_array_equal(record['groundtruth_is_crowd'], [False])
    assert source.info.class_names == ('class_1', 'class_2', 'class_3', 'class_4')


def test_regenerated_and_textual_ids(table: table_source.TableSource, tmp_path: pathlib.Path):
    path = write_examples(tmp_path / 'x.tfrecord', *(make_tf_example(table, i) for i in range(3)))
    assert set(data_makers.read_records(build(path))) == {10, 20, 30}
    assert set(data_makers.read_records(build(path, regenerate_source_id=True))) == {1, 2, 3}
    texts = [make_tf_example(table, i, source_id=f'img_{i}') for i in range(3)]
    path = write_examples(tmp_path / 'y.tfrecord', *texts)
    assert len(data_makers.read_records(build(path))) == 3


def test_label_map(table: table_source.TableSource, tmp_path: pathlib.Path):
    path = write_examples(tmp_path / 'x.tfrecord', *(make_tf_example(table, i) for i in range(5)))
    csv = tmp_path / 'labels.csv'
    csv.write_text('7,thing_1\n5,thing_2\n6,thing_3\n')
    source = build(path, label_map=str(csv))
    record = data_makers.read_records(source)[40]
    rows = slice(table.table.splits[3], table.table.splits[4])
    expected = np.array([0, 7, 5, 6])[table.table.labels[rows]]
    np.testing.assert_array_equal(record['groundtruth_classes'], expected)
    assert source.info.class_names[4:] == ('thing_2', 'thing_3', 'thing_1')
    csv.write_text('7,thing_1\n')
    with pytest.raises(errors.DataError, match=r"class name 'thing_\d' is not in the label map"):
        build(path, label_map=str(csv))
    csv.write_text('thing_1;7\n')
    with pytest.raises(errors.UsageError, match=r'labels.csv:1: expected a line `label,name`'):
        build(path, label_map=str(csv))


# ---- what the user wrote ------------------------------------------------------------------------


def test_missing_files_and_patterns_are_usage_errors(tmp_path: pathlib.Path):
    with pytest.raises(errors.UsageError, match=r"the file '.*nowhere.tfrecord' does not exist"):
        build(str(tmp_path / 'nowhere.tfrecord'))
    with pytest.raises(errors.UsageError, match=r"no file matches the pattern '.*/\*.tfrecord'"):
        build(str(tmp_path / '*.tfrecord'))
    with pytest.raises(
        errors.UsageError, match=r'is a folder; expected files; use a pattern such as'
    ):
        build(str(tmp_path))


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (
            data_makers.make_image(8, 8, image_format='JPEG'),
            'this is a JPEG image; .*source.type=coco',
        ),
        (data_makers.make_image(8, 8), 'this is a PNG image; expected a TFRecord file'),
        (b'{"images": [], "annotations": []}', 'this is a JSON file; .*source.type=coco'),
    ],
)
def test_other_files_are_recognised(tmp_path: pathlib.Path, content: bytes, message: str):
    path = tmp_path / 'x.tfrecord'
    path.write_bytes(content)
    with pytest.raises(errors.UsageError, match=f'x.tfrecord: {message}'):
        build(str(path))


def test_compression_has_to_be_named(table: table_source.TableSource, tmp_path: pathlib.Path):
    [path] = write(table, tmp_path, is_compressed=True)
    with pytest.raises(errors.UsageError, match='set file_type=tfrecord_compressed'):
        build(path)
    [path] = write(table, tmp_path)
    with pytest.raises(
        errors.UsageError, match='not a GZIP-compressed file; set file_type=tfrecord'
    ):
        build(path, is_compressed=True)


# ---- what happened ------------------------------------------------------------------------------


def test_random_bytes_are_a_data_error(tmp_path: pathlib.Path):
    path = tmp_path / 'x.tfrecord'
    path.write_bytes(bytes(range(1, 200)))
    with pytest.raises(errors.DataError, match='not a TFRecord file, or damaged from its start'):
        build(str(path))


def test_a_corrupt_record_is_named_or_skipped(
    path: pathlib.Path, capsys: pytest.CaptureFixture[str]
):
    corrupt(path, 2)
    pattern = r'part-00000-of-00001.tfrecord, record 2 \(counted from 0; at byte \d+\): the record is corrupt'
    with pytest.raises(errors.DataError, match=pattern):
        build(str(path))
    source = build(str(path), skip_corrupt=True)
    assert (source.info.num_examples, source.info.num_corrupt) == (4, 1)
    assert set(data_makers.read_records(source)) == {10, 20, 40, 50}
    assert 'skipped 1 that cannot be read' in capsys.readouterr().err
    assert source.describe(2).startswith(f'{path}, record 3 ')
    stream = retinanet_batches(source)
    assert sorted(stream) == [10, 20, 40, 50]


def retinanet_batches(source: Any) -> list[int]:
    parser = retinanet_input.Parser([32, 32], 3)
    reader = input_reader.InputReader(source, parser, is_training=False, global_batch_size=1)
    return [int(labels['groundtruths']['source_id'][0]) for _, labels in reader.read()]


def test_a_file_cut_short_is_named_or_used_up_to_there(path: pathlib.Path):
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(errors.DataError, match=r'ends inside of a record .* after 4 records'):
        build(str(path))
    info = build(str(path), skip_corrupt=True).info
    assert (info.num_examples, info.num_corrupt) == (4, 1)


def test_a_record_that_is_no_example(table: table_source.TableSource, tmp_path: pathlib.Path):
    path = write_examples(tmp_path / 'x.tfrecord', make_tf_example(table), b'\xff\xff\xff hello')
    with pytest.raises(
        errors.DataError, match=r'record 1 .*: the record is not a tf.train.Example'
    ):
        build(path)
    assert build(path, skip_corrupt=True).info.num_examples == 1


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'labels': np.array([1, 0])}, 'label 0 is out of range; expected 1 or more'),
        ({'labels': np.array([1])}, '1 labels but 2, 2, 2, 2 ymin, xmin, ymax, xmax'),
        ({'boxes': np.array([[0, 0, 1, 1], [3, 4, 20, 30.0]])}, 'coordinate 3; .*not pixels'),
        ({'boxes': np.array([[0, 0, 1, 1], [0, np.nan, 1, 1]])}, 'coordinate nan'),
    ],
)
def test_annotations_that_make_no_sense(
    table: table_source.TableSource, tmp_path: pathlib.Path, fields: Any, message: str
):
    bad = make_tf_example(table, class_names=(), **fields)
    path = write_examples(tmp_path / 'x.tfrecord', make_tf_example(table, 1), bad)
    with pytest.raises(errors.DataError, match=f'record 1 .*{message}'):
        build(path)
    info = build(path, skip_corrupt=True).info
    assert (info.num_examples, info.num_corrupt, info.num_boxes) == (1, 1, 0)


def test_an_image_that_cannot_be_decoded_is_named_or_skipped(
    table: table_source.TableSource, tmp_path: pathlib.Path
):
    jpeg = data_makers.make_image(24, 32, image_format='JPEG')
    examples = [make_tf_example(table, i) for i in range(4)]
    examples[1] = make_tf_example(table, 1, image_bytes=jpeg[: len(jpeg) // 2])
    examples[3] = make_tf_example(table, 3, image_bytes=b'not an image')
    path = write_examples(tmp_path / 'x.tfrecord', *examples)
    source = build(path)  # which images can be decoded shows when they are
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        retinanet_batches(source)
    error = data_errors.translate_data_error(caught.value)
    assert isinstance(error, errors.DataError)
    assert str(error).startswith(f'{path}, record 1 (counted from 0; at byte ')
    assert 'the image cannot be decoded' in str(error)
    skipped = build(path, skip_corrupt=True)
    assert (skipped.info.num_examples, skipped.info.num_corrupt) == (2, 2)
    assert sorted(data_makers.read_records(skipped)) == [10, 30]
    expected = int(table.table.splits[1] + table.table.splits[3] - table.table.splits[2])
    assert skipped.info.num_boxes == expected


def test_a_corrupt_record_that_appears_later_is_named(path: pathlib.Path):
    source = build(str(path))
    corrupt(path, 3)
    with pytest.raises(tf.errors.DataLossError) as caught:
        retinanet_batches(source)
    error = data_errors.translate_data_error(caught.value)
    assert str(error).startswith(f'{path}, record 3 ')


def test_errors_that_are_not_the_datas_are_left_alone(path: pathlib.Path):
    source = build(str(path))
    data_errors.remember_source(source)
    assert data_errors.translate_data_error(ValueError('x')) is None
    error = tf.errors.InvalidArgumentError(None, None, 'shapes do not match')
    assert data_errors.translate_data_error(error) is None


def test_an_empty_file_has_no_examples(tmp_path: pathlib.Path):
    path = tmp_path / 'x.tfrecord'
    path.write_bytes(b'')
    assert build(str(path)).info.num_examples == 0


# ---- decoder ------------------------------------------------------------------------------------


def test_crc32c():
    assert tfrecord_index.compute_crc32c(b'123456789') == 0xE3069283  # RFC 3720's check value


def test_masks_and_attributes(table: table_source.TableSource):
    masks = np.zeros([2, 24, 32], np.uint8)
    masks[0, 3:5, 4:9] = 200
    masks[1, 7, 7] = 90
    example = make_tf_example(table, masks=masks)
    example.features.feature['image/object/attribute/age'].int64_list.value.extend([4, 9])
    decoder = tf_example_decoder.TfExampleDecoder(
        include_mask=True, mask_binarize_threshold=100, attribute_names=['age']
    )
    decoded = decoder.decode(tf.constant(example.SerializeToString()))
    np.testing.assert_array_equal(decoded['groundtruth_instance_masks'], masks > 100)
    np.testing.assert_array_equal(decoded['groundtruth_attributes']['age'], [[4], [9]])
    assert decoded['groundtruth_instance_masks_png'].shape == [2]
    empty = make_tf_example(table, 1).SerializeToString()
    assert decoder.decode(tf.constant(empty))['groundtruth_instance_masks'].shape == [0, 24, 32]


@pytest.mark.garden
def test_decoder_equals_model_gardens(table: table_source.TableSource):
    from official.vision.dataloaders import tf_example_decoder as garden

    masks = np.random.default_rng(0).integers(0, 2, [3, 24, 32], np.uint8)
    serialized = tf.constant(make_tf_example(table, 3, masks=masks).SerializeToString())
    ours = tf_example_decoder.TfExampleDecoder(include_mask=True).decode(serialized)
    theirs = garden.TfExampleDecoder(include_mask=True).decode(serialized)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value, err_msg=name)
        assert ours[name].dtype == value.dtype


def test_boxes_that_look_wrong_are_reported(tmp_path: pathlib.Path):
    example = tfrecord_writer.DetectionExample(
        image_bytes=data_makers.make_image(20, 40),
        source_id=1,
        height_px=20,
        width_px=40,
        boxes=np.array(
            [[0.1, 0.1, 0.5, 0.5], [0.2, 0.3, 0.2, 0.4], [-0.3, 0, 0.5, 0.5], [0, 0, 1.004, 1]],
            np.float32,
        ),
        labels=np.array([1, 1, 2, 2]),
        is_crowd=np.array([False, True, True, False]),
    )
    empty = dataclasses.replace(
        example, boxes=example.boxes[:0], labels=example.labels[:0], is_crowd=None
    )
    paths = tfrecord_writer.write_tfrecords([empty, example], tmp_path / 'part')
    info = tfrecord_source.build_tfrecord_source(paths).info
    assert (info.num_boxes, info.num_crowds, info.num_empty_images) == (4, 2, 1)
    place = r'record 1 \(counted from 0; at byte \d+\)'
    assert len(info.findings) == 2
    assert re.fullmatch(
        rf'1 boxes have no area: nothing can find them, the first in .*, {place}', info.findings[0]
    )
    assert re.fullmatch(
        rf'1 boxes leave their image by more than 1%, the first in .*, {place}', info.findings[1]
    )
