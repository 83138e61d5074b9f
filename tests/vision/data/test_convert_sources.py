"""Conversion of every kind of source: the same records come back, pixel for pixel."""

from __future__ import annotations

import dataclasses
import io
import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from official_lite.vision.data import convert
from official_lite.vision.dataloaders import (
    coco_source,
    mixture_source,
    table_source,
    tfds_source,
    tfrecord_source,
    voc_source,
    yolo_source,
)
from official_lite.vision.dataloaders import source as source_lib
from tests.vision.dataloaders import data_makers, folder_makers

pytestmark = pytest.mark.usefixtures('own_cache')


def assert_survives(source: source_lib.Source, folder: pathlib.Path) -> convert.Conversion:
    """Fails unless TFRecords and a COCO data set of the source have its decoded records."""
    expected = data_makers.read_records(source)
    assert expected
    result = convert.convert_to_tfrecords(source, str(folder / 'r' / 'x'), num_workers=2)
    [path] = convert.convert_to_coco(source, str(folder / 'coco')).paths
    for back in (
        tfrecord_source.build_tfrecord_source(f'{folder}/r/x-*.tfrecord'),
        coco_source.build_coco_source(path, str(folder / 'coco' / 'images')),
    ):
        assert back.info.class_names == source.info.class_names
        found = data_makers.read_records(back)
        assert list(found) == list(expected)
        for id_, record in expected.items():
            assert set(record) <= set(found[id_])
            for name, value in record.items():
                np.testing.assert_array_equal(found[id_][name], value, err_msg=f'{id_} {name}')
    return result


def test_voc(tmp_path: pathlib.Path) -> None:
    make_object = folder_makers.make_object
    files = {
        'a': [make_object('cat', 5, 6, 14, 15), make_object('dog', 1, 1, 40, 20, difficult=1)],
        'b': [],
        'c': [make_object('dog', 3, 3, 9, 8)],
    }
    folder = folder_makers.write_voc(tmp_path / 'voc', files)
    result = assert_survives(voc_source.build_voc_source(str(folder)), tmp_path)
    assert (result.num_examples, result.num_boxes, result.num_reencoded) == (3, 3, 0)
    first = next(iter(tf.data.TFRecordDataset(result.paths[0]))).numpy()
    features = tf.train.Example.FromString(first).features.feature
    assert features['image/filename'].bytes_list.value == [b'a.png']


def test_yolo_with_an_image_that_is_stored_turned(tmp_path: pathlib.Path) -> None:
    folder = folder_makers.write_yolo(
        tmp_path / 'yolo', {'a': '0 0.5 0.5 0.2 0.4', 'b': '1 0.25 0.5 0.5 0.5'}
    )
    path = folder / 'images' / 'a.png'
    image = Image.open(io.BytesIO(data_makers.make_image(20, 40)))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(path, exif=exif)
    result = assert_survives(yolo_source.build_yolo_source(str(folder)), tmp_path)
    assert result.num_reencoded == 1


def test_images_that_only_pillow_decodes(tmp_path: pathlib.Path) -> None:
    folder = folder_makers.write_yolo(tmp_path / 'yolo', {'a': '0 0.5 0.5 0.2 0.4'})
    (folder / 'images' / 'a.png').unlink()
    pixels = np.random.default_rng(0).integers(0, 256, [20, 40, 3], np.uint8)
    Image.fromarray(pixels).save(folder / 'images' / 'a.tiff')
    result = assert_survives(yolo_source.build_yolo_source(str(folder)), tmp_path)
    assert result.num_reencoded == 1


def test_unusual_pixels_keep_their_bytes(tmp_path: pathlib.Path) -> None:
    source = data_makers.make_table([1, 1, 1, 1])
    grey = np.random.default_rng(0).integers(0, 2**16, [24, 32], np.uint16)
    images = []
    for image, kind in (
        (Image.new('L', (32, 24), 90), 'JPEG'),
        (Image.new('CMYK', (32, 24), (10, 200, 30, 40)), 'JPEG'),
        (Image.fromarray(grey), 'PNG'),
        (Image.new('RGBA', (32, 24), (10, 200, 30, 40)), 'PNG'),
    ):
        buffer = io.BytesIO()
        image.save(buffer, kind)
        images.append(buffer.getvalue())
    source = table_source.TableSource(source.table, images, source.info, is_in_memory=True)
    assert assert_survives(source, tmp_path).num_reencoded == 0


def test_tensorflow_datasets(tmp_path: pathlib.Path) -> None:
    tfds = pytest.importorskip('tensorflow_datasets')
    features = {
        'image': tfds.features.Image(shape=(None, None, 3), encoding_format='png'),
        'objects': tfds.features.Sequence(
            {
                'bbox': tfds.features.BBoxFeature(),
                'label': tfds.features.ClassLabel(names=['cat', 'dog']),
            }
        ),
    }
    box = tfds.features.BBox(0.1, 0.2, 0.5, 0.6)
    examples = [
        (
            i,
            {
                'image': np.full([20, 30, 3], i, np.uint8),
                'objects': [{'label': 'dog', 'bbox': box}] * i,
            },
        )
        for i in range(3)
    ]

    class Pets(tfds.dataset_builders.AdhocBuilder, skip_registration=True):  # type: ignore[misc]
        __module__ = '__main__'  # the library looks for files of its own beside other modules

    Pets(
        name='pets',
        version='1.0.0',
        features=tfds.features.FeaturesDict(features),
        split_datasets={'train': examples},
        data_dir=tmp_path / 'tfds',
    ).download_and_prepare()
    source = tfds_source.build_tfds_source('pets', 'train', data_dir=str(tmp_path / 'tfds'))
    result = assert_survives(source, tmp_path)
    assert (result.num_examples, result.num_boxes) == (3, 3)
    record = next(iter(tf.data.TFRecordDataset(result.paths[0]))).numpy()
    features = tf.train.Example.FromString(record).features.feature
    assert 'image' not in features  # the other data set's own features are not carried over


def test_a_mixture_is_converted_as_one(tmp_path: pathlib.Path) -> None:
    tables = [data_makers.make_table(counts) for counts in ([1, 2], [3])]
    shifted = dataclasses.replace(tables[1].table, source_ids=np.array([77]))
    tables[1] = table_source.TableSource(
        shifted, [tables[1].read_image(0)], tables[1].info, is_in_memory=True
    )
    mixture = make_mixture(tables)
    result = convert.convert_to_tfrecords(mixture, str(tmp_path / 'x'))
    assert (result.num_examples, result.num_boxes) == (3, 6)
    back = tfrecord_source.build_tfrecord_source(f'{tmp_path}/x-*.tfrecord')
    assert list(data_makers.read_records(back)) == [10, 20, 77]


def make_mixture(tables: list[table_source.TableSource]) -> source_lib.Source:
    sources: Any = {f's{i}': table for i, table in enumerate(tables)}
    return mixture_source.build_mixture(sources, dict.fromkeys(sources, 1.0))
