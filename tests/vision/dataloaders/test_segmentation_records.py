"""Segmented images in TFRecords, and the embedded scenes as such."""

from __future__ import annotations

import io
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from official_lite import errors
from official_lite.vision.dataloaders import scene_masks, segmentation_input, segmentation_records
from official_lite.vision.dataloaders import source as source_lib
from official_lite.vision.dataloaders.segmentation_facts import Labelling
from tests.vision.dataloaders import mask_makers


def _encode(pixels: np.ndarray, *, has_palette: bool = False) -> bytes:
    buffer = io.BytesIO()
    image = mask_makers.to_palette_image(pixels) if has_palette else Image.fromarray(pixels)
    image.save(buffer, 'PNG')
    return buffer.getvalue()


def make_example(mask: np.ndarray, *, has_palette: bool = False, **changes: bytes) -> bytes:
    contents = {
        'image/encoded': _encode(mask_makers.make_image(mask)),
        'image/segmentation/class/encoded': _encode(mask, has_palette=has_palette),
        'depth': _encode(mask),
        **changes,
    }
    features = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        for name, value in contents.items()
    }
    for name, length in zip(('image/height', 'image/width'), mask.shape):
        features[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=[length]))
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def _write(path: pathlib.Path, examples: list[bytes]) -> str:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for example in examples:
            writer.write(example)
    return str(path)


def _build(path: str, **options: object) -> source_lib.Source:
    return segmentation_records.build_record_source(
        path,
        Labelling(),
        **{'image_feature': segmentation_input.DenseFeature(), **options},  # type: ignore[arg-type]
    )


def _read(source: source_lib.Source) -> list[dict[str, np.ndarray]]:
    order = source_lib.Order(source.info.num_examples, is_training=False)
    return list(source.make_examples(order).map(source.decode).as_numpy_iterator())


@pytest.mark.parametrize('has_palette', [False, True])
@pytest.mark.parametrize('cache', [False, True])
def test_records(tmp_path: pathlib.Path, has_palette: bool, cache: bool) -> None:
    masks = mask_makers.make_masks()
    examples = [make_example(mask, has_palette=has_palette) for mask in masks]
    source = _build(_write(tmp_path / 'a.tfrecord', examples), cache=cache)
    for record, mask in zip(_read(source), masks, strict=True):
        np.testing.assert_array_equal(record['mask'][..., 0], mask)
        np.testing.assert_array_equal(record['image'], mask_makers.make_image(mask))
    assert source.info.boxes_per_class == tuple(
        sum(np.bincount(mask.ravel(), minlength=3) for mask in masks)
    )
    assert (source.info.max_height_px, source.info.max_width_px) == (30, 40)


def test_further_features(tmp_path: pathlib.Path) -> None:
    masks = mask_makers.make_masks()
    path = _write(tmp_path / 'a.tfrecord', [make_example(mask) for mask in masks])
    depth = segmentation_input.DenseFeature('depth', 1, (0.0,), (1.0,))
    records = _read(_build(path, additional_dense_features=[depth]))
    assert records[0]['image'].shape == (20, 30, 4)
    np.testing.assert_array_equal(records[0]['image'][..., 3], masks[0])


def test_records_that_cannot_be_used(tmp_path: pathlib.Path) -> None:
    masks = mask_makers.make_masks()
    examples = [
        make_example(masks[0]),
        make_example(masks[1], **{'image/segmentation/class/encoded': b''}),
        make_example(masks[2], **{'image/segmentation/class/encoded': _encode(masks[3])}),
        make_example(masks[3], **{'image/encoded': b'nothing'}),
    ]
    path = _write(tmp_path / 'a.tfrecord', examples)
    with pytest.raises(
        errors.DataError,
        match=r'a\.tfrecord, record 1 .*: the record has no mask: the feature '
        r"'image/segmentation/class/encoded' is empty; mend or remove it",
    ):
        _build(path)
    with pytest.raises(
        errors.DataError, match=r'record 0 .*: the image is 20x30 px, its mask 40x16 px'
    ):
        _build(_write(tmp_path / 'b.tfrecord', examples[2:]))
    source = _build(path, skip_corrupt=True)
    assert source.info.num_examples == 1
    assert source.info.num_corrupt == 3
    assert len(_read(source)) == 1


def test_scenes() -> None:
    """Digits of the embedded scenes are where their boxes are."""
    pytest.importorskip('sklearn', reason='the embedded data needs scikit-learn (the extra `demo`)')
    source = scene_masks.build_scene_mask_source(
        'digits', split='validation', num_scenes=5, labelling=Labelling()
    )
    records = _read(source)
    counts = sum(np.bincount(record['mask'].ravel(), minlength=11) for record in records)
    assert source.info.boxes_per_class == tuple(counts)
    assert source.info.num_boxes == 5 * 128 * 128
    assert source.info.num_classes == 11
    assert source.info.class_names[:2] == ('background', 'zero')
    assert records[0]['image'].shape == (128, 128, 3)
