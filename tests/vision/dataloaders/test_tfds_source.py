"""TensorFlow Datasets: a small data set prepared on disk and read by its name."""

from __future__ import annotations

import importlib
import pathlib
import shutil
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from official_lite import errors
from official_lite.vision.configs import retinanet as retinanet_cfg
from official_lite.vision.dataloaders import (
    image_decoding,
    sources,
    tfds_factory,
    tfds_features,
    tfds_source,
)
from official_lite.vision.dataloaders import source as source_lib
from tests.vision.dataloaders import data_makers

# Class, box (yxyx, shares), whether it is a crowd, area.
OBJECTS = [
    [],
    [('cat', (0.1, 0.2, 0.5, 0.6), False, 31)],
    [('dog', (0.25, 0.0, 1.0, 0.5), True, 0), ('cat', (0.5, 0.5, 0.5, 0.9), False, 7)],
    [('cat', (0.0, 0.0, 1.0, 1.0), False, 5), ('dog', (0.5, 0.5, 0.75, 1.0), False, 6)],
    [('dog', (0.0, 0.25, 0.5, 0.5), False, 0)],
]


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Holds the data set 'ponds': 5 images to train on and 2 to validate."""
    tfds = pytest.importorskip('tensorflow_datasets')
    path = tmp_path_factory.mktemp('tfds')
    features = tfds.features.FeaturesDict(
        {
            'image': tfds.features.Image(shape=(None, None, 3), encoding_format='png'),
            'image/id': np.int64,
            'objects': tfds.features.Sequence(
                {
                    'bbox': tfds.features.BBoxFeature(),
                    'label': tfds.features.ClassLabel(names=['cat', 'dog', 'emu']),
                    'is_crowd': np.bool_,
                    'area': np.int64,
                }
            ),
        }
    )

    class Ponds(tfds.dataset_builders.AdhocBuilder, skip_registration=True):  # type: ignore[misc]
        __module__ = '__main__'  # the library looks for files of its own beside other modules

    builder = Ponds(
        name='ponds',
        version='1.0.0',
        features=features,
        split_datasets={
            'train': [(number, make_example(tfds, number)) for number in range(5)],
            'validation': [(number, make_example(tfds, number)) for number in range(2)],
        },
        data_dir=path,
        disable_shuffling=True,
    )
    builder.download_and_prepare()
    return path


def make_example(tfds: Any, number: int) -> dict[str, Any]:
    objects = [
        {'label': label, 'bbox': tfds.features.BBox(*box), 'is_crowd': is_crowd, 'area': area}
        for label, box, is_crowd, area in OBJECTS[number]
    ]
    pixels = np.full([20, 30 + number, 3], number * 40, np.uint8)
    return {'image': pixels, 'image/id': 100 + number, 'objects': objects}


def build(folder: pathlib.Path, split: str = 'train', **options: Any) -> source_lib.Source:
    return tfds_source.build_tfds_source('ponds', split, data_dir=str(folder), **options)


def test_records(folder: pathlib.Path):
    source = build(folder)
    info = source.info
    assert (info.num_examples, info.num_boxes, info.num_empty_images) == (5, 5, 1)
    assert info.class_names == ('cat', 'dog', 'emu')
    assert info.boxes_per_class == (2, 3, 0)
    assert (info.max_label, info.max_boxes_per_image) == (2, 2)
    assert info.origin == 'tfds:ponds/1.0.0 (train)'
    assert info.findings == (
        '1 boxes of the files have no area and are left out',
        '1 objects of the files are marked as crowds or difficult and are ignored',
        "1 of 3 classes have no boxes: 'emu'; they stay, so that labels stay the same",
    )
    records = data_makers.read_records(source)
    assert sorted(records) == [100, 101, 102, 103, 104]
    third = records[102]
    assert third['image'].shape == (20, 32, 3)
    assert (third['image'] == 80).all()
    assert (third['height'], third['width']) == (20, 32)
    np.testing.assert_array_equal(third['groundtruth_classes'], [2])
    np.testing.assert_array_equal(third['groundtruth_is_crowd'], [True])
    np.testing.assert_allclose(third['groundtruth_boxes'], [[0.25, 0, 1, 0.5]])
    np.testing.assert_allclose(third['groundtruth_area'], [15 * 16])  # 0 is none
    np.testing.assert_allclose(records[101]['groundtruth_area'], [31])
    assert records[100]['groundtruth_boxes'].shape == (0, 4)
    for record in records.values():
        assert record['groundtruth_boxes'].dtype == np.float32
        assert record['groundtruth_classes'].dtype == np.int64


def test_records_equal_the_library(folder: pathlib.Path):
    tfds = importlib.import_module('tensorflow_datasets')
    builder = tfds.builder_from_directory(folder / 'ponds' / '1.0.0')
    decoder = tfds_factory.get_detection_decoder('coco')
    records = data_makers.read_records(build(folder))
    for example in builder.as_dataset(split='train'):
        expected = decoder.decode(example)
        record = records[int(expected['source_id'])]
        keep = (expected['groundtruth_boxes'][:, 2:] > expected['groundtruth_boxes'][:, :2]).numpy()
        keep = keep.all(-1)
        np.testing.assert_array_equal(record['image'], expected['image'])
        for name in ('groundtruth_boxes', 'groundtruth_classes', 'groundtruth_is_crowd'):
            np.testing.assert_array_equal(record[name], expected[name].numpy()[keep])


def test_parts_and_sums_of_splits(folder: pathlib.Path):
    assert build(folder, 'train[:40%]').info.num_examples == 2
    last = build(folder, 'train[3:]')
    assert len(data_makers.read_records(last)) == last.info.num_examples == 2
    assert build(folder, 'train+validation').info.num_examples == 7
    assert build(folder, 'train[1:2]+validation[:1]').info.num_examples == 2


@pytest.mark.parametrize('cache', [False, True])
def test_workers_share_an_epoch(cache: bool, folder: pathlib.Path):
    source = build(folder, cache=cache)
    seen = []
    for worker in range(2):
        order = source_lib.Order(num_examples=5, is_training=True, worker=worker, num_workers=2)
        seen += data_makers.read_order(source, order, 5)
    assert sorted(seen) == [(epoch, index) for epoch in range(2) for index in range(5)]


def test_damaged_records_are_named_or_skipped(
    folder: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
):
    shutil.copytree(folder, tmp_path / 'copy')
    path = next((tmp_path / 'copy' / 'ponds' / '1.0.0').glob('*train*'))
    content = bytearray(path.read_bytes())
    content[60] ^= 255  # in the first record
    path.write_bytes(content)
    with pytest.raises(errors.DataError, match=r'record 0 .*: the record is corrupt: its checksum'):
        build(tmp_path / 'copy')
    source = build(tmp_path / 'copy', skip_corrupt=True)
    assert (source.info.num_examples, source.info.num_corrupt) == (4, 1)
    assert len(data_makers.read_records(source)) == 4
    assert 'skipped 1 that cannot be read' in capsys.readouterr().err


def make_config(folder: pathlib.Path, **fields: Any) -> retinanet_cfg.DataConfig:
    values = {'tfds_name': 'ponds', 'tfds_split': 'train', 'tfds_data_dir': str(folder)}
    return retinanet_cfg.DataConfig(**(values | fields))


def test_model_gardens_fields(folder: pathlib.Path):
    source = sources.build_source(make_config(folder))
    assert source.info == build(folder).info
    skipping = make_config(folder, tfds_skip_decoding_feature='image, objects')
    assert sources.build_source(skipping).info.num_boxes == 5
    branch = retinanet_cfg.DataConfig()
    branch.source.type = 'tfds'
    branch.source.tfds.override(
        {'name': 'ponds', 'split': 'validation', 'data_dir': str(folder), 'image_feature': 'image'}
    )
    assert sources.build_source(branch).info.num_examples == 2


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        (
            {'tfds_split': 'test'},
            r"^data\.tfds_split: there is no split 'test'; expected one of trai",
        ),
        (
            {'tfds_name': 'no_such_set'},
            r'^data\.tfds_name: Dataset no_such_set not found; expected',
        ),
        (
            {'tfds_skip_decoding_feature': 'picture'},
            r"^data\.tfds_skip_decoding_feature: there is no feature 'picture'; expected of: image",
        ),
        ({'tfds_as_supervised': True}, r'^data\.tfds_as_supervised: not there'),
    ],
)
def test_fields_that_cannot_be_used(fields: dict[str, Any], message: str, folder: pathlib.Path):
    with pytest.raises(errors.UsageError, match=message):
        sources.build_source(make_config(folder, **fields))


def test_a_data_set_that_is_not_prepared(tmp_path: pathlib.Path):
    pytest.importorskip('tensorflow_datasets')
    with pytest.raises(
        errors.UsageError,
        match=r"data_dir: the data set 'voc/2007' is not in .*; set download=true, or run: tfds buil",
    ):
        tfds_source.build_tfds_source('voc/2007', 'train', data_dir=str(tmp_path))


def test_features_of_other_data_sets():
    tfds = pytest.importorskip('tensorflow_datasets')
    kinds = tfds.features
    faces = kinds.FeaturesDict(
        {
            'photo': kinds.Image(),
            'thumbnail': kinds.Image(),
            'faces': kinds.Sequence({'box': kinds.BBoxFeature(), 'area': np.float32}),
        }
    )
    with pytest.raises(
        errors.UsageError,
        match=r'image_feature: 2 features hold an image; expected one of: photo, t',
    ):
        tfds_features.find_features(faces)
    found = tfds_features.find_features(faces, image_feature='photo')
    assert found == tfds_features.TfdsFeatures(
        image='photo',
        boxes='faces/box',
        areas='faces/area',
        has_integer_areas=False,
        class_names=('object',),
    )
    voc = kinds.FeaturesDict(
        {
            'image': kinds.Image(),
            'image/filename': kinds.Text(),
            'labels': kinds.Sequence(kinds.ClassLabel(num_classes=2)),
            'objects': kinds.Sequence(
                {
                    'bbox': kinds.BBoxFeature(),
                    'label': kinds.ClassLabel(names=['a', 'b']),
                    'pose': kinds.ClassLabel(names=['left', 'right']),
                    'is_difficult': np.bool_,
                }
            ),
        }
    )
    with pytest.raises(errors.UsageError, match=r'label_feature: 2 features hold a class'):
        tfds_features.find_features(voc)
    found = tfds_features.find_features(voc, label_feature='label')
    assert (found.labels, found.crowds) == ('objects/label', 'objects/is_difficult')
    assert (found.class_names, found.source_id) == (('a', 'b'), '')
    with pytest.raises(
        errors.UsageError, match=r'objects_feature: 0 features hold boxes; expected a data set that'
    ):
        tfds_features.find_features(kinds.FeaturesDict({'image': kinds.Image()}))


def test_the_library_is_optional(monkeypatch: pytest.MonkeyPatch):
    def refuse(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, 'import_module', refuse)
    with pytest.raises(
        errors.UsageError,
        match=r"TensorFlow Datasets is not installed; install it: pip install 'official-lite\[tfds\]'",
    ):
        tfds_source.build_tfds_source('coco/2017', 'train')


def test_decoders_by_name():
    example = {
        'image': tf.constant(np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)),
        'image/id': tf.constant(5),
        'label': tf.constant(3),
        'objects': {
            'label': tf.constant([0, 4]),
            'is_crowd': tf.constant([False, True]),
            'area': tf.constant([3, 4]),
            'bbox': tf.constant([[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 1.0, 1.0]]),
        },
    }
    record = tfds_factory.get_detection_decoder('scenic:objects365').decode(example)
    np.testing.assert_array_equal(record['groundtruth_classes'], [1, 5])  # 0 is the background
    assert record['source_id'] == b'5'
    assert (record['height'], record['width']) == (2, 3)
    features = tfds_factory.get_classification_decoder('cifar10').decode(example)
    assert image_decoding.decode_image(features['image/encoded']).shape == (2, 3, 3)
    assert features['image/class/label'] == 3
    for get in (tfds_factory.get_detection_decoder, tfds_factory.get_segmentation_decoder):
        with pytest.raises(ValueError, match=r"no decoder for the \w+ data set 'pascal'"):
            get('pascal')
