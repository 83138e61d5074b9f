"""TFRecords of classified images: Model Garden's features, other ones, and TensorFlow Datasets."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest

from official_lite import errors
from official_lite.vision.configs import image_classification as exp_cfg
from official_lite.vision.dataloaders import classification_records, classification_sources
from official_lite.vision.dataloaders import source as source_lib
from tests.vision.dataloaders import class_makers

KEYS = classification_records.RecordKeys()
LABELS = [2, 0, 3, 3, 1]


def make_records() -> list[bytes]:
    return [
        class_makers.make_record(class_makers.make_image(number, label=label), [label])
        for number, label in enumerate(LABELS)
    ]


@pytest.fixture(scope='module')
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp('records')
    return class_makers.write_records(folder / 'train.tfrecord', make_records())


def read(source: source_lib.Source) -> list[dict[str, Any]]:
    length = source.info.num_examples
    order = source_lib.Order(num_examples=length, is_training=False, num_positions=length)
    return [
        {name: value.numpy() for name, value in record.items()}
        for record in source.make_examples(order).map(source.decode)
    ]


def test_records_are_counted_and_read(path: str):
    source = classification_records.build_record_source(path, KEYS)
    info = source.info
    assert (info.num_examples, info.num_boxes, info.max_label) == (5, 5, 3)
    assert info.boxes_per_class == (1, 1, 1, 2)
    assert info.class_names == ('class_0', 'class_1', 'class_2', 'class_3')
    assert not info.declares_classes
    records = read(source)
    assert [record['image/class/label'].tolist() for record in records] == [[n] for n in LABELS]
    assert records[1]['image/encoded'] == class_makers.make_image(1, label=0)
    assert 'image/reading' not in records[0]


def test_compressed_and_cached(tmp_path: pathlib.Path):
    path = class_makers.write_records(tmp_path / 'a.gz', make_records(), 'GZIP')
    source = classification_records.build_record_source(path, KEYS, is_compressed=True, cache=True)
    pathlib.Path(path).unlink()
    assert [record['image/class/label'].tolist() for record in read(source)] == [
        [label] for label in LABELS
    ]


def test_other_features_and_several_labels(tmp_path: pathlib.Path):
    image = class_makers.make_image(0)
    path = class_makers.write_records(
        tmp_path / 'a',
        [class_makers.make_record(image, labels, ('i', 'l')) for labels in ([3, 1], [])],
    )
    keys = classification_records.RecordKeys('i', 'l', is_multilabel=True)
    source = classification_records.build_record_source(path, keys)
    assert [record['image/class/label'].tolist() for record in read(source)] == [[3, 1], []]
    assert source.info.boxes_per_class == (0, 1, 0, 1)
    with pytest.raises(errors.DataError, match=r"no feature 'image/encoded'; it has: i, l"):
        classification_records.build_record_source(path, KEYS)
    with pytest.raises(errors.DataError, match=r'record 0 .*2 labels .*or is_multilabel=true'):
        classification_records.build_record_source(
            path, classification_records.RecordKeys('i', 'l')
        )


@pytest.mark.parametrize(
    ('record', 'message'),
    [
        (class_makers.make_record(None, [1]), r"record 1 .*no feature 'image/encoded'"),
        (class_makers.make_record(b'x', [-1]), r'record 1 .*label -1 is out of range'),
        (b'\x07nothing', r'record 1 .*the record is not a tf.train.Example'),
    ],
    ids=['no image', 'label out of range', 'no example'],  # the same in every process
)
def test_bad_records_are_errors_or_left_out(tmp_path: pathlib.Path, record: bytes, message: str):
    records = make_records()
    path = class_makers.write_records(tmp_path / 'a', [records[0], record, *records[1:]])
    with pytest.raises(errors.DataError, match=message):
        classification_records.build_record_source(path, KEYS)
    source = classification_records.build_record_source(path, KEYS, skip_corrupt=True)
    assert [record['image/class/label'].tolist() for record in read(source)] == [
        [label] for label in LABELS
    ]
    assert source.info.num_corrupt == 1


def test_an_image_that_cannot_be_decoded_is_left_out(tmp_path: pathlib.Path):
    records = [*make_records(), class_makers.make_record(b'no image', [0])]
    path = class_makers.write_records(tmp_path / 'a', records)
    source = classification_records.build_record_source(path, KEYS, skip_corrupt=True)
    assert source.info.num_examples == 5
    assert source.info.num_corrupt == 1
    whole = classification_records.build_record_source(path, KEYS)
    error = whole.find_error()
    assert error is not None
    assert 'record 5' in error.where


def test_a_wrong_checksum_is_found(tmp_path: pathlib.Path):
    path = pathlib.Path(class_makers.write_records(tmp_path / 'a', make_records()))
    content = bytearray(path.read_bytes())
    content[100] ^= 255
    path.write_bytes(content)
    with pytest.raises(errors.DataError, match=r'record 0 .*its checksum is wrong'):
        classification_records.build_record_source(str(path), KEYS)


def make_config(**fields: Any) -> exp_cfg.DataConfig:
    config = exp_cfg.DataConfig(is_training=True, global_batch_size=2)
    config.override(fields)
    return config


@pytest.mark.parametrize('form', ['input_path', 'source'])
def test_both_ways_to_name_records(path: str, form: str):
    fields: dict[str, Any] = {'input_path': path}
    if form == 'source':
        fields = {'source': {'type': 'tfrecord', 'tfrecord': {'input_path': path}}}
    assert classification_sources.get_data_info(make_config(**fields)).num_examples == 5


def test_a_mixture_of_records(path: str):
    config = make_config(input_path={'a': path, 'b': path}, weights={'a': 0.9, 'b': 0.1})
    source = classification_sources.build_source(config)
    assert source.info.num_examples == 10
    assert source.info.boxes_per_class == (2, 2, 2, 4)
    assert [record['image/class/label'].tolist() for record in read(source)] == [
        [label] for label in LABELS * 2
    ]


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({}, r'my.data: no data; expected source.type \(folder, csv or tfrecord\), or input_path'),
        ({'input_path': '/nowhere'}, r"the file '/nowhere' does not exist"),
        ({'input_path': 'a', 'weights': {'a': 1.0}}, r'my.data.weights: expected not set'),
        (
            {'source': {'type': 'folder', 'folder': {'root': '/nowhere'}}},
            r"my.data.source.folder.root: the folder '/nowhere' does not exist",
        ),
        (
            {'source': {'type': 'csv', 'csv': {'file': 'a', 'label_separator': ' '}}},
            r'my.data.source.csv.label_separator: .*is_multilabel=true',
        ),
        (
            {'is_multilabel': True, 'source': {'type': 'csv', 'csv': {'file': 'a'}}},
            r'my.data.source.csv.label_separator: .*because is_multilabel is on',
        ),
        (
            {'tfds_name': 'a', 'tfds_split': 'train', 'tfds_as_supervised': True},
            r'my.data.tfds_as_supervised: expected false',
        ),
    ],
)
def test_what_is_refused(fields: dict[str, Any], message: str):
    with pytest.raises(errors.UsageError, match=message):
        classification_sources.build_source(make_config(**fields), where='my.data')


@pytest.fixture(scope='module')
def tfds_folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Holds the data set 'leaves': PNGs of two classes, 4 to train on and 2 to test."""
    tfds = pytest.importorskip('tensorflow_datasets')
    folder = tmp_path_factory.mktemp('tfds')
    features = tfds.features.FeaturesDict(
        {
            'image': tfds.features.Image(shape=(None, None, 3), encoding_format='png'),
            'label': tfds.features.ClassLabel(names=['oak', 'ash']),
        }
    )

    class Leaves(tfds.dataset_builders.AdhocBuilder, skip_registration=True):  # type: ignore[misc]
        __module__ = '__main__'  # the library looks for files of its own beside other modules

    def make(count: int) -> list[tuple[int, dict[str, Any]]]:
        pixels = [np.full([12, 10, 3], 40 * n, np.uint8) for n in range(count)]
        return [(n, {'image': pixels[n], 'label': ['ash', 'oak'][n % 2]}) for n in range(count)]

    Leaves(
        name='leaves',
        version='1.0.0',
        features=features,
        split_datasets={'train': make(4), 'test': make(2)},
        data_dir=folder,
        disable_shuffling=True,
    ).download_and_prepare()
    return folder


def test_tensorflow_datasets(tfds_folder: pathlib.Path):
    config = make_config(
        tfds_name='leaves', tfds_split='train[:75%]', tfds_data_dir=str(tfds_folder)
    )
    source = classification_sources.build_source(config)
    assert source.info.class_names == ('oak', 'ash')
    assert source.info.boxes_per_class == (1, 2)
    assert source.info.declares_classes
    records = read(source)
    assert [record['image/class/label'].tolist() for record in records] == [[1], [0], [1]]
    assert records[0]['image/reading'] == 0  # whose image may be no JPEG
    config.tfds_split = 'dev'
    with pytest.raises(errors.UsageError, match=r"data.tfds_split: there is no split 'dev'"):
        classification_sources.build_source(config)
